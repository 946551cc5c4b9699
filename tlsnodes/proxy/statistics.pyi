from collections import Counter
from typing import Any

class VserverStatistics:
    connections: int
    requests: int
    bad_requests: int
    too_slow: int
    turned_away: int
    handshakes_full: int
    handshakes_resumed: int
    cookies_injected: int
    handshakes_failed: Counter[str]
    own_responses: Counter[int]
    persistence: list[int]
    chosen_by: list[int]
    tickets: list[int]
    sessions: list[int]
    session_ids: list[int]
    def describe(self) -> dict[str, Any]: ...
