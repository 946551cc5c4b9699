"""What holds for any cookie, and for any affinity."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from tlsnodes.persistence.affinity import Affinity, AffinityCodec, AffinityRefusal
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.persistence.set_cookie import cookie_expiry, parse_cookie_date
from tlsnodes.persistence.token import AuthenticatedToken, PlainToken, Refusal

CODEC = AuthenticatedToken(secret=b"s" * 32, vserver_id=3, vserver_name="web")
INJECTION = CookieInjection(session_cookie="SESSION", server_cookie="SpServer", codec=CODEC)
SERVER_ID = st.integers(1, 65_535)
PAIR = st.from_regex(rb"\A[ \t]?[a-z]{1,5}=[!#-+.-:<-~]{0,8}[ \t]?\Z").filter(lambda p: b"SpServer" not in p)


@given(SERVER_ID, st.none() | st.integers(1001, 2**40))
def test_tokens_round_trip(server_id: int, expiry_s: int | None) -> None:
    assert CODEC.decode(CODEC.encode(server_id, expiry_s), 1000.0) == (
        server_id,
        min(expiry_s, 2**32 - 1) if expiry_s else inf,
    )
    assert PlainToken().decode(PlainToken().encode(server_id, expiry_s), 0.0) == (server_id, inf)


@given(st.binary(max_size=64) | st.binary(min_size=32, max_size=32))
def test_no_other_text_is_a_token(token: bytes) -> None:
    assert isinstance(CODEC.decode(token, 0.0), Refusal)


@given(st.lists(PAIR, max_size=4), st.lists(PAIR, max_size=4), SERVER_ID)
def test_other_cookies_stay_byte_for_byte(before: list[bytes], after: list[bytes], server_id: int) -> None:
    ours = b" SpServer=" + CODEC.encode(server_id, None)
    binding = INJECTION.read_request(b";".join([*before, ours, *after]), 0.0)
    assert binding.server_id == server_id
    # White space before the first is not part of any cookie.
    assert (binding.cookie or b"") == b";".join([*before, *after]).lstrip(b" \t")


@given(st.binary(max_size=80))
def test_any_cookie_field_is_read(cookie: bytes) -> None:
    binding = INJECTION.read_request(cookie, 0.0)
    if b"SpServer" not in cookie:
        assert binding.cookie == cookie


@given(st.binary(max_size=60), SERVER_ID)
def test_any_attributes_are_copied(attributes: bytes, server_id: int) -> None:
    (added,) = INJECTION.read_response((b"SESSION=x;" + attributes,), server_id, 1000.0)
    assert added.startswith(b"SpServer=")
    assert added.endswith(b";" + attributes)


@given(st.binary(max_size=60))
def test_dates_and_expiries_never_raise(text: bytes) -> None:
    parse_cookie_date(text)
    cookie_expiry(b"; Expires=" + text + b"; Max-Age=" + text, 0.0)


PACKER = AffinityCodec(3, lambda server_id: server_id ^ 0x5A5A)
DIGEST = st.binary(min_size=8, max_size=8)


@given(st.lists(SERVER_ID, max_size=4, unique=True), st.integers(1001, 2**32 - 1), DIGEST)
def test_affinities_round_trip(servers: list[int], expires_s: int, digest: bytes) -> None:
    affinity = Affinity(tuple(servers), expires_s)
    assert PACKER.decode(PACKER.encode(affinity, digest), digest, 1000.0) == affinity


@given(st.lists(SERVER_ID, min_size=1, max_size=4, unique=True), DIGEST, st.data())
def test_a_cut_affinity_binds_nobody_or_fewer(servers: list[int], digest: bytes, data: st.DataObject) -> None:
    packed = PACKER.encode(Affinity(tuple(servers), 2000), digest)
    kept = data.draw(st.integers(0, len(packed) - 1))
    found = PACKER.decode(packed[:kept], digest, 1000.0)
    if isinstance(found, Affinity):
        assert found.servers == tuple(servers[: len(found.servers)])
        assert len(found.servers) < len(servers)
    else:
        assert found is AffinityRefusal.MALFORMED


@given(st.binary(max_size=40), DIGEST)
def test_any_bytes_are_read_as_an_affinity_or_refused(packed: bytes, digest: bytes) -> None:
    assert isinstance(PACKER.decode(packed, digest, 1000.0), Affinity | AffinityRefusal)
