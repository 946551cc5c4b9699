from tlsnodes.store.tls_sessions import SharedSessions
from tlsnodes.tls.tickets import TicketSettings

class SessionSettings(TicketSettings):
    @property
    def sessions(self) -> SharedSessions | None: ...
    def share_sessions(self, sessions: SharedSessions, others: list[object]) -> None: ...
