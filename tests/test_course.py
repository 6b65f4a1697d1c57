"""What the notebooks share: their results, method by method, and the time of a line."""

import pytest
import torch

from lib.course import Results, seconds, timing
from lib.evaluation import evaluate, paired_bootstrap
from lib.systems.frozen import linear_model
from lib.training import Pairs, validate


def scored(seed):
    images, texts = torch.randn(2, 30, 6, generator=torch.Generator().manual_seed(seed))
    return evaluate(images, texts, torch.arange(30))


def test_added_scores_become_rows():
    results = Results("toy", "test, 30 pictures", ("rsum", "t2i_r1"))
    scores = [scored(0), scored(1)]
    results.add("ours", scores, "linear maps", on_validation=12)
    results.add("chance", [{"rsum": 3.0, "t2i_r1": 1.0, "more": 2.0}])
    assert [(row["method"], row["setting"], row["metric"]) for row in results.rows] == [
        ("ours", "test, 30 pictures; linear maps", "rsum"),
        ("ours", "test, 30 pictures; linear maps", "t2i_r1"),
        ("chance", "test, 30 pictures", "rsum"),
        ("chance", "test, 30 pictures", "t2i_r1"),
    ]
    assert results.rows[0]["values"] == [score.as_dict()["rsum"] for score in scores]
    assert results.scores["ours"] == scores
    assert results.on_validation == {"ours": 12.0}


def test_every_difference_becomes_a_row_with_its_interval():
    results = Results("toy", "test, 30 pictures", ("rsum",))
    results.add("a", [scored(0), scored(1)])
    results.add("b", [scored(2), scored(3)])
    results.add("closed form", [scored(4)])
    found = results.difference("a", "b"), results.difference("a", "closed form", "t2i_r10")
    rows = results.difference_rows()
    assert [(row["method"], row["metric"]) for row in rows] == [
        ("a - b", "rsum_difference"),
        ("a - closed form", "t2i_r10_difference"),
    ]
    for row, difference in zip(rows, found, strict=True):
        assert row["mean"] == pytest.approx(difference.difference)
        assert row["interval"] == [difference.low, difference.high]
    assert [len(row["values"]) for row in rows] == [2, 1]
    assert rows[1]["setting"] == "test, 30 pictures; interval over pictures and seeds (2 and 1)"
    assert "of 2 differences" in rows[0]["note"]


def test_measuring_is_validating(capsys):
    results = Results("toy", "test", ("rsum",), device="cpu")
    draw = torch.Generator().manual_seed(0)
    pairs = {
        split: Pairs(torch.randn(20, 6, generator=draw), torch.randn(20, 4, generator=draw), torch.arange(20))
        for split in ("val", "test")
    }
    models = [linear_model(6, 4, 3, seed=seed) for seed in (0, 1)]
    results.measure("ours", models, pairs, "linear maps")
    expected = {
        split: [validate(model, pairs[split], device="cpu").as_dict()["rsum"] for model in models] for split in pairs
    }
    assert results.rows[0]["values"] == expected["test"]
    assert results.on_validation["ours"] == pytest.approx(sum(expected["val"]) / 2)
    assert results.measured["ours"] == (models, pairs)
    results.measure("blind", models[:1], {"test": pairs["test"]}, "no validation")
    assert "blind" not in results.on_validation
    said = capsys.readouterr().out.splitlines()
    assert [line.index("test") for line in said] == [said[0].index("test")] * 2  # one column
    assert "validation" in said[0]
    assert "validation" not in said[1]


def test_differences_are_kept():
    results = Results("toy", "test", ("rsum",))
    results.add("a", [scored(0)])
    results.add("b", [scored(1)])
    expected = paired_bootstrap([scored(0)], [scored(1)], "t2i_r1")
    assert results.difference("a", "b", "t2i_r1") == expected
    assert results.differences == {("a", "b", "t2i_r1"): expected}


@pytest.mark.parametrize(("device", "clock"), [(None, "perf_counter"), (torch.device("cpu"), "process_time")])
def test_the_shortest_of_some_runs(device, clock, monkeypatch):
    ticks, done = iter([0.0, 5.0, 10.0, 12.0, 20.0, 29.0]), []
    monkeypatch.setattr(timing.time, clock, lambda: next(ticks))
    found = seconds(lambda: done.append(1), 3, device)
    monkeypatch.undo()
    assert found == 2.0
    assert len(done) == 3
