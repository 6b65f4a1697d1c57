"""What people said of image-caption pairs: the expert and the crowd judgements that are published with Flickr8k."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data.corpora.flickr import read_tokens
from lib.data.corpora.reading import Items, corpus_root, find

FILES = {"expert": "ExpertAnnotations.txt", "crowd": "CrowdFlowerAnnotations.txt"}


@dataclass(frozen=True)
class Judgements:
    """N image-caption pairs with J scores each.

    `image_ids` and `captions` have N entries, `scores` is (N, J) float, `own` (N,) bool says where the caption is
    one of the image's own. Expert: three scores from 1 (unrelated) to 4 (describes the image without error), sorted
    within a pair, so a column is no person. Crowd: one score, the share of people (0 to 1) who said that it fits.
    """

    image_ids: list[str]
    captions: list[str]
    scores: np.ndarray
    own: np.ndarray

    def foreign(self) -> "Judgements":
        """The pairs whose caption was written for another image."""
        keep = np.flatnonzero(~self.own)
        ids, captions = ([texts[i] for i in keep] for texts in (self.image_ids, self.captions))
        return Judgements(ids, captions, self.scores[keep], self.own[keep])


def load_judgements(name: str, root: str | Path | None = None) -> dict[str, Judgements]:
    """The judgements that belong to a corpus, "expert" and "crowd", as far as their files are there.

    Only Flickr8k has some (Hodosh et al., JAIR 2013); other corpora give an empty mapping. Folder and `root` are
    those of `load("flickr8k")`. Of the published files, 5,822 pairs were judged by experts, 158 of them with an own
    caption, and 47,830 by the crowd, 721 of them with an own one; all images and captions are of the test split.
    Raises FileNotFoundError without the captions, ValueError naming file and row for a line that cannot be read.
    """
    if name != "flickr8k":
        return {}
    root = corpus_root(name, root, name)
    source = find(name, root, "Flickr8k_text/Flickr8k.token.txt", "Flickr8k.token.txt")
    items = Items(name, root)
    texts = {
        f"{image}#{number}": " ".join(caption.split())
        for image, tokens in read_tokens(source, items).items()
        for number, caption in tokens.captions.items()
    }
    paths = {kind: source.parent / file for kind, file in FILES.items()}
    return {kind: _read(path, kind, items, texts) for kind, path in paths.items() if path.exists()}


def _read(path: Path, kind: str, items: Items, texts: dict[str, str]) -> Judgements:
    """Lines `image<tab>caption id<tab>three numbers`; the crowd's are share of yes, yes, no."""
    images, captions, scores, own = [], [], [], []
    seen: dict[tuple[str, str], int] = {}  # picture and caption -> row
    for row, line in items.lines(path):
        where = f"corpus {items.name}: {path}, row {row}"
        fields = line.split("\t")
        if len(fields) != 5:
            raise ValueError(f"{where}: {len(fields)} fields, not image, caption id and three numbers: {line!r}")
        image, caption, *numbers = fields
        if caption not in texts:
            raise ValueError(f"{where}: no caption {caption!r} in Flickr8k.token.txt")
        if seen.setdefault((image, caption), row) != row:
            raise ValueError(f"{where}: the pair is judged in row {seen[image, caption]} already")
        try:
            scores.append(SCORES[kind](*map(float, numbers)))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        images.append(image)
        captions.append(texts[caption])
        own.append(caption.rpartition("#")[0] == image)
    if not images:
        raise ValueError(f"corpus {items.name}: {path} is empty; fetch it again")
    return Judgements(images, captions, np.array(scores), np.array(own))


def _expert(*scores: float) -> list[float]:
    if not set(scores) <= {1, 2, 3, 4}:
        raise ValueError(f"expert scores are 1, 2, 3 or 4, not {scores}")
    return list(scores)


def _crowd(share: float, yes: float, no: float) -> list[float]:
    if min(yes, no) < 0 or yes + no == 0 or not abs(share - yes / (yes + no)) < 1e-6:
        raise ValueError(f"the share of yes is {share:g}, but {yes:g} said yes and {no:g} no")
    return [yes / (yes + no)]


SCORES: dict[str, Callable[..., list[float]]] = {"expert": _expert, "crowd": _crowd}
