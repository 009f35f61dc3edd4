"""Break one thing at a time: the laws, or the hand-worked answers, have to notice.

Laws alone stay green when everything is frozen, and widths alone when channels are mixed up; each
fault names a wiring on which it must be caught.
"""

import pytest

from tests.laws.faults import FAULTS
from tests.laws.symptoms import symptom
from tests.nets import NETS

BY_NAME = {kind.__name__: kind for kind in NETS}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.plant.__name__}-{f.shows_on}")
def test_a_planted_fault_is_caught(fault, monkeypatch):
    fault.plant(monkeypatch)
    assert symptom(BY_NAME[fault.shows_on]) is not None


@pytest.mark.parametrize("kind", NETS, ids=lambda kind: kind.__name__)
def test_nothing_is_caught_without_a_fault(kind):
    assert symptom(kind) is None
