"""What the configuration says about redundant schedulers, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pentaflow.config import Configuration
from support.configurations import redundant_document


def document(**vserver: Any) -> dict[str, Any]:
    made = redundant_document()
    made["vservers"][0] |= vserver
    return made


def test_by_default_every_switch_may_be_active_and_a_higher_one_preempts() -> None:
    configuration = Configuration.model_validate(document())
    assert configuration.vservers[0].schedulers is None
    assert (configuration.controller.election.preempt, configuration.controller.election.hold_s) == (True, 3)
    assert [switch.priority for switch in configuration.switches] == [200, 100]


@pytest.mark.parametrize(
    ("schedulers", "sentence"),
    [(["s1", "s3"], "no switch 's3'; there is 's1', 's2'"), ([], "at least 1 item")],
)
def test_schedulers_that_are_none_are_refused(schedulers: list[str], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Configuration.model_validate(document(schedulers=schedulers))


def test_vservers_of_one_vip_have_the_same_schedulers() -> None:
    made = document(schedulers=["s2"])
    made["vservers"].append(made["vservers"][0] | {"name": "other", "id": 2, "port": 8443, "schedulers": ["s1"]})
    with pytest.raises(ValidationError, match="web is at the same VIP and has other schedulers"):
        Configuration.model_validate(made)
    made["vservers"][1]["schedulers"] = ["s2"]
    Configuration.model_validate(made)
