"""What all text embeddings share: the calls, the file format, document vectors out of word vectors."""

import difflib
import importlib.metadata
import json
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from lib.base import fit_store
from lib.base.files import atomic_path
from lib.text.tokens import check_texts, check_words, tokenize

Documents = Sequence[Sequence[str]]  # one list of words a text
Texts = Sequence[str | Sequence[str]]


def check_documents(documents: Documents) -> None:
    """Raise TypeError where something is no list of lists of words: of captions one would learn letters."""
    if isinstance(documents, str | bytes):
        raise TypeError(f"fit takes lists of words, not one text: {documents[:40]!r}")
    for row, words in enumerate(documents):
        check_words(words, f"fit takes lists of words; document {row}")


def words_of(text: str | Sequence[str]) -> list[str]:
    """The words of a text: a string goes through `tokenize`, a list of words is taken as it is."""
    return tokenize(text) if isinstance(text, str) else list(text)


class TextEmbedding(ABC):
    """Texts to vectors of `dim` numbers; every embedding of this room has these calls.

    `fit` learns from lists of words. `transform` takes strings, split by `tokenize`, or lists of words: whoever
    trains on other words than those of `tokenize` hands in lists. A text in which nothing is known gets zeros, and
    `empty` is how many of those the last call of `transform` or `query` had. A single unknown word is a KeyError.
    """

    dim: int
    words: Sequence[str] = ()  # the vocabulary, the most frequent first; empty where there is none
    empty: int = 0

    @abstractmethod
    def fit(self, documents: Documents) -> Self:
        """Learn from lists of words, training texts only; ValueError where no word is frequent enough."""

    @abstractmethod
    def transform(self, texts: Texts) -> np.ndarray:
        """Vectors (N, dim) float32 of the texts."""

    @abstractmethod
    def vector(self, word: str) -> np.ndarray:
        """The vector (dim,) float32 of a word; KeyError where it has none."""

    def query(self, texts: Texts, **options) -> np.ndarray:
        """Vectors (N, dim) float32 of texts that ask for something: what `transform` gives, unless documented."""
        return self.transform(texts, **options)

    def matrix(self, words: Sequence[str]) -> np.ndarray:
        """Vectors (len(words), dim) float32; KeyError for a word that has none."""
        check_texts(words, "words")
        return np.array([self.vector(word) for word in words], dtype=np.float32).reshape(-1, self.dim)

    def neighbours(
        self, query: str | np.ndarray, among: Sequence[str], n: int = 10, without: Iterable[str] = ()
    ) -> list[tuple[str, float]]:
        """The `n` words of `among` with the highest cosine to a word or a vector (dim,), and these cosines.

        The word itself and those of `without` are left out; a word whose vector is zero has cosine 0.
        """
        check_texts(among, "among")
        check_texts(without, "without")
        left_out = {*without, query} if isinstance(query, str) else set(without)
        vector = self.vector(query) if isinstance(query, str) else np.asarray(query)
        words = [word for word in among if word not in left_out]
        vectors = self.matrix(words)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
        cosines = (vectors @ vector) / np.where(length > 0, length, 1)
        return [(words[i], float(cosines[i])) for i in np.argsort(-cosines, kind="stable")[:n]]

    # ------------------------------------------------------------------------------------------------ files
    def _kept(self, documents: Documents, train: Callable[[Documents], None]) -> None:
        """Learn by `train`, or take what the same training gave before (`lib.base.fit_store`)."""
        import torch

        check_documents(documents)
        texts = "\n".join("\t".join(words) for words in documents)
        versions = [importlib.metadata.version(package) for package in ("gensim", "scikit-learn")]
        with fit_store.keeping(torch.device("cpu"), embedding=self, texts=texts, versions=versions) as place:
            if place.outcome is None:
                train(documents)
                arrays, notes = self._state()
                tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
                place.finish({"arrays": tensors, "notes": json.dumps(notes)})
            else:
                arrays = {name: tensor.numpy() for name, tensor in place.outcome["arrays"].items()}
                self._restore(arrays, json.loads(place.outcome["notes"]))

    def _state(self) -> tuple[dict[str, np.ndarray], dict]:
        """What was learned, as arrays and as things that JSON can hold."""
        return {}, {}

    def _restore(self, arrays: dict[str, np.ndarray], notes: dict) -> None:  # noqa: B027 - nothing to take back here
        """Take back what `_state` gave."""

    def save(self, path: str | Path) -> None:
        """Write settings and what was learned to one file: numpy arrays and a header in JSON, no pickle."""
        arrays, notes = self._state()
        settings: dict = {f.name: getattr(self, f.name) for f in fields(self) if f.init} if is_dataclass(self) else {}
        header = {"embedding": type(self).__name__, "settings": settings, "notes": notes}
        packed = np.frombuffer(json.dumps(header, ensure_ascii=False).encode(), dtype=np.uint8)
        content: dict[str, Any] = {"header": packed, **arrays}
        with atomic_path(Path(path)) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, **content)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` of the same class wrote; ValueError where the file is something else."""
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError(
                    f"{path} is no embedding written by {cls.__name__}.save; the files of word2vec, GloVe and fastText "
                    "are read by WordVectors.read"
                )
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            header = json.loads(arrays.pop("header").tobytes())
        except (zipfile.BadZipFile, ValueError, KeyError, AttributeError, TypeError, EOFError) as error:
            raise ValueError(f"{path} is no embedding written by {cls.__name__}.save ({error})") from error
        if header["embedding"] != cls.__name__:
            raise ValueError(f"{path} holds an embedding of class {header['embedding']}, not {cls.__name__}")
        embedding = cls(**header["settings"])
        embedding._restore(arrays, header["notes"])
        return embedding


def frequent_words(documents: Documents, min_count: int, name: str) -> dict[str, int]:
    """Words that occur at least `min_count` times, and how often: most frequent first, equals by the alphabet."""
    counts = Counter(word for document in documents for word in document)
    kept = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
    if not kept:
        raise ValueError(
            f"{name}: none of the {len(counts):,} words of {len(documents):,} texts occurs {min_count} times; "
            "lower min_count or bring more text"
        )
    return {word: counts[word] for word in kept}


class WordVectors(TextEmbedding):
    """An embedding whose document vector is a weighted sum of one vector a word.

    A subclass sets `words` and `vectors` (V, dim) in `_train`.
    """

    vectors: np.ndarray
    documents: int = 0  # texts that `fit` saw
    frequency: dict[str, int]  # in how many of them each known word occurs

    @staticmethod
    def read(path: str | Path, limit: int | None = None) -> "WordVectors":
        """Word vectors of others: word2vec (text or binary), GloVe or fastText (.vec), also gzipped; told by content.

        `limit` takes the first words alone, which are the most frequent ones. Words that are there twice or are no
        UTF-8 are left out with a warning that names them.

        Raises:
            ValueError: something else, a damaged file or one that breaks off; the message names file and row.
            FileNotFoundError: no such file.
        """
        from lib.text.vector_files import read_vectors

        return read_vectors(path, limit)

    def _train(self, documents: Documents) -> None:
        """Learn the vectors; a pretrained embedding has nothing to do."""

    def fit(self, documents: Documents) -> Self:
        """Learn the vectors, and in how many texts each word occurs: the weights of "tfidf" need it."""
        check_documents(documents)
        if type(self)._train is not WordVectors._train:
            self._kept(documents, self._train)
        self.documents = len(documents)
        seen = Counter(word for document in documents for word in dict.fromkeys(document))
        self.frequency = {word: count for word, count in seen.items() if word in self}
        return self

    @cached_property
    def _row(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.words)}

    def _learned(self, words: Iterable[str], vectors: np.ndarray) -> None:
        self.words, self.vectors = list(words), np.ascontiguousarray(vectors, dtype=np.float32)
        self.__dict__.pop("_row", None)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._row

    def vector(self, word: str) -> np.ndarray:
        """The vector (dim,) float32 of a word; KeyError with words spelt alike where there is none."""
        return self.matrix([word])[0]

    def matrix(self, words: Sequence[str]) -> np.ndarray:
        """Vectors (len(words), dim) float32; KeyError for a word that has none."""
        check_texts(words, "words")
        for word in words:
            if word not in self:
                alike = difflib.get_close_matches(word.lower(), self.words[:50_000], n=3, cutoff=0.75)
                hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
                raise KeyError(f"{type(self).__name__} has no vector for {word!r}{hint}")
        return self._vectors_of(words).astype(np.float32, copy=False).reshape(-1, self.dim)

    def _vectors_of(self, words: Sequence[str]) -> np.ndarray:
        """Vectors of words that are all known."""
        return np.asarray(self.vectors[[self._row[word] for word in words]])

    def _known(self, text: str | Sequence[str]) -> list[str]:
        return [word for word in words_of(text) if word in self]

    def transform(self, texts: Texts, weights: str = "mean") -> np.ndarray:
        """Document vectors (N, dim) float32: sums of the vectors of the known words, weighted by

        - "mean": 1 / number of known words in the text;
        - "tfidf": count in the text x log(texts / texts with the word), scaled to length 1 a text, as gensim's
          TfidfModel does; the numbers of texts are those of `fit` (ValueError before it), and a word that `fit` did
          not see counts as seen once. A text whose words all occur in every text gets zeros, too.
        """
        if weights not in ("mean", "tfidf"):
            raise ValueError(f"weights is {weights!r}, not 'mean' or 'tfidf'")
        if weights == "tfidf" and not self.documents:
            raise ValueError(f"{type(self).__name__}: weights='tfidf' needs the texts of the corpus; call fit first")
        check_texts(texts, words=True)
        counts, words = count_matrix([self._known(text) for text in texts])
        if weights == "tfidf":
            counts = tfidf(counts, [self.frequency.get(word, 1) for word in words], self.documents)
        else:
            _scale_rows(counts, power=1)
        self.empty = int((np.diff(counts.indptr) == 0).sum())
        return (counts @ self.matrix(words).astype(np.float64)).astype(np.float32)

    def _state(self) -> tuple[dict[str, np.ndarray], dict]:
        return {"vectors": self.vectors}, {"words": list(self.words), **self._weights()}

    def _weights(self) -> dict:
        return {"documents": self.documents, "frequency": getattr(self, "frequency", {})}

    def _restore(self, arrays: dict[str, np.ndarray], notes: dict) -> None:
        self.documents, self.frequency = notes["documents"], notes["frequency"]
        if "vectors" in arrays:
            self._learned(notes["words"], arrays["vectors"])


def count_matrix(documents: Documents):
    """How often each word occurs in each text: a scipy CSR array (N, W) float64, and the W distinct words."""
    import scipy.sparse

    column: dict[str, int] = {}
    indices = [column.setdefault(word, len(column)) for document in documents for word in document]
    starts = np.concatenate([[0], np.cumsum([len(document) for document in documents], dtype=np.int64)])
    shape = (len(documents), len(column))
    counts = scipy.sparse.csr_array((np.ones(len(indices)), np.array(indices, dtype=np.int64), starts), shape=shape)
    counts.sum_duplicates()
    return counts, list(column)


def tfidf(counts, frequency: Sequence[int] | np.ndarray, documents: int):
    """Counts (N, W) x log(documents / frequency), each row scaled to length 1; zeros are taken out."""
    counts = counts.copy()
    counts.data *= np.log(documents / np.maximum(frequency, 1))[counts.indices]
    counts.eliminate_zeros()
    _scale_rows(counts, power=2)
    return counts


def _scale_rows(counts, power: int) -> None:
    """Divide each row by its p-norm, in place; rows without entries stay."""
    sizes = np.diff(counts.indptr)
    if counts.nnz:
        sums = np.add.reduceat(np.abs(counts.data) ** power, counts.indptr[:-1][sizes > 0])
        counts.data /= np.repeat(sums ** (1 / power), sizes[sizes > 0])
