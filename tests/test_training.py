"""The loop learns, resumes to the same bits, and says what is wrong."""

import shutil
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.base import fit_store
from lib.base.files import ROOT
from lib.losses import info_nce, max_of_hinges, sum_of_hinges
from lib.models import JointEmbedding, PooledBranch, Projection, last_pool
from lib.models.gru import GRUEncoder
from lib.training import Pairs, TrainConfig, fit, validate

CONFIG = TrainConfig(epochs=4, batch_size=16, learning_rate=1e-2, schedule="cosine", warmup_steps=3)


def linked(n=200, seed=0, shuffled=False):
    """Images and texts that are two noisy linear views of one hidden vector; one text for each image."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 6, generator=generator)
    maps = torch.Generator().manual_seed(99)
    images = hidden @ torch.randn(6, 20, generator=maps) + 0.1 * torch.randn(n, 20, generator=generator)
    texts = hidden @ torch.randn(6, 15, generator=maps) + 0.1 * torch.randn(n, 15, generator=generator)
    order = torch.randperm(n, generator=generator) if shuffled else torch.arange(n)
    return Pairs(images, texts, order)


def model(dropout=0.2, seed=0):
    torch.manual_seed(seed)
    return JointEmbedding(Projection(20, 8, dropout=dropout), Projection(15, 8, dropout=dropout))


def weights(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.mark.parametrize("loss", [info_nce, sum_of_hinges, {0: sum_of_hinges, 2: max_of_hinges}], ids=str)
def test_training_beats_chance_and_shuffled_pairs_do_not(loss):
    chance = validate(model(), linked(seed=1)).as_dict()["t2i_r10"]
    scores = {}
    for shuffled in (False, True):
        learner = model(dropout=0.0)
        fit(
            learner,
            linked(shuffled=shuffled),
            TrainConfig(epochs=15, batch_size=32, learning_rate=1e-2),
            loss,
            progress=False,
        )
        scores[shuffled] = validate(learner, linked(seed=1)).as_dict()["t2i_r10"]
    assert chance < 15  # 10 of 200 is 5 %
    assert scores[False] > 60
    assert scores[True] < 15


def test_history_draws_the_reference_lines_and_keeps_the_best_epoch():
    learner = model(dropout=0.0)
    history = fit(learner, linked(), CONFIG, info_nce, val=linked(seed=1), progress=False)
    row = history.rows[0]
    assert row["collapse"] == pytest.approx(np.log(16), rel=1e-4)
    assert row["chance"] > row["collapse"] > history.rows[-1]["loss"]
    assert history.best["val_rsum"] == max(row["val_rsum"] for row in history.rows)
    assert validate(learner, linked(seed=1)).as_dict()["rsum"] == pytest.approx(history.best["val_rsum"])
    assert not learner.training


def test_the_callers_random_state_is_left_alone():
    learner = model()
    state = torch.get_rng_state()
    fit(learner, linked(), TrainConfig(epochs=1), info_nce, progress=False)
    assert torch.equal(state, torch.get_rng_state())


def test_frozen_parts_stay_in_eval_mode():
    seen = []

    class Watched(torch.nn.Sequential):
        def forward(self, x):
            seen.append((self.training, self[1].training))
            return super().forward(x)

    frozen = Watched(torch.nn.Linear(20, 20), torch.nn.BatchNorm1d(20)).requires_grad_(False)
    learner = JointEmbedding(torch.nn.Sequential(frozen, Projection(20, 8)), Projection(15, 8))
    before = frozen[1].running_mean.clone()
    fit(learner, linked(), TrainConfig(epochs=2), info_nce, progress=False)
    assert set(seen) == {(False, False)}
    assert torch.equal(before, frozen[1].running_mean)


def test_patience_stops_early():
    config = TrainConfig(epochs=50, learning_rate=1e-12, schedule="constant", patience=2)
    assert len(fit(model(), linked(), config, info_nce, val=linked(seed=1), progress=False).rows) == 3


def test_a_loss_that_is_not_finite_is_reported():
    with pytest.raises(FloatingPointError, match=r"nan in epoch 0, step 0"):
        fit(model(), linked(), CONFIG, lambda s, p: s.sum() * float("nan"), progress=False)


def test_an_objective_replaces_the_loss():
    def objective(learner, batch):
        return 1 - (learner(batch.images, batch.texts) * batch.positives).sum() / batch.positives.sum()

    history = fit(model(dropout=0.0), linked(), CONFIG, objective=objective, progress=False)
    assert history.rows[-1]["loss"] < history.rows[0]["loss"] / 2
    with pytest.raises(ValueError, match="either a loss or an objective"):
        fit(model(), linked(), CONFIG, info_nce, objective=objective)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [0.5, 1, 1, 1, 1, 1]), ("step", [0.5, 1, 0.1, 0.1, 0.01, 0.01]), ("cosine", None)],
)
def test_learning_rates(schedule, expected):
    config = TrainConfig(epochs=3, learning_rate=1.0, schedule=schedule, decay_every=1, warmup_steps=1)
    rates = [config.rate(step, steps_per_epoch=2) for step in range(6)]
    expected = expected or [(1 + np.cos(np.pi * step / 6)) / 2 * (0.5 if step == 0 else 1) for step in range(6)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("wrong", "message"), [({"schedule": "linear"}, "schedule must be"), ({"epochs": 0}, "epochs must be positive")]
)
def test_a_wrong_configuration_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**wrong)


def captions(n=100, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 30, (3 * n,), generator=generator)
    tokens = torch.randint(1, 50, (3 * n, 30), generator=generator)
    return Pairs(torch.randn(n, 20, generator=generator), tokens, torch.arange(n).repeat_interleave(3), lengths)


def test_an_epoch_has_every_text_once_with_its_own_image():
    pairs = captions()
    seen = []
    for batch in pairs.epoch(32, seed=0, epoch=0):
        seen += batch.text_ids.tolist()
        assert len(batch.image_ids.unique()) == len(batch.image_ids)
        owner = pairs.image_of_text[batch.text_ids]
        assert torch.equal(batch.positives, batch.image_ids[:, None] == owner[None, :])
        torch.testing.assert_close(batch.images, pairs.images[batch.image_ids])
        tokens, lengths = batch.texts
        assert tokens.shape[1] == lengths.max()
    assert sorted(seen) == list(range(300))


def test_epochs_differ_and_repeat():
    pairs = captions()
    order = [
        [b.text_ids.tolist() for b in pairs.epoch(32, seed, epoch)] for seed, epoch in [(0, 0), (0, 0), (0, 1), (1, 0)]
    ]
    assert order[0] == order[1]
    assert order[0] != order[2]
    assert order[0] != order[3]


def test_a_loss_that_never_leaves_its_collapse_is_said():
    shuffled, config = linked(shuffled=True), TrainConfig(epochs=6, batch_size=32, learning_rate=1e-6)
    with pytest.warns(UserWarning, match=r"never below 0\.4, .* every hinge stays active"):
        history = fit(model(), shuffled, config, max_of_hinges, progress=False)
    assert history.collapsed
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not fit(model(dropout=0.0), linked(), replace(config, learning_rate=1e-2), info_nce).collapsed


def test_objectives_change_at_their_epochs():
    asked = []

    def objective(name, loss):
        def of_batch(learner, batch):
            asked.append(name)
            return loss(learner(batch.images, batch.texts), batch.positives)

        return of_batch

    phases = {0: objective("sum", sum_of_hinges), 2: objective("max", max_of_hinges)}
    config, learners = TrainConfig(epochs=3, batch_size=100, learning_rate=1e-2), [model(), model()]
    with fit_store.measuring():
        fit(learners[0], linked(), config, objective=phases, progress=False)
        fit(learners[1], linked(), config, {0: sum_of_hinges, 2: max_of_hinges}, progress=False)
    assert asked == ["sum"] * 4 + ["max"] * 2
    assert torch.equal(weights(learners[0]), weights(learners[1]))
    with pytest.raises(ValueError, match=r"nothing is said for epoch 0: the phases begin at \[1\]"):
        fit(model(), linked(), config, {1: sum_of_hinges}, progress=False)


def test_averaged_weights_are_the_exponential_average_of_every_step():
    """Against a loop that keeps the weights of each step; without a last step's luck in what is validated."""
    decay, seen = 0.9, []

    def objective(learner, batch):
        if learner.training:  # the lines at chance and at collapse are not asked of it
            seen.append(weights(learner).double())
        return info_nce(learner(batch.images, batch.texts), batch.positives)

    config, last, averaged = TrainConfig(epochs=3, batch_size=50, learning_rate=1e-2), model(), model()
    with fit_store.measuring():
        fit(last, linked(), config, objective=objective, progress=False)
        steps = [*seen[1:], weights(last).double()]
        fit(averaged, linked(), replace(config, average=decay), info_nce, progress=False)
    expected = steps[0]
    for step in steps[1:]:
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(weights(averaged).double(), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"average must lie between 0 and 1, got 1.0"):
        TrainConfig(average=1.0)


