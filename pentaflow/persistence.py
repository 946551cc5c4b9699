"""Persistence in the configuration: what ties a client's session to a server [P1, P2, P3]."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from pentaflow.fields import Integer, Model, Seconds
from pentaflow.session_id_settings import SessionIds

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


class SessionIdPersistence(Model):
    """An application's session ids [P2]: whoever shows one reaches the server that it is bound to.

    Attributes:
        parameter: of URLs: `/cart;jsessionid=…` or `/cart?jsessionid=…`; in a response's Location, too.
        header: a field of requests and responses.
        cookie: one in which responses set the same id.
        lifetime_s: how long a session that is not used is known.
    """

    parameter: Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{1,64}$")] | None = None
    header: FieldName | None = None
    cookie: CookieName | None = None
    lifetime_s: Integer = Field(default=7200, ge=1, le=604_800)

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.parameter is None and self.header is None:
            raise ValueError("expected parameter, header or both")
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


class LearntPersistence(Model):
    """TLS sessions of up to 1.2 that a passthrough vserver learns from its servers, by ticket or session id [P5].

    Attributes:
        lifetime_s: how long one is known, unless the server gives its ticket less.
    """

    lifetime_s: Integer = Field(default=7200, ge=1, le=604_800)


class TlsSessionIds(Model):
    """Sessions of TLS 1.2 that clients without tickets resume, at whatever node they land on [P7].

    Attributes:
        secret_file: of the vserver, the same at all nodes: ids are authenticated and sessions sealed with it.
        lifetime_s: how long a session is kept after it was used last; none is older than a day (RFC 5246, F.1.4).
        reuse_limit: how often one may be resumed; None: as often as it likes.
    """

    secret_file: Path
    lifetime_s: Integer = Field(default=3600, ge=1, le=86_400)
    reuse_limit: Annotated[Integer, Field(ge=1)] | None = None


class Persistence(Model):
    """What ties a client's session to a server, in order of precedence; none by default, so that only policies choose.

    Attributes:
        cookie: a cookie that follows the session cookie.
        session_id: in a parameter of the URL or a field of the header.
        ticket: TLS tickets.
        learn: sessions between clients and servers that the node sees pass.
        tls_session_ids: sessions of TLS 1.2 by their ids; they bind where tickets do.
        source: a consistent hash of the client's address, instead of the pool's policy.
        explain_header: a field of responses that says which server they come from, and why that one.
        ticket_keys: of its TLS tickets, whether they bind or not.
        session_ids: TLS session ids of servers behind mode passthrough.
    """

    cookie: CookiePersistence | None = None
    session_id: SessionIdPersistence | None = None
    ticket: TicketPersistence | None = None
    learn: LearntPersistence | None = None
    tls_session_ids: TlsSessionIds | None = None
    source: bool = False
    explain_header: FieldName | None = None
    ticket_keys: TicketKeys = TicketKeys()
    session_ids: SessionIds | None = None

    @property
    def ticket_lifetime_s(self) -> int:
        """For how long a TLS ticket is good, whether it binds or not."""
        return (self.ticket or TicketPersistence()).lifetime_s


def _redis_url(text: str) -> str:
    form = "redis://[user@]host[:port][/number], or rediss:// for TLS"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError(f"expected {form}") from None
    if url.password is not None:
        raise ValueError("a password has no place in the URL; password_file names a file with it")
    is_number = not url.path.strip("/") or url.path[1:].isdecimal()
    if url.scheme not in ("redis", "rediss") or not url.hostname or port == 0 or not is_number or url.query:
        raise ValueError(f"expected {form}")
    return text


RedisUrl = Annotated[str, AfterValidator(_redis_url)]


class StoreSettings(Model):
    """The store that nodes share sessions by [P9]: an embedded SQLite file for the workers of each node by itself, or a
    Redis or Valkey server for all of them.

    Attributes:
        sqlite: absolute path of the file, at most `max_mib` large; None: in a folder that ends with the node.
        redis: URL of the server; its password, if it wants one, is in `password_file`.
        ca: PEM file of the authority that the server's certificate is checked against; for `rediss://`.
        timeout_ms: how long a call may take before a node goes on without its answer.
    """

    sqlite: Annotated[str, Field(pattern=r"^/[^\x00]*[^/\x00]$")] | None = None
    max_mib: Integer = Field(default=1024, ge=1, le=1_048_576)
    redis: RedisUrl | None = None
    password_file: Path | None = None
    ca: Path | None = None
    timeout_ms: Integer = Field(default=50, ge=1, le=5000)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.sqlite is not None and self.redis is not None:
            raise ValueError("sqlite and redis exclude each other")
        if self.redis is None and (self.password_file is not None or self.ca is not None):
            raise ValueError("password_file and ca go with redis")
        if self.ca is not None and self.redis is not None and not self.redis.startswith("rediss:"):
            raise ValueError("ca goes with rediss://")
        return self
