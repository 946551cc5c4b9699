"""Counts of a vserver, as plain numbers where each request counts."""


cdef class VserverStatistics:
    """Counts since the node started; written by the proxy, and by what it asks, only."""

    cdef public long long connections, requests, bad_requests, too_slow, turned_away
    cdef public long long handshakes_full, handshakes_resumed
    cdef public long long cookies_injected
    cdef public object handshakes_failed  # why → how many
    cdef public object own_responses  # status → how many
    cdef public list persistence  # by `Persisted`
    cdef public list chosen_by  # by `ChosenBy`
    cdef public list tickets  # by `TicketOutcome`
    cdef public list sessions  # by `SessionOutcome`
    cdef public list session_ids  # by `SessionIdOutcome`
