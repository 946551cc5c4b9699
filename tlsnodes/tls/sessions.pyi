from tlsnodes.store.tls_sessions import SharedSessions
from tlsnodes.tls.tickets import TicketSettings

class SessionSettings(TicketSettings):
    def share_sessions(self, sessions: SharedSessions, others: list[object]) -> None: ...