def test_batches_group_texts_of_one_length_where_asked():
    def padding(pairs):
        return np.mean([float((b.texts[0].shape[1] - b.texts[1]).float().mean()) for b in pairs.epoch(32, 0, 0)])

    assert padding(replace(captions(), by_length=True)) < padding(captions()) / 3


def test_images_may_stay_on_disk(tmp_path):
    pairs = captions()
    path = tmp_path / "images.npy"
    np.save(path, pairs.images.numpy().astype(np.float16))
    on_disk = Pairs(np.load(path, mmap_mode="r"), pairs.texts, pairs.image_of_text, pairs.lengths)
    for ours, expected in zip(on_disk.epoch(32, 0, 0), pairs.epoch(32, 0, 0), strict=True):
        torch.testing.assert_close(ours.images, expected.images, atol=2e-3, rtol=1e-3)


def test_word_ids_train_a_gru():
    torch.manual_seed(0)
    learner = JointEmbedding(Projection(20, 16), PooledBranch(GRUEncoder(50, 8, 16), last_pool))
    history = fit(
        learner, captions(40), TrainConfig(epochs=12, batch_size=32, learning_rate=1e-2), info_nce, progress=False
    )
    assert history.rows[-1]["loss"] < history.rows[0]["collapse"] / 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2, 3), torch.zeros(4, 3), torch.tensor([0, 1])), "image_of_text has 2 rows, texts has 4"),
        ((torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 2])), r"image_of_text\[1\] is 2, but there are 2"),
        ((torch.zeros(2, 3), torch.zeros(0, 3), torch.tensor([])), "no text"),
    ],
)
def test_pairs_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Pairs(*arguments)


COMPILED = """
import torch
from lib.losses import info_nce
from lib.training import TrainConfig, fit
from tests.test_training import linked, model, weights
results = []
for compiled in (False, True):
    learner = model(dropout=0.0)
    config = TrainConfig(epochs=1, batch_size=64, learning_rate=1e-2, compile=compiled)
    fit(learner, linked(), config, info_nce, progress=False)
    results.append(weights(learner))
torch.testing.assert_close(*results)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs the compiler g++; there is none")
def test_compiled_training_gives_the_same_weights():
    """In a process of its own: the compiler imports much that does not go with what other tests have imported."""
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
def test_the_gpu_gives_the_same_result():
    config = TrainConfig(epochs=3, batch_size=32, learning_rate=1e-2, bf16=False)
    results = []
    for device in ("cpu", "cuda"):
        learner = model(dropout=0.0)
        fit(learner, linked(), config, info_nce, device=device, progress=False)
        results.append(weights(learner).cpu())
    torch.testing.assert_close(*results, atol=1e-3, rtol=1e-3)
