"""Features of a folder of WebDataset shards, encoded by several processes or machines, a shard at a time.

    python -m lib features FOLDER --workers 8

Each shard's features go to a file of their own, written under a temporary name and renamed: a worker that dies loses
the shard it was at, which another one does again. At the end the files are taken into the feature cache, where
`extract_features` finds every picture.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from lib.base.feature_store import FeatureStore
from lib.base.files import atomic_path
from lib.base.workers import on_workers
from lib.data import load
from lib.data.corpora.webdataset import TarImages
from lib.data.images import DamagedImages
from lib.vision.extract import KINDS, encoded, feature_folder

BATCH = 32


def extract_shards(
    root: str | Path,
    encoder: str = "efficientnet_lite0",
    kind: str = "global",
    workers: int = 2,
    device: str = "auto",
    progress: bool = True,
) -> np.ndarray:
    """Return the features that `extract_features(load("webdataset", root).images, ...)` would, bit for bit on a CPU.

    Args:
        root: folder of *.tar, seen by all machines under this name.
        encoder, kind, device: as in `extract_features`.
        workers: shards at a time; each takes one CPU core, or one GPU.
        progress: print a line for each shard.

    Raises:
        RuntimeError: Ray is not installed, or a worker died again and again at the same shard.
        DamagedImages: an OSError that names every picture that cannot be read; the others are in the cache.
    """
    images = cast(TarImages, load("webdataset", root).images)
    fingerprints = [images.fingerprint(i) for i in range(len(images))]
    folder, device = feature_folder(encoder, kind, device)
    store, parts = FeatureStore(folder), {}

    def compute(missing: list[int]) -> Iterator[tuple[list[int], np.ndarray]]:
        positions: dict[Path, list[int]] = {}
        for i in missing:
            positions.setdefault(images.members[i].shard, []).append(i)
        parts.update({shard: folder / "parts" / f"{_identity(shard)}.npz" for shard in positions})
        (folder / "parts").mkdir(exist_ok=True)
        pieces = [[str(shard), str(part), encoder, kind, device] for shard, part in parts.items()]
        on_gpu = device != "cpu"
        for number, done in enumerate(on_workers(encode_shard, pieces, workers, not on_gpu, on_gpu), start=1):
            if progress:
                print(f"{number} of {len(pieces)} shards: {done[0]}, {done[1]:,} pictures", flush=True)
        errors: dict[int, OSError] = {}
        for shard, rows in positions.items():
            row_of, stored = _read_part(parts[shard])
            kept = [i for i in rows if fingerprints[i] in row_of]
            if kept:
                yield kept, stored[[row_of[fingerprints[i]] for i in kept]]
            errors.update(_errors(images, set(rows) - set(kept)))
        if errors:
            raise DamagedImages(images, errors)

    features = store.get(fingerprints, compute)
    for part in parts.values():  # its rows are in the cache
        part.unlink()
    return features


def encode_shard(piece: Sequence[str]) -> list:
    """Encode one shard (its path, the file to write, encoder, kind, device); return its name and number of pictures.

    A file that is there already, from a run that was interrupted, is left as it is.
    """
    shard, part, encoder, kind, device = piece
    images = load("webdataset", shard).images
    if not Path(part).exists():
        threads, engine = (1, "onnx") if device == "cpu" else (None, "torch")
        # Those that cannot be read are left out: who asks for the rows will miss them, and say why.
        done = list(encoded(images, range(len(images)), encoder, kind, device, engine, BATCH, False, threads, {}))
        keys = np.array([images.fingerprint(i) for rows, _ in done for i in rows], dtype="<U64")
        features = np.concatenate([features for _, features in done]) if done else np.empty(0)
        with atomic_path(Path(part)) as temporary, temporary.open("wb") as file:
            np.savez(file, keys=keys, features=features)
    return [Path(shard).name, len(images)]


def _identity(shard: Path) -> str:
    """A name that changes when the shard does."""
    state = shard.stat()
    return hashlib.sha256(f"{shard.resolve()} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:16]


def _read_part(part: Path) -> tuple[dict[str, int], np.ndarray]:
    """The row of each fingerprint, and the features."""
    with np.load(part, allow_pickle=False) as content:
        return {key: row for row, key in enumerate(content["keys"].tolist())}, content["features"]


def _errors(images: TarImages, rows: Iterable[int]) -> Iterator[tuple[int, OSError]]:
    for row in rows:
        try:
            images[row]
        except OSError as error:
            yield row, error


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib features", description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, metavar="FOLDER", help="folder of WebDataset shards (*.tar)")
    parser.add_argument("--encoder", default="efficientnet_lite0", help="default: efficientnet_lite0")
    parser.add_argument("--kind", default="global", choices=KINDS, help="default: global")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="shards at the same time (default: 2)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    options = parser.parse_args(arguments)
    try:
        features = extract_shards(**vars(options))
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(features):,} pictures, features {features.shape[1:]} {features.dtype}: in the cache")
    return 0


if __name__ == "__main__":
    sys.exit(main())
