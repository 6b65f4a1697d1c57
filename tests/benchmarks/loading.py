"""Speed of loading on one core: cached features into batches, JPEG files into pixels, beside what bounds them.

    python -m tests.benchmarks.loading [--photos FOLDER] [--rounds 15]

Features: 20,000 rows of 2,048 in a feature cache, read in shuffled batches; the bound is a plain copy of as many rows
that lie one behind the other. Pictures: 100 JPEG files of 500 x 375, made here or out of those in FOLDER, to the
central square at 224 x 224; the bound is reading and decoding the file. Each row adds up the shortest CPU time of
every batch or picture over the rounds, so that a busy machine matters less. No judgement is passed.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms.v2.functional import center_crop, resize

from lib.base.feature_store import FeatureStore
from lib.training.batches import Pairs
from lib.vision.pixels import read_pixels
from tests.benchmarks.floor import picture

ROWS, DIMENSIONS, PICTURES = 20_000, 2_048, 100
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of JPEG files")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "float16"):
            features(Path(folder) / dtype, dtype, arguments.rounds)
        pictures(Path(folder), arguments.photos, arguments.rounds)


def features(folder: Path, dtype: str, rounds: int) -> None:
    rng = np.random.default_rng(0)

    def compute(missing: list[int]):
        for start in range(0, len(missing), 1_000):
            batch = missing[start : start + 1_000]
            yield batch, rng.standard_normal((len(batch), DIMENSIONS), dtype=np.float32).astype(dtype)

    stored = FeatureStore(folder).get([f"{row:064x}"[::-1] for row in range(ROWS)], compute)
    plain = np.asarray(stored)
    pairs = Pairs(stored, torch.zeros(ROWS, 1), torch.arange(ROWS))
    for size in (128, 1_024):
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
        batches = [rows.sort().values for rows in order.split(size)[:-1]]  # as Pairs.batch asks for them
        behind = list(range(0, ROWS - size, size))[: len(batches)]
        compare(
            f"features: {ROWS:,} x {DIMENSIONS:,} {dtype}, batches of {size:,}; rows a second",
            {
                "plain copy": lambda i: plain[behind[i] : behind[i] + size].copy(),  # noqa: B023
                "Pairs.image_rows (to float32)": lambda i: pairs.image_rows(batches[i]),  # noqa: B023
                "Pairs.batch": lambda i: pairs.batch(batches[i]),  # noqa: B023
                "row by row": lambda i: np.stack([stored[row] for row in batches[i].tolist()]),  # noqa: B023
            },
            len(batches),
            size,
            rounds,
        )


def pictures(folder: Path, photos: Path | None, rounds: int) -> None:
    rng = np.random.default_rng(0)
    found = sorted(photos.glob("*.jpg"))[:PICTURES] if photos else []
    paths = []
    for i in range(len(found) or PICTURES):
        image = Image.open(found[i]).convert("RGB") if found else Image.fromarray(picture(rng))
        paths.append(folder / f"{i}.jpg")
        image.resize((500, 375), Image.Resampling.BICUBIC).save(paths[-1], quality=90)

    def pillow(i: int) -> np.ndarray:
        image = Image.open(paths[i]).convert("RGB").crop((62, 0, 437, 375)).resize((224, 224), Image.Resampling.BICUBIC)
        return ((np.asarray(image, dtype=np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)

    def torchvision(i: int) -> torch.Tensor:
        image = decode_jpeg(read_file(str(paths[i])), mode=ImageReadMode.RGB)
        return resize(center_crop(image, [375, 375]), [224, 224], antialias=True)

    kilobytes = np.mean([path.stat().st_size for path in paths]) / 1000
    compare(
        f"pictures: {len(paths)} JPEG of 500 x 375, {kilobytes:.0f} kB; pictures a second",
        {
            "simplejpeg, decode only": lambda i: simplejpeg.decode_jpeg(paths[i].read_bytes()),
            "Pillow, decode only": lambda i: np.asarray(Image.open(paths[i]).convert("RGB")),
            "lib.vision.pixels.read_pixels": lambda i: read_pixels(paths[i]),
            "torchvision, decode and resize": torchvision,
            "Pillow, resize, normalise": pillow,
        },
        len(paths),
        1,
        rounds,
    )


def compare(title: str, methods: dict[str, Callable], steps: int, items: int, rounds: int) -> None:
    """Rates, and their ratio to the first method; each makes a whole pass before the next has its turn."""
    seconds = {name: np.full(steps, np.inf) for name in methods}
    for _ in range(rounds):
        for name, run in methods.items():
            measure(run, seconds[name])
    print(f"\n{title}\n{'':34s}{'rate':>12s}{'ratio':>8s}")
    bound = next(iter(seconds.values())).sum()
    for name, best in seconds.items():
        print(f"{name:34s}{steps * items / best.sum():12,.0f}{bound / best.sum():8.2f}", flush=True)


def measure(run: Callable, best: Sequence[float]) -> None:
    for step in range(len(best)):
        start = time.thread_time()
        run(step)
        best[step] = min(best[step], time.thread_time() - start)


if __name__ == "__main__":
    main()
