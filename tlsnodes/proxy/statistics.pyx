"""Counts of a vserver: see statistics.pxd."""

from collections import Counter

from tlsnodes.persistence.affinity import ChosenBy
from tlsnodes.statistics import Persisted, SessionIdOutcome, SessionOutcome, TicketOutcome


cdef class VserverStatistics:
    """Counts since the node started."""

    def __init__(self):
        self.handshakes_failed = Counter()
        self.own_responses = Counter()
        self.persistence = [0] * len(Persisted)
        self.chosen_by = [0] * len(ChosenBy)
        self.tickets = [0] * len(TicketOutcome)
        self.sessions = [0] * len(SessionOutcome)
        self.session_ids = [0] * len(SessionIdOutcome)

    def describe(self):
        """The vserver's part of the status document."""
        return {
            "connections": self.connections,
            "turned_away": self.turned_away,
            "requests": self.requests,
            "bad_requests": self.bad_requests,
            "too_slow": self.too_slow,
            "own_responses": {str(status): count for status, count in sorted(self.own_responses.items())},
            "tls_handshakes": {
                "full": self.handshakes_full,
                "resumed": self.handshakes_resumed,
                "failed": dict(self.handshakes_failed),
            },
            "tls_tickets": {outcome.name.lower(): self.tickets[outcome] for outcome in TicketOutcome},
            "tls_session_ids": {outcome.name.lower(): self.sessions[outcome] for outcome in SessionOutcome},
            "session_ids": {outcome.name.lower(): self.session_ids[outcome] for outcome in SessionIdOutcome},
            "chosen_by": {reason.name.lower(): self.chosen_by[reason] for reason in ChosenBy},
            "persistence": {
                "cookies_injected": self.cookies_injected,
                **{outcome.name.lower(): self.persistence[outcome] for outcome in Persisted},
            },
        }
