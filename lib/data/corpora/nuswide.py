"""NUS-WIDE (Chua et al., CIVR 2009): 269,648 Flickr photos with their tags and 81 concepts, labelled by people."""

from pathlib import Path

import numpy as np

from lib.data.corpora.reading import Items, check_choice, corpus_root, find, find_optional
from lib.data.corpus import Corpus

PHOTOS_HINT = "photos=False loads tags and labels alone."


def load(
    root: str | Path | None = None, concepts: int = 81, tags: str = "1k", untagged: bool = True, photos: bool = True
) -> Corpus:
    """Load NUS-WIDE with its official split (161,789 train, 107,859 test); captions it has none.

    `concepts`: 81, or 21 or 10 for the subsets TC21 (195,834 photos) and TC10 (186,577) of the hashing literature:
    the most frequent concepts, and the photos that have one of them. `tags`: "1k" (AllTags1k.txt: the 1,000 most
    frequent ones, as DCMH has them) or "all" (All_Tags.txt: as their owners wrote them). `untagged=False` leaves out
    photos without a tag (of the 1,000: 190,421 remain of TC21). Reads Groundtruth/AllLabels, or where only that is
    there TrainTestLabels.
    """
    check_choice("concepts", concepts, (81, 21, 10))
    check_choice("tags", tags, ("1k", "all"))
    name = "nuswide"
    root = corpus_root(name, root, name, "NUS-WIDE")
    items = Items(name, root, find(name, root, "Flickr", "images", hint=PHOTOS_HINT) if photos else None)
    lists = {part: _image_list(root, part, items) for part in ("", "Train", "Test")}
    for part in ("Train", "Test"):
        if not lists[part]:
            items.report(f"{part}Imagelist.txt", "lists no photo; there is none of this split")
        for image in lists[part]:
            if image not in lists[""]:
                items.report(f"{part}Imagelist.txt", f"image {image!r} is not in Imagelist.txt; left out")
    split_of = dict.fromkeys(lists["Test"], "test") | dict.fromkeys(lists["Train"], "train")
    names, labels = _read_labels(root, lists, items)
    if concepts < len(names):  # a stable sort: equal counts keep the order of the list
        chosen = np.sort(np.argsort(-labels.sum(0), kind="stable")[:concepts])
        names, labels = [names[column] for column in chosen], labels[:, chosen]
    tag_lists = (_tags_1k if tags == "1k" else _tags_all)(root, lists[""], items)
    path = find(name, root, "ImageList/Imagelist.txt", "Imagelist.txt")
    for row, (image, words) in enumerate(zip(lists[""], tag_lists, strict=True)):
        if image in lists["Train"] and image in lists["Test"]:
            items.report(items.at(path, row + 1), f"image {image!r} is in the train and the test list; left out")
        elif image not in split_of:
            items.report(
                items.at(path, row + 1), f"image {image!r} is in neither the train nor the test list; left out"
            )
        elif (words or untagged) and (concepts == 81 or labels[row].any()):
            where = items.at(path, row + 1)
            items.add(image, image, where, tags=words, split=split_of[image], labels=np.flatnonzero(labels[row]))
    return items.corpus(
        label_names=names,
        licence="research; the photos belong to their Flickr users",
        source="https://lms.comp.nus.edu.sg (NUS-WIDE)" + ("" if concepts == 81 else f", TC{concepts}"),
        attribution="T.-S. Chua et al.: NUS-WIDE: A Real-World Web Image Database, CIVR 2009",
    )


def _image_list(root: Path, part: str, items: Items) -> dict[str, int]:
    r"""Photo -> row of a list of lines `actor\0001_2124494179.jpg`, some with the authors' folder in front."""
    path = find(items.name, root, f"ImageList/{part}Imagelist.txt", f"{part}Imagelist.txt")
    found: dict[str, int] = {}
    for row, line in items.lines(path):
        image = "/".join(line.strip().replace("\\", "/").split("/")[-2:])
        if image in found:
            raise ValueError(f"{path}, row {row}: {image} is there twice, so that the label files cannot be aligned")
        if image:
            found[image] = len(found)
    return found


