"""Requests and responses that attack or lie, a sentence each, with what the node makes of them.

`docs/hostile-input.md` shows the same rows; `python -m support.hostile_http` from the folder of tests prints them.
"""

from __future__ import annotations

from typing import NamedTuple


class Refused(NamedTuple):
    """What is not let through.

    Attributes:
        title: what it is.
        sent: octets of the peer.
        status: what the client gets.
        sentence: and the reason that it reads.
    """

    title: str
    sent: bytes
    status: int
    sentence: str


class Tamed(NamedTuple):
    """What is let through in a form that means the same to everybody.

    Attributes:
        title: what it is.
        sent: octets of the client.
        rebuilt: what the server gets, without the fields that the node adds.
        says: what has become of it.
    """

    title: str
    sent: bytes
    rebuilt: bytes
    says: str


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
BOTH = "not HTTP/1.1: both Transfer-Encoding and Content-Length"
TWO_LENGTHS = "not HTTP/1.1: more than one Content-Length"
TWO_CODINGS = "not HTTP/1.1: more than one Transfer-Encoding"
CODING = "a transfer coding other than chunked"
NUMBER = "not HTTP/1.1: Content-Length is not a number"
BARE_LF = "not HTTP/1.1: a line feed without a carriage return"
CONTROL = "not HTTP/1.1: a control character in a field's value"
NAME = "not HTTP/1.1: a bad field name"
SPACE = "not HTTP/1.1: whitespace before a colon"
FOLD = "not HTTP/1.1: a line that begins with whitespace"
CHUNK_SIZE = "not HTTP/1.1: a bad chunk size"
CHUNK_END = "not HTTP/1.1: a chunk that does not end where it said"
TARGET = "not HTTP/1.1: the request target is not valid"
LINE = "not HTTP/1.1: a bad request line"
VERSION = "not HTTP/1.1: a bad version"
HOST = "the host name is not valid"
DISAGREE = "the target and the Host field disagree"

