"""Which server a client would get, and why [P8]: what a node is asked, and what it answers."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_COOKIE = 8192
MAX_TICKET = 8192
MAX_SESSION_ID = 32
MAX_NAME = 255
# What an HTTP field may have, whose octets are these characters (RFC 9110, 5.5).
Cookies = Annotated[str, Field(max_length=MAX_COOKIE, pattern="^[\t\x20-\x7e\x80-\xff]*$")]


class SessionQuestion(BaseModel):
    """How a client identifies itself; what is None is not known. No error repeats any of it.

    Attributes:
        cookie: its Cookie field, each character an octet.
        ticket: the TLS ticket that it shows; in JSON in hexadecimal.
        session_id: that of the TLS 1.2 session that it wants to resume; likewise.
        name: the server name that it asks for (SNI).
        client: its address.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, ser_json_bytes="hex", val_json_bytes="hex"
    )

    cookie: Cookies | None = Field(default=None, repr=False)
    ticket: bytes | None = Field(default=None, min_length=1, max_length=MAX_TICKET, repr=False)
    session_id: bytes | None = Field(default=None, min_length=1, max_length=MAX_SESSION_ID, repr=False)
    name: str | None = Field(default=None, max_length=MAX_NAME, pattern="^[A-Za-z0-9_.:-]*$")
    client: IPv4Address | IPv6Address | None = None


class Step(BaseModel):
    """What one row of the precedence table says.

    Attributes:
        by: the row: cookie, session_id, ticket, source or policy.
        verdict: honoured (this row decides), none (the client has nothing of this kind), not_asked (the question does
            not say what this row goes by), server_gone, server_down, or why what the client has counts as absent.
        server: name of the server that the row leads to, # and its id if the pool has it no more; null: to none.
    """

    model_config = ConfigDict(frozen=True)

    by: str
    verdict: str
    server: str | None


class SessionAnswer(BaseModel):
    """What becomes of a client's next request, by the rows that are asked, the deciding one last.

    Attributes:
        pool: where its server is from.
        server: its name; null: none, or one that the policy chooses when the request comes.
        chosen_by: the deciding row.
        policy: of the pool.
        refusal: why the request would get no server, as its client would be told; null: it would get one.
    """

    model_config = ConfigDict(frozen=True)

    vserver: str
    pool: str
    steps: tuple[Step, ...]
    server: str | None
    chosen_by: str
    policy: str
    refusal: str | None
