"""Names of fields that are not simply passed on. They are compared without regard to case.

What clients send of REMOVED is never forwarded, nor is a name that differs by "_" for "-" only: many servers take
the two for the same (CGI, RFC 3875, 4.1.18).
"""

from __future__ import annotations

HOP_BY_HOP = (
    # RFC 9110, 7.6.1 and 11.7; Keep-Alive and Proxy-Connection are of the older HTTPs.
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"http2-settings",
)

CLAIMS = (
    # What a proxy says of the client: from a client it is a claim that servers would believe.
    b"client-cert",  # RFC 9440
    b"client-cert-chain",
    b"client-ip",
    b"cf-connecting-ip",
    b"fastly-client-ip",
    b"forwarded",  # RFC 7239
    b"forwarded-for",
    b"front-end-https",
    b"proxy",  # becomes HTTP_PROXY, which libraries obey
    b"true-client-ip",
    b"x-client-cert",
    b"x-client-ip",
    b"x-client-verify",
    b"x-cluster-client-ip",
    b"x-original-url",
    b"x-real-ip",
    b"x-request-id",
    b"x-rewrite-url",
    b"x-scheme",
    b"x-url-scheme",
)
CLAIM_PREFIXES = (b"ssl-client-", b"x-forwarded-", b"x-ssl-")

NOT_IN_TRAILERS = (
    # RFC 9110, 6.5.1: framing, routing, authentication, request modifiers, content; and what changes state.
    b"age",
    b"authentication-info",
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-length",
    b"content-location",
    b"content-range",
    b"content-type",
    b"cookie",
    b"date",
    b"expect",
    b"expires",
    b"host",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"location",
    b"max-forwards",
    b"pragma",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"strict-transport-security",
    b"vary",
    b"via",
    b"warning",
    b"www-authenticate",
)

METHODS = (
    # RFC 9110 but CONNECT and TRACE, which are refused; PATCH, WebDAV, DeltaV, CalDAV, QUERY and a few more.
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH",
    b"ACL", b"BIND", b"CHECKOUT", b"COPY", b"LINK", b"LOCK", b"M-SEARCH", b"MERGE", b"MKACTIVITY", b"MKCALENDAR",
    b"MKCOL", b"MOVE", b"NOTIFY", b"PROPFIND", b"PROPPATCH", b"PURGE", b"QUERY", b"REBIND", b"REPORT", b"SEARCH",
    b"SUBSCRIBE", b"UNBIND", b"UNLINK", b"UNLOCK", b"UNSUBSCRIBE",
)  # fmt: skip

_READ = (b"host", b"cookie", b"set-cookie", b"content-length", b"expect")


def is_passed_on(name: bytes) -> bool:
    """Whether both sides get a field of that name as the other one sends it."""
    name = name.lower()
    return name not in (*HOP_BY_HOP, *CLAIMS, *_READ) and not name.startswith(CLAIM_PREFIXES)
