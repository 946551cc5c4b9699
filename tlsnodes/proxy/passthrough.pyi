from collections.abc import Mapping

from pentaflow.config import Limits, Timeouts
from pentaflow.session_ids import SessionIdTable
from tlsnodes.access_log import AccessLog
from tlsnodes.passthrough.learning import LearntSessions
from tlsnodes.proxy.base import ProxyBase
from tlsnodes.proxy.rules import Route
from tlsnodes.proxy.statistics import VserverStatistics
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.stream.poller import Poller
from tlsnodes.tls.names import NameTable

class PassthroughProxy(ProxyBase):
    session_ids: SessionIdTable | None
    @property
    def pool(self) -> ServerPool: ...
    @property
    def pools(self) -> tuple[ServerPool, ...]: ...
    @property
    def names(self) -> NameTable[ServerPool]: ...
    @property
    def source(self) -> bool: ...
    @property
    def learnt(self) -> LearntSessions | None: ...
    def __init__(
        self,
        poller: Poller,
        *,
        name: str,
        pools: tuple[ServerPool, ...],
        names: NameTable[ServerPool],
        source: bool,
        learnt: LearntSessions | None,
        ways: dict[str, Mapping[int, Route]],
        timeouts: Timeouts,
        limits: Limits,
        statistics: VserverStatistics,
        log: AccessLog | None = None,
    ) -> None: ...
    def take_over(self, before: PassthroughProxy, now: float) -> None: ...
