"""MATLAB files: small matrices of either format, and pictures out of a large v7.3 file one at a time.

A v7.3 file is HDF5, where MATLAB's axes appear reversed: 224 x 224 x 3 x N is (N, 3, width, height).
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lib.data.images import ImageSequence


@contextmanager
def _opened(path: Path) -> Iterator[Callable[[str | None], Any]]:
    """Give a function that reads a variable (in MATLAB's order of axes), or all names; ValueError names a bad file."""
    import h5py
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    broken = (MatReadError, OSError, ValueError, TypeError, KeyError, IndexError, zlib.error)
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                yield lambda name: [key for key in file if key[0] != "#"] if name is None else _plain(file, name)
        else:
            with path.open("rb") as file:
                if file.read(6) != b"MATLAB":
                    raise ValueError("it does not begin with MATLAB")
            yield (
                lambda name: (
                    [row[0] for row in whosmat(path)] if name is None else loadmat(path, variable_names=[name])[name]
                )
            )
    except broken as error:
        raise ValueError(f"{path} is no MATLAB file or a damaged one ({error}); fetch it again") from error


def _plain(file, name: str) -> np.ndarray:
    """A variable of a v7.3 file; cells, which are references there, as the texts they refer to."""
    import h5py

    stored = file[name]
    if stored.dtype != h5py.ref_dtype:
        return stored[()].T
    return np.array(["".join(map(chr, file[cell][()].ravel())) for cell in stored[()].ravel()])


def variables(path: Path) -> list[str]:
    """Names of the variables in a .mat file; ValueError where it is none."""
    with _opened(path) as read:
        return read(None)


def read_matrix(path: Path, name: str, columns: int) -> np.ndarray:
    """A variable of 0 and 1 as (rows, columns) bool; ValueError where it has other values or another width."""
    with _opened(path) as read:
        matrix = read(name)
    if matrix.ndim != 2 or matrix.shape[1] != columns:
        raise ValueError(f"{path}: {name} is {matrix.shape}, not (pictures, {columns})")
    wrong = np.argwhere((matrix != 0) & (matrix != 1)) if matrix.dtype.kind in "biuf" else np.zeros((1, 2), dtype=int)
    if len(wrong):
        row, column = wrong[0].tolist()
        value = f"{matrix[row, column]!s:.40}"
        raise ValueError(f"{path}: {name} has {value} in row {row + 1}, column {column + 1}, and not only 0 and 1")
    return matrix == 1


def read_names(path: Path, name: str) -> list[str]:
    """A column of strings (an N x 1 cell)."""
    with _opened(path) as read:
        return [str(np.ravel(cell)[0]) for cell in read(name).ravel()]


class MatImages(ImageSequence):
    """Pictures of a v7.3 file, (N, 3, width, height) uint8, of which one at a time is read."""

    def __init__(self, path: Path, name: str, rows: Iterable[int] | None = None):
        import h5py

        self.path, self.name = path, name
        if not h5py.is_hdf5(path):
            raise ValueError(f"{path} is no MATLAB v7.3 file (HDF5), which the pictures of DCMH come in")
        with h5py.File(path) as file:
            shape, dtype = file[name].shape, file[name].dtype
        if len(shape) != 4 or shape[1] != 3 or dtype != np.uint8:
            raise ValueError(f"{path}: {name} is {dtype} {shape}, not uint8 (pictures, 3, width, height)")
        self.rows = list(range(shape[0]) if rows is None else rows)
        self.paths = [Path(f"{path}#{row}") for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, row: int) -> Image.Image:
        """The image of a row; OSError with the row of the file where it cannot be read."""
        return Image.fromarray(self._pixels(row))

    def _pixels(self, i: int) -> np.ndarray:
        import h5py

        try:
            # Opened anew each time: an open HDF5 file does not survive being copied into a worker process.
            with h5py.File(self.path) as file:
                return np.ascontiguousarray(file[self.name][self.rows[i]].transpose(2, 1, 0))
        except (OSError, RuntimeError) as error:
            raise OSError(f"image {i}: row {self.rows[i]} of {self.path} cannot be read ({error})") from error

    def fingerprint(self, row: int) -> str:
        """SHA-256 of the pixels of an image."""
        return hashlib.sha256(self._pixels(row).tobytes()).hexdigest()

    def take(self, rows: Iterable[int]) -> "MatImages":
        """The images of these rows, in this order."""
        return MatImages(self.path, self.name, [self.rows[row] for row in rows])
