"""What is said in TLS tickets, and which are accepted; Python's own TLS is the client."""

from __future__ import annotations

import hmac
import ssl
import time
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from support.certificates import make_certificate
from support.streams import attached, run_until
from support.tlspeer import TlsPeer, client_settings
from tlsnodes.persistence.affinity import Affinity, AffinityCodec, name_digest
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
        self.settings = client_settings()
        self.settings.minimum_version = self.settings.maximum_version = version
        self.session: ssl.SSLSession | None = None

    def connect(self, vserver: Vserver, name: str | None = "www.example.test", *, keep: bool = True) -> bool:
        """Whether the handshake was resumed; the connection has an answer, so tickets have come."""
        server, peer = attached(self._poller, vserver.context)
        client = TlsPeer(self._poller, peer, self.settings, name=name, session=self.session)
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


def shown(client: Client) -> bytes:
    """The ticket in the client's next ClientHello; its key's name is known."""
    incoming, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client.settings.wrap_bio(incoming, out, server_hostname="www.example.test", session=client.session)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = out.read()
    at = hello.index(KEY[:16])
    return hello[at : at + int.from_bytes(hello[at - 2 : at], "big")]


def test_what_a_ticket_says_is_read_without_a_handshake(client: Client) -> None:
    vserver = Vserver()
    client.connect(vserver)
    ticket, digest, now_s = shown(client), name_digest(b"www.example.test"), time.time()
    before = vserver.counted()
    for asked in (digest, None):
        found = vserver.context.read_ticket(ticket, asked, now_s)
        assert isinstance(found, Affinity)
        assert found.servers == ()
    for wrong, asked, at_s, outcome in (
        (ticket, name_digest(b"other.example"), now_s, TicketOutcome.FOREIGN_NAME),
        (ticket, digest, now_s + 10_000, TicketOutcome.EXPIRED),
        (b"x" + ticket[1:], digest, now_s, TicketOutcome.UNKNOWN_KEY),
        (b"", digest, now_s, TicketOutcome.UNKNOWN_KEY),
        *((ticket[:size], digest, now_s, TicketOutcome.FORGED) for size in (16, 32, 64, 80, len(ticket) - 1)),
        (ticket[:-1] + bytes([ticket[-1] ^ 1]), digest, now_s, TicketOutcome.FORGED),
        (ticket[:20] + bytes([ticket[20] ^ 1]) + ticket[21:], digest, now_s, TicketOutcome.FORGED),
    ):
        assert vserver.context.read_ticket(wrong, asked, at_s) is outcome
    assert Vserver(vserver_id=2).context.read_ticket(ticket, digest, now_s) is TicketOutcome.FOREIGN_VSERVER
    rotated = Vserver(keys=(NEW_KEY, KEY)).context
    assert isinstance(rotated.read_ticket(ticket, digest, now_s), Affinity), "its key retires"
    assert vserver.counted() == before
    assert client.connect(vserver)


def test_a_ticket_of_our_key_with_no_session_in_it_is_malformed() -> None:
    iv, text = bytes(16), padding.PKCS7(128).padder()
    padded = text.update(b"no session") + text.finalize()
    cipher = Cipher(algorithms.AES(KEY[48:]), modes.CBC(iv)).encryptor()
    sealed = KEY[:16] + iv + cipher.update(padded) + cipher.finalize()
    ticket = sealed + hmac.digest(KEY[16:48], sealed, "sha256")
    assert Vserver().context.read_ticket(ticket, None, time.time()) is TicketOutcome.MALFORMED
