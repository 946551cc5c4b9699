from tlsnodes.http.heads import RequestHead, ResponseHead
from tlsnodes.http.messages import Framing

LAST_CHUNK: bytes

def encode_request(head: RequestHead, *, cookie: bytes | None, proxy_fields: bytes) -> bytes: ...
def encode_response(
    head: ResponseHead,
    *,
    proxy_fields: bytes,
    keep_alive: bool = True,
    http_1_0: bool = False,
    set_cookies: tuple[bytes, ...] = (),
) -> bytes: ...
def client_framing(head: ResponseHead, *, http_1_0: bool) -> Framing: ...
def encode_chunk(data: bytes) -> bytes: ...
def last_chunk(trailers: bytes) -> bytes: ...