def _read_labels(root: Path, lists: dict[str, dict[str, int]], items: Items) -> tuple[list[str], np.ndarray]:
    """Concept names and the (photos, concepts) bool matrix in the order of Imagelist.txt."""
    folder = find(
        items.name, root, "Groundtruth/AllLabels", "AllLabels", "Groundtruth/TrainTestLabels", "TrainTestLabels"
    )
    ending = {"Train": "_Train", "Test": "_Test"} if folder.name == "TrainTestLabels" else {"": ""}
    concepts = find_optional(root, "ConceptsList/Concepts81.txt", "Concepts81.txt")
    if concepts is not None:
        names = [line.strip() for _, line in items.lines(concepts) if line.strip()]
    else:
        found = (path.stem.removeprefix("Labels_") for path in folder.glob("Labels_*.txt"))
        names = sorted({name.removesuffix("_Train").removesuffix("_Test") for name in found})
    if not names:
        raise FileNotFoundError(f"corpus {items.name}: no file Labels_<concept>.txt in {folder}")
    labels = np.zeros((len(lists[""]), len(names)), dtype=bool)
    for part, end in ending.items():
        rows = [lists[""].get(image, -1) for image in lists[part]]
        known = np.array(rows) >= 0
        for column, concept in enumerate(names):
            values = _read_column(find(items.name, folder, f"Labels_{concept}{end}.txt"), len(rows), items)
            labels[np.array(rows)[known], column] = values[known]
    return names, labels


def _read_column(path: Path, n: int, items: Items) -> np.ndarray:
    """One 0 or 1 a line; anything else is reported and counts as 0 (Labels_lake_Train.txt has such a row)."""
    values = np.array(path.read_bytes().split())
    if len(values) != n:
        raise ValueError(f"corpus {items.name}: {path} has {len(values)} values for {n} photos; fetch it again")
    for row in np.flatnonzero((values != b"0") & (values != b"1")):
        items.report(items.at(path, int(row) + 1), "neither 0 nor 1; counted as 0")
    return values == b"1"


def _tags_1k(root: Path, images: dict[str, int], items: Items) -> list[list[str]]:
    """Tags of each photo out of the 0/1 matrix AllTags1k.txt, whose columns TagList1k.txt names."""
    vocabulary = find(items.name, root, "NUS_WID_Tags/TagList1k.txt", "TagList1k.txt", "ConceptsList/TagList1k.txt")
    words = [line.strip() for _, line in items.lines(vocabulary) if line.strip()]
    path = find(items.name, root, "NUS_WID_Tags/AllTags1k.txt", "AllTags1k.txt")
    found = []
    with path.open("rb") as file:
        for row, line in enumerate(file, 1):
            flags = line.translate(None, b" \t\r\n")  # one character each
            if len(flags) != len(words):
                items.report(items.at(path, row), f"{len(flags)} columns for {len(words)} tags; read as no tag")
                flags = b""
            found.append([words[column] for column in np.flatnonzero(np.frombuffer(flags, np.uint8) == ord("1"))])
    return _aligned(found, images, path, items)


def _tags_all(root: Path, images: dict[str, int], items: Items) -> list[list[str]]:
    """Tags of each photo out of lines `2124494179  portrait man flash`, in the order of Imagelist.txt."""
    path = find(items.name, root, "NUS_WID_Tags/All_Tags.txt", "All_Tags.txt")
    found = []
    for (row, line), image in zip(items.lines(path), images, strict=False):
        number, *words = line.split() or [""]
        if number != image.rpartition("_")[2].partition(".")[0]:
            items.report(items.at(path, row), f"is for photo {number!r}, not for {image}; read as no tag")
            words = []
        found.append(words)
    return _aligned(found, images, path, items)


def _aligned(found: list[list[str]], images: dict[str, int], path: Path, items: Items) -> list[list[str]]:
    if len(found) != len(images):
        raise ValueError(f"corpus {items.name}: {path} has {len(found)} lines for {len(images)} photos; fetch it again")
    return found
