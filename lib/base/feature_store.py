"""Features on disk, one row per content (a picture, a text), computed once and read memory-mapped.

A store is a folder of three files:

    meta.json   shape and dtype of a row
    rows.bin    the rows one behind the other
    keys.npy    (n, 20) uint8: the beginning of the SHA-256 of the content each row belongs to, and the row's CRC-32

The keys are what counts. They are written to a temporary name and renamed after the rows they stand for are on disk,
so whatever interrupts a writer, the first n rows are complete; rows behind them are overwritten by the next writer.
A row is only given out if it has its checksum (a second for some gigabytes). One that has not is said, and computed
and written anew in its place: interrupted there, it is found again.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lib.base.files import atomic_path

KEY_BYTES, SUM_BYTES = 16, 4

Compute = Callable[[list[int]], Iterable[tuple[list[int], np.ndarray]]]


class FeatureStore:
    """Rows of features in `folder`, found by the fingerprint (hexadecimal SHA-256) of what they were computed from."""

    commit_every = 1024  # rows that a killed process loses at most

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._meta, self._keys, self._rows = (self.folder / name for name in ("meta.json", "keys.npy", "rows.bin"))
        self.refresh()

    def refresh(self) -> None:
        """Read what is on disk now; RuntimeError naming the folder where it is damaged."""
        self.shape: tuple[int, ...] | None = None  # of a row; None before there is one
        self.dtype = np.dtype(np.float32)
        self.keys, self.row_of = _key_array([]), {}  # keys with their checksums
        if not self._keys.exists():
            return
        try:
            meta = json.loads(self._meta.read_text(encoding="utf-8"))
            self.shape, self.dtype = tuple(meta["shape"]), np.dtype(meta["dtype"])
            self.keys = np.load(self._keys, allow_pickle=False)
            there = self._rows.stat().st_size
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise self._damaged(str(error)) from error
        if self.keys.dtype != np.uint8 or self.keys.shape != (len(self.keys), KEY_BYTES + SUM_BYTES):
            raise self._damaged(f"{self._keys.name} is {self.keys.dtype} of shape {self.keys.shape}")
        needed = len(self.keys) * self._row_bytes
        if there < needed:
            raise self._damaged(f"rows.bin has {there} bytes, {len(self.keys)} rows need {needed}")
        self.row_of = {key.tobytes(): row for row, key in enumerate(self.keys[:, :KEY_BYTES])}

    def _damaged(self, why: str) -> RuntimeError:
        return RuntimeError(f"damaged feature cache ({why}): delete the folder {self.folder} and run again")

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.shape or (), dtype=np.int64)) * self.dtype.itemsize

    def get(self, fingerprints: Sequence[str], compute: Compute) -> np.ndarray:
        """Rows (N, *shape) in the order asked for, read-only; `compute` is called for those that are not there.

        `compute` takes positions in `fingerprints` and yields batches: positions and their features (B, *shape). It is
        also called for rows that have changed on disk since they were written; how many these are is printed.
        Raises RuntimeError naming the folder where it is damaged beyond that.
        """
        if self._missing(fingerprints):
            with self._writing():
                missing = self._missing(fingerprints)  # another process may have written them meanwhile
                if missing:
                    self._append(([fingerprints[i] for i in batch], rows) for batch, rows in compute(missing))
            if missing := self._missing(fingerprints):
                raise RuntimeError(f"{len(missing)} rows were not computed, the first is {fingerprints[missing[0]]}")
        if self._changed(fingerprints):
            with self._writing():
                changed = self._changed(fingerprints)
                if changed:
                    print(f"feature cache {self.folder}: {len(changed)} damaged rows are computed anew", flush=True)
                    self._renew(self._places(fingerprints), compute(changed))
            if self._changed(fingerprints):
                raise self._damaged("rows are not as they were written, also when they are written anew")
        return self._read(fingerprints)

    def _missing(self, fingerprints: Sequence[str]) -> list[int]:
        # Equal contents in one call each get a row: the rows of a corpus then follow each other as its images do.
        return [i for i, fingerprint in enumerate(fingerprints) if _key(fingerprint) not in self.row_of]

    def _places(self, fingerprints: Sequence[str]) -> Sequence[int]:
        """The row of each; a range where they lie one behind the other in that order, as those of a corpus do."""
        wanted = np.frombuffer(b"".join(map(_key, fingerprints)), dtype=np.uint8).reshape(-1, KEY_BYTES)
        keys = self.keys[:, :KEY_BYTES]
        for start in np.flatnonzero((keys == wanted[0]).all(1)).tolist():
            if np.array_equal(keys[start : start + len(wanted)], wanted):
                return range(start, start + len(wanted))
        return [self.row_of[_key(fingerprint)] for fingerprint in fingerprints]

    def _stored(self) -> np.ndarray:
        return np.memmap(self._rows, self.dtype, "r", shape=(len(self.keys), *(self.shape or ())))

    def _changed(self, fingerprints: Sequence[str]) -> list[int]:
        """Positions of those whose row has not the checksum it was written with, each row once."""
        stored, position = self._stored(), dict[int, int]()
        for i, row in enumerate(self._places(fingerprints)):
            position.setdefault(row, i)
        return [i for row, i in position.items() if _sum(stored[row]) != self.keys[row, KEY_BYTES:].tobytes()]

    def _read(self, fingerprints: Sequence[str]) -> np.ndarray:
        """A memory map where the rows lie one behind the other, else a copy."""
        stored, places = self._stored(), self._places(fingerprints)
        if isinstance(places, range):
            return stored[places.start : places.stop]
        features = np.asarray(stored)[places]
        features.flags.writeable = False
        return features

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the only right to append; what another process wrote before is seen inside."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=1)
        except Timeout:
            print(f"waiting for another process that writes features into {self.folder}", flush=True)
            lock.acquire()
        try:
            self.refresh()
            yield
        finally:
            lock.release()

    def _append(self, batches: Iterable[tuple[list[str], np.ndarray]]) -> None:
        """Add (fingerprints, features) batches, inside `_writing`; what came before an exception is kept."""
        keys = [key.tobytes() for key in self.keys]
        committed = len(keys)
        with self._rows.open("r+b" if self._rows.exists() else "w+b") as file:
            try:
                for fingerprints, features in batches:
                    rows = self._as_stored(features)
                    file.seek(len(keys) * self._row_bytes)
                    file.write(rows.data)
                    keys += [_key(name) + _sum(row) for name, row in zip(fingerprints, rows, strict=True)]
                    if len(keys) - committed >= self.commit_every:
                        self._commit(file, keys)
                        committed = len(keys)
            finally:
                if len(keys) > committed:
                    self._commit(file, keys)
        self.refresh()

    def _renew(self, places: Sequence[int], batches: Iterable[tuple[list[int], np.ndarray]]) -> None:
        """Write (positions, features) batches over what is in their places, inside `_writing`."""
        keys = [key.tobytes() for key in self.keys]
        with self._rows.open("r+b") as file:
            try:
                for positions, features in batches:
                    for i, row in zip(positions, self._as_stored(features), strict=True):
                        file.seek(places[i] * self._row_bytes)
                        file.write(row.data)
                        keys[places[i]] = keys[places[i]][:KEY_BYTES] + _sum(row)
            finally:
                self._commit(file, keys)
        self.refresh()

    def _as_stored(self, features: np.ndarray) -> np.ndarray:
        self._describe(features)
        return np.ascontiguousarray(features, dtype=self.dtype)

    def _describe(self, features: np.ndarray) -> None:
        if self.shape is None:
            self.shape, self.dtype = features.shape[1:], features.dtype
            with atomic_path(self._meta) as temporary:
                temporary.write_text(json.dumps({"shape": self.shape, "dtype": self.dtype.name}), encoding="utf-8")
        elif features.shape[1:] != self.shape:
            raise self._damaged(f"its rows are {self.shape}, the new ones {features.shape[1:]}")

    def _commit(self, file, keys: list[bytes]) -> None:
        file.flush()
        os.fsync(file.fileno())
        with atomic_path(self._keys) as temporary, temporary.open("wb") as keys_file:
            np.save(keys_file, _key_array(keys))


def _key_array(keys: Iterable[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES + SUM_BYTES)


def _key(fingerprint: str) -> bytes:
    return bytes.fromhex(fingerprint[: 2 * KEY_BYTES])


def _sum(row: np.ndarray) -> bytes:
    return zlib.crc32(row.data).to_bytes(SUM_BYTES, "big")
