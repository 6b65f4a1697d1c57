"""Two processes that share a batch do what one process with the whole batch does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from lib.base import checkpoint
from lib.losses import info_nce, max_of_hinges, positives_from_ids, sigmoid_loss, streaming, sum_of_hinges
from lib.models.joint_embedding import JointEmbedding, Projection
from lib.report.rows import read_metrics
from lib.run import train as train_command
from lib.training import Pairs, TrainConfig, sharded
from lib.training.distributed import RankPairs, dense, fit_ranks, whole_batch
from lib.training.processes import gather, process_group, rank_and_ranks

ROOT = Path(__file__).resolve().parents[1]
DENSE = {
    "info_nce": info_nce,
    "sigmoid_loss": sigmoid_loss,
    "max_of_hinges": max_of_hinges,
    "sum_of_hinges": sum_of_hinges,
}
SHARED = {f"whole batch, {name}": whole_batch(dense(loss)) for name, loss in DENSE.items()}
SHARED |= {f"streaming, {name}": whole_batch(getattr(streaming, name)) for name in DENSE}
SHARED |= {f"sharded, {name}": getattr(sharded, name) for name in DENSE if hasattr(sharded, name)}


class Learned(torch.nn.Module):
    """A loss with a temperature that is learned."""

    def __init__(self):
        super().__init__()
        self.temperature = torch.nn.Parameter(torch.tensor(0.1))

    def forward(self, *rows: torch.Tensor) -> torch.Tensor:
        return sharded.info_nce(*rows, temperature=self.temperature)


def batch() -> tuple[torch.Tensor, ...]:
    """Features and ids of 7 images and 11 texts, several of one image."""
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(7, 6, generator=generator), torch.randn(11, 5, generator=generator)
    return images, texts, torch.arange(7), torch.tensor([0, 1, 2, 3, 4, 5, 6, 0, 0, 3, 5])


def model() -> JointEmbedding:
    torch.manual_seed(1)
    return JointEmbedding(Projection(6, 4), Projection(5, 4))


def data(words: bool = False) -> Pairs:
    """50 images with 1 to 3 texts each, whose features agree."""
    generator = torch.Generator().manual_seed(2)
    owner = torch.arange(50).repeat_interleave(torch.arange(50) % 3 + 1)
    images = torch.randn(50, 6, generator=generator)
    return Pairs(images, images[owner, :5] + 0.1 * torch.randn(len(owner), 5, generator=generator), owner)


CONFIG = TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2, schedule="constant", seed=3)


def as_lists(tensors) -> list:
    return [tensor.detach().double().tolist() for tensor in tensors]


def one_step(loss, images, texts, image_ids, text_ids) -> dict:
    """Loss and gradients of all parameters, after averaging over ranks, of the part of the batch given."""
    embedding = model()
    value = loss(embedding.encode_images(images), embedding.encode_sentences(texts), image_ids, text_ids)
    value.backward()
    for parameter in embedding.parameters() if rank_and_ranks()[1] > 1 else ():
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= rank_and_ranks()[1]  # what DistributedDataParallel does
    return {"loss": float(value.detach()), "gradients": as_lists(p.grad for p in embedding.parameters())}


def train(loss) -> dict:
    embedding, pairs = model(), data()
    history = fit_ranks(embedding, pairs, CONFIG, loss, val=pairs, progress=False)
    return {
        "losses": [row["loss"] for row in history.rows],
        "rsum": [row["val_rsum"] for row in history.rows],
        "weights": as_lists([*embedding.parameters(), *(loss.parameters() if isinstance(loss, Learned) else [])]),
    }


def work(out: Path) -> None:
    """What each of the two processes does: rank 0 holds 5 images and 4 texts, rank 1 the rest."""
    with process_group("cpu"):
        rank, ranks = rank_and_ranks()
        images, texts, image_ids, text_ids = batch()
        mine = [(slice(0, 5), slice(0, 4)), (slice(5, None), slice(4, None))][rank]
        part = (images[mine[0]], texts[mine[1]], image_ids[mine[0]], text_ids[mine[1]])
        result = {"ranks": ranks, "steps": {name: one_step(loss, *part) for name, loss in SHARED.items()}}
        result["train"] = train(Learned())
        result["epoch"] = [
            [b.image_ids.tolist(), b.text_ids.tolist()]
            for b in RankPairs(**vars(data()), rank=rank, ranks=ranks).epoch(16, 3, 1)
        ]
        (out / f"{rank}.json").write_text(json.dumps(result))


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict]:
    """What two processes on the CPU, started by torchrun, have computed."""
    out = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, __file__, str(out)], cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return [json.loads((out / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_value_and_gradient_are_those_of_one_process(two, name):
    alone = one_step(dense(DENSE[name.split(", ")[1]]), *batch())
    for rank in two:
        assert rank["ranks"] == 2
        assert rank["steps"][name]["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        for theirs, ours in zip(rank["steps"][name]["gradients"], alone["gradients"], strict=True):
            assert_close(torch.tensor(theirs), torch.tensor(ours), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", [sharded.info_nce, sharded.max_of_hinges, sharded.sigmoid_loss])
def test_no_rank_holds_its_part_of_the_matrix(loss):
    images, texts = (torch.randn(1_000, 8, requires_grad=True) for _ in range(2))
    ids = torch.arange(1_000)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as report:
        loss(images, texts, ids, ids, tile=10_000).backward()
    events = sorted(
        (e.start_ns(), e.nbytes()) for e in report.profiler.kineto_results.events() if e.name() == "[memory]"
    )
    held = [nbytes for _, nbytes in events]
    assert 0 < max(torch.tensor(held).cumsum(0)) < 1_000_000  # the matrix has 4,000,000 bytes


@pytest.mark.slow
def test_training_is_that_of_one_process(two):
    alone = train(Learned())
    for rank in two:
        assert rank["train"]["losses"] == pytest.approx(alone["losses"], rel=1e-4)
        assert rank["train"]["rsum"] == pytest.approx(alone["rsum"])
        for theirs, ours in zip(rank["train"]["weights"], alone["weights"], strict=True):
            assert_close(torch.tensor(theirs), torch.tensor(ours), rtol=1e-3, atol=1e-5)
    assert two[0]["train"] == two[1]["train"]
    assert alone["losses"][-1] < alone["losses"][0]
    assert alone["weights"][-1] != pytest.approx(0.1)  # the temperature has learned, too


@pytest.mark.slow
def test_ranks_share_every_batch_and_have_equal_steps(two):
    whole = [(set(b.image_ids.tolist()), set(b.text_ids.tolist())) for b in data().epoch(16, 3, 1)]
    assert len(two[0]["epoch"]) == len(two[1]["epoch"]) == len(whole)
    for first, second, (images, texts) in zip(two[0]["epoch"], two[1]["epoch"], whole, strict=True):
        assert not set(first[0]) & set(second[0])
        assert (set(first[0] + second[0]), set(first[1] + second[1])) == (images, texts)
        assert abs(len(first[0]) - len(second[0])) <= 1


def test_a_last_batch_that_cannot_be_shared_is_left_out_by_all():
    pairs = Pairs(torch.zeros(10, 2), torch.zeros(10, 2), torch.arange(10))
    steps = [len(list(RankPairs(**vars(pairs), rank=rank, ranks=4).epoch(8, 0, 0))) for rank in range(4)]
    assert steps == [1] * 4  # 10 texts: a batch of 8, and one of 2 that 4 ranks cannot share


def test_one_process_needs_no_group():
    with process_group("cpu") as device:
        assert (device.type, rank_and_ranks()) == ("cpu", (0, 1))
        rows = torch.randn(3, 2, requires_grad=True)
        assert gather(rows) is rows


def test_patience_is_refused():
    with pytest.raises(ValueError, match="patience"):
        fit_ranks(model(), data(), TrainConfig(patience=1), sharded.info_nce)


def test_dense_is_the_loss_of_the_matrix():
    images, texts, image_ids, text_ids = batch()
    images, texts = normalize(images[:, :5]), normalize(texts)
    expected = info_nce(images @ texts.T, positives_from_ids(image_ids, text_ids))
    assert_close(dense(info_nce)(images, texts, image_ids, text_ids), expected)


@pytest.mark.slow
def test_the_command_trains_and_writes_numbers_and_weights(tmp_path, capsys):
    settings = {"epochs": 6, "batch_size": 64, "dim": 32, "rate": 3e-3}
    given = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    train_command.main([*given, "--device", "cpu", "--out", str(tmp_path)])
    rows = {row["metric"]: row for row in read_metrics(tmp_path / "metrics.json")["rows"]}
    assert rows["t2i_r10"]["mean"] > 10  # chance is 2 %
    assert "ranks: 1" in capsys.readouterr().out
    settings |= {"corpus": "openmoji", "loss": "info_nce", "seed": 0}
    assert "image.1.weight" in checkpoint.load(tmp_path / "model.pt", settings)["model"]


if __name__ == "__main__":
    work(Path(sys.argv[1]))
