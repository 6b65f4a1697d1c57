"""InstaCities1M and InstaNY100K (Gomez et al., ECCV-W 2018): Instagram posts found by the names of cities.

Everything about a post that a person wrote is one text; its hashtags become the tags.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.data.corpora.folder import UNDECODABLE
from lib.data.corpora.reading import Items, check_choice, corpus_root, find, held_out
from lib.data.corpora.sidecars import Sidecars, add_sidecars
from lib.data.corpora.texts import FALLBACKS
from lib.data.corpus import Corpus

CITIES = (
    "chicago", "london", "losangeles", "melbourne", "miami", "newyork", "sanfrancisco", "singapore", "sydney", "toronto"
)  # fmt: skip
TEST, VAL = 0.15, 0.05  # shares of the published 800,000 / 50,000 / 150,000


def load_instacities1m(root: str | Path | None = None, undecodable: str = "repair", seed: int = 0) -> Corpus:
    """Load InstaCities1M: 100,000 posts of each of ten cities, which are the labels; 300 x 300 pixels.

    The authors published the sizes of their splits (80, 5 and 15 per cent), no lists: here each city is split in
    these shares by a hash of post and `seed`. `undecodable` is as for corpus "folder".
    """
    return _load("instacities1m", root, "InstaCities1M", "_1M/cities_instagram", undecodable, seed)


def load_instany100k(root: str | Path | None = None, undecodable: str = "repair", seed: int = 0) -> Corpus:
    """Load InstaNY100K, the New York part of InstaCities1M, which is published on its own; options as there."""
    return _load("instany100k", root, "InstaNY100K", "", undecodable, seed)


def _load(name: str, root: str | Path | None, title: str, ending: str, undecodable: str, seed: int) -> Corpus:
    check_choice("undecodable", undecodable, UNDECODABLE)
    root = corpus_root(name, root, name, title)
    captions = ("captions_resized" if ending else "captions") + ending
    images = find(name, root, f"img_resized{ending}")
    items = Items(name, root, images)
    add_sidecars(items, Sidecars(find(name, root, captions), undecodable, FALLBACKS, True), "train")
    cities = [image_id.partition("/")[0] for image_id in items.found]
    label_names = [city for city in CITIES if city in set(cities)]
    for (image_id, item), city in zip(list(items.found.items()), cities, strict=True):
        if city not in CITIES:
            items.report(items.at(images / item.image), f"folder {city!r} is none of the cities; left out")
            del items.found[image_id]
        else:
            items.found[image_id] = item._replace(labels=[label_names.index(city)])
    corpus = items.corpus(
        label_names=label_names,
        licence="none stated; the posts belong to their authors",
        source=f"{title} (https://gombru.github.io/2018/08/01/InstaCities1M/)",
        attribution="R. Gomez, L. Gomez, J. Gibert, D. Karatzas: Learning to Learn from Web Data, ECCV-W 2018",
    )
    return replace(corpus, split=_split_by_city(corpus.image_ids, seed))


def _split_by_city(image_ids: list[str], seed: int) -> np.ndarray:
    cities = np.array([image_id.partition("/")[0] for image_id in image_ids])
    split = np.empty(len(image_ids), dtype="<U5")
    for city, count in Counter(cities.tolist()).items():
        rows = np.flatnonzero(cities == city)
        split[rows] = held_out([image_ids[row] for row in rows], round(TEST * count), round(VAL * count), seed)
    return split
