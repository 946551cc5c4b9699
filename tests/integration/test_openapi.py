"""Schemathesis against a real controller: it does what its OpenAPI document says, whatever it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.array_rest import address_of, all_up, make_configuration
from support.virtual_array import VirtualArray, running_controller, running_switch, status_server

# Objects that there are: half of the requests are about them.
NAMES = {"switches": "s1", "nodes": "n1", "vservers": "web", "pools": "servers"}
CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
SETTINGS = settings(
    max_examples=8,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    verbosity=Verbosity.quiet,
)


async def test_the_controller_does_what_its_openapi_document_says(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = make_configuration(buckets=256)
    array = VirtualArray(configuration)
    monkeypatch.setattr("softswitch.switch.Ports", array.ports)
    async with (
        status_server(configuration.nodes[0].management),
        running_switch(address_of(configuration)),
        running_controller(configuration) as client,
    ):
        await all_up(client)
        document = (await client.get("/openapi.json")).json()
        failures = await asyncio.to_thread(lambda: list(_failures(document, f"http://{configuration.controller.rest}")))
        assert not failures, "\n\n".join(failures)
        health = await client.get("/health")
        assert health.status_code == 200


def _failures(document: dict[str, Any], url: str) -> Iterator[str]:
    schema = schemathesis.openapi.from_dict(document).exclude(path="/events/stream")
    with requests.Session() as session:
        session.trust_env = False
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()

            @seed(4)
            @SETTINGS
            @given(case=operation.as_strategy(), is_real=st.booleans())
            def check(case: Any, is_real: bool) -> None:
                group = case.path.split("/")[1]
                if is_real and group in NAMES and "name" in case.path_parameters:
                    case.path_parameters["name"] = NAMES[group]
                response = case.call(base_url=url, session=session, timeout=10)
                assert response.status_code < 500 or response.headers["Content-Type"] == "application/problem+json"
                assert response.status_code not in (500, 501, 502, 504), response.text
                case.validate_response(response, checks=CHECKS)

            try:
                check()
            except (FailureGroup, Exception) as error:
                yield f"{operation.label}: {type(error).__name__}: {error}"
