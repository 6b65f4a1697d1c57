"""A collection that can be searched: pictures, a joint space, an index, and queries as people type them."""

import shutil
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from lib.base import checkpoint
from lib.base.device import resolve_device
from lib.base.identity import identity
from lib.data import Corpus, cache_dir
from lib.models import JointEmbedding
from lib.search.index import Index
from lib.search.query import QueryError, Term, compose, parse
from lib.search.space import image_vectors, learn_space
from lib.systems.frozen import TEXTS, frozen_features, frozen_pairs, linear_model

LARGE = 100_000  # pictures from which on an approximate index pays
REMEMBERED = 10_000  # texts whose vectors are kept: a class types the same ones again


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
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()

    @classmethod
    def of(cls, corpus: Corpus, device: str = "auto", say: Callable[[str], None] = lambda text: None) -> "Engine":
        """The engine of a corpus: learned on its training pictures the first time, then read from data/cache/search.

        say: is told what is being done, one line at a time.
        """
        # What was learned depends on the pictures and texts, on how it is learned, and on what with.
        recipe = (learn_space, image_vectors, frozen_pairs, frozen_features, TEXTS, corpus.fingerprint())
        made_with = (torch.__version__, resolve_device(device).type)
        folder = cache_dir("search", f"{corpus.name}-{identity(recipe, made_with)[:12]}")
        if (kept := _read(folder, corpus, say)) is None:
            _learn(corpus, folder, device, say)
            kept = _read(folder, corpus, say)
        if kept is None:
            raise OSError(f"{folder} is damaged again as soon as it is written: is the disk sound?")
        say(f"ready: {len(corpus):,} pictures")
        return cls(corpus, *kept, device)

    @cached_property
    def _minilm(self):
        from lib.text.transformer import MiniLM

        return MiniLM(device=self.device)

    def remember(self, texts: Sequence[str]) -> None:
        """Encode texts in one batch, as far as they are new, and keep their vectors for searches to come."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self.encode(new), strict=True))
        for text in texts:
            self._known.move_to_end(text)
        while len(self._known) > max(REMEMBERED, len(texts)):
            self._known.popitem(last=False)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (n, D) float32 of texts in the joint space."""
        vectors = self._minilm.transform(list(texts), cache=False)
        return self.model.encode_sentences(torch.from_numpy(vectors)).numpy()

    def compose(self, query: str | Sequence[Term]) -> np.ndarray:
        """The vector (D,) of a query. Raises QueryError for one that cannot be read or names an unknown picture."""
        terms = parse(query) if isinstance(query, str) else list(query)
        words = [term.text for term in terms if not term.picture]
        self.remember(words)
        try:
            vectors = [self.index.vector(term.text) if term.picture else self._known[term.text] for term in terms]
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


def _learn(corpus: Corpus, folder: Path, device: str, say: Callable[[str], None]) -> None:
    """Learn the joint space of a corpus and write it, its index and what the two are recognised by."""
    say(f"reading {len(corpus):,} pictures and their words")
    train = frozen_pairs(corpus, "train", TEXTS, device=device)
    has_val = (corpus.split == "val").any()
    val = frozen_pairs(corpus, "val", TEXTS, device=device) if has_val else None
    say(f"learning a joint space from {len(train):,} texts")
    model = learn_space(train, val, device=device)
    vectors = image_vectors(model, frozen_features(corpus, device)).numpy()
    checksums = Index(vectors, corpus.image_ids, approximate=len(corpus) >= LARGE).save(folder)
    covariance = torch.from_numpy(np.atleast_2d(np.cov(vectors.T)))
    state = {"model": model.state_dict(), "covariance": covariance, "index": checksums}
    checkpoint.save(folder / "space.pt", state)  # written last: its presence says that all is there


def _read(folder: Path, corpus: Corpus, say: Callable[[str], None]) -> tuple[JointEmbedding, Index, np.ndarray] | None:
    """What `_learn` wrote; None where there is nothing. What is damaged is said and removed."""
    try:
        state = checkpoint.load(folder / "space.pt")
        if state is None:
            return None
        index = Index.load(folder, state["index"])
        if list(index.ids) != list(corpus.image_ids):
            raise ValueError(f"{folder} is of other pictures than the corpus, or of another order")
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        say(f"{error}: {folder} is removed and made anew")
        shutil.rmtree(folder)
        return None
    sizes = [state["model"][f"{side}.1.weight"].shape for side in ("image", "sentence")]
    model = linear_model(sizes[0][1], sizes[1][1], sizes[0][0])
    model.load_state_dict(state["model"])
    return model, index, state["covariance"].numpy()
