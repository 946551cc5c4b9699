from __future__ import annotations

import pytest

from tlsnodes.http.redirect import https_location


@pytest.mark.parametrize(
    ("authority", "target", "port", "expected"),
    [
        (b"shop.example", b"/", 443, b"https://shop.example/"),
        (b"shop.example:80", b"/a?b=c:d", 443, b"https://shop.example/a?b=c:d"),
        (b"shop.example:8080", b"/a", 8443, b"https://shop.example:8443/a"),
        (b"[2001:db8::1]", b"/a", 443, b"https://[2001:db8::1]/a"),
        (b"[2001:db8::1]:80", b"/a", 8443, b"https://[2001:db8::1]:8443/a"),
        (b"shop.example", b"//evil.example/", 443, b"https://shop.example//evil.example/"),
        (b"shop.example:80", b"*", 443, b"https://shop.example"),
    ],
)
def test_the_host_stays_and_the_port_is_that_of_https(
    authority: bytes, target: bytes, port: int, expected: bytes
) -> None:
    assert https_location(authority, target, port) == expected
