"""Speed of image features on a CPU: ONNX Runtime beside eager PyTorch, in one run, on the same pictures.

    python -m tests.benchmarks.features [--pictures 64] [--threads 2] [--rounds 5]

Prints pictures a second (best round), ratios, and the largest difference of the outputs. It passes no judgement.
"""

import argparse
import os
import time

import numpy as np
import torch

from lib.data import load
from lib.vision import extract_features
from lib.vision.backbones import backbone
from lib.vision.extract import make_engine
from tests.benchmarks.floor import product_rate

ENCODER = "efficientnet_lite0"
OPERATIONS = 2 * 407e6  # of one picture: 407 million multiplications and additions, says its publisher


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
    onnx = make_engine(ENCODER, "global", "cpu", "onnx", arguments.threads)
    engines = {"eager PyTorch": eager(), "the same, channels last": eager(torch.channels_last), "ONNX Runtime": onnx}
    outputs = {name: np.concatenate([run(batch) for batch in batches]) for name, run in engines.items()}  # warms up
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(arguments.rounds):  # in turns, so that a busy machine slows all
        for name, run in engines.items():
            start = time.perf_counter()
            for batch in batches:
                run(batch)
            seconds[name].append(time.perf_counter() - start)
    start = time.perf_counter()
    extract_features(images, ENCODER, device="cpu", cache=False, progress=False, threads=arguments.threads)
    whole = time.perf_counter() - start

    print(f"{ENCODER}, {len(pixels)} pictures of 224 x 224, batch {arguments.batch}, {arguments.threads} threads")
    best = {name: min(times) for name, times in seconds.items()}
    for name, time_ in best.items():
        difference = np.abs(outputs[name] - outputs["ONNX Runtime"]).max()
        print(f"  {name:24s}{len(pixels) / time_:6.1f} pictures a second; ", end="")
        print(f"ONNX Runtime: {time_ / best['ONNX Runtime']:.1f} times as fast, differs by at most {difference:.0e}")
    floor = product_rate() * arguments.threads / OPERATIONS
    print(f"  floor, its products at the rate of large ones: {floor:.0f} pictures a second, ", end="")
    print(f"{floor * best['ONNX Runtime'] / len(pixels):.1f} times those of ONNX Runtime")
    print(f"  extract_features, with start-up and decoding: {len(pixels) / whole:.1f} pictures a second")


def eager(layout: torch.memory_format = torch.contiguous_format):
    """The encoder as PyTorch runs it when nothing is done about speed: float pixels, channels first by default."""
    encoder = backbone(ENCODER).to(memory_format=layout)

    @torch.inference_mode()
    def run(pixels: np.ndarray) -> np.ndarray:
        x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - encoder.mean) / encoder.std
        return encoder.features(x.contiguous(memory_format=layout))[0].numpy()

    return run


if __name__ == "__main__":
    main()
