"""What the connections of one vserver go by."""

from __future__ import annotations

from dataclasses import dataclass

from pentaflow.config import Limits, Redirect, Timeouts
from tlsnodes.http.forwarding import ForwardingRules
from tlsnodes.http.messages import HeadLimits
from tlsnodes.persistence.application_sessions import ApplicationSessions
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.request_ids import RequestIds
from tlsnodes.scheduling.scheduler import TicketBinding
from tlsnodes.tls.context import TlsContext, TlsServerName


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How a server is reached; connections of equal routes are as good as each other.

    Attributes:
        address: its IP address, packed.
        port: its port.
        tls: None for plain HTTP.
        destination: where clients connect to, address and port: each connection begins with a header of the PROXY
            protocol and serves one request; None: it does not.
    """

    address: bytes
    port: int
    tls: TlsServerName | None = None
    destination: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRules:
    """The rules of one vserver.

    Attributes:
        tls: of its clients; None: plain HTTP.
        injection: cookie persistence, if the vserver has it.
        sessions: of the application, by its session ids, if the vserver has that.
        tickets: ticket persistence, if the vserver has it.
        source: whether clients that nothing else binds go by their address.
        explain_header: the field that says why responses come from their server; None: none does.
        forwarding: what servers are told of a client.
        request_ids: where they come from, if requests have them.
        via: the line that a response from a server of HTTP/1.1 gets.
        via_1_0: the same for HTTP/1.0.
        timeouts: as configured.
        redirect: instead of servers, if the vserver has that.
        limits: as configured; a worker's part of what workers share.
        head: bounds of requests and responses before they are passed on.
    """

    tls: TlsContext | None
    injection: CookieInjection | None
    sessions: ApplicationSessions | None
    tickets: TicketBinding | None
    source: bool
    explain_header: str | None
    forwarding: ForwardingRules
    request_ids: RequestIds | None
    via: bytes
    via_1_0: bytes
    timeouts: Timeouts
    redirect: Redirect | None
    limits: Limits
    head: HeadLimits
