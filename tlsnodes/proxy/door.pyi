import socket

from tlsnodes.proxy.vserver import VserverProxy
from tlsnodes.stream.listener import Listener

class Door(Listener):
    vserver: VserverProxy
    def __init__(self, vserver: VserverProxy, sock: socket.socket) -> None: ...
