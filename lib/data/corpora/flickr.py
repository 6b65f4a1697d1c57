"""Flickr8k (Hodosh et al., JAIR 2013) and Flickr30k (Young et al., TACL 2014): photos with five captions each."""

from pathlib import Path
from typing import NamedTuple

from lib.data.corpora.karpathy import read_karpathy
from lib.data.corpora.reading import Items, check_choice, check_split, corpus_root, find
from lib.data.corpus import SPLITS, Corpus

PHOTOS_HINT = "photos=False loads the texts alone."
OFFICIAL_8K = {"test": "testImages", "val": "devImages", "train": "trainImages"}
# Split lists of Flickr30k by where they come from: Flickr30k Entities (ids without .jpg) and multi30k.
LISTS_30K = {"test": ("test.txt", "test_2016_images.txt"), "val": ("val.txt", "val_images.txt"),
             "train": ("train.txt", "train_images.txt")}  # fmt: skip
KINDS_30K = {
    "karpathy": ("dataset_flickr30k.json",),
    "token": ("results_20130124.token", "results.token"),
    "multi30k": ("train_images.txt",),
}


def load_flickr8k(
    root: str | Path | None = None,
    annotations: str = "official",
    unlisted: str | None = None,
    photos: bool = True,
) -> Corpus:
    """Load Flickr8k: 6,000 / 1,000 / 1,000 photos with five captions each.

    `annotations` is "official" (Flickr8k.token.txt and the three split lists) or "karpathy" (dataset_flickr8k.json).
    91 of the 8,091 photos are in no official list and left out, so that results compare with published ones; they
    have captions like the others, and `unlisted` names the split to take them into. `photos=False` needs no pictures.
    """
    check_choice("annotations", annotations, ("official", "karpathy"))
    check_split(unlisted)
    name = "flickr8k"
    root = corpus_root(name, root, name)
    folder = find(name, root, "Flicker8k_Dataset", "Flickr8k_Dataset", "Images", hint=PHOTOS_HINT) if photos else None
    items = Items(name, root, folder)
    if annotations == "karpathy":
        source = find(name, root, "dataset_flickr8k.json")
        _add_karpathy(source, items)
    else:
        source = find(name, root, "Flickr8k_text/Flickr8k.token.txt", "Flickr8k.token.txt")
        lists = {
            split: find(name, source.parent, f"Flickr_8k.{part}.txt", f"Flickr_8k.{part}s.txt")
            for split, part in OFFICIAL_8K.items()
        }
        _add_tokens(source, lists, items, unlisted)
    return items.corpus(
        licence="research and education only; the photos belong to their Flickr users",
        source=f"Flickr8k, {source.name}",
        attribution="M. Hodosh, P. Young, J. Hockenmaier: Framing Image Description as a Ranking Task, JAIR 2013",
    )


def load_flickr30k(
    root: str | Path | None = None,
    annotations: str = "auto",
    unlisted: str | None = None,
    photos: bool = True,
) -> Corpus:
    """Load Flickr30k: 29,000 / 1,014 / 1,000 photos with five captions each.

    `annotations` is "karpathy" (dataset_flickr30k.json), "token" (results_20130124.token with the split lists of
    Flickr30k Entities or multi30k beside it), "multi30k" (line-aligned `{train,val,test_2016}.{1..5}.en.gz`), or
    "auto": the first of them that is there. `unlisted` and `photos` are as for Flickr8k. Most photos of Flickr8k are
    in Flickr30k, too (their numbers before the underscore agree): what is trained on one must not be tested on the
    other without a leak check.
    """
    check_choice("annotations", annotations, ("auto", *KINDS_30K))
    check_split(unlisted)
    name = "flickr30k"
    root = corpus_root(name, root, name, "flickr30k_captions")
    candidates = sum(KINDS_30K.values(), ()) if annotations == "auto" else KINDS_30K[annotations]
    source = find(name, root, *candidates)
    folder = None
    if photos:
        folder = find(name, root, "flickr30k-images", "flickr30k_images", "Images", "images", hint=PHOTOS_HINT)
    items = Items(name, root, folder)
    if source.name in KINDS_30K["karpathy"]:
        _add_karpathy(source, items)
    elif source.name in KINDS_30K["token"]:
        lists = {split: find(name, root, *candidates) for split, candidates in LISTS_30K.items()}
        _add_tokens(source, lists, items, unlisted)
    else:
        _add_multi30k(root, items)
    return items.corpus(
        licence="research and education only; the photos belong to their Flickr users",
        source=f"Flickr30k, {source.name}",
        attribution="P. Young, A. Lai, M. Hodosh, J. Hockenmaier: From Image Descriptions to Visual Denotations, 2014",
    )


