from tlsnodes.persistence.affinity import Affinity, AffinityCodec
from tlsnodes.statistics import TicketOutcome
from tlsnodes.tls.binding import ServerSettings

class TicketSettings(ServerSettings):
    def set_ticket_keys(self, keys: tuple[bytes, ...], *, issues: bool = True) -> None: ...
    def set_tickets(
        self, codec: AffinityCodec, counts: list[int], *, lifetime_s: int, renew: bool, late: bool
    ) -> None: ...
    def read_ticket(self, ticket: bytes, digest: bytes | None, now_s: float) -> Affinity | TicketOutcome: ...
