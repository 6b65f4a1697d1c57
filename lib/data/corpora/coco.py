"""MSCOCO (Lin et al., ECCV 2014; captions: Chen et al., 2015): photos with five captions or more and 80 labels."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.data.corpora.karpathy import read_karpathy
from lib.data.corpora.reading import Items, check_choice, corpus_root, find
from lib.data.corpus import Corpus

SPLIT_OF = {"train": "train", "val": "val", "test": "test", "restval": "train"}


def load(
    root: str | Path | None = None,
    annotations: str = "karpathy",
    restval: bool = True,
    labels: bool = True,
    photos: bool = True,
) -> Corpus:
    """Load COCO: 113,287 / 5,000 / 5,000 photos, with their (at least five) captions in the files' order.

    `annotations` is "karpathy" (dataset_coco.json: 82,783 train, 30,504 restval, 5,000 val, 5,000 test), or "2014" or
    "2017" for the official train and val parts (captions_{train,val}<year>.json). `restval` counts those photos as
    train; without it they are left out. Of the parts, those whose folder of photos is there are read. `labels` reads
    the 80 categories from instances_{train,val}<year>.json.
    """
    check_choice("annotations", annotations, ("karpathy", "2014", "2017"))
    name = "coco"
    root = corpus_root(name, root, name)
    year = "2014" if annotations == "karpathy" else annotations
    parts = [f"train{year}", f"val{year}"]
    items = Items(name, root, root if photos else None)
    if photos:  # the names in the annotations begin with the part they are in
        there = [part for part in parts if (root / part).exists()]
        if not there:
            find(name, root, parts[0], hint="photos=False loads the texts alone.")
        for part in (part for part in parts if part not in there):
            items.report(part, "no such folder; the photos of this part are left out")
        parts = there
    label_names, labels_of = _read_instances(root, parts, items) if labels else ([], {})
    if annotations == "karpathy":
        source = find(name, root, "dataset_coco.json", "annotations/dataset_coco.json")
        _add_karpathy(source, items, labels_of, restval, parts)
    else:
        for part in parts:
            path = find(name, root, f"annotations/captions_{part}.json")
            _add_captions(path, part, items, labels_of)
    return items.corpus(
        label_names=label_names,
        licence="annotations CC BY 4.0; photos: terms of Flickr",
        source=f"https://cocodataset.org, {annotations} split",
        attribution="COCO Consortium; T.-Y. Lin et al.: Microsoft COCO: Common Objects in Context, ECCV 2014",
    )


def _has(record: Any, items: Items, where: str, **kinds: type) -> bool:
    """Whether a record has these fields, each of its kind; reported where not."""
    lacking = [
        name for name, kind in kinds.items() if not isinstance(record, dict) or type(record.get(name)) is not kind
    ]
    if lacking:
        items.report(where, f"no record with {' and '.join(f'{n} ({kinds[n].__name__})' for n in lacking)}; left out")
    return not lacking


def _read_instances(root: Path, parts: Sequence[str], items: Items) -> tuple[list[str], dict[int, list[int]]]:
    """Category names in the order of their ids, and the columns of each image id."""
    names: dict[int, str] = {}
    categories_of: dict[int, set[int]] = defaultdict(set)
    for part in parts:
        path = find(items.name, root, f"annotations/instances_{part}.json", hint="labels=False does without.")
        content = items.json(path, "categories", "annotations")
        for row, category in enumerate(content["categories"], 1):
            if _has(category, items, f"{items.at(path, row)} of categories", id=int, name=str):
                names[category["id"]] = category["name"]
        for row, annotation in enumerate(content["annotations"], 1):
            where = f"{items.at(path, row)} of annotations"
            if not _has(annotation, items, where, image_id=int, category_id=int):
                continue
            if annotation["category_id"] in names:
                categories_of[annotation["image_id"]].add(annotation["category_id"])
            else:
                items.report(where, f"category {annotation['category_id']} is not listed; left out")
    column = {category: i for i, category in enumerate(sorted(names))}
    labels_of = {image: sorted(column[category] for category in found) for image, found in categories_of.items()}
    return [names[category] for category in column], labels_of


def _add_karpathy(
    path: Path, items: Items, labels_of: dict[int, list[int]], restval: bool, parts: Sequence[str]
) -> None:
    for entry in read_karpathy(path, items):
        if entry.split not in SPLIT_OF or not {"filepath", "cocoid"} <= entry.record.keys():
            items.report(entry.where, f"no picture of COCO (split {entry.split!r}, filepath, cocoid); left out")
        elif not _has(entry.record, items, entry.where, filepath=str, cocoid=int):
            continue
        elif entry.record["filepath"] in ("train2014", "val2014") and entry.record["filepath"] not in parts:
            continue  # reported once for the whole part
        elif entry.split != "restval" or restval:
            items.add(
                str(entry.record["cocoid"]),
                f"{entry.record['filepath']}/{entry.filename}",
                entry.where,
                captions=entry.captions,
                split=SPLIT_OF[entry.split],
                labels=labels_of.get(entry.record["cocoid"], []),
            )


def _add_captions(path: Path, part: str, items: Items, labels_of: dict[int, list[int]]) -> None:
    content = items.json(path, "images", "annotations")
    captions_of: dict[int, list[str]] = defaultdict(list)
    for row, annotation in enumerate(content["annotations"], 1):
        if _has(annotation, items, f"{items.at(path, row)} of annotations", image_id=int, caption=str):
            captions_of[annotation["image_id"]].append(annotation["caption"])
    for row, image in enumerate(content["images"], 1):
        if not _has(image, items, items.at(path, row), id=int, file_name=str):
            continue
        items.add(
            str(image["id"]),
            f"{part}/{image['file_name']}",
            items.at(path, row),
            captions=captions_of.pop(image["id"], []),
            split="train" if part.startswith("train") else "val",
            labels=labels_of.get(image["id"], []),
        )
    for image_id, captions in captions_of.items():
        items.report(items.at(path), f"{len(captions)} captions of image {image_id}, which is not listed; left out")
