"""Session ids are found wherever they stand, and nothing else is taken for one."""

from __future__ import annotations

from urllib.parse import quote_from_bytes

from hypothesis import given
from hypothesis import strategies as st

from tlsnodes.persistence.application_id import MAX_ID_BYTES, ApplicationId, IdRefusal

WHERE = ApplicationId(parameter="sid", header="X-Session", cookie="APPLICATION")
VISIBLE = st.lists(st.integers(0x21, 0x7E), min_size=1, max_size=MAX_ID_BYTES).map(bytes)
TEXT = st.text("abc=%;&?/.", max_size=30).map(str.encode)  # the name of the parameter can't arise
VALUE = st.text("abc 123:;,=", max_size=20).map(str.encode)
LINES = st.lists(VALUE.map(lambda value: b"Other: " + value + b"\r\n"), max_size=3).map(b"".join)


def by_hand(target: bytes) -> set[bytes]:
    """The parameters as RFC 3986, 3.3 has them, without percent-encoding."""
    path, _, query = target.partition(b"?")
    parts = [part for segment in path.split(b"/") for part in segment.split(b";")[1:]] + query.split(b"&")
    return {part[4:] for part in parts if part.startswith(b"sid=")} - {b""}


@given(TEXT, VISIBLE, TEXT, st.booleans())
def test_a_parameter_is_found_in_path_and_query(before: bytes, found: bytes, after: bytes, in_path: bool) -> None:
    value = quote_from_bytes(found, safe="").encode()
    if in_path:
        target = b"/%b;sid=%b/%b" % (before.replace(b"?", b""), value, after)
    else:
        target = b"/%b?sid=%b&%b" % (before.replace(b"?", b""), value, after)
    assert WHERE.in_request(target, b"") == found


@given(st.text("sid=;&?/x", max_size=60))
def test_any_target_is_read_as_the_grammar_has_it(text: str) -> None:
    target = b"/" + text.encode()
    expected = by_hand(target)
    found = WHERE.in_request(target, b"")
    if len(expected) > 1:
        assert found is IdRefusal.AMBIGUOUS
    else:
        assert found == (expected.pop() if expected else None)


@given(LINES, VISIBLE, LINES)
def test_a_field_is_found_among_others(before: bytes, found: bytes, after: bytes) -> None:
    lines = before + b"x-sEssion: " + found + b"\r\n" + after
    assert WHERE.in_request(b"/", lines) == found
    assert WHERE.in_response(lines, (), 0.0) == found
    assert WHERE.in_request(b"/", before + after) is None


@given(st.binary(max_size=400), st.binary(max_size=400), st.binary(max_size=100))
def test_whatever_comes_is_an_id_a_refusal_or_none(target: bytes, lines: bytes, cookie: bytes) -> None:
    for found in (
        WHERE.in_request(b"/;sid=" + target, lines),
        WHERE.in_response(b"Location: ?sid=" + lines, (b"APPLICATION=" + cookie,), 0.0),
    ):
        if isinstance(found, bytes):
            assert 0 < len(found) <= MAX_ID_BYTES
            assert all(0x21 <= octet <= 0x7E for octet in found)
