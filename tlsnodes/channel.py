"""Messages between a node's supervisor and one of its workers (shell).

A message is four octets of length, two of the number of sockets that come with it, and JSON. Sockets travel beside the
first octets (SCM_RIGHTS, unix(7)). The supervisor calls, the worker answers, one call after the other.
"""

from __future__ import annotations

import array
import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from pentaflow.errors import ConfigurationError, HostError, PentaflowError

MAX_MESSAGE_BYTES = 64 << 20
MAX_SOCKETS = 200
"""The kernel carries 253 at once."""
_HEAD = struct.Struct("!IH")
_READ_BYTES = 1 << 18
_ERRORS: dict[str, type[PentaflowError]] = {kind.__name__: kind for kind in (ConfigurationError, HostError)}

Message = dict[str, Any]


class ChannelLost(Exception):
    """The other side is gone, or says what makes no sense."""


class Channel:
    """One end.

    Args:
        end: of a stream socket pair; closed by `close`.
        receive: is given each message, and the descriptors that came with it, to be closed by it.
        lost: called once when the other side is gone.
    """

    def __init__(
        self, end: socket.socket, receive: Callable[[Message, list[int]], None], lost: Callable[[], None]
    ) -> None:
        end.setblocking(False)
        self._socket = end
        self._fd = end.fileno()
        self._receive = receive
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._input = bytearray()
        self._descriptors: deque[int] = deque()
        self._output: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._loop.add_reader(self._fd, self._readable)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message; ValueError when it is too large. Descriptors stay open until it is answered."""
        text = json.dumps(message, separators=(",", ":")).encode()
        if len(text) > MAX_MESSAGE_BYTES or len(descriptors) > MAX_SOCKETS:
            raise ValueError(f"a message of {len(text)} bytes and {len(descriptors)} sockets")
        if self._fd < 0:
            return
        self._output.append((memoryview(_HEAD.pack(len(text), len(descriptors)) + text), tuple(descriptors)))
        self._writable()

    def close(self) -> None:
        """Close this end; nobody is told."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._fd = -1
            self._socket.close()
            while self._descriptors:
                socket.close(self._descriptors.popleft())

    def _writable(self) -> None:
        while self._output:
            data, descriptors = self._output[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            try:
                sent = self._socket.sendmsg([data], ancillary)
            except BlockingIOError:
                self._loop.add_writer(self._fd, self._writable)
                return
            except OSError:
                self._fail()
                return
            if sent == len(data):
                self._output.popleft()
            else:
                self._output[0] = (data[sent:], ())
        self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _READ_BYTES, MAX_SOCKETS)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._fail()
            return
        self._input += data
        self._descriptors += descriptors
        while len(self._input) >= _HEAD.size:
            size, sockets = _HEAD.unpack_from(self._input)
            end = _HEAD.size + size
            if size > MAX_MESSAGE_BYTES:
                self._fail()
                return
            if len(self._input) < end:
                return
            message = json.loads(self._input[_HEAD.size : end])
            del self._input[:end]
            self._receive(message, [self._descriptors.popleft() for _ in range(sockets)])
            if self._fd < 0:
                return

    def _fail(self) -> None:
        if self._fd >= 0:
            self.close()
            self._lost()


class Caller:
    """The supervisor's end: calls, and waits for answers."""

    def __init__(self, end: socket.socket, lost: Callable[[], None]) -> None:
        """`lost` as for `Channel`."""
        self._report_loss = lost
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._channel = Channel(end, self._answered, self._lost)
        self._is_lost = False

    async def call(self, what: str, *, timeout_s: float, descriptors: Sequence[int] = (), **arguments: Any) -> Any:
        """Have the worker do something; what it answers.

        Raises:
            ConfigurationError, HostError: the worker's own.
            ChannelLost: it is gone, or failed in a way of its own.
            TimeoutError: no answer in time.
        """
        if self._is_lost:
            raise ChannelLost("the worker has ended")
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._channel.send({"id": number, "do": what, "with": arguments}, descriptors)
            async with asyncio.timeout(timeout_s):
                return await answer
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Hang up; the worker then ends by itself."""
        self._channel.close()
        self._fail_all()

    def _answered(self, message: Message, descriptors: list[int]) -> None:
        answer = self._waiting.get(message["id"])
        if answer is None or answer.done():
            return
        error = message.get("error")
        if error is None:
            answer.set_result(message.get("answer"))
        elif error["kind"] in _ERRORS:
            answer.set_exception(_ERRORS[error["kind"]](error["place"], error["message"]))
        else:
            answer.set_exception(ChannelLost(f"the worker failed: {error['message']}"))

    def _lost(self) -> None:
        self._fail_all()
        self._report_loss()

    def _fail_all(self) -> None:
        self._is_lost = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ChannelLost("the worker has ended"))


Handler = Callable[[str, Message, list[int]], Awaitable[Any]]


class Responder:
    """The worker's end: does what it is told, one thing after the other."""

    def __init__(self, end: socket.socket, handle: Handler) -> None:
        """`handle`: what, its arguments, descriptors → the answer, JSON; its `PentaflowError`s go to the caller."""
        self._handle = handle
        self._calls: asyncio.Queue[tuple[Message, list[int]] | None] = asyncio.Queue()
        self._channel = Channel(end, self._called, lambda: self._calls.put_nowait(None))

    async def run(self) -> None:
        """Answer until the supervisor is gone."""
        while call := await self._calls.get():
            message, descriptors = call
            try:
                answer = {"answer": await self._handle(message["do"], message["with"], descriptors)}
            except PentaflowError as error:
                answer = {
                    "error": {"kind": type(error).__name__, "place": error.place, "message": error.message},
                }
            except Exception as error:  # whatever it is, the caller must hear of it
                answer = {"error": {"kind": "", "message": f"{type(error).__name__}: {error}"}}
            self._channel.send({"id": message["id"], **answer})

    def _called(self, message: Message, descriptors: list[int]) -> None:
        self._calls.put_nowait((message, descriptors))
