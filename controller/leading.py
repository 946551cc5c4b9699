"""Taking, keeping and losing the lead among controllers (shell)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from controller.leadership import Candidate, RoleChange
from controller.store.base import Fenced, Leader, Store, StoreUnavailable

_NS_PER_S = 1_000_000_000

log = structlog.get_logger(__name__)


class Leadership:
    """Leads whenever the store lets it."""

    def __init__(
        self, store: Store, *, name: str, address: str, lease_s: int, report: Callable[[RoleChange], None]
    ) -> None:
        """
        Args:
            store: says who leads.
            name: this controller's.
            address: of its REST API.
            lease_s: how long a leader that is no longer heard of keeps the lead.
            report: is told of each change of role.
        """
        self._store = store
        self._name = name
        self._address = address
        self._lease_s = lease_s
        self._report = report
        self._candidate = Candidate(lease_s=lease_s)
        self._complaint = ""

    @property
    def other_leader(self) -> Leader | None:
        """Which other controller leads, as far as known."""
        return None if self._candidate.epoch else self._candidate.leader

    async def run(self, lead: Callable[[int], Awaitable[None]]) -> None:
        """Lead, or wait for the lead, until cancelled.

        Args:
            lead: is run with the epoch while this controller leads, and cancelled when it no longer does. Its failure
                ends the whole, unless the store was at fault.
        """
        while True:
            if change := await self._campaign():
                self._report(change)
            if epoch := self._candidate.epoch:
                await self._lead(epoch, lead)
            else:
                await asyncio.sleep(self._candidate.interval_ns / _NS_PER_S)

    async def _campaign(self) -> RoleChange | None:
        asked_ns = _now_ns()
        try:
            campaign = await self._store.campaign(
                name=self._name, address=self._address, lease_s=self._lease_s, unix_s=int(time.time())
            )
        except StoreUnavailable as error:
            self._complain(error)
            self._candidate.unreachable()
            return None
        self._complaint = ""
        return self._candidate.campaigned(campaign, asked_ns, _now_ns())

    async def _lead(self, epoch: int, lead: Callable[[int], Awaitable[None]]) -> None:
        leading = asyncio.ensure_future(lead(epoch))
        reason = "the controller stops"
        try:
            reason = await self._keep(epoch, leading)
        finally:
            leading.cancel()
            await asyncio.wait({leading})
            self._report(self._candidate.ended(reason))
            # When the store does not hear of it, the lease ends by itself.
            with suppress(StoreUnavailable):
                await self._store.resign(epoch)
        if not leading.cancelled():
            try:
                leading.result()
            except (Fenced, StoreUnavailable) as error:
                self._complain(error)
                await asyncio.sleep(self._candidate.interval_ns / _NS_PER_S)

    async def _keep(self, epoch: int, leading: asyncio.Future[None]) -> str:
        """Renew until that fails or `leading` is done; the reason."""
        while True:
            wait_s = min(self._candidate.interval_ns, self._candidate.end_ns - _now_ns()) / _NS_PER_S
            await asyncio.wait({leading}, timeout=max(wait_s, 0))
            if leading.done():
                return "the controller failed"
            asked_ns = _now_ns()
            if not self._candidate.may_lead(asked_ns):
                return "the lease could not be renewed in time"
            try:
                async with asyncio.timeout((self._candidate.end_ns - asked_ns) / _NS_PER_S):
                    await self._store.renew(epoch)
            except Fenced as fenced:
                return str(fenced)
            except StoreUnavailable as error:
                self._complain(error)
            except TimeoutError:
                continue
            else:
                self._complaint = ""
                self._candidate.renewed(asked_ns)

    def _complain(self, error: Fenced | StoreUnavailable) -> None:
        """One log line, not one for each attempt."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            log.warning("store cannot be used", reason=self._complaint)


def _now_ns() -> int:
    """Nobody can set this clock, and it goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
