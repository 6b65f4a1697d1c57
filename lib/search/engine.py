"""A collection that can be searched: pictures, a joint space, an index, and queries as people type them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from lib.base.files import atomic_path
from lib.data import Corpus, cache_dir
from lib.models import JointEmbedding
from lib.search import space
from lib.search.index import Index
from lib.search.query import QueryError, Term, compose, parse
from lib.systems import frozen
from lib.systems.frozen import TEXTS, frozen_features, frozen_pairs, linear_model

LARGE = 100_000  # pictures from which on an approximate index pays


@dataclass(frozen=True)
class Hit:
    """A picture that was found: its row in the corpus, id, name, split, and the cosine with the query."""

    row: int
    id: str
    name: str
    split: str
    score: float


class Engine:
    """Searches a corpus with the language of `lib.search.query`.

    Args:
        corpus: the pictures.
        model: maps image features and MiniLM vectors into one space.
        index: the pictures in that space; its ids are the corpus's.
        covariance: (D, D) of the pictures' unit vectors, see `compose`; None adds plain unit vectors.
        device: of the sentence encoder.
    """

    def __init__(
        self,
        corpus: Corpus,
        model: JointEmbedding,
        index: Index,
        covariance: np.ndarray | None = None,
        device: str = "auto",
    ):
        if list(index.ids) != list(corpus.image_ids):
            raise ValueError("the index is of other pictures than the corpus, or of another order")
        self.corpus, self.index, self.covariance, self.device = corpus, index, covariance, device
        self.model = model.cpu().eval()

    @classmethod
    def of(cls, corpus: Corpus, device: str = "auto", say: Callable[[str], None] = lambda text: None) -> "Engine":
        """The engine of a corpus: learned on its training pictures the first time, then read from data/cache/search.

        say: is told what is being done, one line at a time.
        """
        # What was learned depends on the pictures and texts, and on how it is learned.
        recipe = b"".join(Path(str(part.__file__)).read_bytes() for part in (space, frozen))
        recipe += corpus.fingerprint().encode()
        folder = cache_dir("search", f"{corpus.name}-{hashlib.sha256(recipe).hexdigest()[:12]}")
        if not (folder / "space.pt").is_file():
            say(f"reading {len(corpus):,} pictures and their words")
            train = frozen_pairs(corpus, "train", TEXTS, device=device)
            has_val = (corpus.split == "val").any()
            val = frozen_pairs(corpus, "val", TEXTS, device=device) if has_val else None
            say(f"learning a joint space from {len(train):,} texts")
            model = space.learn_space(train, val, device=device)
            vectors = space.image_vectors(model, frozen_features(corpus, device)).numpy()
            Index(vectors, corpus.image_ids, approximate=len(corpus) >= LARGE).save(folder)
            state = {"model": model.state_dict(), "covariance": torch.from_numpy(np.cov(vectors.T))}
            with atomic_path(folder / "space.pt") as path:  # written last: its presence says that all is there
                torch.save(state, path)
        state = torch.load(folder / "space.pt", weights_only=True)
        sizes = [state["model"][f"{side}.1.weight"].shape for side in ("image", "sentence")]
        model = linear_model(sizes[0][1], sizes[1][1], sizes[0][0])
        model.load_state_dict(state["model"])
        say(f"ready: {len(corpus):,} pictures")
        return cls(corpus, model, Index.load(folder), state["covariance"].numpy(), device)

    @cached_property
    def _minilm(self):
        from lib.text.transformer import MiniLM

        return MiniLM(device=self.device)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (n, D) float32 of texts in the joint space."""
        vectors = self._minilm.transform(list(texts), cache=False)
        return self.model.encode_sentences(torch.from_numpy(vectors)).numpy()

    def compose(self, query: str | Sequence[Term]) -> np.ndarray:
        """The vector (D,) of a query. Raises QueryError for one that cannot be read or names an unknown picture."""
        terms = parse(query) if isinstance(query, str) else list(query)
        words = [term.text for term in terms if not term.picture]
        of_words = iter(self.encode(words)) if words else iter(())
        try:
            vectors = [self.index.vector(term.text) if term.picture else next(of_words) for term in terms]
            return compose(np.stack(vectors), [term.weight for term in terms], self.covariance)
        except KeyError as error:
            raise QueryError(f"there is no such picture: {error.args[0]}") from error
        except ValueError as error:
            raise QueryError(str(error)) from error

    def search(self, query: str | Sequence[Term], k: int = 12, among: np.ndarray | None = None) -> list[Hit]:
        """The k best pictures, best first; those that the query names are left out.

        query: typed, or its terms; among: bool (N,), the pictures that may be found.
        Raises QueryError (see `compose`), ValueError for more pictures than there are.
        """
        terms = parse(query) if isinstance(query, str) else list(query)
        vector = self.compose(terms)
        allowed = np.ones(len(self.corpus), dtype=bool) if among is None else among.copy()
        allowed[[self.index.row(term.text) for term in terms if term.picture]] = False
        cosines, rows = self.index.search(vector[None], k, None if allowed.all() else allowed)
        return [self.hit(int(row), float(cosine)) for row, cosine in zip(rows[0], cosines[0], strict=True)]

    def hit(self, row: int, score: float) -> Hit:
        """The entry of one picture."""
        corpus, id_ = self.corpus, self.corpus.image_ids[row]
        name = corpus.captions[row][0] if corpus.captions[row] else " ".join(corpus.tags[row]) or id_
        return Hit(row, id_, name, str(corpus.split[row]), score)
