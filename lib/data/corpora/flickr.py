"""Flickr8k (Hodosh et al., JAIR 2013) and Flickr30k (Young et al., TACL 2014): photos with five captions each."""

from pathlib import Path
from typing import NamedTuple

from lib.data.corpora.karpathy import read_karpathy
from lib.data.corpora.listed import Names, read_lists
from lib.data.corpora.reading import Items, check_choice, check_split, corpus_root, find, find_optional, held_out
from lib.data.corpora.tables import read_rows
from lib.data.corpus import SPLITS, Corpus

PHOTOS_HINT = "photos=False loads the texts alone."
OFFICIAL_8K = {"test": "testImages", "val": "devImages", "train": "trainImages"}
# Split lists of Flickr30k by where they come from: Flickr30k Entities (ids without .jpg) and multi30k.
LISTS_30K = {"test": ("test.txt", "test_2016_images.txt"), "val": ("val.txt", "val_images.txt"),
             "train": ("train.txt", "train_images.txt")}  # fmt: skip
TABLES_30K = (
    "results.csv",
    "flickr30k_images/results.csv",
    "flickr_annotations_30k.csv",
    "captions.txt",
    "captions.csv",
)
KINDS_30K = {
    "karpathy": ("dataset_flickr30k.json",),
    "token": ("results_20130124.token", "results.token"),
    "multi30k": ("train_images.txt",),
    "table": TABLES_30K,
}
TABLES_8K = ("captions.txt", "captions.csv")
PHOTOS_8K = ("Flicker8k_Dataset", "Flickr8k_Dataset", "Images", "images")
NESTED_30K = "flickr30k_images/flickr30k_images"  # in the copy on Kaggle
PHOTOS_30K = ("flickr30k-images", "flickr30k_images", "Images", "images")
DRAWN = {"test": 1 / 8, "val": 1 / 8}  # shares of the official lists of Flickr8k, where a copy comes without lists


def load_flickr8k(
    root: str | Path | None = None,
    annotations: str = "official",
    unlisted: str | None = None,
    photos: bool = True,
) -> Corpus:
    """Load Flickr8k: 6,000 / 1,000 / 1,000 photos with five captions each.

    `annotations` is "official" (Flickr8k.token.txt and the three split lists) or "karpathy" (dataset_flickr8k.json).
    Where there is no token file, captions.txt is read, the table of the copy on Kaggle; where that has no lists of the
    splits beside it, an eighth each is drawn for val and test by a hash of the name, which `notes` say: results are
    not those of the official split.
    91 of the 8,091 photos are in no official list and left out, so that results compare with published ones; they
    have captions like the others, and `unlisted` names the split to take them into. `photos=False` needs no pictures.
    """
    check_choice("annotations", annotations, ("official", "karpathy"))
    check_split(unlisted)
    name = "flickr8k"
    root = corpus_root(name, root, name)
    folder = find(name, root, *PHOTOS_8K, hint=PHOTOS_HINT) if photos else None
    items = Items(name, root, folder)
    if annotations == "karpathy":
        source = find(name, root, "dataset_flickr8k.json")
        _add_karpathy(source, items)
    else:
        tokens = ("Flickr8k_text/Flickr8k.token.txt", "Flickr8k.token.txt")
        source = find_optional(root, *tokens) or find_optional(root, *TABLES_8K) or find(name, root, *tokens)
    if source.name in TABLES_8K:
        lists = {
            split: found
            for split, part in OFFICIAL_8K.items()
            if (found := find_optional(root, f"Flickr_8k.{part}.txt", f"Flickr8k_text/Flickr_8k.{part}.txt"))
        }
        _add_table(source, lists, items, unlisted)
    elif annotations == "official":
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
    Flickr30k Entities or multi30k beside it), "multi30k" (line-aligned `{train,val,test_2016}.{1..5}.en.gz`), "table"
    (results.csv of the copy on Kaggle, or another table; splits as for Flickr8k), or "auto": the first of them that is
    there. `unlisted` and `photos` are as for Flickr8k. Most photos of Flickr8k are in Flickr30k, too (their numbers
    before the underscore agree): what is trained on one must not be tested on the other without a leak check.
    """
    check_choice("annotations", annotations, ("auto", *KINDS_30K))
    check_split(unlisted)
    name = "flickr30k"
    root = corpus_root(name, root, name, "flickr30k_captions")
    candidates = sum(KINDS_30K.values(), ()) if annotations == "auto" else KINDS_30K[annotations]
    source = find(name, root, *candidates)
    folder = None
    if photos:
        folder = find_optional(root, NESTED_30K) or find(name, root, *PHOTOS_30K, hint=PHOTOS_HINT)
    items = Items(name, root, folder)
    if source.name in KINDS_30K["karpathy"]:
        _add_karpathy(source, items)
    elif source.name in KINDS_30K["token"]:
        lists = {split: find(name, root, *candidates) for split, candidates in LISTS_30K.items()}
        _add_tokens(source, lists, items, unlisted)
    elif source.name in [Path(table).name for table in TABLES_30K]:
        lists = {split: path for split, names in LISTS_30K.items() if (path := find_optional(root, *names))}
        _add_table(source, lists, items, unlisted)
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


def _add_table(path: Path, lists: dict[str, Path], items: Items, unlisted: str | None) -> None:
    """Captions out of a table with a row each; the splits are its own, those of the lists, or drawn."""
    file = path.relative_to(items.root).as_posix()
    rows = read_rows(path, path.suffix, Names(()).is_key, lambda *_: None)
    named = items.files or [cell for row in rows for cell in row.cells.values() if Names(()).is_key(cell)]
    entries, unread = read_lists(items, [file], named, lambda _: path.read_bytes(), False)
    if unread:
        raise ValueError(f"corpus {items.name}: {path} is no table of pictures and captions: {'; '.join(items.notes)}")
    split_of = {image: split for image, (split, _) in _read_lists(lists, items).items()}
    if not lists and not any(entry.split for entry in entries.values()):
        images = list(entries)
        drawn = held_out(images, *(round(DRAWN[part] * len(images)) for part in ("test", "val")))
        split_of = dict(zip(images, drawn, strict=True))
        items.notes.append("no list of splits: val and test were drawn, results are not those of the official split")
    for image, entry in entries.items():
        split = entry.split or split_of.get(image, unlisted)
        if split is not None and entry.captions:
            items.add(image, image, entry.where, captions=entry.captions, split=split)
    for image in split_of:
        if image not in entries:
            items.report(items.at(path), f"image {image!r} of the lists has no caption; left out")
    folder = items.folder or items.root
    for image in items.files:
        if image.lower().endswith((".jpg", ".jpeg")) and image not in entries:
            items.report(items.at(folder / image), "photo without a caption; left out")


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
