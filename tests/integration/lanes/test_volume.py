"""X1 in small: the proof of volume runs, and nothing it brings is left."""

from pathlib import Path

import pytest

from tests.proofs.volume import run


@pytest.mark.timeout(300)
def test_X1_leads_are_decided_as_they_come_beside_all_that_are_open(tmp_path: Path) -> None:
    (minute,), memory = run(minutes=0.1, rate=20, partners=100, open_leads=200, directory=tmp_path)
    assert minute.leads >= 100
    assert 0 < minute.decided <= minute.leads
    assert minute.open > 0
    assert set(memory.told()) == {"worker", "bulk", "beat"}
