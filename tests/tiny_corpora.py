"""A tiny collection of each corpus of `lib.data.CORPORA`, in the layout it is published in, and one damage to it.

A new adapter needs an entry in `TINY`; the contract of all corpora (test_contract_corpora.py) does the rest.
"""

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from lib.data import Corpus, load
from tests import test_data_coco as coco
from tests import test_data_flickr as flickr
from tests import test_data_mirflickr as mirflickr
from tests import test_data_nuswide as nuswide
from tests import test_data_webvision as webvision
from tests.picture_files import photos, write
from tests.test_data_folder import post_files
from tests.test_data_openclipart import FOLDER as DRAWINGS
from tests.test_data_openclipart import openclipart_files
from tests.test_data_webdataset import sample, tar

Files = dict[str, bytes | str]


class Tiny(NamedTuple):
    """Files of a collection, what a corpus of them must have, and a damage: other contents, None for a lost file.

    `place` is where the damage must be reported; without `damage` the corpus reads no files that others have made.
    """

    files: Callable[[], Files]
    splits: dict[str, int]
    captions: int
    tags: int
    labels: int
    damage: Callable[[], dict[str, bytes | str | None]] | None = None
    place: str = ""
    options: dict = {}  # noqa: RUF012  nobody changes it

    def load(self, name: str, root: Path) -> Corpus:
        """The corpus of the files in a folder; OpenMoji with six signs, for it draws 1,914 otherwise."""
        if name != "openmoji":
            return load(name, root, **self.options)
        from lib.data.corpora import openmoji

        signs = openmoji._signs()[:6]
        with mock.patch.multiple(openmoji, _signs=lambda: signs, TWINS=()):
            return load(name, root, **self.options)


def shard(damaged: bool = False) -> bytes:
    """A WebDataset shard of three pictures; damaged, the text of the second is no UTF-8."""
    files = [file for i in range(3) for file in sample(f"{i:09d}", i, f"picture {i} #of0")]
    if damaged:
        files = [(name, b"caf\xe9" if name == "000000001.txt" else content) for name, content in files]
    with tempfile.TemporaryDirectory() as folder:
        return tar(Path(folder) / "00000.tar", files).read_bytes()


def dcmh(twice: bool = False) -> Files:
    """The matrices of DCMH with names of their pictures; `twice` gives two pictures one name."""
    matrices, names = io.BytesIO(), io.BytesIO()
    mirflickr.write_hdf5(matrices, **mirflickr.dcmh_matrices())
    mirflickr.write_names(names, [f"im{1 if twice and i == 4 else i + 1}.jpg" for i in range(mirflickr.N)])
    return {"FLICKR-25K.mat": matrices.getvalue(), "mirflickr25k-fall.mat": names.getvalue()}


def folder() -> Files:
    """Pictures with texts in folders of their splits."""
    places = ["train/a", "train/sub/b", "train/c", "val/d", "test/e", "web/f"]
    return photos(".", [f"{place}.jpg" for place in places]) | {f"{place}.txt": f"{place} #tag" for place in places}


def column_with_a_wrong_row() -> str:
    values = nuswide.column(nuswide.LABELS[:, 2]).splitlines()
    return "\n".join([*values[:8], "-1130179", *values[9:]])


CITIES_1M = ("img_resized_1M/cities_instagram", "captions_resized_1M/cities_instagram")
FLICKR_SPLITS = {"train": 3, "val": 1, "test": 2}
TINY = {
    "openmoji": Tiny(dict, {"test": 6}, captions=6, tags=74, labels=2, options={"size": 32}),
    "flickr8k": Tiny(
        flickr.flickr8k_files, FLICKR_SPLITS, 30, 0, 0,
        lambda: {"Flickr8k_text/Flickr8k.token.txt": f"{flickr.tokens(flickr.NAMES)}no tab in this line\n"},
        "Flickr8k_text/Flickr8k.token.txt, row 36",
    ),
    "flickr30k": Tiny(
        flickr.flickr30k_files, FLICKR_SPLITS, 30, 0, 0,
        lambda: {f"flickr30k-images/{flickr.NAMES[1]}": None}, "train_images.txt, row 2",
    ),
    "coco": Tiny(
        coco.coco_files, {"train": 2, "val": 1, "test": 1}, 24, 0, 3,
        lambda: {f"val2014/{coco.filename(25, 'val2014')}": None}, "dataset_coco.json, row 2",
    ),
    "mirflickr25k": Tiny(
        mirflickr.mirflickr_files, {"train": 7, "val": 2, "test": 3}, 0, 24, 2,
        lambda: {"mirflickr25k_annotations_v080/sky.txt": "1\nfour\n"},
        "mirflickr25k_annotations_v080/sky.txt, row 2", {"test": 3, "val": 2},
    ),
    "mirflickr25k-dcmh": Tiny(
        dcmh, {"train": 8, "val": 1, "test": 3}, 0, int(mirflickr.dcmh_matrices()["YAll"].sum()), 24,
        lambda: dcmh(twice=True), "FLICKR-25K.mat, row 5", {"test": 3, "val": 1},
    ),
    "nuswide": Tiny(
        nuswide.nuswide_files, {"train": 40, "test": 20}, 0, int(nuswide.TAGS.sum()), nuswide.CONCEPTS,
        lambda: {"Groundtruth/AllLabels/Labels_c02.txt": column_with_a_wrong_row()},
        "Groundtruth/AllLabels/Labels_c02.txt, row 9",
    ),
    "webvision": Tiny(
        webvision.webvision_files, {"train": 7, "val": 2}, 14, 8, 3,
        lambda: {"info/val_filelist.txt": "val000001.jpg 2\nval000002.jpg\n"}, "info/val_filelist.txt, row 2",
    ),
    "instacities1m": Tiny(
        lambda: post_files(*CITIES_1M, ["london", "miami"]), {"train": 32, "val": 2, "test": 6}, 40, 40, 2,
        lambda: {f"{CITIES_1M[1]}/miami/{10**18}.txt": b"caf\xe9"}, f"{CITIES_1M[1]}/miami/{10**18}.txt",
    ),
    "instany100k": Tiny(
        lambda: post_files("img_resized", "captions", ["newyork"]), {"train": 16, "val": 1, "test": 3}, 20, 20, 1,
        lambda: {f"captions/newyork/{10**18}.txt": b"caf\xe9"}, f"captions/newyork/{10**18}.txt",
    ),
    "openclipart": Tiny(
        openclipart_files, {"web": 4}, 4, 6, 0,
        lambda: {f"{DRAWINGS}/food/pear.svg": "<svg"}, f"{DRAWINGS}/food/pear.svg", {"size": 32},
    ),
    "folder": Tiny(
        folder, {"train": 3, "val": 1, "test": 1, "web": 1}, 6, 6, 0,
        lambda: {"train/c.json": json.dumps({"tags": ["x"]})[:-2]}, "train/c.json",
    ),
    "webdataset": Tiny(
        lambda: {"00000.tar": shard()}, {"train": 3}, 3, 3, 0,
        lambda: {"00000.tar": shard(damaged=True)}, "00000.tar: 000000001.txt",
    ),
}  # fmt: skip


def lay_out(root: Path, files: dict[str, bytes | str | None]) -> Path:
    """Write files, or take those away that are None, below a folder; gives the folder."""
    for name in [name for name, content in files.items() if content is None]:
        (root / name).unlink()
    return write(root, {name: content for name, content in files.items() if content is not None})
