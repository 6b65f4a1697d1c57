"""MIRFLICKR-25K (Huiskes and Lew, MIR 2008): 25,000 Flickr photos with their tags and 24 + 14 labels.

`load` reads the published folders, `load_dcmh` the 20,015 photos that Deep Cross-Modal Hashing (Jiang and Li, CVPR
2017) and its successors use. Neither comes with a split: val and test are drawn here by a hash of id and seed.
"""

import re
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import numpy as np

from lib.data.corpora.matfiles import MatImages, read_matrix, read_names, variables
from lib.data.corpora.reading import Items, MissingImages, check_choice, corpus_root, find, held_out
from lib.data.corpus import Corpus
from lib.data.images import ImageFiles

LICENCE = "Creative Commons, by photo: see meta/license"
ATTRIBUTION = "M. J. Huiskes, M. S. Lew: The MIR Flickr Retrieval Evaluation, 2008; photographers: meta/license"
LABELS, DCMH_TAGS = 24, 1386


def load(
    root: str | Path | None = None,
    labels: str = "potential",
    raw_tags: bool = False,
    test: int = 2000,
    val: int = 2000,
    seed: int = 0,
    photos: bool = True,
) -> Corpus:
    """Load MIRFLICKR-25K; captions it has none.

    `labels` is "potential" (24: the concept is visible), "relevant" (14, files *_r1.txt: it is salient) or "both".
    Tags are the lower-cased ones of meta/tags, or with `raw_tags` those of meta/tags_raw, as their owners wrote them.
    """
    check_choice("labels", labels, ("potential", "relevant", "both"))
    name = "mirflickr25k"
    root = corpus_root(name, root, name, "mirflickr25k", "MIRFLICKR-25K")
    photo_folder = find(name, root, "mirflickr", "images")
    annotations = find(
        name, root, "mirflickr25k_annotations_v080", "annotations_v080", "mirflickr/annotations", "annotations"
    )
    tag_folder = find(name, photo_folder, f"meta/{'tags_raw' if raw_tags else 'tags'}")
    items = Items(name, root, photo_folder if photos else None)
    label_names, labels_of = _read_annotations(annotations, labels, items)
    for path in sorted(tag_folder.glob("tags*.txt"), key=_number):
        number = _number(path)
        if number < 0:
            items.report(items.at(path), "has no number in its name; left out")
            continue
        tags = [line for _, line in items.lines(path)]
        image = f"im{number}.jpg"
        items.add(
            image, image, items.at(path), tags=[tag for tag in tags if tag.strip()], labels=labels_of.get(number, [])
        )
    for number in sorted(labels_of):
        if f"im{number}.jpg" not in items.found:
            items.report(items.at(annotations), f"label of photo {number}, which is not in the corpus; ignored")
    for image in items.files:
        if re.fullmatch(r"im\d+\.jpg", image) and image not in items.found:
            items.report(items.at(photo_folder / image), "photo without a file of tags; left out")
    corpus = items.corpus(
        label_names=label_names, licence=LICENCE, source="https://press.liacs.nl/mirflickr/", attribution=ATTRIBUTION
    )
    return replace(corpus, split=np.array(held_out(corpus.image_ids, test, val, seed)))


def _number(path: Path) -> int:
    digits = "".join(filter(str.isdecimal, path.stem))
    return int(digits) if digits and len(digits) < 10 else -1


def _read_annotations(folder: Path, which: str, items: Items) -> tuple[list[str], dict[int, list[int]]]:
    """One file a label, with the numbers of its photos: names in alphabetical order, and the columns of each photo."""
    names = sorted(path.stem for path in folder.glob("*.txt") if "readme" not in path.name.lower())
    names = [name for name in names if which == "both" or name.endswith("_r1") == (which == "relevant")]
    labels_of: dict[int, list[int]] = {}
    for column, name in enumerate(names):
        path = folder / f"{name}.txt"
        for row, line in items.lines(path):
            if line.strip().isdecimal() and len(line.strip()) < 10:
                labels_of.setdefault(int(line), []).append(column)
            elif line.strip():
                items.report(items.at(path, row), "no photo number; ignored")
    return names, labels_of


