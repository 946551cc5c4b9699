"""What the models of the configuration are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

from pentaflow.addresses import with_port


class Model(BaseModel):
    """Base of all configuration models: frozen, strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# YAML's booleans are no numbers here.
Integer = Annotated[int, Strict()]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class HostPort(Model):
    """A TCP end point; written `host:port` in YAML."""

    host: str
    port: Integer = Field(ge=0, le=65535)

    def __str__(self) -> str:
        return with_port(self.host, self.port)


def _host_port(value: object) -> object:
    if not isinstance(value, str):
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise ValueError(f"{value!r} is not host:port")
    return {"host": host.strip("[]"), "port": int(port)}


Endpoint = Annotated[HostPort, BeforeValidator(_host_port)]
