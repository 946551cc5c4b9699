from collections.abc import Mapping

from tlsnodes.access_log import AccessLog
from tlsnodes.proxy.base import ProxyBase
from tlsnodes.proxy.rules import ProxyRules, Route
from tlsnodes.proxy.statistics import VserverStatistics
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.stream.poller import Poller

class VserverProxy(ProxyBase):
    @property
    def rules(self) -> ProxyRules: ...
    @property
    def pool(self) -> ServerPool: ...
    @property
    def pools(self) -> tuple[ServerPool, ...]: ...
    def __init__(
        self,
        poller: Poller,
        *,
        name: str,
        rules: ProxyRules,
        pool: ServerPool,
        routes: Mapping[int, Route],
        statistics: VserverStatistics,
        log: AccessLog | None = None,
    ) -> None: ...
    def take_over(self, before: VserverProxy, now: float) -> None: ...