def load_dcmh(
    root: str | Path | None = None, test: int = 2000, val: int = 2000, seed: int = 0, photos: bool = True
) -> Corpus:
    """Load the 20,015 photos of DCMH, with 24 labels and a bag of 1,386 words each.

    Reads FLICKR-25K.mat (images, LAll, YAll), or mirflickr25k-{iall,lall,yall,fall}.mat, flat or in IAll/, LAll/, ...
    Pictures are 224 x 224 out of the matrix, one at a time, or the files that FAll names in mirflickr/ beside it. The
    files do not say which word or label a column is: tags are called "word0001" and labels "label01".
    """
    name = "mirflickr25k-dcmh"
    root = corpus_root(name, root, name, "mirflickr25k-dcmh", "mirflickr25k")
    paths = {key: _mat(root, key) or find(name, root, *_mat_names(key)) for key in ("LAll", "YAll")}
    labels = read_matrix(paths["LAll"], "LAll", columns=LABELS)
    words = read_matrix(paths["YAll"], "YAll", columns=DCMH_TAGS)
    if len(labels) != len(words):
        raise ValueError(f"{paths['LAll']} has {len(labels)} rows and {paths['YAll']} {len(words)}: not of one set")
    ids, images = _dcmh_images(name, root, len(labels), photos)
    items = Items(name, root)
    kept = []
    for row, image_id in enumerate(ids):
        where = items.at(paths["YAll"], row + 1)
        tags = [f"word{column + 1:04d}" for column in np.flatnonzero(words[row])]
        if items.add(image_id, row, where, tags=tags, labels=np.flatnonzero(labels[row])):
            kept.append(row)
    corpus = items.corpus(
        images=images.take(kept),
        label_names=[f"label{i + 1:02d}" for i in range(LABELS)],
        licence=LICENCE,
        source="DCMH (https://github.com/jiangqy/DCMH-CVPR2017), from MIRFLICKR-25K",
        attribution=f"{ATTRIBUTION}; Q.-Y. Jiang, W.-J. Li: Deep Cross-Modal Hashing, CVPR 2017",
    )
    return replace(corpus, split=np.array(held_out(corpus.image_ids, test, val, seed)))


def _mat_names(key: str) -> tuple[str, ...]:
    part = f"mirflickr25k-{key.lower()}.mat"
    return ("FLICKR-25K.mat", part, f"{key}/{part}")


def _mat(root: Path, key: str) -> Path | None:
    """The file that has this variable, if one has."""
    candidates = (root / candidate for candidate in _mat_names(key))
    return next((path for path in candidates if path.exists() and key in variables(path)), None)


def _dcmh_images(name: str, root: Path, n: int, photos: bool):
    """Ids and pictures: out of the image matrix, or photo files, or none."""
    names_file = _mat(root, "FAll")
    ids = [f"{row + 1:05d}" for row in range(n)]
    if names_file is not None:
        ids = [PureWindowsPath(path).name for path in read_names(names_file, "FAll")]
    if len(ids) != n:
        raise ValueError(f"corpus {name}: {names_file} names {len(ids)} pictures for {n} rows of labels")
    if not photos:
        return ids, MissingImages(ids, f"{name} was loaded without its pictures (photos=False)")
    for key in ("IAll", "images"):
        path = _mat(root, key)
        if path is not None:
            images = MatImages(path, key)
            if len(images) != n:
                raise ValueError(f"corpus {name}: {path} has {len(images)} pictures for {n} rows of labels")
            return ids, images
    folder = find(name, root, "mirflickr", hint="Or mirflickr25k-iall.mat; photos=False does without.")
    return ids, ImageFiles([folder / image_id for image_id in ids])
