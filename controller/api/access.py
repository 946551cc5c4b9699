"""Who may do what: bearer tokens (RFC 6750) with roles [O2].

The token file is YAML, a list of `{name, role, sha256}`: tokens themselves are nowhere but with their holders. It is
read again when it has changed. Without one, everybody who reaches the address is admin: the configuration allows that
on loopback only.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import yaml
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from controller.api.problems import Problem
from pentaflow.errors import ConfigurationError

_TOKEN_OCTETS = 32


class Role(StrEnum):
    """What the holder of a token may do; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether it may do all that `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class Token(BaseModel):
    """One entry of a token file; `sha256` is that of the token's text, in hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}$")]
    role: Role
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Identity(BaseModel):
    """Who asks."""

    model_config = ConfigDict(frozen=True)

    name: str
    role: Role


LOCAL = Identity(name="local", role=Role.ADMIN)
_TOKENS = TypeAdapter(tuple[Token, ...])


def make_token(name: str, role: Role) -> tuple[str, Token]:
    """A new token: its text, to be shown once, and its entry for the file."""
    text = secrets.token_urlsafe(_TOKEN_OCTETS)
    return text, Token(name=name, role=role, sha256=_digest(text))


def load_tokens(path: Path) -> tuple[Token, ...]:
    """The entries of a token file.

    Raises:
        ConfigurationError: it can't be read, is no list of tokens, or names somebody twice.
    """
    try:
        tokens = _TOKENS.validate_python(yaml.safe_load(path.read_text("utf-8")) or ())
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(str(path), f"can't be read: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(str(path), f"{where}: {first['msg']}" if where else first["msg"]) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigurationError(str(path), "not YAML") from None
    names = [token.name for token in tokens]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(str(path), f"{twice!r} has two tokens")
    return tokens


class Authenticator:
    """Finds out who asks."""

    def __init__(self, path: Path | None) -> None:
        """
        Raises:
            ConfigurationError: as `load_tokens`.
        """
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._tokens: tuple[Token, ...] = ()
        self._reload()

    def _reload(self) -> None:
        if self._path is None:
            return
        try:
            status = self._path.stat()
        except OSError as error:
            raise ConfigurationError(str(self._path), f"can't be read: {error.strerror}") from None
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            self._tokens, self._stamp = load_tokens(self._path), stamp

    def identify(self, text: str | None) -> Identity:
        """Whose token this is.

        Raises:
            Problem: 401; 503 while the token file is broken.
        """
        if self._path is None:
            return LOCAL
        try:
            self._reload()
        except ConfigurationError:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the token file can't be read") from None
        if not text:
            raise _unauthorised("a bearer token is needed", "Bearer")
        digest = _digest(text)
        found = [token for token in self._tokens if hmac.compare_digest(token.sha256, digest)]
        if not found:
            raise _unauthorised("the bearer token is not known", 'Bearer error="invalid_token"')
        return Identity(name=found[0].name, role=found[0].role)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _unauthorised(detail: str, challenge: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})


_bearer = HTTPBearer(auto_error=False, description="A token of the controller's token file.")


def needs(role: Role) -> Callable[..., Identity]:
    """A dependency: the identity of a client that has a role.

    Raises:
        Problem: 401 or 403.
    """

    def check(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Identity:
        authenticator: Authenticator = request.app.state.authenticator
        identity = authenticator.identify(credentials.credentials if credentials else None)
        request.state.identity = identity
        if not identity.role.includes(role):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                f"{identity.name} is {identity.role}, this needs {role}",
                headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'},
            )
        return identity

    return check


Viewer = Annotated[Identity, Depends(needs(Role.VIEWER))]
Operator = Annotated[Identity, Depends(needs(Role.OPERATOR))]
Admin = Annotated[Identity, Depends(needs(Role.ADMIN))]
