"""metrics.json: what a row may hold, what is written, and what is refused."""

import json
import math
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.report import rows as metrics


def a_row(**changes):
    return metrics.row(
        **{"method": "CCA", "corpus": "toy", "setting": "test", "metric": "i2t_r1", "values": [1.0]} | changes
    )


def write(path, rows, **changes):
    metrics.write_metrics(path, rows, **{"notebook": "01_toy", "protocol": "full", "device": "cpu"} | changes)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=5))
def test_mean_and_sample_standard_deviation(values):
    row = a_row(values=np.array(values))
    assert row["values"] == values
    assert row["mean"] == pytest.approx(np.mean(values), rel=1e-9, abs=1e-9)
    assert row["std"] == pytest.approx(np.std(values, ddof=1), rel=1e-6, abs=1e-6)
    metrics.check_row(json.loads(json.dumps(row)), "row")


def test_one_value_has_no_deviation():
    row = a_row(values=[2], interval=(1, 3), note="one seed")
    assert (row["mean"], row["std"], row["interval"], row["note"]) == (2, None, [1, 3], "one seed")
    assert "note" not in a_row()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"values": []}, "values"),
        ({"values": [1.0, math.nan]}, "values"),
        ({"values": ["1"]}, "values"),
        ({"values": [True]}, "values"),
        ({"method": " "}, "method"),
        ({"interval": (1, math.inf)}, "interval"),
        ({"interval": (2, 1)}, "interval"),
        ({"interval": (1, 2, 3)}, "interval"),
        ({"note": ""}, "note"),
    ],
)
def test_bad_rows_are_named(changes, key):
    with pytest.raises(ValueError, match=rf"'i2t_r1'.*{key}"):
        a_row(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": 5.0}, "'mean' 5.0 is not the mean"),
        ({"std": 1.0}, "'std' is 1.0, but there are 1 values"),
        ({"values": [1.0, 3.0], "mean": 2.0, "std": 1.0}, "'std' 1.0 is not the sample"),
        ({"seeds": 3}, "unknown keys"),
    ],
)
def test_rows_made_by_hand_must_agree_with_their_values(tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"row 1: .*{message}"):
        write(tmp_path / "metrics.json", [a_row(), a_row(metric="rsum") | changes])
    assert not list(tmp_path.iterdir())


def test_rows_may_not_repeat_or_be_missing(tmp_path):
    with pytest.raises(ValueError, match="row 1 repeats row 0"):
        write(tmp_path / "metrics.json", [a_row(), a_row()])
    with pytest.raises(ValueError, match="at least one row"):
        write(tmp_path / "metrics.json", [])


def test_what_is_written_is_read_again_with_its_provenance(tmp_path):
    corpus = SimpleNamespace(name="toy", fingerprint=lambda: "abc123")
    write(tmp_path / "metrics.json", [a_row()], corpus=corpus, started=time.time() - 5)
    content = metrics.read_metrics(tmp_path / "metrics.json")
    assert content["rows"] == [a_row()]
    provenance = content["provenance"]
    assert (provenance["corpus"], provenance["data_hash"], provenance["protocol"]) == ("toy", "abc123", "full")
    assert 5 <= provenance["seconds"] < 60
    assert provenance["versions"].keys() >= {"python", "torch", "numpy"}
    assert "cores" in provenance["device"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_the_start_must_be_a_time_of_day(tmp_path):
    with pytest.raises(ValueError, match=r"time\.time"):
        write(tmp_path / "metrics.json", [a_row()], started=time.perf_counter() % 1000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not complete"),
        ('{"complete": false}', "not complete"),
        ('{"complete": true, "rows": []}', "lacks"),
        ('{"complete": true, "notebook": "n", "provenance": {}, "rows": []}', "at least one row"),
        ('{"complete": true, "notebook": "n", "provenance": {}, "rows": [{}]}', "row 0: missing keys"),
    ],
)
def test_files_that_are_not_whole_are_refused(tmp_path, text, message):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        metrics.read_metrics(tmp_path / "metrics.json")


def test_an_absent_file_is_said_to_be_absent(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        metrics.read_metrics(tmp_path / "metrics.json")


def test_the_commit_says_when_it_is_not_the_whole_truth(tmp_path, monkeypatch):
    def git(*arguments):
        name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(["git", "-C", tmp_path, *name, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert metrics.commit(tmp_path).startswith("unknown: ")
    git("init")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.py").write_text("x = 1\n")
    git("add", ".")
    git("commit", "-m", "first")
    assert metrics.commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "README.md").write_text("no result depends on it\n")
    assert metrics.commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "requirements.txt").write_text("torch==1\n")
    assert metrics.commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"
    (tmp_path / "requirements.txt").unlink()
    (tmp_path / "lib" / "a.py").write_text("x = 2\n")
    assert metrics.commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"
    assert metrics.commit(tmp_path / "lib") == "unknown: lib is not at the top of a git checkout"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert metrics.commit(tmp_path) == "unknown: git is not installed"


def test_recorded_outputs_do_not_make_a_commit_dirty(tmp_path):
    def git(*arguments):
        name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", tmp_path, *name, *arguments], check=True, capture_output=True)

    def write(code, output):
        cells = [{"cell_type": "code", "source": [code], "outputs": [output]}, {"cell_type": "markdown", "source": "a"}]
        (tmp_path / "notebooks" / "01 a.ipynb").write_text(json.dumps({"cells": cells}))

    (tmp_path / "notebooks").mkdir()
    write("x = 1", "1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    write("x = 1", "2")
    assert not metrics.commit(tmp_path).endswith("-dirty")
    write("x = 2", "2")
    assert metrics.commit(tmp_path).endswith("-dirty")


def test_the_counts_of_fits_are_written_where_there_is_a_store(tmp_path, monkeypatch):
    counts = {"taken": 12, "resumed": 0, "trained": 3}
    for module, expected in ((None, None), (SimpleNamespace(counts=lambda: counts), counts)):
        monkeypatch.setitem(sys.modules, "lib.base.fit_store", module)
        write(tmp_path / "metrics.json", [a_row()])
        assert metrics.read_metrics(tmp_path / "metrics.json")["provenance"]["fits"] == expected


def test_the_device_is_the_one_that_was_used():
    assert metrics.device_name("mps") == "mps"
    assert metrics.device_name("cpu").endswith("cores")


class OneNumber:
    """Stands for `Scores`."""

    def __init__(self, value):
        self.value = value

    def as_dict(self):
        return {"rsum": self.value, "t2i_r1": self.value / 2}


def test_rows_of_a_method_have_a_value_a_seed():
    seeds = [OneNumber(3.0), {"t2i_r1": 4.0, "rsum": 5.0}]  # scores or mappings
    made = metrics.rows("CCA", "toy", "test", seeds, ("t2i_r1", "rsum"), note="closed form")
    assert made == [
        metrics.row("CCA", "toy", "test", "t2i_r1", [1.5, 4.0], note="closed form"),
        metrics.row("CCA", "toy", "test", "rsum", [3.0, 5.0], note="closed form"),
    ]


def test_rows_name_the_metric_that_is_missing():
    with pytest.raises(ValueError, match=r"'CCA', entry 1: no metric 'map', but rsum, t2i_r1"):
        metrics.rows("CCA", "toy", "test", [{"map": 1.0, "rsum": 2.0}, OneNumber(1.0)], ("rsum", "map"))
    with pytest.raises(ValueError, match=r"'values' is empty"):
        metrics.rows("CCA", "toy", "test", [], ("rsum",))
