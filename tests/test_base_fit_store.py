"""Fits are kept: taken where they are the same, trained where they are not, resumed to the same bits."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.base import fit_store
from lib.losses import InfoNCE, info_nce, max_of_hinges, sum_of_hinges
from lib.systems.a3vse import A3VSEObjective
from lib.systems.crcgs import CrcgsObjective, CrcgsWeights, FeatureGenerator, Generators, SearchedItems, category_config
from lib.text.doc2vec import Doc2Vec
from lib.text.embedding import WordVectors
from lib.text.fasttext import FastText
from lib.text.glove_training import Glove
from lib.text.lda import LDA
from lib.text.word2vec import Word2Vec
from lib.training import TrainConfig, fit
from tests import test_systems_a3vse as a3vse
from tests import test_systems_crcgs as crcgs
from tests.conftest import Interrupted
from tests.test_training import CONFIG, linked, model, weights

QUIET = {"device": "cpu", "progress": False}


def counted(what) -> tuple[dict[str, int], object]:
    """How often the store was asked in vain or not while `what()` ran, and what it returned."""
    before = fit_store.counts()
    result = what()
    return {kind: n - before[kind] for kind, n in fit_store.counts().items() if n != before[kind]}, result


def run(learner=None, train=None, config=CONFIG, loss=info_nce, val=None, **options):
    """Fit a model and return it with the history."""
    learner = learner or model()
    return learner, fit(learner, train or linked(), config, loss, val=val or linked(seed=1), **QUIET, **options)


def test_the_same_fit_is_taken_with_every_bit(store):
    kinds, (first, history) = counted(run)
    assert kinds == {"trained": 1}
    kinds, (second, again) = counted(run)
    assert kinds == {"taken": 1}
    assert torch.equal(weights(first), weights(second))
    assert history.rows == again.rows
    assert not second.training


def _other_loss(similarity, positives):
    return info_nce(similarity, positives) * 1.0


OTHERS = {
    "weights": lambda: run(model(seed=1)),
    "structure": lambda: run(model(dropout=0.3)),
    "data": lambda: run(train=linked(seed=5)),
    "one number of the data": lambda: run(train=_changed(linked())),
    "validation": lambda: run(val=linked(seed=2)),
    "rate": lambda: run(config=replace(CONFIG, learning_rate=2e-2)),
    "seed": lambda: run(config=replace(CONFIG, seed=1)),
    "loss": lambda: run(loss=sum_of_hinges),
    "schedule of losses": lambda: run(loss={0: sum_of_hinges, 1: max_of_hinges}),
    "a temperature": lambda: run(loss=lambda s, p: info_nce(s, p, 0.2)),
    "a function of one's own": lambda: run(loss=_other_loss),
}


def _changed(pairs):
    pairs.images[3, 4] += 1e-6
    return pairs


@pytest.mark.parametrize("what", OTHERS)
def test_whatever_decides_the_outcome_makes_another_fit(store, what):
    run()
    kinds, _ = counted(OTHERS[what])
    assert kinds == {"trained": 1}
    kinds, _ = counted(OTHERS[what])
    assert kinds == {"taken": 1}


class Similarity(torch.nn.Module):
    """A loss on similarities as an objective; one with a temperature of its own learns it."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def forward(self, learner, batch):
        return self.loss(learner(batch.images, batch.texts), batch.positives)


def similarity_case():
    learner, objective = model(), Similarity(InfoNCE())
    return learner, objective, linked(), linked(seed=1), CONFIG


def crcgs_case():
    torch.manual_seed(0)
    sizes = crcgs.X, crcgs.Y
    teachers = Generators(FeatureGenerator(*sizes, 16, 8), FeatureGenerator(*sizes[::-1], 16, 8)).freeze()
    config = category_config(4, 24, 3e-3)
    objective = CrcgsObjective(teachers, CrcgsWeights(), crcgs.N, config, widest=32)
    return crcgs.network(), objective, crcgs.toy(), SearchedItems(crcgs.toy(1)), config


def a3vse_case():
    data, choices = a3vse.every_term()
    learner = a3vse.small(attend=True, dropout=0.2)
    return learner, A3VSEObjective(data, info_nce, choices), data, None, TrainConfig(5, 8)


def averaged_case():
    learner, objective, data, val, config = similarity_case()
    return learner, objective, data, val, replace(config, average=0.9)


CASES = {"similarity": similarity_case, "averaged": averaged_case, "crcgs": crcgs_case, "a3vse": a3vse_case}


