"""Parts of a fast loop against the plain ones, and the GPU benchmark in small."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from lib.losses import info_nce, max_of_hinges
from lib.models import JointEmbedding
from lib.models.fast_gru import FastGRUEncoder
from lib.models.gru import GRUEncoder
from lib.models.joint_embedding import PooledBranch, Projection
from lib.models.pooling import mean_pool
from lib.training import Pairs, TrainConfig, fit
from lib.training.throughput import (
    ahead,
    fast_recurrence,
    fused_adamw,
    pad_to_multiple,
    resident,
    train_step,
)
from tests.benchmarks import gpu


def pairs_and_model():
    torch.manual_seed(0)
    lengths = torch.randint(1, 8, (20,))
    words = torch.randint(4, 30, (20, 8)) * (torch.arange(8) < lengths[:, None])
    pairs = Pairs(torch.randn(20, 6), words, torch.arange(20), lengths)
    return pairs, JointEmbedding(Projection(6, 5), PooledBranch(GRUEncoder(30, 4, 5), mean_pool))


def test_padding_changes_no_similarity_and_leaves_few_lengths():
    pairs, model = pairs_and_model()
    for batch in pairs.epoch(5, 0, 0):
        padded = pad_to_multiple(batch, 4)
        assert padded.texts[0].shape[1] in (4, 8)
        torch.testing.assert_close(model(padded.images, padded.texts), model(batch.images, batch.texts))


def test_batches_ahead_are_the_same_batches_in_order():
    pairs, _ = pairs_and_model()
    plain, found = list(pairs.epoch(6, 0, 0)), list(ahead(pairs.epoch(6, 0, 0), "cpu"))
    assert len(found) == len(plain) > 1
    assert all(torch.equal(a.text_ids, b.text_ids) for a, b in zip(found, plain, strict=True))


def test_features_stay_where_there_is_no_gpu():
    pairs, _ = pairs_and_model()
    assert resident(pairs, "cpu") is pairs


def test_a_step_equals_the_plain_one():
    pairs, model = pairs_and_model()
    batch = next(pairs.epoch(10, 0, 0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.0)
    value = max_of_hinges(model(batch.images, batch.texts), batch.positives)
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 2.0)
    optimiser.step()
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(before)
    found = train_step(model, batch, max_of_hinges, fused_adamw(model.parameters(), 0.01))
    assert float(found) == pytest.approx(float(value))
    for name, weights in model.state_dict().items():
        torch.testing.assert_close(weights, expected[name], rtol=1e-4, atol=1e-6)


def test_bfloat16_is_near_float32():
    pairs, model = pairs_and_model()
    batch = next(pairs.epoch(10, 0, 0))
    plain = float(max_of_hinges(model(batch.images, batch.texts), batch.positives))
    found = float(train_step(model, batch, max_of_hinges, fused_adamw(model.parameters(), 0.01), bf16=True))
    assert found == pytest.approx(plain, rel=0.02)
    assert all(weights.dtype == torch.float32 for weights in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [1, 7])
def test_the_fast_encoder_has_the_states_and_gradients_of_the_plain_one(length, dtype):
    torch.manual_seed(0)
    plain, words = GRUEncoder(6, 4, 5).to(dtype), torch.randint(6, (3, length))  # so that words occur again
    found = []
    for encoder in (plain, FastGRUEncoder(plain)):
        plain.zero_grad()
        states = encoder(words, torch.full((3,), length))
        ((states * torch.arange(5)).sum() + (states[:, -1] ** 2).sum()).backward()
        found.append([states.detach(), *(p.grad.clone() for p in plain.parameters())])
    assert len(found[0]) == 6
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_the_fast_encoder_takes_the_place_of_the_plain_one():
    pairs, model = pairs_and_model()
    batch, names = next(pairs.epoch(10, 0, 0)), list(model.state_dict())
    expected = model(batch.images, batch.texts)
    assert isinstance(fast_recurrence(model).sentence.encoder, FastGRUEncoder)
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(batch.images, batch.texts), expected)
    both = nn.Sequential(GRUEncoder(6, 4, 5, bidirectional=True))
    assert type(fast_recurrence(both)[0]) is GRUEncoder
    with pytest.raises(ValueError, match="one direction"):
        FastGRUEncoder(both[0])


@pytest.mark.parametrize("recurrence", [lambda model: model, fast_recurrence])
def test_a_compiled_model_is_compiled_once_for_all_lengths(recurrence, monkeypatch):
    """As `fit` compiles it, with a backend that counts graphs and needs no compiler."""
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **options: compiled(model, backend=count, **options))
    pairs, model = pairs_and_model()
    torch.compiler.reset()
    seen = [0]
    for size in (10, 5, 4):  # other lengths, then other numbers of images and texts too
        fit(recurrence(model), pairs, TrainConfig(epochs=2, batch_size=size, compile=True), info_nce, progress=False)
        seen.append(len(graphs))
    assert 0 < seen[1] == seen[2] == seen[3]


def test_resident_features_stay_where_they_are():
    pairs, _ = pairs_and_model()
    batch = replace(pairs, resident=True).batch(torch.arange(4), "meta")
    assert (batch.images.device.type, batch.texts[0].device.type) == ("cpu", "meta")


def test_the_gpu_benchmark_runs_in_small(tmp_path):
    result = gpu.main(["--tiny", "--out", str(tmp_path / "gpu.json")])
    assert json.loads((tmp_path / "gpu.json").read_text()) == result
    assert len(result["rows"]) == 6
    assert all(row["seconds"] > 0 for row in result["rows"])
