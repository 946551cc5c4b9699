"""Persistence in the configuration: what ties a client's session to a server [P1, P3]."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from pentaflow.fields import Integer, Model, Seconds

CookieName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
FieldName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", max_length=64)]


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


class TicketPersistence(Model):
    """TLS tickets that name servers [P3]: who resumes a session reaches the server of its first request.

    Attributes:
        lifetime_s: of a ticket; TLS 1.3 allows a week (RFC 8446, 4.6.1).
        renew: whether the lifetime begins anew when a ticket is used.
        servers: how many a ticket names; the others are for when those before them are gone.
    """

    lifetime_s: Integer = Field(default=7200, ge=1, le=604_800)
    renew: bool = True
    servers: Integer = Field(default=1, ge=1, le=4)


class TicketKeys(Model):
    """The keys of TLS session tickets [P4]: every `rotate_s` the next one takes over, once all who serve have it."""

    rotate_s: Seconds = 3600


class Persistence(Model):
    """What ties a client's session to a server, in order of precedence; none by default, so that only policies choose.

    Attributes:
        cookie: a cookie that follows the session cookie.
        ticket: TLS tickets.
        source: a consistent hash of the client's address, instead of the pool's policy.
        explain_header: a field of responses that says which server they come from, and why that one.
        ticket_keys: of its TLS tickets, whether they bind or not.
    """

    cookie: CookiePersistence | None = None
    ticket: TicketPersistence | None = None
    source: bool = False
    explain_header: FieldName | None = None
    ticket_keys: TicketKeys = TicketKeys()

    @property
    def ticket_lifetime_s(self) -> int:
        """For how long a TLS ticket is good, whether it binds or not."""
        return (self.ticket or TicketPersistence()).lifetime_s
