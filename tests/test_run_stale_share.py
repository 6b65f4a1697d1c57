"""How much a changed line of lib costs: what only presents makes no result wrong, and most lines make few."""

import pytest

from tests.benchmarks import stale as benchmark

FEW = [path for path in benchmark.NOTEBOOKS if path.stem[:2] in ("00", "07", "12")]


def test_the_average_line_makes_few_notebooks_wrong():
    assert benchmark.average() <= 4


@pytest.mark.parametrize("name", benchmark.PRESENT_ONLY)
def test_what_only_presents_makes_nothing_wrong(name):
    wrong, _ = benchmark.effect(name, FEW)
    assert wrong == 0


def test_what_numbers_come_from_makes_them_wrong():
    assert benchmark.effect("InfoNCE", FEW)[0] >= 2  # 00 and 07 train with it
    assert benchmark.effect("a font size", FEW) == (0, len(FEW))
    assert benchmark.effect("a published number", FEW)[0] >= 1
