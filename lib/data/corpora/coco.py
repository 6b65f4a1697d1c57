"""MSCOCO (Lin et al., ECCV 2014; captions: Chen et al., 2015): photos with five captions or more and 80 labels."""

from collections import defaultdict
from pathlib import Path

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
    train; without it they are left out. `labels` reads the 80 categories from instances_{train,val}<year>.json.
    """
    check_choice("annotations", annotations, ("karpathy", "2014", "2017"))
    name = "coco"
    root = corpus_root(name, root, name)
    year = "2014" if annotations == "karpathy" else annotations
    parts = (f"train{year}", f"val{year}")
    if photos:  # the names in the annotations begin with the part they are in
        for part in parts:
            find(name, root, part, hint="photos=False loads the texts alone.")
    items = Items(name, root, root if photos else None)
    label_names, labels_of = _read_instances(root, parts, items) if labels else ([], {})
    if annotations == "karpathy":
        _add_karpathy(find(name, root, "dataset_coco.json", "annotations/dataset_coco.json"), items, labels_of, restval)
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


def _read_instances(root: Path, parts: tuple[str, ...], items: Items) -> tuple[list[str], dict[int, list[int]]]:
    """Category names in the order of their ids, and the columns of each image id."""
    names: dict[int, str] = {}
    categories_of: dict[int, set[int]] = defaultdict(set)
    for part in parts:
        path = find(items.name, root, f"annotations/instances_{part}.json", hint="labels=False does without.")
        content = items.json(path, "categories", "annotations")
        names.update({category["id"]: category["name"] for category in content["categories"]})
        for annotation in content["annotations"]:
            categories_of[annotation["image_id"]].add(annotation["category_id"])
    column = {category: i for i, category in enumerate(sorted(names))}
    labels_of = {image: sorted(column[category] for category in found) for image, found in categories_of.items()}
    return [names[category] for category in column], labels_of


def _add_karpathy(path: Path, items: Items, labels_of: dict[int, list[int]], restval: bool) -> None:
    for entry in read_karpathy(path, items):
        if entry.split not in SPLIT_OF or not {"filepath", "cocoid"} <= entry.record.keys():
            items.report(entry.where, f"no picture of COCO (split {entry.split!r}, filepath, cocoid); left out")
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
    for annotation in content["annotations"]:
        captions_of[annotation["image_id"]].append(annotation["caption"])
    for row, image in enumerate(content["images"], 1):
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
