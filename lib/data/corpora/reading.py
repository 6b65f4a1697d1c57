"""What the adapters share: finding published files, reading damaged texts, collecting items and what is wrong."""

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from lib.base.files import data_dir
from lib.data.corpora.texts import BYTE_ORDER_MARKS, FALLBACKS, clean, decode, not_a_text, parse_json, readable, wide
from lib.data.corpus import SPLITS, Corpus
from lib.data.images import ImageFiles, ImageSequence
from lib.data.obtain.registry import read_entry

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")


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


def listing(folder: Path, report: Callable[[str, str], None] | None = None) -> dict[str, str]:
    """All files below a folder, sorted: "sub/name.jpg" as it can be read and compared -> as the disk has it.

    The two differ where a name is no UTF-8 or its accents are not composed (NFC). Linked folders are followed, each
    folder once. `report` gets the place and the reason of what cannot be listed.
    """
    report = report or (lambda where, what: None)
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    todo, links = [""], list[str]()
    while todo or links:  # links last, so that a folder has its own name where it has one
        prefix = todo.pop() if todo else links.pop(0)
        try:
            about = os.stat(folder / prefix)
            if (about.st_dev, about.st_ino) in seen:
                report(readable(prefix.rstrip("/")), "is a link to a folder that is read already; not followed")
                continue
            seen.add((about.st_dev, about.st_ino))
            with os.scandir(folder / prefix) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    name = f"{prefix}{entry.name}"
                    if entry.is_dir():
                        (links if entry.is_symlink() else todo).append(f"{name}/")
                    elif entry.is_file():
                        found.append(name)
                    else:
                        report(readable(name), "is a link to nothing, or no file; left out")
        except OSError as error:
            report(readable(prefix.rstrip("/")) or ".", f"cannot be listed ({error.strerror}); left out")
    names: dict[str, str] = {}
    for name in sorted(found):
        shown = readable(name)
        if shown in names:
            report(shown, "there are two files of this name; the second is left out")
        names.setdefault(shown, name)
    return dict(sorted(names.items()))


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
    pictures and is listed once; None where the pictures are no files of their own. `notes` say how it was read.
    """

    def __init__(self, name: str, root: Path, folder: Path | None = None):
        self.name, self.root, self.folder = name, root, folder
        self.found: dict[str, Item] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.files = {} if folder is None else self.listing(folder)

    def listing(self, folder: Path) -> dict[str, str]:
        """`listing` of a folder below the root; what cannot be listed is reported."""
        return listing(folder, lambda where, what: self.report(self.at(folder / where), what))

    def at(self, path: Path, row: int | None = None) -> str:
        """How a problem names a file below the root and a row in it (from 1)."""
        return f"{readable(path.relative_to(self.root).as_posix())}{'' if row is None else f', row {row}'}"

    def report(self, where: str, what: str) -> None:
        """Note what is wrong at a place that `at` has named."""
        self.problems.append(f"{where}: {what}")

    def has_photo(self, image: str) -> bool:
        """Whether this picture is there, as far as there is a picture folder."""
        return self.folder is None or readable(image) in self.files

    def text(self, path: Path, fallbacks: Sequence[str] = FALLBACKS) -> str:
        """The text of a whole file, also gzipped; what was done to read it is reported."""
        text, repair = decode(self._content(path), fallbacks)
        if repair:
            self.report(self.at(path), repair)
        return text

    def lines(self, path: Path, fallbacks: Sequence[str] = FALLBACKS) -> Iterator[tuple[int, str]]:
        """Row (from 1) and text of each line of a text file, also gzipped; repaired lines are reported."""
        content = self._content(path)
        if content.startswith(tuple(BYTE_ORDER_MARKS)) or wide(content[: 1024 & ~1]):
            yield from enumerate(self.text(path, fallbacks).splitlines(), 1)
            return
        for row, raw in enumerate(io.BytesIO(content), 1):
            text, repair = decode(raw, fallbacks)
            if repair:
                self.report(self.at(path, row), repair)
            yield row, text.rstrip("\r\n")

    def _content(self, path: Path) -> bytes:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ValueError(f"corpus {self.name}: {path} cannot be read ({error.strerror})") from error
        if path.suffix != ".gz":
            return content
        try:
            return gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"corpus {self.name}: {path} cannot be unpacked ({error}); fetch it again") from error

    def json(self, path: Path, *fields: str) -> Any:
        """The content of a JSON file; ValueError with its name where it is none or lacks one of these fields."""
        try:
            content = parse_json(self._content(path))
        except ValueError as error:
            raise ValueError(f"corpus {self.name}: {path} is no JSON ({error}); fetch it again") from error
        lacking = [
            field for field in fields if not (isinstance(content, dict) and isinstance(content.get(field), list))
        ]
        if lacking:
            raise ValueError(f"corpus {self.name}: {path} has no list {', '.join(lacking)}: not the published file")
        return content

    def add(self, image_id: str, image: Any, where: str, *, captions=(), tags=(), split="train", labels=()) -> bool:
        """Take an item in unless its id is there already or its picture is missing, which is reported; says which.

        Texts that are none (see `not_a_text`) are left out and reported.
        """
        if image_id in self.found:
            self.report(where, f"image {image_id!r} is there twice; the second is left out")
            return False
        if self.folder is not None and not self.has_photo(image):
            self.report(where, f"image {image_id!r} has no file {self.at(self.folder / image)}; left out")
            return False
        if self.folder is not None:
            image = self.files[readable(image)]
        captions, tags = self._usable(captions, image_id, "caption", where), self._usable(tags, image_id, "tag", where)
        captions, tags = [clean(text) for text in captions], [clean(tag) for tag in tags]
        if not all(captions):
            self.report(where, f"image {image_id!r} has {captions.count('')} empty captions; they are left out")
        tags = list(dict.fromkeys(filter(None, tags)))
        self.found[image_id] = Item(image, list(filter(None, captions)), tags, split, labels)
        return True

    def _usable(self, texts: Iterable[Any], image_id: str, kind: str, where: str) -> list[str]:
        why = [(text, not_a_text(text)) for text in texts]
        for text, reason in why:
            if reason:
                shown = repr(text)[:40].encode("ascii", "backslashreplace").decode()
                self.report(where, f"{kind} {shown} of image {image_id!r} {reason}; left out")
        return [text for text, reason in why if not reason]

    def corpus(self, *, licence: str, source: str, attribution: str, images=None, label_names=()) -> Corpus:
        """The corpus of what was found; `images` where the pictures are no files in `folder`.

        Raises ValueError with the first problems where nothing is left.
        """
        if not self.found:
            if not self.problems:
                self.report(".", f"no picture ({', '.join(IMAGE_SUFFIXES)}) among {len(self.files):,} files")
            shown = "\n".join([*self.notes, *self.problems[:10]])
            raise ValueError(
                f"corpus {self.name}: {self.root}: nothing could be read; {len(self.problems)} problems:\n{shown}"
            )
        items = list(self.found.values())
        self._note_unused_pictures()
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
            notes=tuple(self.notes),
        )

    def _note_unused_pictures(self) -> None:
        used = {item.image for item in self.found.values() if isinstance(item.image, str)}
        pictures = (shown for shown, name in self.files.items() if name not in used)
        unused = [shown for shown in pictures if shown.lower().endswith(IMAGE_SUFFIXES)]
        if unused:
            self.notes.append(f"{len(unused):,} pictures are not in the corpus, the first: {', '.join(unused[:5])}")


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
