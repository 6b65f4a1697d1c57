"""The table of what was tried."""

from collections import Counter

import pytest

TRIED: Counter = Counter()
SURVIVED: Counter = Counter()


@pytest.fixture
def survived():
    """Notes that something was tried, and how it ended: survived(what, how)."""

    def note(what: str, how: str) -> None:
        TRIED[what] += 1
        SURVIVED[what, how] += 1

    return note


def pytest_terminal_summary(terminalreporter):
    if not TRIED:
        return
    terminalreporter.write_line(f"\n{'what was tried':<52}{'times':>6}  how it ended")
    for what, times in TRIED.items():
        how = ", ".join(f"{how} {count}" for (of, how), count in SURVIVED.items() if of == what)
        terminalreporter.write_line(f"{what:<52}{times:>6}  {how}")