REQUESTS = [
    # Which of two lengths holds?
    Refused("CL.TE: a length and a coding, smuggled request behind the last chunk",
            POST + b"Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400, BOTH),
    Refused("TE.CL: the same the other way round",
            POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n27\r\n" + SMUGGLED + b"0\r\n\r\n",
            400, BOTH),
    Refused("TE.TE: two codings, one of them unknown",
            POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n", 400, TWO_CODINGS),
    Refused("TE.TE: the same coding twice",
            POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, TWO_CODINGS),
    Refused("TE.TE: an unknown coding before chunked in one field",
            POST + b"Transfer-Encoding: cow, chunked\r\n\r\n0\r\n\r\n", 501, CODING),
    Refused("TE.TE: chunked twice in one field", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n", 501, CODING),
    Refused("TE.TE: chunked before another coding",
            POST + b"Transfer-Encoding: chunked, identity\r\n\r\n", 501, CODING),
    Refused("TE.TE: a coding that looks like chunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n", 501, CODING),
    Refused("TE.TE: identity, which HTTP no longer has", POST + b"Transfer-Encoding: identity\r\n\r\n", 501, CODING),
    Refused("TE.TE: an empty coding", POST + b"Transfer-Encoding:\r\n\r\n", 501, CODING),
    Refused("TE.TE: chunked in quotes", POST + b'Transfer-Encoding: "chunked"\r\n\r\n', 501, CODING),
    Refused("TE.TE: chunked with a parameter", POST + b"Transfer-Encoding: chunked;a=b\r\n\r\n", 501, CODING),
    Refused("TE.TE: a comma behind chunked", POST + b"Transfer-Encoding: chunked,\r\n\r\n", 501, CODING),
    Refused("TE.TE: a vertical tab before chunked", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n", 400, CONTROL),
    Refused("TE.TE: a NUL behind chunked", POST + b"Transfer-Encoding: chunked\x00\r\n\r\n", 400, CONTROL),
    Refused("TE.TE: an octet above ASCII behind chunked",
            POST + b"Transfer-Encoding: chunked\xa0\r\n\r\n", 501, CODING),
    Refused("TE.TE: whitespace before the colon", POST + b"Transfer-Encoding : chunked\r\n\r\n", 400, SPACE),
    Refused("TE.TE: a tab before the colon", POST + b"Transfer-Encoding\t: chunked\r\n\r\n", 400, SPACE),
    Refused("TE.TE: whitespace before the name", GET + b" Transfer-Encoding: chunked\r\n\r\n", 400, FOLD),
    Refused("TE.TE: the value on the next line", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n", 400, FOLD),
    Refused("TE.TE: a control character in the name", POST + b"Transfer-\x01Encoding: chunked\r\n\r\n", 400, NAME),
    Refused("TE.TE: the field behind a bare CR", POST + b"X: y\rTransfer-Encoding: chunked\r\n\r\n", 400, CONTROL),
    Refused("TE.TE: the field behind a bare LF", POST + b"X: y\nTransfer-Encoding: chunked\r\n\r\n", 400, BARE_LF),
    Refused("Transfer-Encoding from HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            400, "not HTTP/1.1: Transfer-Encoding in an HTTP/1.0 request"),
    Refused("two lengths", POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, TWO_LENGTHS),
    Refused("the same length twice", POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400, TWO_LENGTHS),
    Refused("a list of lengths", POST + b"Content-Length: 1, 1\r\n\r\na", 400, NUMBER),
    Refused("a length with a sign", POST + b"Content-Length: +1\r\n\r\na", 400, NUMBER),
    Refused("a negative length", POST + b"Content-Length: -1\r\n\r\na", 400, NUMBER),
    Refused("a hexadecimal length", POST + b"Content-Length: 0x1\r\n\r\na", 400, NUMBER),
    Refused("a length with an underscore", POST + b"Content-Length: 1_0\r\n\r\na", 400, NUMBER),
    Refused("a length with a space inside", POST + b"Content-Length: 1 0\r\n\r\na", 400, NUMBER),
    Refused("a length in quotes", POST + b'Content-Length: "1"\r\n\r\na', 400, NUMBER),
    Refused("an empty length", POST + b"Content-Length:\r\n\r\n", 400, NUMBER),
    Refused("a length of digits that are not ASCII", POST + b"Content-Length: \xd9\xa1\r\n\r\na", 400, NUMBER),
    Refused("a length beyond 63 bits", POST + b"Content-Length: 18446744073709551617\r\n\r\na", 400, NUMBER),
    Refused("a length with a control character", POST + b"Content-Length: 1\x0b\r\n\r\na", 400, CONTROL),
    # Chunks.
    Refused("a chunk size with a sign", CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n", 400, CHUNK_SIZE),
    Refused("a negative chunk size", CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n", 400, CHUNK_SIZE),
    Refused("a chunk size with 0x", CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", 400, CHUNK_SIZE),
    Refused("a chunk size with an underscore", CHUNKED + b"0_3\r\nabc\r\n0\r\n\r\n", 400, CHUNK_SIZE),
    Refused("a chunk size behind a space", CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n", 400, CHUNK_SIZE),
    Refused("a chunk size before a space", CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n", 400, CHUNK_SIZE),
    Refused("an empty chunk size", CHUNKED + b"\r\nabc\r\n0\r\n\r\n", 400, CHUNK_SIZE),
    Refused("a chunk size with an h", CHUNKED + b"3h\r\nabc\r\n0\r\n\r\n", 400, CHUNK_SIZE),
    Refused("a chunk size beyond 60 bits", CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n",
            400, "not HTTP/1.1: a chunk size that is too large"),
    Refused("a chunk size that ends in LF", CHUNKED + b"3\nabc\r\n0\r\n\r\n", 400, BARE_LF),
    Refused("a chunk extension with a bare LF", CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n", 400, BARE_LF),
    Refused("a chunk extension with a bare CR", CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n", 400, CHUNK_SIZE),
    Refused("a chunk extension with a NUL", CHUNKED + b"3;\x00\r\nabc\r\n0\r\n\r\n", 400, CHUNK_SIZE),
    Refused("a chunk extension of 300 bytes", CHUNKED + b"3;" + b"x" * 300 + b"\r\nabc\r\n0\r\n\r\n",
            431, "a chunk's line of more than 256 bytes"),
    Refused("a chunk that is longer than it says", CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400, CHUNK_END),
    Refused("a chunk that ends in LF", CHUNKED + b"3\r\nabc\n0\r\n\r\n", 400, CHUNK_END),
    Refused("a chunk that ends in CR and something", CHUNKED + b"3\r\nabc\rX0\r\n\r\n", 400, CHUNK_END),
    Refused("a trailer with a bare LF", CHUNKED + b"0\r\nX: y\n\r\n", 400, BARE_LF),
    Refused("a trailer with whitespace before the colon", CHUNKED + b"0\r\nX : y\r\n\r\n", 400, SPACE),
    Refused("a last chunk that ends in LF", CHUNKED + b"0\r\n\n", 400, BARE_LF),
    Refused("129 trailers", CHUNKED + b"0\r\n" + b"X: y\r\n" * 129 + b"\r\n", 431, "more than 128 trailer fields"),
    # Whose request is it?
    Refused("no Host", b"GET / HTTP/1.1\r\n\r\n", 400, "no Host field"),
    Refused("two Hosts", GET + b"Host: b\r\n\r\n", 400, "2 Host fields, expected one"),
    Refused("the same Host twice", GET + b"hOST: a\r\n\r\n", 400, "2 Host fields, expected one"),
    Refused("an empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, HOST),
    Refused("two names in Host", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, HOST),
    Refused("a path in Host", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, HOST),
    Refused("a user in Host", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, HOST),
    Refused("a port in Host that is none", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, HOST),
    Refused("two ports in Host", b"GET / HTTP/1.1\r\nHost: a:80:90\r\n\r\n", 400, HOST),
    Refused("brackets in Host around no address", b"GET / HTTP/1.1\r\nHost: [a.example]\r\n\r\n", 400, HOST),
    Refused("a Host that is not ASCII", b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", 400, HOST),
    Refused("whitespace before the colon of Host", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, SPACE),
    Refused("absolute-form and Host disagree", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, DISAGREE),
    Refused("absolute-form and Host disagree about the port", b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
            400, DISAGREE),
    Refused("a user in absolute-form", b"GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, DISAGREE),
    Refused("absolute-form of another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, TARGET),
    Refused("absolute-form without a host", b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400, DISAGREE),
    # Lines.
    Refused("lines that end in LF", b"GET / HTTP/1.1\nHost: a\n\n", 400, BARE_LF),
    Refused("one line that ends in LF", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400, BARE_LF),
    Refused("a head that ends in LF", GET + b"\n", 400, BARE_LF),
    Refused("a bare CR in a value", GET + b"X: a\rb\r\n\r\n", 400, CONTROL),
    Refused("a CR before CRLF", GET + b"X: a\r\r\n\r\n", 400, CONTROL),
    Refused("a NUL in a value", GET + b"X: a\x00b\r\n\r\n", 400, CONTROL),
    Refused("DEL in a value", GET + b"X: a\x7fb\r\n\r\n", 400, CONTROL),
    Refused("a NUL in a name", GET + b"X\x00: a\r\n\r\n", 400, NAME),
    Refused("a name that is not ASCII", GET + b"X\xc3\xa4: a\r\n\r\n", 400, NAME),
    Refused("no name", GET + b": a\r\n\r\n", 400, NAME),
    Refused("no colon", GET + b"X\r\n\r\n", 400, NAME),
    Refused("obs-fold", GET + b"X: a\r\n b\r\n\r\n", 400, FOLD),
    Refused("obs-fold with a tab", GET + b"X: a\r\n\tb\r\n\r\n", 400, FOLD),
    Refused("whitespace before the first field", b"GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n", 400, FOLD),
    Refused("whitespace before the request line", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, LINE),
    Refused("two spaces in the request line", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, TARGET),
    Refused("a tab in the request line", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, LINE),
    Refused("a space behind the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, VERSION),
    Refused("a space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, TARGET),
    Refused("a request line in the target", b"GET /\tHTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, TARGET),
    Refused("a control character in the target", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400, TARGET),
    Refused("a target that is not ASCII", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, TARGET),
    Refused("a fragment in the target", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, TARGET),
    Refused("a target without a slash", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, TARGET),
    Refused("the target * with GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "the target * is for OPTIONS only"),
    Refused("a method in lower case", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "the request method is not known"),
    Refused("a method that nobody knows",
            b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "the request method is not known"),
    Refused("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501, "method CONNECT is not supported"),
    Refused("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method TRACE is not supported"),
    Refused("HTTP/0.9", b"GET /\r\n", 505, "HTTP/0.9 is not supported"),
    Refused("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400, VERSION),
    Refused("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "HTTP/2.0 is not supported"),
    Refused("HTTP/01.1", b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400, VERSION),
    Refused("the version in lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n", 400, VERSION),
    Refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not HTTP/1.1: the preface of HTTP/2"),
    Refused("the greeting of another protocol", b"EHLO a\r\n", 501, "the request method is not known"),
    Refused("an expectation that nobody knows", POST + b"Expect: a-miracle\r\nContent-Length: 1\r\n\r\n",
            417, "an expectation other than 100-continue"),
    Refused("an upgrade with a body", POST + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\na",
            400, "a request for an upgrade that has a body"),
    # Sizes.
    Refused("five empty lines before a request", b"\r\n" * 5 + GET + b"\r\n",
            431, "more than 4 empty lines before a request"),
    Refused("a request line of 20,000 bytes", b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            414, "a request line of more than 16384 bytes"),
    Refused("a field of 70,000 bytes",
            GET + b"X: " + b"y" * 70_000 + b"\r\n\r\n", 431, "a header of more than 65536 bytes"),
    Refused("129 fields", GET + b"X: y\r\n" * 128 + b"\r\n", 431, "more than 128 header fields"),
]  # fmt: skip

TAMED = [
    Tamed("CL.0: a request in a body that a server may ignore",
          GET + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
          GET + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
          "forwarded as a body, whatever the method; what a server sends beyond its response closes its connection"),
    Tamed("chunks with extensions and leading zeros",
          CHUNKED + b"003;a=b\r\nabc\r\n000\r\n\r\n", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
          "chunked anew, without extensions"),
    Tamed("chunked in mixed case behind a tab", POST + b"Transfer-Encoding:\tChUnKeD \r\n\r\n0\r\n\r\n",
          CHUNKED + b"0\r\n\r\n", "written as everybody reads it"),
    Tamed("Transfer_Encoding, which some servers take for Transfer-Encoding",
          POST + b"Transfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
          POST + b"Content-Length: 3\r\n\r\nabc", "removed"),
    Tamed("Content_Length beside Content-Length", POST + b"Content_Length: 9\r\nContent-Length: 3\r\n\r\nabc",
          POST + b"Content-Length: 3\r\n\r\nabc", "removed"),
    Tamed("a trailer that would frame, route, authenticate or set a cookie",
          CHUNKED + b"0\r\nContent-Length: 9\r\nHost: b\r\nAuthorization: x\r\nCookie: a=b\r\nX-Sum: 1\r\n\r\n",
          CHUNKED + b"0\r\nX-Sum: 1\r\n\r\n", "removed; the others are forwarded"),
    Tamed("a client that says who it is",
          GET + b"X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n"
          b"X-Real-IP: 6.6.6.6\r\nTrue-Client-IP: 6.6.6.6\r\n\r\n",
          GET + b"\r\n", "removed, unless the client is a trusted proxy"),
    Tamed("the same with underscores", GET + b"X_Forwarded_For: 6.6.6.6\r\nx-forwarded_host: evil\r\n\r\n",
          GET + b"\r\n", "removed"),
    Tamed("a client that says what certificate it has",
          GET + b"Client-Cert: :AA==:\r\nX-SSL-Client-Verify: SUCCESS\r\nSSL_CLIENT_S_DN: CN=root\r\n\r\n",
          GET + b"\r\n", "removed"),
    Tamed("Proxy, which becomes HTTP_PROXY in a server's environment", GET + b"Proxy: http://evil/\r\n\r\n",
          GET + b"\r\n", "removed"),
    Tamed("Connection that names fields which the server needs",
          GET + b"X-User: 1\r\nCookie: a=b\r\nConnection: Host, Cookie, Content-Length, X-User\r\n"
          b"Content-Length: 0\r\n\r\n",
          GET + b"Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
          "what it names of ordinary fields is removed; Host, Cookie and lengths are not"),
    Tamed("fields for this connection only",
          GET + b"Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\nTrailer: x\r\nProxy-Authorization: x\r\n\r\n",
          GET + b"\r\n", "removed"),
    Tamed("Upgrade: h2c, with which requests get past a proxy's checks",
          GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
          GET + b"\r\n", "an ordinary request"),
    Tamed("absolute-form", b"GET http://A/x HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /x HTTP/1.1\r\nHost: A\r\n\r\n",
          "origin-form, when it agrees with Host"),
    Tamed("whitespace around a value", GET + b"X:  \ty \t\r\nY:z\r\n\r\n", GET + b"X: y\r\nY: z\r\n\r\n",
          "one space, as everybody writes it"),
    Tamed("several Cookie fields", GET + b"Cookie: a=b\r\nX: y\r\nCookie: c=d\r\n\r\n",
          GET + b"X: y\r\nCookie: a=b; c=d\r\n\r\n", "one field"),
]  # fmt: skip

OK = b"HTTP/1.1 200 OK\r\n"
NOT = "the server's response is not HTTP/1.1: "

RESPONSES = [
    Refused("a length and a coding", OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            502, NOT + "two lengths"),
    Refused("two lengths", OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502, NOT + "two lengths"),
    Refused("the same length twice", OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 502, NOT + "two lengths"),
    Refused("a length that is no number",
            OK + b"Content-Length: 1, 1\r\n\r\na", 502, NOT + "Content-Length is not a number"),
    Refused("a coding other than chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
            502, "the server's response has a transfer coding other than chunked"),
    Refused("a coding from HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            502, "the server's response has a transfer coding other than chunked"),
    Refused("lines that end in LF", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            502, NOT + "a line feed without a carriage return"),
    Refused("a bare CR in a value, with which a client could be given another response",
            OK + b"X: a\rContent-Length: 0\r\n\r\n", 502, NOT + "a control character in a field's value"),
    Refused("obs-fold", OK + b"X: a\r\n b\r\n\r\n", 502, NOT + "a line that begins with whitespace"),
    Refused("whitespace before a colon", OK + b"Content-Length : 1\r\n\r\na", 502, NOT + "whitespace before a colon"),
    Refused("a bad chunk size", OK + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n", 502, NOT + "a bad chunk size"),
    Refused("a chunk that is longer than it says", OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            502, NOT + "a chunk that does not end where it said"),
    Refused("a control character in the reason", b"HTTP/1.1 200 O\x00K\r\n\r\n", 502, NOT + "a bad status line"),
    Refused("a status of two digits", b"HTTP/1.1 99 X\r\n\r\n", 502, NOT + "a bad status line"),
    Refused("a status below 100", b"HTTP/1.1 099 X\r\n\r\n", 502, "the server answered with status 99"),
    Refused("101 to a request that did not ask for it",
            b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 502, "the server answered with status 101"),
    Refused("another version", b"HTTP/2.0 200 OK\r\n\r\n", 502, "the server speaks HTTP/2.0"),
    Refused("another protocol", b"SSH-2.0-OpenSSH_9\r\n", 502, NOT + "a bad status line"),
    Refused("nine interim responses", b"HTTP/1.1 103 Hints\r\n\r\n" * 9,
            502, "the server sent more than 8 interim responses"),
    Refused("a second response",
            OK + b"Content-Length: 1\r\n\r\na" + OK, 502, "the server sent more than its response"),
    Refused("more than it promised",
            OK + b"Content-Length: 1\r\n\r\nab", 502, "the server sent more than its response"),
    Refused("a body behind 204", b"HTTP/1.1 204 X\r\n\r\nab", 502, "the server sent more than its response"),
    Refused("a field of 70,000 bytes",
            OK + b"X: " + b"y" * 70_000 + b"\r\n\r\n", 502, "a header of more than 65536 bytes"),
    Refused("129 fields", OK + b"X: y\r\n" * 129 + b"\r\n", 502, "more than 128 header fields"),
]  # fmt: skip


def tables() -> str:
    """The rows as the page shows them."""
    lines = ["### Requests that are refused", "", "| request | status | reason given |", "|---|---|---|"]
    lines += [f"| {row.title} | {row.status} | {row.sentence} |" for row in REQUESTS]
    lines += ["", "### Requests that are made harmless", "", "| request | what the server gets |", "|---|---|"]
    lines += [f"| {row.title} | {row.says} |" for row in TAMED]
    lines += ["", "### Responses that are refused", "", "| response | reason given, with 502 |", "|---|---|"]
    lines += [f"| {row.title} | {row.sentence} |" for row in RESPONSES]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(tables(), end="")
