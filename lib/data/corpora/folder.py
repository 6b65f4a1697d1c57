"""Any folder of pictures with texts beside them: x.jpg, x.txt and x.json, as image-text downloaders write them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from lib.data.corpora.reading import (
    FALLBACKS,
    IMAGE_SUFFIXES,
    Items,
    check_choice,
    check_split,
    corpus_root,
    decode,
    hashtags,
    held_out,
    listing,
)
from lib.data.corpus import SPLITS, Corpus
from lib.data.images import Images

UNDECODABLE = ("repair", "drop")


def load(
    root: str | Path | None = None,
    split: str | None = None,
    val: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    undecodable: str = "repair",
    encodings: Sequence[str] = FALLBACKS,
    tags_from_text: bool = True,
) -> Corpus:
    """Load every picture below `root` that has a text of the same name, in the order of the names.

    Captions are the list "captions" of x.json, or x.txt, or the field "caption" of x.json; tags are the list "tags" of
    x.json and, with `tags_from_text`, the words behind # in the captions. A text that is no UTF-8 is reported in
    `problems` and, with `undecodable="repair"`, read by the first of `encodings` that can (a guess: name the one of
    your files if you know it), else with U+FFFD in the place of what is unreadable; "drop" leaves its picture out.

    Where root has a folder train, the folders train, val, test and web below it are the splits. Of val and test, those
    without a folder are drawn from the training pictures, in the shares `val` and `test`, see `draw_splits`. `split`
    takes all pictures into one split instead.
    """
    check_split(split)
    check_choice("undecodable", undecodable, UNDECODABLE)
    root = corpus_root("folder", root, "folder")
    items = Items("folder", root, root)
    by_folder = split is None and (root / "train").is_dir()
    add_sidecars(items, Sidecars(root, undecodable, encodings, tags_from_text), None if by_folder else split or "train")
    if split:
        val = test = 0
    elif by_folder:
        val, test = (0 if (root / part).is_dir() else share for part, share in (("val", val), ("test", test)))
    return corpus_of(items, val, test, seed)


def corpus_of(items: Items, val: float, test: float, seed: int, images: Images | None = None) -> Corpus:
    """The corpus of pictures whose origin nobody knows here, with the shares `val` and `test` of them drawn."""
    corpus = items.corpus(
        images=images,
        licence="not stated: find out before you use it",
        source=items.root.name,
        attribution="not stated",
    )
    return draw_splits(corpus, val, test, seed) if val or test else corpus


def draw_splits(corpus: Corpus, val: float, test: float, seed: int = 0) -> Corpus:
    """The same pictures, with these shares of the training pictures in splits val and test, by a hash of the content.

    So identical pictures stay together, and what a file is called does not matter. (Pictures that only look alike may
    be parted: `lib.data.leaks` finds them.) Raises ValueError where nothing is left to train on.
    """
    rows = np.flatnonzero(corpus.split == "train").tolist()
    contents = [corpus.images.fingerprint(row) for row in rows]
    distinct = list(dict.fromkeys(contents))
    drawn = held_out(distinct, round(test * len(distinct)), round(val * len(distinct)), seed)
    split_of = dict(zip(distinct, drawn, strict=True))
    split = corpus.split.astype("<U5")
    split[rows] = [split_of[content] for content in contents]
    return replace(corpus, split=split)


class Sidecars(NamedTuple):
    """How the texts beside pictures are read: below which folder, and what happens to those that are no UTF-8."""

    folder: Path
    undecodable: str
    encodings: Sequence[str]
    tags_from_text: bool


class Texts(NamedTuple):
    """What the files of one picture say."""

    captions: list[str]
    tags: list[str]


def parse_texts(files: dict[str, bytes], how: Sidecars, items: Items, where: str) -> Texts | None:
    """Captions and tags out of the contents of ".txt" and ".json"; None, reported, where there is no text to use.

    `where` is the name that the files of a picture have in common, without the suffix.
    """
    captions, tags = [], []
    if ".txt" in files:
        text, repair = decode(files[".txt"], how.encodings)
        if repair:
            dropped = how.undecodable == "drop"
            items.report(f"{where}.txt", f"{repair.partition(',')[0]}; left out" if dropped else repair)
            if dropped:
                return None
        captions = [text] if text.strip() else []
    if ".json" in files:
        content = _parse_json(files[".json"], items, where)
        tags = _strings(content.get("tags"))
        captions = _strings(content.get("captions")) or captions or _strings([content.get("caption")])
    if not captions and not tags:
        items.report(where, "no text or an empty one; left out")
        return None
    return Texts(captions, tags + [tag for text in captions if how.tags_from_text for tag in hashtags(text)])


def _parse_json(raw: bytes, items: Items, where: str) -> dict:
    try:
        content = json.loads(raw)
    except ValueError as error:  # also wrong UTF-8
        items.report(f"{where}.json", f"no JSON ({type(error).__name__}); ignored")
        return {}
    return content if isinstance(content, dict) else {}


def _strings(values: Any) -> list[str]:
    values = values if isinstance(values, list) else []
    return [value for value in values if isinstance(value, str) and value.strip()]


def add_sidecars(items: Items, how: Sidecars, split: str | None) -> None:
    """Add the pictures in `items.folder` whose texts lie under the same name in `how.folder`.

    `split` is that of all of them; None where the first folder is called as the split.
    """
    if items.folder is None:
        raise ValueError(f"corpus {items.name}: there is no folder of pictures to look for texts of")
    text_files = items.files if how.folder == items.folder else listing(how.folder)
    texts_of: dict[str, dict[str, str]] = {}
    for file in text_files:
        stem, suffix = _stem(file)
        if suffix in (".txt", ".json"):
            texts_of.setdefault(stem, {})[suffix] = file
    for file in items.files:
        stem, suffix = _stem(file)
        if suffix not in IMAGE_SUFFIXES:
            continue
        where = items.at(items.folder / file)
        place = split or PurePosixPath(file).parts[0]
        if place not in SPLITS:
            items.report(where, f"lies in no folder called {', '.join(SPLITS)}; left out")
            continue
        sidecars = {suffix: (how.folder / file).read_bytes() for suffix, file in texts_of.get(stem, {}).items()}
        texts = parse_texts(sidecars, how, items, items.at(how.folder / stem))
        if texts is not None:
            items.add(stem, file, where, captions=texts.captions, tags=texts.tags, split=place)
    stems = {_stem(file)[0] for file in items.files if _stem(file)[1] in IMAGE_SUFFIXES}
    for stem in texts_of.keys() - stems:
        items.report(items.at(how.folder / next(iter(texts_of[stem].values()))), "text without a picture; left out")


def _stem(file: str) -> tuple[str, str]:
    """Name without suffix, and the suffix in lower case."""
    path = PurePosixPath(file)
    return path.with_suffix("").as_posix(), path.suffix.lower()
