"""What the adapters share: finding published files, reading damaged texts, collecting items and what is wrong."""

import gzip
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from lib.base.files import data_dir
from lib.data.corpus import SPLITS, Corpus
from lib.data.images import ImageFiles, ImageSequence
from lib.data.obtain.registry import read_entry

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# Tried in this order where a text is no UTF-8. Which one is right is a guess: GB18030 refuses an accented letter of a
# Western encoding before a space or at the end, and takes it for half a Chinese character before another letter;
# cp1252 takes nearly everything, so it comes last. Every repair is reported with the encoding.
FALLBACKS = ("gb18030", "cp1252")
HASHTAG = re.compile(r"(?<!&)#(\w+)")  # not the number in the HTML entity &#39;


# ------------------------------------------------------------------------------------------------------ finding files
def corpus_root(name: str, root: str | Path | None, *folders: str) -> Path:
    """The folder a corpus lies in: `root`, or the first of `folders` in `data_dir()`; FileNotFoundError says how on."""
    candidates = [data_dir() / folder for folder in folders] if root is None else [Path(root)]
    for folder in candidates:
        if folder.is_dir():
            return folder
    looked = " or ".join(map(str, candidates)) or "root, which was not given"
    raise FileNotFoundError(f"corpus {name}: no folder {looked}. {how_to_get(name)}")


def find(name: str, root: Path, *candidates: str, hint: str = "") -> Path:
    """The first of these files or folders that lies in `root`; FileNotFoundError says where it looked and how on."""
    found = find_optional(root, *candidates)
    if found is None:
        raise FileNotFoundError(
            f"corpus {name}: no {' or '.join(candidates)} in {root}. {hint + ' ' if hint else ''}{how_to_get(name)}"
        )
    return found


def find_optional(root: Path, *candidates: str) -> Path | None:
    """The first of these files or folders that lies in `root`, or None."""
    return next((root / candidate for candidate in candidates if (root / candidate).exists()), None)


def how_to_get(name: str) -> str:
    """One sentence out of registry.yaml: what to do to have this corpus."""
    return f"To get it: {read_entry(name).obtain}"


def listing(folder: Path) -> dict[str, None]:
    """All files below a folder as "sub/name.jpg", sorted; links to folders are not followed."""
    found, todo = [], [("", folder)]
    while todo:
        prefix, current = todo.pop()
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append((f"{prefix}{entry.name}/", Path(entry.path)))
                elif entry.is_file():
                    found.append(prefix + entry.name)
    return dict.fromkeys(sorted(found))


# -------------------------------------------------------------------------------------------------------------- texts
def decode(raw: bytes, fallbacks: Sequence[str] = FALLBACKS) -> tuple[str, str]:
    """The text, and what had to be done to read it: empty for UTF-8."""
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        wrong = f"no UTF-8 (byte {error.start})"
    for encoding in fallbacks:
        try:
            return raw.decode(encoding), f"{wrong}, read as {encoding}"
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", errors="replace"), f"{wrong}, unreadable bytes replaced by U+FFFD"


def clean(text: str) -> str:
    """The text on one line with single spaces."""
    return " ".join(text.split())


def hashtags(text: str) -> list[str]:
    """The words behind # in order, each once, as they are written: "#NYC #nyc &#39;" -> ["NYC", "nyc"]."""
    return list(dict.fromkeys(HASHTAG.findall(text)))


# -------------------------------------------------------------------------------------------------------------- items
class Item(NamedTuple):
    """One picture with its texts; `image` is a file name in the picture folder or what the adapter opens it by."""

    image: Any
    captions: list[str]
    tags: list[str]
    split: str
    labels: Sequence[int]


class MissingImages(ImageSequence):
    """In the place of pictures that are not there: has a length and fingerprints, opening one says why it cannot."""

    def __init__(self, image_ids: Iterable[str], why: str):
        self.image_ids, self.why = list(image_ids), why
        self.paths = [Path(image_id) for image_id in self.image_ids]

    def __len__(self) -> int:
        return len(self.image_ids)

    def open(self, row: int) -> NoReturn:
        """Raises FileNotFoundError with the id and why."""
        raise FileNotFoundError(f"image {row} ({self.image_ids[row]}): {self.why}")

    def fingerprint(self, row: int) -> str:
        """SHA-256 of the id: there is no content to tell images apart by."""
        return hashlib.sha256(f"no picture: {self.image_ids[row]}".encode()).hexdigest()

    def take(self, rows: Iterable[int]) -> "MissingImages":
        """The same for these rows."""
        return MissingImages([self.image_ids[row] for row in rows], self.why)


