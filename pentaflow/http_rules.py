"""How a vserver's requests are answered or passed on, as configured [N1]."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pentaflow.fields import Integer, Model


class Redirect(Model):
    """Every request of a vserver of mode http is sent to the same host over `https`, at `port`.

    308 and 307 keep the method and body of a request, 301 and 302 may turn a POST into a GET; 301 and 308 are
    remembered by clients (RFC 9110, 15.4).
    """

    to: Literal["https"]
    port: Annotated[Integer, Field(ge=1, le=65535)] = 443
    status: Literal[301, 302, 307, 308] = 308
