"""The operator's REST API [O2]: JSON over HTTP, described by `/openapi.json`."""

from controller.api.application import create_api

__all__ = ["create_api"]
