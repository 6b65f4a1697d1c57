"""Parts of a fast loop against the plain ones, and the GPU benchmark in small."""

import json

import pytest
import torch
from torch import nn

from lib.losses import max_of_hinges
from lib.models import JointEmbedding
from lib.models.joint_embedding import PooledBranch, Projection
from lib.models.pooling import mean_pool
from lib.text.gru import GRUEncoder
from lib.training import Pairs
from lib.training.throughput import ahead, fused_adamw, pad_to_multiple, resident, train_step
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


def test_the_gpu_benchmark_runs_in_small(tmp_path):
    result = gpu.main(["--tiny", "--out", str(tmp_path / "gpu.json")])
    assert json.loads((tmp_path / "gpu.json").read_text()) == result
    assert len(result["rows"]) == 6
    assert all(row["seconds"] > 0 for row in result["rows"])
