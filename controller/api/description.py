"""The OpenAPI document: what all operations share and FastAPI does not know of."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from controller.api.problems import MEDIA_TYPE, ProblemView

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ProblemView, "description": "The body or a header can't be read."},
    401: {"model": ProblemView, "description": "There is no token, or it is not known."},
    403: {"model": ProblemView, "description": "The token's role does not allow it."},
    404: {"model": ProblemView, "description": "There is no such object."},
    409: {"model": ProblemView, "description": "The plan is stale, or the same request is being handled."},
    412: {"model": ProblemView, "description": "If-Match does not hold; `current` is the present entity tag."},
    413: {"model": ProblemView, "description": "The body is too long."},
    415: {"model": ProblemView, "description": "The body is of another type."},
    422: {"model": ProblemView, "description": "The request is wrong; `path` says where."},
    428: {"model": ProblemView, "description": "If-Match is missing."},
    503: {
        "model": ProblemView,
        "description": "This controller does not lead, or its store or a node does not answer.",
    },
}
MAX_IDEMPOTENCY_KEY = 255
YAML = "application/yaml"

_PROBLEM = {"$ref": "#/components/schemas/ProblemView"}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A request that is sent again with the same key gets the answer of the first.",
    "schema": {"type": "string", "maxLength": MAX_IDEMPOTENCY_KEY},
}


def describe(api: FastAPI) -> None:
    """Serve a document that says which responses are problem documents, and what makes a change safe to repeat."""

    def make_document() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = get_openapi(title=api.title, version=api.version, routes=api.routes)
            schemas = document["components"]["schemas"]
            for methods in document["paths"].values():
                for method, operation in methods.items():
                    _complete(method, operation, schemas)
            api.openapi_schema = document
        return api.openapi_schema

    api.openapi = make_document  # type: ignore[method-assign]  # FastAPI's way to extend the document


def yaml_content() -> dict[str, Any]:
    """A configuration, as the content of a request or response."""
    return {YAML: {"schema": {"type": "object", "description": "See the guide, or `pentaflow check-config`."}}}


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """A request body that the handler reads by itself, as `openapi_extra`."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _complete(method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    for media in operation.get("requestBody", {}).get("content", {}).values():
        schemas |= media["schema"].pop("$defs", {})
    for response in operation["responses"].values():
        if _PROBLEM in (media.get("schema") for media in response.get("content", {}).values()):
            response["content"] = {MEDIA_TYPE: {"schema": _PROBLEM}}
    if method != "get":
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
