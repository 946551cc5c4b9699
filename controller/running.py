"""A controller that leads, as its REST API sees it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from controller.core import Core
from controller.key_distribution import KeyDistribution
from controller.operations import Operations
from controller.repository import Repository
from controller.session_ids.distribution import SessionIdDistribution
from controller.southbound import SwitchSession
from controller.status import StatusPoller
from pentaflow.config import Node
from pentaflow.sessions import SessionAnswer, SessionQuestion


class NodeSilent(Exception):
    """A node gives no answer to a question; the text says why, and repeats nothing of the question."""


class RunningArray(Protocol):
    """The core and its shells; sessions and poller change with the configuration."""

    core: Core
    sessions: list[SwitchSession]
    poller: StatusPoller
    key_distribution: KeyDistribution
    session_ids: SessionIdDistribution

    async def ask_connections(self, nodes: Collection[int]) -> None:
        """Have some nodes, by id, say now which connections are open."""
        ...

    async def ask_session(self, node: Node, vserver: str, question: SessionQuestion) -> SessionAnswer:
        """Have a node say which server a client of a vserver would get.

        Raises:
            NodeSilent: it gives no answer.
        """
        ...


@dataclass(slots=True, kw_only=True)
class Running:
    """What the API shows and changes.

    Attributes:
        in_progress: idempotency keys of requests that are being handled.
    """

    array: RunningArray
    operations: Operations
    repository: Repository
    in_progress: set[str] = field(default_factory=set)

    @property
    def core(self) -> Core:
        """What is decided."""
        return self.array.core

    @property
    def sessions(self) -> Sequence[SwitchSession]:
        """With the switches."""
        return self.array.sessions

    @property
    def poller(self) -> StatusPoller:
        """What nodes say of themselves."""
        return self.array.poller

    @property
    def key_distribution(self) -> KeyDistribution:
        """What gives nodes their ticket keys."""
        return self.array.key_distribution

    @property
    def session_ids(self) -> SessionIdDistribution:
        """Who makes which TLS session ids."""
        return self.array.session_ids