def _add_karpathy(path: Path, items: Items) -> None:
    for entry in read_karpathy(path, items):
        if entry.split in SPLITS:
            items.add(entry.filename, entry.filename, entry.where, captions=entry.captions, split=entry.split)
        else:
            items.report(entry.where, f"unknown split {entry.split!r}; left out")


class Tokens(NamedTuple):
    """The captions of one picture in a token file."""

    row: int  # of the first caption
    captions: dict[int, str]  # by their number behind #


def read_tokens(path: Path, items: Items) -> dict[str, Tokens]:
    """Captions by picture out of lines `file.jpg#2<tab>A caption .`"""
    found: dict[str, Tokens] = {}
    for row, line in items.lines(path):
        key, tab, caption = line.partition("\t")
        image, _, number = key.rpartition("#")
        if not (tab and image and number.isdecimal()):
            items.report(items.at(path, row), "no line `file.jpg#number<tab>caption`; left out")
            continue
        tokens = found.setdefault(image, Tokens(row, {}))
        if int(number) in tokens.captions:
            items.report(items.at(path, row), f"caption {key!r} is there twice; the second is left out")
        elif not caption.strip():
            items.report(items.at(path, row), f"caption {key!r} is empty; left out")
        else:
            tokens.captions[int(number)] = caption
    return found


def _read_lists(lists: dict[str, Path], items: Items) -> dict[str, tuple[str, str]]:
    """Picture -> split and the row it is listed in. A picture in two lists stays in the first, test before train."""
    found: dict[str, tuple[str, str]] = {}
    for split, path in lists.items():
        for row, line in items.lines(path):
            image = line.strip()
            if not image:
                continue
            image = image if image.lower().endswith((".jpg", ".jpeg")) else f"{image}.jpg"
            if image in found:
                items.report(items.at(path, row), f"image {image!r} is listed in {found[image][1]} already; ignored")
            else:
                found[image] = (split, items.at(path, row))
    return found


def _add_tokens(path: Path, lists: dict[str, Path], items: Items, unlisted: str | None) -> None:
    tokens, split_of = read_tokens(path, items), _read_lists(lists, items)
    for image, (row, captions) in tokens.items():
        split = split_of.get(image, (unlisted, ""))[0]
        texts = [captions[number] for number in sorted(captions)]
        if not items.has_photo(image) or not image.lower().endswith((".jpg", ".jpeg")):
            items.report(items.at(path, row), f"caption key {image!r} has no photo; {len(texts)} captions left out")
        elif split is not None and texts:
            items.add(image, image, items.at(path, row), captions=texts, split=split)
    for image, (_, where) in split_of.items():
        if image not in tokens or not tokens[image].captions:
            items.report(where, f"image {image!r} has no caption in {items.at(path)}; left out")


def _add_multi30k(root: Path, items: Items) -> None:
    """Line i of each caption file belongs to line i of the image list."""
    for split, part in {"train": "train", "val": "val", "test": "test_2016"}.items():
        names = find(items.name, root, f"{part}_images.txt")
        images = [(row, line.strip()) for row, line in items.lines(names)]
        columns = []
        for number in range(1, 6):
            path = find(items.name, root, f"{part}.{number}.en.gz", f"{part}.{number}.en")
            columns.append([text for _, text in items.lines(path)])
            if len(columns[-1]) != len(images):
                raise ValueError(
                    f"corpus {items.name}: {path} has {len(columns[-1])} lines, {names} has {len(images)}: "
                    "they belong to each other line by line; fetch both again"
                )
        for (row, image), *captions in zip(images, *columns, strict=True):
            items.add(image, image, items.at(names, row), captions=captions, split=split)
