import socket

from tlsnodes.proxy.base import ProxyBase
from tlsnodes.stream.listener import Listener

class Door(Listener):
    vserver: ProxyBase
    def __init__(self, vserver: ProxyBase, sock: socket.socket) -> None: ...
