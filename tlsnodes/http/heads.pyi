from collections.abc import Iterable
from typing import ClassVar

from tlsnodes.http.fields import FieldTable
from tlsnodes.http.messages import Framing

def request_table(removed: Iterable[bytes] = ()) -> FieldTable: ...

class Head:
    """A message that passed all checks, without its hop-by-hop fields.

    Attributes:
        lines: end-to-end fields in the order received, as `Name: value` CRLF each.
        http_1_0: the peer speaks HTTP/1.0.
        keep_alive: the peer's connection can carry another message.
        upgrade: requests: the protocol that is asked for, lower case; responses of status 101: the one agreed on.
        framing: of the body that follows; of responses NONE for HEAD, 1xx, 204 and 304.
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]
    @property
    def lines(self) -> bytes: ...
    @property
    def http_1_0(self) -> bool: ...
    @property
    def keep_alive(self) -> bool: ...
    @property
    def upgrade(self) -> bytes | None: ...
    @property
    def framing(self) -> Framing: ...
    def fields(self) -> list[tuple[bytes, bytes]]: ...
    def get(self, name: bytes) -> bytes | None: ...

class RequestHead(Head):
    """A request.

    Attributes:
        method: as received, upper case.
        target: in origin-form, or `*`.
        authority: host and port, from the absolute-form target or the Host field.
        cookie: value of the Cookie field; several are joined as RFC 6265, 5.4 says.
        claims: lines of fields that only proxies should set, as the client sent them.
        content_length: octets of the body if framing is LENGTH, else 0.
        expects_continue: the client waits for 100 before it sends the body.
        takes_trailers: the client wants the trailers of the response.

    `lines` are without Host, Cookie, Expect, and what the proxy sets itself.
    """

    @property
    def method(self) -> bytes: ...
    @property
    def target(self) -> bytes: ...
    @property
    def authority(self) -> bytes: ...
    @property
    def cookie(self) -> bytes | None: ...
    @property
    def claims(self) -> bytes: ...
    @property
    def content_length(self) -> int: ...
    @property
    def expects_continue(self) -> bool: ...
    @property
    def takes_trailers(self) -> bool: ...

class ResponseHead(Head):
    """A response.

    Attributes:
        status: 100 to 999; below 200 it is an interim response and neither body nor END follow.
        reason: reason phrase, may be empty.
        set_cookies: values of the Set-Cookie fields, which are in `lines`, too.
        content_length: what the server said, also where no body follows; None when it did not.
    """

    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> bytes: ...
    @property
    def set_cookies(self) -> tuple[bytes, ...]: ...
    @property
    def content_length(self) -> int | None: ...
