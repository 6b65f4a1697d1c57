"""An index over embeddings: the nearest items of a query by cosine, exact or approximate (faiss)."""

import hashlib
import json
import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.base.files import atomic_path

VECTORS_A_CELL = 250  # sets the number of cells; k-means needs about 40 vectors a cell to place one
TRAINING_A_CELL = 50  # vectors that k-means sees for each cell
PROBES, SHARE_PROBED = 32, 1 / 32  # cells that a query looks into: so many at least, and this share of all


class Index:
    """Items that can be found by their vectors; scores are cosines, because every vector is scaled to length 1.

    Args:
        vectors: (N, D), one an item.
        ids: N different ids, texts or integers; None: the rows 0 to N - 1.
        approximate: False compares a query with all vectors (float32, 4 D bytes an item). True sorts the vectors into
            cells by k-means and compares with those of the nearest cells only ("inverted file", Sivic and Zisserman,
            ICCV 2003), each number kept in one byte (D + 16 bytes an item).
        probes: cells that a query looks into, of an approximate index; None: one in 32, and at least 32. More finds
            more and takes longer; the attribute can be changed at any time.

    Raises:
        ValueError: no vectors, not one id a vector, an id twice, a vector that is zero or not finite, too few vectors
            for an approximate index.
    """

    _faiss: Any  # an index of faiss, whose types do not know what its kinds have

    def __init__(
        self,
        vectors: np.ndarray,
        ids: Sequence[Hashable] | None = None,
        *,
        approximate: bool = False,
        probes: int | None = None,
    ):
        import faiss

        vectors = _unit(vectors, "vectors")
        if len(vectors) == 0:
            raise ValueError("an index needs at least one vector, got none")
        self._name(list(range(len(vectors)) if ids is None else ids), len(vectors))
        dim = vectors.shape[1]
        if approximate:
            cells = 2 ** round(math.log2(max(1, len(vectors) / VECTORS_A_CELL)))
            if len(vectors) < 40 * cells or cells < 4:
                raise ValueError(f"{len(vectors):,} vectors are too few for an approximate index; an exact one is fast")
            self._faiss = faiss.index_factory(dim, f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
            self._faiss.cp.spherical = True  # centres of length 1, as all vectors have
            self._faiss.cp.max_points_per_centroid = TRAINING_A_CELL
            some = np.random.default_rng(0).permutation(len(vectors))[: TRAINING_A_CELL * cells]
            self._faiss.train(vectors[np.sort(some)])
        else:
            self._faiss = faiss.IndexFlatIP(dim)
        self._faiss.add(vectors)
        self._set_up(probes)

    def _name(self, ids: list, count: int) -> None:
        if len(ids) != count:
            raise ValueError(f"{count:,} vectors but {len(ids):,} ids")
        self.ids, self._row = ids, {id_: row for row, id_ in enumerate(ids)}
        if len(self._row) != count:
            twice = next(id_ for row, id_ in enumerate(ids) if self._row[id_] != row)
            raise ValueError(f"the id {twice!r} stands for more than one vector")

    def _set_up(self, probes: int | None) -> None:
        self.approximate = hasattr(self._faiss, "nlist")
        self.cells = self._faiss.nlist if self.approximate else 1
        self.probes = min(self.cells, max(PROBES, round(self.cells * SHARE_PROBED))) if probes is None else probes
        if self.approximate:
            self._faiss.make_direct_map()  # finds the vector of a row

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """D, the length of the vectors."""
        return self._faiss.d

    def search(self, queries: np.ndarray, k: int = 10, among: np.ndarray | None = None):
        """The k nearest items of each query: (cosines (Q, k) float32, rows (Q, k) int64), best first.

        queries: (Q, D); among: bool (N,), the items that may be found, all by default. A row is the place of an item
        in `ids`. Where the probed cells hold too few items, the query looks into all of them.
        Raises ValueError for another D, a zero vector, a mask of another length, k below 1 or beyond the items.
        """
        queries = _unit(queries, "queries")
        if queries.shape[1] != self.dim:
            raise ValueError(f"queries have {queries.shape[1]} dimensions, the index has {self.dim}")
        if among is not None and (np.shape(among) != (len(self),) or np.asarray(among).dtype != bool):
            raise ValueError(f"among must be bool ({len(self)},), got {np.asarray(among).dtype} {np.shape(among)}")
        items = len(self) if among is None else int(np.sum(among))
        if not 1 <= k <= items:
            raise ValueError(f"k must be from 1 to the {items:,} items to choose from, not {k}")
        cosines, rows = self._search(queries, k, among, min(self.probes, self.cells))
        short = (rows < 0).any(1)
        if short.any():
            cosines[short], rows[short] = self._search(queries[short], k, among, self.cells)
        return cosines, rows

    def _search(self, queries: np.ndarray, k: int, among: np.ndarray | None, probes: int):
        import faiss

        options: dict[str, Any] = {} if among is None else {"sel": faiss.IDSelectorBatch(np.flatnonzero(among))}
        settings: Any
        if self.approximate:
            settings = faiss.SearchParametersIVF(**options)
            settings.nprobe = probes
        else:
            settings = faiss.SearchParameters(**options) if options else None
        return self._faiss.search(queries, k, params=settings)

    def row(self, id_: Hashable) -> int:
        """The row of an id; KeyError where there is none."""
        if id_ not in self._row:
            raise KeyError(f"no item has the id {id_!r}; the {len(self):,} ids begin with {self.ids[:3]}")
        return self._row[id_]

    def vector(self, id_: Hashable) -> np.ndarray:
        """The unit vector (D,) float32 of an item (rounded in an approximate index); KeyError for an unknown id."""
        return self._faiss.reconstruct(self.row(id_))

    def neighbours(self, id_: Hashable, k: int = 10) -> list[tuple[Hashable, float]]:
        """The k items nearest to an item, itself left out, with their cosines. Raises KeyError for an unknown id."""
        row = self.row(id_)
        if not 1 <= k < len(self):
            raise ValueError(f"k must be from 1 to the {len(self) - 1:,} other items, not {k}")
        others = np.arange(len(self)) != row
        cosines, rows = self.search(self._faiss.reconstruct(row)[None], k, others)
        return [(self.ids[r], float(c)) for r, c in zip(rows[0], cosines[0], strict=True)]

    def save(self, folder: str | Path) -> dict[str, str]:
        """Write `vectors.faiss` and `index.json` (ids, settings, checksum) into a folder; no reader sees half of one.

        Returns the SHA-256 of both by name, with which `load` tells whether they are the ones that were written.
        Raises TypeError for ids that JSON does not keep (they must be texts or integers), OSError for a full disk.
        """
        import faiss

        kinds = {type(id_).__name__ for id_ in self.ids} - {"str", "int"}
        if kinds:
            raise TypeError(f"ids are saved as JSON and must be texts or integers, not {', '.join(sorted(kinds))}")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "vectors.faiss") as path:
            try:
                faiss.write_index(self._faiss, str(path))
            except RuntimeError as error:  # faiss has no other kind, also for a full disk
                raise OSError(f"{folder / 'vectors.faiss'} could not be written: {error}") from error
            checksum = _checksum(path)
        content = {"probes": self.probes, "sha256": checksum, "ids": self.ids}
        with atomic_path(folder / "index.json") as path:
            path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
            return {"vectors.faiss": checksum, "index.json": _checksum(path)}

    @classmethod
    def load(cls, folder: str | Path, checksums: dict[str, str] | None = None) -> "Index":
        """Read what `save` wrote; `checksums`: what it returned, where that was kept.

        Raises FileNotFoundError where there is none, ValueError where a file is damaged or the two do not fit.
        """
        import faiss

        vectors, settings = Path(folder) / "vectors.faiss", Path(folder) / "index.json"
        for path in (vectors, settings):
            if not path.is_file():
                raise FileNotFoundError(f"{path} does not exist: {folder} holds no saved index")
        for name, checksum in (checksums or {}).items():
            if _checksum(Path(folder) / name) != checksum:
                raise ValueError(f"{Path(folder) / name} is damaged: its checksum differs; save the index again")
        try:
            content = json.loads(settings.read_text(encoding="utf-8"))
            fits = _checksum(vectors) == content["sha256"] and isinstance(content["ids"], list) and content["probes"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{settings} is damaged ({error}); save the index again") from error
        if not fits:
            raise ValueError(f"{vectors} is not the file that {settings.name} belongs to; save the index again")
        index = cls.__new__(cls)
        index._faiss = faiss.read_index(str(vectors))
        index._name(content["ids"], index._faiss.ntotal)
        index._set_up(content["probes"])
        return index


def _checksum(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unit(vectors: np.ndarray, name: str) -> np.ndarray:
    """(N, D) float32 copies of length 1."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2:
        raise ValueError(f"{name} must be (N, D), got shape {vectors.shape}")
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise ValueError(f"row {bad[0]} of {name} is zero or not finite: it has no direction")
    return np.ascontiguousarray(vectors / lengths[:, None].astype(np.float32), dtype=np.float32)
