"""Speed of image features on a CPU: ONNX Runtime beside eager PyTorch, in one run, on the same pictures.

    python -m tests.benchmarks.features [--pictures 64] [--threads 2] [--rounds 5]

Prints pictures a second for each, their ratio, and the largest difference of the outputs. It passes no judgement.
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch

from lib.data import load
from lib.vision import extract_features
from lib.vision.extract import make_engine

ENCODER = "efficientnet_lite0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    images = load("openmoji").images[: arguments.pictures]
    pixels = np.stack([np.asarray(image) for image in images])
    batches = [pixels[start : start + arguments.batch] for start in range(0, len(pixels), arguments.batch)]
    engines = {name: make_engine(ENCODER, "global", "cpu", name, arguments.threads) for name in ("torch", "onnx")}
    outputs = {name: np.concatenate([run(batch) for batch in batches]) for name, run in engines.items()}  # warms up
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(arguments.rounds):  # in turns, so that a busy machine slows both
        for name, run in engines.items():
            start = time.perf_counter()
            for batch in batches:
                run(batch)
            seconds[name].append(time.perf_counter() - start)
    start = time.perf_counter()
    extract_features(images, ENCODER, device="cpu", cache=False, progress=False, threads=arguments.threads)
    whole = time.perf_counter() - start

    print(f"{ENCODER}, {len(pixels)} pictures of 224 x 224, {arguments.threads} threads, median of {arguments.rounds}")
    for name, label in (("torch", "eager PyTorch"), ("onnx", "ONNX Runtime")):
        print(f"  {label:15s}{len(pixels) / statistics.median(seconds[name]):8.1f} pictures a second")
    ratios = [slow / fast for slow, fast in zip(seconds["torch"], seconds["onnx"], strict=True)]
    print(f"  ratio          {statistics.median(ratios):8.1f}  (rounds: {', '.join(f'{r:.1f}' for r in ratios)})")
    print(f"  largest difference {np.abs(outputs['torch'] - outputs['onnx']).max():.1e}")
    print(f"  extract_features, with decoding and start-up: {len(pixels) / whole:.1f} pictures a second")


if __name__ == "__main__":
    main()
