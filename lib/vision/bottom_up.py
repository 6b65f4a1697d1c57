"""Regions that a detector found elsewhere: the published files of bottom-up attention (Anderson et al. 2018).

36 regions of 2,048 numbers a picture, from a Faster R-CNN trained on Visual Genome with 1,600 object classes and 400
attributes. Three layouts are in use for COCO and Flickr30k: tab-separated text with the arrays in base64 (with class
and attribute numbers where the extraction kept them), one array `*_ims.npy` (N, 36, 2048) (features only), and a
`.npz` of the same arrays by name. Nothing is unpickled.
"""

import base64
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.vision.regions import Regions

# The columns of the published files, with and without the classes.
COLUMNS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
SEMANTIC_COLUMNS = (
    *("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf"),
    *("num_boxes", "boxes", "features"),
)
DTYPES = {"objects_id": np.int64, "objects_conf": np.float32, "attrs_id": np.int64, "attrs_conf": np.float32}


def read_vocabulary(path: str | Path) -> list[str]:
    """Names of classes or attributes, one a line; of synonyms ("stop sign,stopsign") the first.

    Raises ValueError for an empty line: the numbers in the feature files count lines.
    """
    names = [line.split(",")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    if "" in names:
        raise ValueError(f"{path}: line {names.index('') + 1} is empty")
    return names


def read_tsv(
    path: str | Path, objects: Sequence[str], attributes: Sequence[str] = (), regions: int = 36
) -> tuple[list[str], Regions]:
    """Picture ids and `Regions` of a tab-separated file with class numbers (`SEMANTIC_COLUMNS`, no header line).

    Raises ValueError naming the line: another number of columns or regions, or an array of another size.
    """
    csv.field_size_limit(sys.maxsize)
    ids, rows = [], []
    with open(path, encoding="ascii", newline="") as file:
        for number, fields in enumerate(csv.reader(file, delimiter="\t"), start=1):
            where = f"{path}, line {number}"
            if len(fields) == len(COLUMNS):
                raise ValueError(f"{where}: the file has boxes and features, but no classes: read its features as .npy")
            if len(fields) != len(SEMANTIC_COLUMNS):
                raise ValueError(f"{where}: {len(fields)} columns, not {len(SEMANTIC_COLUMNS)}")
            row = dict(zip(SEMANTIC_COLUMNS, fields, strict=True))
            if int(row["num_boxes"]) != regions:
                raise ValueError(f"{where}: {row['num_boxes']} regions, not {regions}")
            size = np.array([float(row["img_w"]), float(row["img_h"])] * 2, dtype=np.float32)
            arrays = {name: _decode(row[name], dtype, regions, where, name) for name, dtype in DTYPES.items()}
            arrays["boxes"] = _decode(row["boxes"], np.float32, regions * 4, where, "boxes").reshape(-1, 4) / size
            arrays["features"] = _decode(row["features"], np.float32, None, where, "features").reshape(regions, -1)
            ids.append(row["img_id"])
            rows.append(arrays)
    if not rows:
        raise ValueError(f"{path} holds no picture")
    return ids, _regions({name: np.stack([row[name] for row in rows]) for name in rows[0]}, objects, attributes)


def _decode(text: str, dtype, size: int | None, where: str, name: str) -> np.ndarray:
    array = np.frombuffer(base64.b64decode(text), dtype=dtype)
    if size is not None and len(array) != size:
        raise ValueError(f"{where}: {name} holds {len(array)} numbers, not {size}")
    return array


def read_npy(
    features: str | Path, semantics: str | Path, objects: Sequence[str], attributes: Sequence[str] = ()
) -> Regions:
    """`Regions` of an array file (N, 36, 2048), which stays on disk, and the classes in a `.npz`.

    `semantics` holds `boxes` (N, 36, 4) as shares of the picture, `objects_id`, `objects_conf`, and, where there are
    any, `attrs_id`, `attrs_conf`, all (N, 36). Raises ValueError naming what is missing or of another size.
    """
    with np.load(semantics, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    wanted = {"boxes", "objects_id", "objects_conf"} | ({"attrs_id", "attrs_conf"} if len(attributes) else set())
    missing = wanted - set(arrays)
    if missing:
        raise ValueError(f"{semantics} lacks {sorted(missing)}")
    arrays["features"] = np.load(features, mmap_mode="r", allow_pickle=False)
    return _regions(arrays, objects, attributes)


def _regions(arrays: dict[str, np.ndarray], objects: Sequence[str], attributes: Sequence[str]) -> Regions:
    said: dict[str, Any] = {}
    if len(attributes):
        said = {"attributes": arrays["attrs_id"], "attribute_names": attributes}
        said["attribute_confidence"] = arrays["attrs_conf"]
    return Regions(
        arrays["features"],
        arrays["boxes"],
        arrays["objects_id"][..., None],
        arrays["objects_conf"][..., None],
        objects,
        **said,
    )
