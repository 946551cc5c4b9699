"""Persistence in the configuration: what ties a client's session to a server [P1]."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from pentaflow.fields import Model

CookieName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]


class CookieMode(StrEnum):
    """How the server is named in the affinity cookie: authenticated, or the DLBA's plain integer."""

    AUTHENTICATED = "authenticated"
    PLAIN = "plain"


class CookiePersistence(Model):
    """Cookie injection [P1]: `server_cookie` follows `session_cookie` wherever the server sets it."""

    session_cookie: CookieName
    server_cookie: CookieName = "SpServer"
    mode: CookieMode = CookieMode.AUTHENTICATED
    secret_file: Path | None = None

    @model_validator(mode="after")
    def _secret(self) -> Self:
        if self.mode is CookieMode.AUTHENTICATED and self.secret_file is None:
            raise ValueError("mode authenticated needs a secret_file")
        if self.session_cookie == self.server_cookie:
            raise ValueError("session_cookie and server_cookie must differ")
        return self


class Persistence(Model):
    """What ties a client's session to a server; none by default."""

    cookie: CookiePersistence | None = None
