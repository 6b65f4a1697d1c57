"""What training gave, kept under the hash of all that decided it; so nothing is trained twice, and no fit is lost.

A fit is a pure function of its model with initial weights, data, objective, settings, device, the versions of torch and
numpy, and of the code of all these. `keeping` gives the place of one fit: its outcome if it was reached before, the
progress of a process that was stopped, and a way to write both. The folder is `cache_dir("fits")`; a file is named by
the hash, so none can be taken for another's, and carries a checksum.

The variable LIB_FITS says what is done: `on` (the default), `fresh` (train all anew and keep that), `off`. A block of
code that measures time trains `with fit_store.measuring()`.

    python -m lib fits                  # how many are kept, and how large they are
    python -m lib fits --prune 2GB      # deletes those that were not used for longest
"""

import argparse
import contextlib
import os
import platform
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.base import checkpoint
from lib.base.files import cache_dir
from lib.base.identity import CodeChanged, identity

PAUSE = 20.0  # seconds between two writes of progress, at least
PART = 50  # and so many times as long as a write takes: 2 % of the time goes into writing
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

_counts: Counter[str] = Counter()


def counts() -> dict[str, int]:
    """Return how many fits of this process were taken from the store, resumed, and trained from their beginning."""
    return {kind: _counts[kind] for kind in ("taken", "resumed", "trained")}


@contextlib.contextmanager
def measuring() -> Iterator[None]:
    """Train whatever is fitted in this block anew and keep nothing of it: for measurements of time."""
    before = os.environ.get("LIB_FITS")
    os.environ["LIB_FITS"] = "off"
    try:
        yield
    finally:
        if before is None:
            del os.environ["LIB_FITS"]
        else:
            os.environ["LIB_FITS"] = before


class Place:
    """Where one fit is kept.

    Attributes:
        outcome: what `finish` was given in an earlier run, or None.
        progress: what `keep` wrote last in a run that did not finish, or None.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self.outcome: dict | None = None
        self.progress: dict | None = None
        self._next = time.monotonic() + PAUSE

    def due(self) -> bool:
        """Return whether it is time to `keep` the progress."""
        return self._path is not None and time.monotonic() >= self._next

    def keep(self, state: dict) -> None:
        """Write the progress; a process that is killed later goes on from here."""
        if self._path is not None:
            began = time.monotonic()
            checkpoint.save(self._path.with_suffix(".part"), state)
            now = time.monotonic()
            self._next = now + max(PAUSE, PART * (now - began))

    def finish(self, outcome: dict) -> None:
        """Write the outcome; the progress is no longer needed."""
        if self._path is not None:
            checkpoint.save(self._path, outcome)
            self._path.with_suffix(".part").unlink(missing_ok=True)


@contextlib.contextmanager
def keeping(device: torch.device, **parts: Any) -> Iterator[Place]:
    """Give the place of the fit that `parts` decide; another process that trains the same is waited for.

    Args:
        device: that the fit runs on; a GPU's name counts, because its rounding is its own.
        parts: all that decides the outcome, by name.

    Raises:
        ValueError: LIB_FITS is none of on, fresh, off.
        NoIdentity: a part that cannot be hashed.
    """
    mode = os.environ.get("LIB_FITS") or "on"
    if mode not in ("on", "fresh", "off"):
        raise ValueError(f"LIB_FITS is {mode!r}: on, fresh or off")
    key = _key(device, parts) if mode != "off" else None
    if key is None:
        _counts["trained"] += 1
        yield Place(None)
        return
    path = cache_dir("fits", key[:2]) / f"{key}.pt"
    with _alone(path):
        place = Place(path)
        if mode == "on":
            place.outcome, place.progress = _read(path), _read(path.with_suffix(".part"))
        if place.outcome is not None:
            os.utime(path)  # so that pruning knows what is in use
        _counts["taken" if place.outcome else "resumed" if place.progress else "trained"] += 1
        yield place


def _key(device: torch.device, parts: dict) -> str | None:
    """The hash of a fit, None where the code on disk is no longer the one that runs."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    made_with = [platform.python_version_tuple()[:2], torch.__version__, np.__version__, kind]
    try:
        return identity(made_with, parts)
    except CodeChanged as error:
        print(f"{error}: this fit is trained and not kept; start the process again", flush=True)
        return None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print("waiting for another process that trains the same model on the same data", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        # Who already waits for the old file trains beside the next one; both write the same outcome.
        path.with_suffix(".lock").unlink(missing_ok=True)


def _read(path: Path) -> dict | None:
    try:
        return checkpoint.load(path)
    except checkpoint.Damaged as error:
        print(f"{error.what}: it is made anew", flush=True)
        path.unlink()
        return None


def prune(largest: int) -> tuple[int, int]:
    """Delete kept fits, those first that were not used for longest, until at most `largest` bytes are left.

    Returns:
        How many were deleted, and the bytes that are left.
    """
    files = sorted(_files(), key=lambda path: path.stat().st_mtime)
    left, deleted = sum(path.stat().st_size for path in files), 0
    for path in files:
        if left <= largest:
            break
        left -= path.stat().st_size
        path.unlink()
        deleted += 1
    return deleted, left


def _files() -> list[Path]:
    return [path for path in cache_dir("fits").glob("*/*") if path.suffix in (".pt", ".part")]


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)?", text.strip().upper())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write it like 500MB or 2GB")
    return int(float(match[1]) * UNITS[match[2] or "B"])


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib fits", description="Shows or prunes what training has kept.")
    parser.add_argument("--prune", type=_bytes, metavar="SIZE", help="keep at most so much, e.g. 2GB; 0 deletes all")
    options = parser.parse_args(arguments)
    if options.prune is not None:
        deleted, left = prune(options.prune)
        print(f"{deleted:,} fits deleted, {left / 1e6:,.1f} MB left")
        return 0
    files = _files()
    done = sum(path.suffix == ".pt" and not path.name.startswith(".") for path in files)
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"{done:,} fits kept, {len(files) - done:,} begun, {size:,.1f} MB in {cache_dir('fits')}")
    return 0
