"""Every notebook runs in the smoke profile, and its numbers tell a trained model from an untrained one."""

import json
from pathlib import Path

import pytest

from lib.run import run_notebooks

NOTEBOOKS = sorted(path.stem for path in (Path(__file__).parent.parent / "notebooks").glob("[0-9]*.ipynb"))
CHANCE = 2.0  # percent: the right one is among the first 10 of 500 test pictures

pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(2400)]  # the first of them waits for all notebooks


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run of all notebooks: name -> (result, rows of its metrics)."""
    out = tmp_path_factory.mktemp("runs")
    results = run_notebooks("smoke", out=out, jobs=2, cell_timeout=600)
    rows = {}
    for result in results:
        path = out / result.notebook / "metrics.json"
        rows[result.notebook] = json.loads(path.read_text())["rows"] if path.exists() else []
    return {result.notebook: (result, rows[result.notebook]) for result in results}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs(runs, name):
    result, rows = runs[name]
    assert result.passed, f"{result.failure}"
    assert rows


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name[:2] in ("00", "04")])
@pytest.mark.parametrize("metric", ["i2t_r10", "t2i_r10"])
def test_training_is_what_finds_the_partner(runs, name, metric):
    """Untrained weights and shuffled pairs stay at chance, training on true pairs beats it by a wide margin."""
    values = {row["method"]: row["mean"] for row in runs[name][1] if row["metric"] == metric}
    controls = {"untrained", "shuffled pairs"}
    assert controls <= set(values)
    assert max(values[control] for control in controls) < 3 * CHANCE
    assert max(value for method, value in values.items() if method not in controls) > 10 * CHANCE
