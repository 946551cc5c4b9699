"""What is said in TLS tickets, and which are accepted; Python's own TLS is the client."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator

import pytest

from support.certificates import make_certificate
from support.streams import attached, run_until
from support.tlspeer import TlsPeer, client_settings
from tlsnodes.persistence.affinity import AffinityCodec
from tlsnodes.statistics import TicketOutcome
from tlsnodes.stream.poller import Poller
from tlsnodes.stream.stream import StreamState
from tlsnodes.tls.context import KeyedCertificate, TicketRules, TlsContext

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
KEY, NEW_KEY = b"k" * 80, b"n" * 80


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


class Vserver:
    """A context and what it counted."""

    def __init__(
        self, *, vserver_id: int = 1, keys: tuple[bytes, ...] = (KEY,), lifetime_s: int = 7200, binds: bool = False
    ) -> None:
        made = make_certificate(kind="ec")
        self.counts = [0] * len(TicketOutcome)
        self.context = TlsContext(
            certificates=[KeyedCertificate(certificate_pem=made.certificate_pem, key_pem=made.key_pem)],
            session_context="same",  # so that it is the ticket's data that tells vservers apart
            ticket_keys=keys,
            tickets=TicketRules(
                codec=AffinityCodec(vserver_id, lambda _: None), counts=self.counts, lifetime_s=lifetime_s, binds=binds
            ),
        )

    def counted(self) -> dict[str, int]:
        return {outcome.name.lower(): self.counts[outcome] for outcome in TicketOutcome if self.counts[outcome]}


class Client:
    """A client that keeps its newest session."""

    def __init__(self, poller: Poller, version: ssl.TLSVersion) -> None:
        self._poller = poller
        self._settings = client_settings()
        self._settings.minimum_version = self._settings.maximum_version = version
        self.session: ssl.SSLSession | None = None

    def connect(self, vserver: Vserver, name: str | None = "www.example.test", *, keep: bool = True) -> bool:
        """Whether the handshake was resumed; the connection has an answer, so tickets have come."""
        server, peer = attached(self._poller, vserver.context)
        client = TlsPeer(self._poller, peer, self._settings, name=name, session=self.session)
        try:
            client.handshake()
            run_until(self._poller, lambda: server.stream.state != StreamState.HANDSHAKING)
            server.send(b"x")
            client.expect(b"x")
            if keep:
                self.session = client.tls.session
            info = server.stream.handshake
            assert info is not None
            assert info.resumed == client.tls.session_reused
            return info.resumed
        finally:
            server.stream.close()
            peer.close()


@pytest.fixture(params=VERSIONS, ids=["1.2", "1.3"])
def client(poller: Poller, request: pytest.FixtureRequest) -> Client:
    return Client(poller, request.param)


@pytest.mark.parametrize("name", ["www.example.test", None])
def test_a_ticket_is_good_for_the_same_vserver_and_name(client: Client, name: str | None) -> None:
    vserver = Vserver()
    assert not client.connect(vserver, name)
    assert vserver.counted() == {"issued": 1}
    for _ in range(3):  # the tickets of resumed sessions are as good
        assert client.connect(vserver, name)
    assert vserver.counts[TicketOutcome.RESUMED] == 3


def test_a_ticket_of_another_vserver_costs_a_full_handshake(client: Client) -> None:
    client.connect(Vserver(vserver_id=1))
    other = Vserver(vserver_id=2)
    assert not client.connect(other)
    assert other.counted() == {"foreign_vserver": 1, "issued": 1}
    assert client.connect(other)


@pytest.mark.parametrize(
    ("first", "second"), [("a.example.test", "b.example.test"), (None, "b.example.test"), ("a.example.test", None)]
)
def test_a_ticket_for_another_name_costs_a_full_handshake(
    client: Client, first: str | None, second: str | None
) -> None:
    vserver = Vserver()
    client.connect(vserver, first)
    assert not client.connect(vserver, second)
    assert vserver.counted() == {"foreign_name": 1, "issued": 2}
    assert client.connect(vserver, second)


def test_an_expired_ticket_costs_a_full_handshake(client: Client) -> None:
    vserver = Vserver(lifetime_s=1)
    client.connect(vserver)
    end = int(time.time()) + 2  # the kernel has several clocks, some milliseconds apart
    while time.time() < end:
        time.sleep(0.02)
    assert not client.connect(vserver)
    # Python's own client may know better than to send it.
    assert vserver.counts[TicketOutcome.RESUMED] == 0


def test_keys_current_retiring_and_gone(client: Client) -> None:
    client.connect(Vserver(keys=(KEY,)))
    rotated = Vserver(keys=(NEW_KEY, KEY))
    assert client.connect(rotated)
    assert rotated.counted() == {"resumed": 1, "retiring_key": 1, "issued": 1}
    after = Vserver(keys=(NEW_KEY,))
    assert client.connect(after)  # with the ticket that replaced it
    assert after.counts[TicketOutcome.RESUMED] == 1
    gone = Vserver(keys=(b"z" * 80,))
    assert not client.connect(gone)
    assert gone.counted() == {"unknown_key": 1, "issued": 1}


def test_a_ticket_that_only_says_to_be_of_our_key_is_counted_as_forged(client: Client) -> None:
    client.connect(Vserver(keys=(KEY,)))
    other = Vserver(keys=(KEY[:16] + b"x" * 64,))
    assert not client.connect(other)
    assert other.counted() == {"forged": 1, "issued": 1}


def test_a_ticket_that_says_nothing_costs_a_full_handshake(client: Client) -> None:
    silent = Vserver()
    made = make_certificate(kind="ec")
    silent.context = TlsContext(
        certificates=[KeyedCertificate(certificate_pem=made.certificate_pem, key_pem=made.key_pem)],
        session_context="same",
        ticket_keys=(KEY,),
    )
    client.connect(silent)
    vserver = Vserver()
    assert not client.connect(vserver)
    assert vserver.counted() == {"malformed": 1, "issued": 1}


def test_where_tickets_bind_tls_1_3_gives_none_in_the_handshake(poller: Poller) -> None:
    client, vserver = Client(poller, ssl.TLSVersion.TLSv1_3), Vserver(binds=True)
    client.connect(vserver)
    assert vserver.counted() == {}
    assert not client.connect(vserver)


def test_who_may_make_no_tickets_accepts_them(client: Client) -> None:
    client.connect(Vserver())
    mute = Vserver()
    mute.context.set_ticket_keys((KEY,), issues=False)
    for _ in range(2):
        assert client.connect(mute, keep=False)
    assert mute.counted() == {"resumed": 2}
