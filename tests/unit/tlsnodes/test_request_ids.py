from __future__ import annotations

import os
import re

from tlsnodes.request_ids import BATCH, RequestIds


def test_no_request_id_comes_twice_within_a_batch_and_beyond() -> None:
    ids = RequestIds(os.urandom)
    made = [ids.make() for _ in range(2 * BATCH + 1)]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(rb"[0-9a-f]{32}", each) for each in made)
