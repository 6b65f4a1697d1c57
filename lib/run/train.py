"""Trains a joint embedding on cached features, on one process or on all that torchrun starts.

    python -m lib train --corpus openmoji --epochs 10 --out runs/train
    torchrun --nproc-per-node 8 -m lib.run.train --corpus flickr30k --batch-size 8192 --out runs/train

Frozen image features and MiniLM sentence vectors, linear maps, any loss of `lib.losses.streaming`. Both commands
give the same weights up to rounding, because `--batch-size` is that of all processes together. Writes metrics.json
(test split) and model.pt into the folder.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from lib.base import checkpoint
from lib.base.files import write_text
from lib.data import CORPORA, load
from lib.losses import streaming
from lib.report import rows as metrics
from lib.systems.frozen import frozen_pairs, linear_model
from lib.text.transformer import MiniLM
from lib.training import TrainConfig, sharded, validate
from lib.training.distributed import fit_ranks, whole_batch
from lib.training.processes import process_group, rank_and_ranks

LOSSES = {
    "info_nce": sharded.info_nce,
    "max_of_hinges": sharded.max_of_hinges,
    "sigmoid_loss": sharded.sigmoid_loss,
    "sum_of_hinges": whole_batch(streaming.sum_of_hinges),
}


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib train", description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="openmoji", choices=sorted(CORPORA), help="default: openmoji")
    parser.add_argument("--loss", default="info_nce", choices=LOSSES, help="default: info_nce")
    parser.add_argument(
        "--batch-size", type=int, default=512, metavar="B", help="texts of all processes (default: 512)"
    )
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--rate", type=float, default=1e-3, metavar="R", help="of Adam (default: 0.001)")
    parser.add_argument("--dim", type=int, default=256, metavar="D", help="of the joint space (default: 256)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--out", type=Path, default=Path("runs", "train"), metavar="DIR", help="default: runs/train")
    options = parser.parse_args(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        write_text(options.out / ".writable", "")  # now, and not after the training
        (options.out / ".writable").unlink(missing_ok=True)
    except OSError as error:
        print(f"--out {options.out} cannot be written to: {error.strerror or error}", file=sys.stderr)
        return 2
    try:
        train(options)
    except (FileNotFoundError, ValueError) as error:  # of the corpus: what is missing, or too little to train on
        print(error, file=sys.stderr)
        return 1
    return 0


def train(options: argparse.Namespace) -> None:
    """Does what `main` says, in each process."""
    started = time.time()
    with process_group(options.device) as device:
        rank, ranks = rank_and_ranks()
        if rank == 0:  # the others find the features in the cache
            corpus, pairs = _load(options.corpus, device)
        if ranks > 1:
            dist.barrier()
        if rank > 0:
            corpus, pairs = _load(options.corpus, device)
        image_dim, text_dim = (x.shape[-1] for x in (pairs["train"].images, pairs["train"].texts))
        model = linear_model(image_dim, text_dim, options.dim, seed=options.seed)
        config = TrainConfig(
            options.epochs, options.batch_size, options.rate, schedule="cosine", warmup_steps=10, seed=options.seed
        )
        fit_ranks(model, pairs["train"], config, LOSSES[options.loss], val=pairs["val"], device=device)
        if rank > 0:
            return
        scores = validate(model, pairs["test"], device=str(device))
        checkpoint.save(options.out / "model.pt", {"run": _settings(options), "model": model.state_dict()})
        setting = f"batch {options.batch_size}, {options.epochs} epochs"
        rows = metrics.rows(options.loss, options.corpus, setting, [scores], tuple(scores.as_dict()))
        about = {"protocol": str(scores.protocol), "corpus": corpus, "started": started, "device": device}
        metrics.write_metrics(options.out / "metrics.json", rows, notebook="lib.run.train", **about)
        print(f"ranks: {ranks}, {time.time() - started:.0f} s, {options.out / 'metrics.json'}\n{scores}")


def _settings(options: argparse.Namespace) -> dict:
    return {name: value for name, value in vars(options).items() if name not in ("out", "device")}


def _load(name: str, device: torch.device) -> tuple:
    """The corpus, and the pairs of its splits; the features stay on disk, where all processes read them."""
    corpus, sentences = load(name), MiniLM(device=str(device))
    options: dict[str, Any] = {"encoder": sentences, "in_memory": False, "device": str(device)}
    return corpus, {split: frozen_pairs(corpus, split, **options) for split in ("train", "val", "test")}


if __name__ == "__main__":
    sys.exit(main())