@pytest.mark.parametrize("steps", [2, 7, 13])
@pytest.mark.parametrize("case", CASES)
def test_a_run_that_stops_anywhere_ends_with_the_same_bits(store, stop_at, case, steps):
    def once():
        learner, objective, data, val, config = CASES[case]()
        history = fit(learner, data, config, objective=objective, val=val, **QUIET)
        left = [[{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]]
        left += [repr(parameter) for parameter in objective.parameters() if parameter.requires_grad]
        left.append(objective.log if case == "a3vse" else None)
        return weights(learner), left

    with fit_store.measuring():
        expected, left = once()
    stop_at(steps)
    with pytest.raises(Interrupted):
        once()
    stop_at(0)
    for kind in ("resumed", "taken"):
        kinds, (found, left_again) = counted(once)
        assert kinds == {kind: 1}
        assert torch.equal(found, expected)
        assert left_again == left


SCRIPT = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from lib.base import fit_store
from lib.losses import info_nce
from lib.text.doc2vec import Doc2Vec
from lib.text.embedding import WordVectors
from lib.text.fasttext import FastText
from lib.text.glove_training import Glove
from lib.text.lda import LDA
from lib.text.word2vec import Word2Vec
from lib.training import TrainConfig, fit
from tests.conftest import Interrupted
from tests.test_training import CONFIG, linked, model, weights
fit_store.PAUSE, fit_store.PART = 0.0, 0
kill_at, written = int(sys.argv[1]), 0
def keep(place, state, keep=fit_store.Place.keep):
    global written
    keep(place, state)
    written += 1
    if written == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
fit_store.Place.keep = keep
learner = model()
fit(learner, linked(), CONFIG, info_nce, val=linked(seed=1), device="cpu", progress=False)
print(fit_store.counts())
torch.save(weights(learner), sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_a_killed_process_goes_on_whatever_its_hash_seed(store, tmp_path):
    target = tmp_path / "weights.pt"
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    for seed, kill_at, code in ((1, 5, -signal.SIGKILL), (2, 9, -signal.SIGKILL), (3, 0, 0)):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        done = subprocess.run([*command, str(kill_at), str(target)], env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
    assert done.stdout.strip() == "{'taken': 0, 'resumed': 1, 'trained': 0}"
    with fit_store.measuring():
        whole, _ = run()
    assert torch.equal(weights(whole), torch.load(target, weights_only=True))


def test_a_damaged_outcome_is_said_and_made_anew(store, capsys):
    first, _ = run()
    (path,) = store.glob("*/*.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    kinds, (again, _) = counted(run)
    assert kinds == {"trained": 1}
    assert "its checksum differs): it is made anew" in capsys.readouterr().out
    assert torch.equal(weights(first), weights(again))
    assert counted(run)[0] == {"taken": 1}


def test_fresh_trains_all_anew_and_off_keeps_nothing(store, monkeypatch):
    monkeypatch.setenv("LIB_FITS", "off")
    assert counted(run)[0] == {"trained": 1}
    assert not list(store.glob("*/*.pt"))
    monkeypatch.setenv("LIB_FITS", "fresh")
    assert [counted(run)[0] for _ in range(2)] == [{"trained": 1}] * 2
    monkeypatch.setenv("LIB_FITS", "on")
    with fit_store.measuring():
        assert counted(run)[0] == {"trained": 1}
    assert counted(run)[0] == {"taken": 1}
    monkeypatch.setenv("LIB_FITS", "maybe")
    with pytest.raises(ValueError, match="LIB_FITS is 'maybe': on, fresh or off"):
        run()


def test_what_has_no_identity_is_refused_by_name(store):
    with open(os.devnull) as stream, pytest.raises(TypeError, match="holds stream: a TextIOWrapper keeps its state"):
        run(loss=lambda s, p: info_nce(s, p) + 0 * len(stream.name))


def test_code_that_was_changed_meanwhile_is_not_taken_for_that_which_runs(store, monkeypatch, capsys):
    run()
    monkeypatch.setattr("lib.base.identity.STARTED", 0.0)
    assert counted(run)[0] == {"trained": 1}
    assert "was changed after this process had begun: this fit is trained and not kept" in capsys.readouterr().out


def test_pruning_deletes_what_was_not_used_for_longest(store, capsys):
    for seed in range(3):
        run(config=replace(CONFIG, seed=seed, epochs=1))
    for path in store.glob("*/*.pt"):
        os.utime(path, (0, 0))
    assert counted(lambda: run(config=replace(CONFIG, seed=1, epochs=1)))[0] == {"taken": 1}
    size = max(path.stat().st_size for path in store.glob("*/*.pt"))
    assert fit_store.main(["--prune", f"{size}B"]) == 0
    assert "2 fits deleted" in capsys.readouterr().out
    assert counted(lambda: run(config=replace(CONFIG, seed=1, epochs=1)))[0] == {"taken": 1}
    assert fit_store.main([]) == 0
    assert "1 fits kept, 0 begun" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        fit_store.main(["--prune", "many"])
    assert "'many' is no size: write it like 500MB or 2GB" in capsys.readouterr().err


def test_text_embeddings_are_kept_too(store):
    documents = [["red", "apple"], ["green", "apple"], ["red", "car"], ["green", "car", "apple"]] * 10
    for make in (
        lambda: Word2Vec(dim=8, min_count=1, epochs=2),
        lambda: FastText(dim=8, min_count=1, epochs=2, buckets=100),
        lambda: Doc2Vec(dim=8, min_count=1, epochs=2),
        lambda: LDA(dim=3, min_count=1),
        lambda: Glove(dim=8, min_count=1, epochs=2),
    ):
        kinds, first = counted(lambda make=make: make().fit(documents))
        assert kinds == {"trained": 1}
        kinds, again = counted(lambda make=make: make().fit(documents))
        assert kinds == {"taken": 1}
        for weighted in ({}, {"weights": "tfidf"}) if isinstance(first, WordVectors) else ({},):
            texts = ["a red car", "green apple"]
            np.testing.assert_array_equal(first.transform(texts, **weighted), again.transform(texts, **weighted))
        assert getattr(first, "losses", None) == getattr(again, "losses", None)
        kinds, _ = counted(lambda make=make: make().fit([*documents, ["blue", "apple"]]))
        assert kinds == {"trained": 1}
