"""The channel between a supervisor and a worker: messages of all sizes, sockets, errors, the end."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from pentaflow.errors import ConfigurationError, HostError
from tlsnodes.channel import MAX_SOCKETS, Caller, ChannelLost, Message, Responder


class Ends:
    """Both ends, on one loop; the worker's does what `handle` does."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.losses = 0
        self.caller = Caller(ours, self._lost)
        self.responder = asyncio.create_task(Responder(theirs, self.handle).run())
        self._theirs = theirs

    def _lost(self) -> None:
        self.losses += 1

    async def handle(self, what: str, given: Message, descriptors: list[int]) -> Any:
        match what:
            case "echo":
                return given
            case "inodes":
                found = [os.fstat(descriptor).st_ino for descriptor in descriptors]
                for descriptor in descriptors:
                    os.close(descriptor)
                return found
            case "wrong":
                raise ConfigurationError("a.b", "is wrong")
            case "host":
                raise HostError("port", "is taken")
            case "hang":
                await asyncio.sleep(3600)
            case _:
                raise LookupError(what)
        return None

    def die(self) -> None:
        self.responder.cancel()
        self._theirs.close()


async def test_messages_of_all_sizes_arrive_whole_and_in_order() -> None:
    ends = Ends()
    sizes = (0, 1, 100, 300_000, 8 << 20, 5)
    answers = await asyncio.gather(*(ends.caller.call("echo", timeout_s=30, text="x" * size) for size in sizes))
    assert [len(answer["text"]) for answer in answers] == list(sizes)
    ends.caller.close()
    await asyncio.wait_for(ends.responder, 30)


async def test_sockets_come_with_the_message_that_they_were_sent_with() -> None:
    ends = Ends()
    sockets = [socket.socket() for _ in range(MAX_SOCKETS)]
    inodes = [os.fstat(each.fileno()).st_ino for each in sockets]
    numbers = [each.fileno() for each in sockets]
    calls = [
        ends.caller.call("inodes", timeout_s=30, descriptors=numbers, padding="x" * 400_000),
        ends.caller.call("inodes", timeout_s=30),
        ends.caller.call("inodes", timeout_s=30, descriptors=numbers[7:9]),
    ]
    assert await asyncio.gather(*calls) == [inodes, [], inodes[7:9]]
    for each in sockets:
        each.close()
    ends.die()


async def test_errors_of_the_worker_are_the_callers() -> None:
    ends = Ends()
    with pytest.raises(ConfigurationError, match=r"a\.b: is wrong"):
        await ends.caller.call("wrong", timeout_s=30)
    with pytest.raises(HostError, match="port: is taken"):
        await ends.caller.call("host", timeout_s=30)
    with pytest.raises(ChannelLost, match="the worker failed: LookupError"):
        await ends.caller.call("nonsense", timeout_s=30)
    assert await ends.caller.call("echo", timeout_s=30, a=1) == {"a": 1}
    ends.die()


async def test_a_worker_that_ends_or_hangs_fails_its_calls() -> None:
    ends = Ends()
    with pytest.raises(TimeoutError):
        await ends.caller.call("hang", timeout_s=0.05)
    waiting = asyncio.create_task(ends.caller.call("echo", timeout_s=30))
    await asyncio.sleep(0.05)
    ends.die()
    with pytest.raises(ChannelLost, match="the worker has ended"):
        await waiting
    with pytest.raises(ChannelLost, match="the worker has ended"):
        await ends.caller.call("echo", timeout_s=30)
    assert ends.losses == 1
