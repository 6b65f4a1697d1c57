"""Word vectors that others have trained: the files of word2vec (text and binary), GloVe and fastText (.vec)."""

import gzip
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lib.text.embedding import WordVectors

GZIP, FASTTEXT_MODEL = b"\x1f\x8b", (793712314).to_bytes(4, "little")
SAMPLE = 1000  # lines by which the number of dimensions of a GloVe file is known
LONGEST = 1 << 20  # bytes of a line, which holds a word and its vector
CHUNK = 4096  # vectors put together at a time


class FileVectors(WordVectors):
    """Word vectors out of a file: `words` in its order, `vectors` (V, dim) float32. Made by `WordVectors.read`.

    `fit` learns only the weights of tf-idf; `save` and `load` keep all.
    """

    def __init__(self):
        self.dim = 0
        self._learned([], np.zeros((0, 0), dtype=np.float32))

    def _restore(self, arrays: dict[str, np.ndarray], notes: dict) -> None:
        super()._restore(arrays, notes)
        self.dim = self.vectors.shape[1]


def read_vectors(path: str | Path, limit: int | None = None) -> FileVectors:
    """The word vectors of a file, also gzipped, whose kind is told by its content; see `WordVectors.read`."""
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(4)
    if head == FASTTEXT_MODEL:
        raise ValueError(f"{path} is a model of fastText (.bin): its words are read out of the file .vec beside it")
    if head[:2] == b"PK":
        raise ValueError(f"{path} is a zip archive: unpack it (what `save` wrote is read by `load`)")
    with gzip.open(path) if head[:2] == GZIP else path.open("rb") as stream:
        try:
            rows = _rows(stream, path)  # type: ignore[arg-type]  # gzip's files read alike
            return _collected(rows, path, limit)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} cannot be unpacked ({error}); fetch it again") from error


def _rows(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes, np.ndarray]]:
    """Row, word and vector (dim,) of each word; ValueError with the row for what is none."""
    first = stream.readline(LONGEST)
    sizes = first.split()
    if len(sizes) == 2 and all(size.isdigit() and len(size) < 10 for size in sizes):
        count, dim = map(int, sizes)
        if not count or not dim:
            raise ValueError(f"{path}: the first line promises {count} words of {dim} numbers")
        start = stream.tell()
        text = _numbers(stream.readline(LONGEST).split(), dim) is not None
        stream.seek(start)
        read = 0
        rows = _text_rows(stream, path, dim, 2, []) if text else _binary_rows(stream, path, count, dim)
        for row in rows:
            read += 1
            yield row
        if read != count:
            raise ValueError(f"{path}: {read:,} words, not the {count:,} of its first line; fetch it again")
        return
    lines = [first, *(line for line in (stream.readline(LONGEST) for _ in range(SAMPLE)) if line)]
    # A token may have blanks in it (". . ." in glove.840B): most lines have none, so the shortest tells.
    dim = min((len(line.split()) for line in lines if line.strip()), default=0) - 1
    if dim < 1 or _numbers(first.split(), dim) is None:
        raise ValueError(f"{path} has no word vectors: its first line is no word with numbers, and no two sizes")
    yield from _text_rows(stream, path, dim, 1, lines)


def _numbers(fields: list[bytes], dim: int) -> np.ndarray | None:
    """The last `dim` fields as numbers, after at least one that is the word."""
    try:
        vector = np.array([float(field) for field in fields[-dim:]], dtype=np.float32)
    except ValueError:
        return None
    return vector if len(fields) > dim and np.isfinite(vector).all() else None


def _text_rows(
    stream: BinaryIO, path: Path, dim: int, number: int, lines: list[bytes]
) -> Iterator[tuple[int, bytes, np.ndarray]]:
    """Lines `word number number ...`, `lines` first; `number` is the row of the first."""
    while line := (lines.pop(0) if lines else stream.readline(LONGEST)):
        if line.strip():
            vector = _numbers(line.split(), dim)
            if vector is None:
                raise ValueError(f"{path}, row {number}: no word with {dim} finite numbers: {line[:40]!r}")
            yield number, line.rstrip().rsplit(None, dim)[0].strip(), vector
        number += 1


def _binary_rows(stream: BinaryIO, path: Path, count: int, dim: int) -> Iterator[tuple[int, bytes, np.ndarray]]:
    for row in range(1, count + 1):
        word = bytearray()
        while (byte := stream.read(1)) not in (b" ", b"") and len(word) < 10_000:
            word += byte
        raw = stream.read(4 * dim)
        if len(raw) < 4 * dim:
            raise ValueError(f"{path} breaks off in word {row:,} of {count:,}; fetch it again")
        vector = np.frombuffer(raw, dtype="<f4")
        if not np.isfinite(vector).all() or len(word) == 10_000:
            raise ValueError(f"{path}, word {row:,}: no word with {dim} finite numbers: {bytes(word[:40])!r}")
        yield row, bytes(word).lstrip(b"\n"), vector


def _collected(rows: Iterator[tuple[int, bytes, np.ndarray]], path: Path, limit: int | None) -> FileVectors:
    words: dict[str, None] = {}
    parts: list[np.ndarray] = []
    waiting: list[np.ndarray] = []
    left_out = []
    for row, raw, vector in rows:
        word = raw.decode("utf-8", errors="replace")
        if word in words or "\ufffd" in word:
            left_out.append(f"row {row:,} ({word!r} {'is there twice' if word in words else 'is no UTF-8'})")
            continue
        words[word] = None
        waiting.append(vector)
        if len(waiting) == CHUNK:
            parts.append(np.stack(waiting))
            waiting = []
        if limit is not None and len(words) >= limit:
            break
    if not words:
        raise ValueError(f"{path} has no word vectors")
    if left_out:
        warnings.warn(f"{path}: {len(left_out):,} words left out, among them {', '.join(left_out[:3])}", stacklevel=4)
    found = FileVectors()
    found._learned(words, np.concatenate([*parts, *([np.stack(waiting)] if waiting else [])]))
    found.dim = found.vectors.shape[1]
    return found
