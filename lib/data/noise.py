"""Noise on demand, as stored indexes: mismatched captions, images or tag lists, dropped tags, spurious tags.

An index is a pure function of (n, ratio, kind, seed) and of which items belong together. It is drawn from the raw
64-bit output of numpy's PCG64, which numpy promises never to change, and not from Generator.permutation or .choice,
whose algorithms it may improve: so a stored experiment can be drawn again on any machine and any numpy.
The items a ratio touches lie inside those of a larger ratio with the same seed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib.base.files import atomic_path
from lib.data.corpus import Corpus

KINDS = ("captions", "images", "dropped_tags", "spurious_tags", "tags")  # the position is part of the seed: only append


@dataclass(frozen=True)
class Noise:
    """A stored index and what it was drawn from.

    `index` is int64. captions, images, tags: (n,), what belongs to i comes from index[i], itself where not mismatched.
    dropped_tags: (k,), positions of tags, rising. spurious_tags: (k, 2), the image of tag index[j, 0] gets the word of
    tag index[j, 1]. Tags are counted through the corpus.
    """

    kind: str
    n: int
    ratio: float
    seed: int
    index: np.ndarray

    def save(self, path: Path) -> None:
        """Write to an .npz, whole or not at all."""
        about = json.dumps({"kind": self.kind, "n": self.n, "ratio": self.ratio, "seed": self.seed})
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, about=np.array(about), index=self.index)

    @staticmethod
    def load(path: Path) -> "Noise":
        """Read what `save` wrote; ValueError naming the file where it is something else."""
        try:
            with np.load(path, allow_pickle=False) as content:
                return Noise(**json.loads(str(content["about"])), index=content["index"])
        except (ValueError, KeyError, TypeError, OSError, EOFError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"{path} is no stored noise ({error}); draw it again") from error


def draw_noise(corpus: Corpus, kind: str, ratio: float, seed: int = 0) -> Noise:
    """Draw noise for a corpus, usually its training split; `apply_noise` puts it in.

    kind "captions" gives round(ratio * n) of the n captions the caption of another image, "images" gives so many of
    the images all captions of another one, "tags" all tags of another one; "dropped_tags" takes and "spurious_tags"
    adds so many tags of n.
    Raises ValueError for an unknown kind, a ratio outside [0, 1], or where it cannot be done.
    """
    if kind == "images":
        if not all(corpus.captions):
            raise ValueError(f"corpus {corpus.name} has images without a caption: select the split to put noise in")
        index, n = mismatched(np.arange(len(corpus)), ratio, kind, seed), len(corpus)
    elif kind == "tags":
        index, n = mismatched(np.arange(len(corpus)), ratio, kind, seed), len(corpus)
    elif kind == "captions":
        image_of_text = corpus.texts()[1]
        index, n = mismatched(image_of_text, ratio, kind, seed), len(image_of_text)
    elif kind in KINDS:
        words, image_of_tag = _flat_tags(corpus)
        n = len(words)
        index = dropped(n, ratio, seed) if kind == "dropped_tags" else spurious(image_of_tag, words, ratio, seed)
    else:
        raise ValueError(f"unknown kind of noise {kind!r}: one of {KINDS}")
    return Noise(kind, n, ratio, seed, index)


def apply_noise(corpus: Corpus, noise: Noise) -> Corpus:
    """The corpus with this noise in its captions or tags; ValueError where it was drawn for another number of them."""
    words, image_of_tag = _flat_tags(corpus)
    texts, image_of_text = corpus.texts()
    n = {"images": len(corpus), "tags": len(corpus), "captions": len(texts)}.get(noise.kind, len(words))
    if n != noise.n:
        raise ValueError(f"corpus {corpus.name} has {n:,}, not the {noise.n:,} that {noise.kind} noise was drawn for")
    if noise.kind == "images":
        return replace(corpus, captions=[corpus.captions[i] for i in noise.index])
    if noise.kind == "tags":
        return replace(corpus, tags=[corpus.tags[i] for i in noise.index])
    if noise.kind == "captions":
        return replace(corpus, captions=_per_image(len(corpus), image_of_text, [texts[i] for i in noise.index]))
    if noise.kind == "dropped_tags":
        kept = np.setdiff1d(np.arange(n), noise.index)
        return replace(corpus, tags=_per_image(len(corpus), image_of_tag[kept], [words[i] for i in kept]))
    tags = [list(of_image) for of_image in corpus.tags]
    for target, origin in noise.index:
        tags[image_of_tag[target]].append(words[origin])
    return replace(corpus, tags=tags)


def mismatched(groups: Sequence[int] | np.ndarray, ratio: float, kind: str = "captions", seed: int = 0) -> np.ndarray:
    """Sources (n,) int64: round(ratio * n) items swap among each other, none keeps its own or one of its group.

    `groups` (n,) says which items belong together, as the captions of one image do. Raises ValueError where one group
    has more than half of the chosen items, so that there is no such order; one item alone is such a case.
    """
    groups = np.asarray(groups)
    draw = _Draw(kind, seed)
    chosen = np.sort(draw.order(len(groups))[: _count(ratio, len(groups))])
    if len(chosen) == 0:
        return np.arange(len(groups))
    largest = np.unique(groups[chosen], return_counts=True)[1].max()
    if 2 * largest > len(chosen):
        raise ValueError(f"{len(chosen)} of {len(groups)} cannot be mismatched: {largest} of them belong together")
    origin = chosen[draw.order(len(chosen))]
    # A random order has about one clash for each item of a group; swapping with a random other one soon mends it.
    while len(clashes := np.flatnonzero(groups[origin] == groups[chosen])):
        for a in clashes:
            b = draw.integer(len(chosen))
            if groups[origin[b]] != groups[chosen[a]] and groups[origin[a]] != groups[chosen[b]]:
                origin[[a, b]] = origin[[b, a]]
    sources = np.arange(len(groups))
    sources[chosen] = origin
    return sources


def dropped(n: int, ratio: float, seed: int = 0) -> np.ndarray:
    """Positions (round(ratio * n),) int64 of the tags to drop, rising."""
    return np.sort(_Draw("dropped_tags", seed).order(n)[: _count(ratio, n)])


def spurious(image_of_tag: Sequence[int] | np.ndarray, words: Sequence[str], ratio: float, seed: int = 0) -> np.ndarray:
    """Pairs (round(ratio * n), 2) int64 of a tag whose image gets one more, and a tag whose word it gets.

    Words are drawn as often as other images have them, so common words are common noise; an image never gets a word
    twice, and one with many tags gets more. Raises ValueError where an image has all words there are.
    """
    images, n = np.asarray(image_of_tag), len(words)
    draw = _Draw("spurious_tags", seed)
    targets = draw.order(n)[: _count(ratio, n)]
    all_words = set(words)
    words_of: dict[int, set[str]] = {}
    for image, word in zip(images.tolist(), words, strict=True):
        words_of.setdefault(image, set()).add(word)
    origins = np.empty_like(targets)
    for row, image in enumerate(images[targets].tolist()):
        if words_of[image] == all_words:
            raise ValueError(f"image {image} has all words of the corpus already: no spurious tag is left for it")
        origin = draw.integer(n)
        while words[origin] in words_of[image]:
            origin = draw.integer(n)
        words_of[image].add(words[origin])
        origins[row] = origin
    return np.stack([targets, origins], axis=1)


class _Draw:
    """Random orders and integers out of raw PCG64 words."""

    def __init__(self, kind: str, seed: int):
        self._words = np.random.PCG64([seed, KINDS.index(kind)])

    def order(self, n: int) -> np.ndarray:
        """A random order of n items, uniform but for 64-bit ties."""
        return np.argsort(self._words.random_raw(n), kind="stable")

    def integer(self, high: int) -> int:
        """An integer below `high`; the bias, high / 2^64, is far below what could be measured."""
        return self._words.random_raw() % high


def _count(ratio: float, n: int) -> int:
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio is {ratio}, not between 0 and 1")
    return round(ratio * n)


def _flat_tags(corpus: Corpus) -> tuple[list[str], np.ndarray]:
    words = [tag for tags in corpus.tags for tag in tags]
    return words, np.repeat(np.arange(len(corpus)), [len(tags) for tags in corpus.tags])


def _per_image(n: int, image_of_text: np.ndarray, texts: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in range(n)]
    for image, text in zip(image_of_text.tolist(), texts, strict=True):
        found[image].append(text)
    return found
