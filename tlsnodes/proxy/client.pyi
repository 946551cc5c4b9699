from tlsnodes.proxy.vserver import VserverProxy

LINGER_S: float

def accept(vserver: VserverProxy, fd: int, address: bytes, port: int) -> None: ...
