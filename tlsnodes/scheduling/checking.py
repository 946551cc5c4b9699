"""Judging a server by checks, without doing any: results in, a `Judgement` out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pentaflow.pools import ServerCheck, StatusRange
from tlsnodes.scheduling.agent import Mode, Reply
from tlsnodes.scheduling.judgement import Judgement

USUAL_STATUS = (StatusRange(first=200, last=399),)
HURRY = 0.25
"""The share of the interval between checks while results contradict what the server is taken for."""

JITTER = 0.1
"""By this share intervals vary, so that checks do not fall together."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")


class CheckFailed(Exception):
    """A server that answered, but not as it should; the text says how."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """How many checks of one kind passed and failed."""

    passed: int = 0
    failed: int = 0


class ServerJudge:
    """What checks and the agent of one server come to.

    A server is taken to be up until the first check, which decides at once. From then on `fall` failures in a row make
    it down and `rise` successes up.

    Args:
        check: the rule; None if the server is not checked.
    """

    __slots__ = ("_agent", "_alive", "_decided", "_failure", "_rule", "_streak", "agent", "checks", "unknown_words")

    def __init__(self, check: ServerCheck | None) -> None:
        self._rule = check
        self._alive = True
        self._decided = False
        self._streak = 0  # results in a row that contradict `_alive`
        self._failure = ""
        self._agent = Reply(alive=True, mode=Mode.READY, weight_percent=100)
        self.checks = Counts()
        self.agent = Counts()
        self.unknown_words = 0

    @property
    def changing(self) -> bool:
        """The last result contradicts what the server is taken for."""
        return self._streak > 0

    def passed(self) -> None:
        """A check found the server well."""
        self.checks.passed += 1
        assert self._rule is not None
        self._take(alive=True, needed=self._rule.rise)

    def failed(self, reason: str) -> None:
        """A check found the server wanting."""
        self.checks.failed += 1
        self._failure = reason
        assert self._rule is not None
        self._take(alive=False, needed=self._rule.fall)

    def _take(self, *, alive: bool, needed: int) -> None:
        self._streak = self._streak + 1 if alive is not self._alive else 0
        if self._streak >= needed or not self._decided:
            self._alive = alive
            self._decided = True
            self._streak = 0

    def heard(self, reply: Reply) -> None:
        """The agent said something; what it does not mention stays as it was."""
        self.agent.passed += 1
        self.unknown_words += reply.unknown_words
        self._agent = self._agent.updated(reply)

    def not_heard(self) -> None:
        """The agent gave no answer: what it said last goes on, for whether the server lives is not its business."""
        self.agent.failed += 1

    def judgement(self) -> Judgement:
        """What all of this comes to."""
        agent = self._agent
        reason = ""
        if agent.mode is Mode.MAINT:
            reason = "agent: maint"
        elif agent.alive is False:
            reason = f"agent: {agent.reason or 'down'}"
        elif not self._alive:
            reason = f"check: {self._failure}"
        elif agent.mode is Mode.DRAIN:
            reason = "agent: drain"
        return Judgement(
            alive=self._alive and agent.alive is not False and agent.mode is not Mode.MAINT,
            draining=agent.mode is Mode.DRAIN,
            weight_percent=100 if agent.weight_percent is None else agent.weight_percent,
            max_connections=agent.max_connections,
            reason=reason,
        )


def pause_s(interval_ms: int, *, changing: bool, draw: float) -> float:
    """Seconds to the next check; `draw` is a random number from 0 to 1."""
    share = HURRY if changing else 1.0
    return interval_ms / 1000 * share * (1 - JITTER + 2 * JITTER * draw)


def check_request(rule: ServerCheck, address: str) -> bytes:
    """The request of an http or https check; `address` is the Host field where the rule has none."""
    return (
        f"GET {rule.path or '/'} HTTP/1.1\r\nHost: {rule.host or address}\r\n"
        "User-Agent: pentaflow-check\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    ).encode()


def check_status_line(rule: ServerCheck, line: bytes) -> None:
    """CheckFailed unless it is the first line of an answer with a status that the rule expects."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise CheckFailed("the answer is not HTTP" if line else "closed without an answer")
    status = int(match[1])
    if not any(wanted.first <= status <= wanted.last for wanted in rule.status or USUAL_STATUS):
        raise CheckFailed(f"status {status}")
