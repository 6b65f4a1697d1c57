"""No damage to any file ends a reader in silence, in a bare traceback, or never: see tests/fuzz_readers.py."""

import pytest

from tests.fuzz_readers import MEGABYTES, many


def test_a_few_damaged_inputs():
    outcomes, wrong, growth = many(25, first=5000)
    assert not wrong
    assert growth < MEGABYTES
    assert len(outcomes) > 1, "every input came to the same: nothing is damaged"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_damaged_inputs():
    outcomes, wrong, growth = many(200, first=10_000, stop_at=20)
    assert not wrong, wrong
    assert growth < MEGABYTES
    assert len(outcomes) == 3
