from tlsnodes.persistence.affinity import AffinityCodec
from tlsnodes.tls.binding import ServerSettings

class TicketSettings(ServerSettings):
    def set_ticket_keys(self, keys: tuple[bytes, ...], *, issues: bool = True) -> None: ...
    def set_tickets(
        self, codec: AffinityCodec, counts: list[int], *, lifetime_s: int, renew: bool, late: bool
    ) -> None: ...