class Items:
    """Items of a corpus as they are found, in order, and everything that is wrong in its files.

    Problems name files below `root` (so that they can be shown without the paths of a machine). `folder` holds the
    pictures and is listed once; None where the pictures are no files of their own.
    """

    def __init__(self, name: str, root: Path, folder: Path | None = None):
        self.name, self.root, self.folder = name, root, folder
        self.files = {} if folder is None else listing(folder)
        self.found: dict[str, Item] = {}
        self.problems: list[str] = []

    def at(self, path: Path, row: int | None = None) -> str:
        """How a problem names a file below the root and a row in it (from 1)."""
        return f"{path.relative_to(self.root).as_posix()}{'' if row is None else f', row {row}'}"

    def report(self, where: str, what: str) -> None:
        """Note what is wrong at a place that `at` has named."""
        self.problems.append(f"{where}: {what}")

    def has_photo(self, image: str) -> bool:
        """Whether this picture is there, as far as there is a picture folder."""
        return self.folder is None or image in self.files

    def lines(self, path: Path, fallbacks: Sequence[str] = FALLBACKS) -> Iterator[tuple[int, str]]:
        """Row (from 1) and text of each line of a text file, also gzipped; repaired lines are reported."""
        content = path.read_bytes()
        if path.suffix == ".gz":
            try:
                content = gzip.decompress(content)
            except (OSError, EOFError, zlib.error) as error:
                raise ValueError(f"corpus {self.name}: {path} cannot be unpacked ({error}); fetch it again") from error
        for row, raw in enumerate(io.BytesIO(content), 1):
            text, repair = decode(raw, fallbacks)
            if repair:
                self.report(self.at(path, row), repair)
            yield row, text.rstrip("\r\n")

    def json(self, path: Path, *fields: str) -> Any:
        """The content of a JSON file; ValueError with its name where it is none or lacks one of these fields."""
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"corpus {self.name}: {path} is no JSON ({error}); fetch it again") from error
        lacking = [
            field for field in fields if not (isinstance(content, dict) and isinstance(content.get(field), list))
        ]
        if lacking:
            raise ValueError(f"corpus {self.name}: {path} has no list {', '.join(lacking)}: not the published file")
        return content

    def add(self, image_id: str, image: Any, where: str, *, captions=(), tags=(), split="train", labels=()) -> bool:
        """Take an item in unless its id is there already or its picture is missing, which is reported; says which."""
        if image_id in self.found:
            self.report(where, f"image {image_id!r} is there twice; the second is left out")
        elif not self.has_photo(image):
            self.report(where, f"image {image_id!r} has no file {self.at(self.folder / image)}; left out")
        else:
            captions, tags = [clean(text) for text in captions], [clean(tag) for tag in tags]
            if not all(captions):
                self.report(where, f"image {image_id!r} has {captions.count('')} empty captions; they are left out")
            tags = list(dict.fromkeys(filter(None, tags)))
            self.found[image_id] = Item(image, list(filter(None, captions)), tags, split, labels)
            return True
        return False

    def corpus(self, *, licence: str, source: str, attribution: str, images=None, label_names=()) -> Corpus:
        """The corpus of what was found; `images` where the pictures are no files in `folder`.

        Raises ValueError with the first problems where nothing is left.
        """
        if not self.found:
            shown = "\n".join(self.problems[:10])
            raise ValueError(f"corpus {self.name}: nothing could be read; {len(self.problems)} problems:\n{shown}")
        items = list(self.found.values())
        if images is None and self.folder is not None:
            images = ImageFiles([self.folder / item.image for item in items])
        elif images is None:
            images = MissingImages(self.found, f"{self.name} was loaded without its pictures (photos=False)")
        labels = np.zeros((len(items), len(label_names)), dtype=bool)
        for row, item in enumerate(items):
            labels[row, item.labels] = True
        return Corpus(
            name=self.name,
            images=images,
            image_ids=list(self.found),
            captions=[item.captions for item in items],
            tags=[item.tags for item in items],
            labels=labels if len(label_names) else None,
            label_names=list(label_names),
            split=np.array([item.split for item in items]),
            licence=licence,
            source=source,
            attribution=attribution,
            problems=tuple(self.problems),
        )


# -------------------------------------------------------------------------------------------------------------- splits
def check_split(split: str | None) -> None:
    """Raise ValueError where an option names no split."""
    if split is not None and split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: one of {SPLITS}")


def check_choice(option: str, value: Any, choices: Sequence) -> None:
    """Raise ValueError where an option has none of its values."""
    if value not in choices:
        raise ValueError(f"{option} is {value!r}: one of {', '.join(map(repr, choices))}")


def held_out(keys: Sequence[str], test: int, val: int, seed: int = 0) -> list[str]:
    """A split for corpora that publish none: `test` and `val` of the keys, drawn by a hash of seed and key.

    Depends on the keys and not on their order. Raises ValueError where nothing is left to train on.
    """
    if min(test, val) < 0 or test + val >= len(keys):
        raise ValueError(f"{test} test and {val} validation items out of {len(keys)} leave nothing to train on")
    order = sorted(range(len(keys)), key=lambda i: hashlib.sha256(f"{seed}:{keys[i]}".encode()).digest())
    split = ["train"] * len(keys)
    for place, i in enumerate(order[: test + val]):
        split[i] = "test" if place < test else "val"
    return split
