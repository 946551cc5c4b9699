"""The options that say which controller is asked, and as whom: the same for every command that asks one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pentaflow.operator.client import Client

DEFAULT_URL = "http://127.0.0.1:8080"


def _options(
    url: Annotated[str, typer.Option("--url", envvar="PENTAFLOW_URL", help="A controller's REST API.")] = DEFAULT_URL,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", envvar="PENTAFLOW_TOKEN_FILE", help="File with the bearer token.")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", envvar="PENTAFLOW_CA", help="PEM file of the API's authority.")
    ] = None,
) -> Client:
    return Client(url, token_file=token_file, ca=ca)


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """What typer is to run for a command whose first parameter is the client: it gets the client's options instead."""
    own = inspect.signature(command, eval_str=True)
    options = inspect.signature(_options, eval_str=True).parameters

    @functools.wraps(command)
    def run(**values: Any) -> None:
        with _options(**{name: values.pop(name) for name in options}) as client:
            command(client, **values)

    # typer makes the command line from these.
    parameters = [*list(own.parameters.values())[1:], *options.values()]
    run.__dict__["__signature__"] = own.replace(parameters=parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def client_of(context: typer.Context) -> Client:
    """The client that a command would be run with.

    Raises:
        ConfigurationError: see `Client`.
    """
    given = {name: context.params.get(name) for name in inspect.signature(_options).parameters}
    return _options(**{name: value for name, value in given.items() if value is not None})
