"""Where files lie: in a folder, or in a zip archive that is never unpacked."""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Protocol

from PIL import Image

from lib.data.corpora.reading import Items
from lib.data.corpora.texts import readable
from lib.data.decoder import decode
from lib.data.images import Images, ImageSequence

LARGEST = 1 << 28  # bytes of a text in an archive, which may claim less than it unpacks to
DAMAGE = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError, ValueError)


class Source(Protocol):
    """Files by the name that problems call them by, below one place."""

    items: Items

    def read(self, name: str) -> bytes:
        """The content of a file; OSError where it cannot be read."""
        ...

    def images(self) -> Images | None:
        """The pictures of what `items` found; None for files of a folder."""
        ...


class Folder:
    """Files below a folder."""

    def __init__(self, name: str, root: Path):
        self.items = Items(name, root, root)

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return (self.items.root / self.items.files[name]).read_bytes()

    def images(self) -> None:
        """Files of the folder that `items` knows."""


class Zip:
    """Files in a zip archive; what cannot be read out of it is reported."""

    def __init__(self, name: str, path: Path):
        self.items = Items(name, path)
        self.items.folder = path
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        except DAMAGE as error:
            raise ValueError(f"corpus {name}: {path} is no zip archive or a damaged one ({error})") from error
        for info in members:
            shown = readable(info.filename)
            if info.is_dir() or shown.startswith("__MACOSX/"):
                continue
            why = "is encrypted" if info.flag_bits & 1 else "is there twice" if shown in self.items.files else ""
            if why:
                self.items.report(self.items.at(path / shown), f"{why}; left out")
            else:
                self.items.files[shown] = info.filename
        self.items.files = dict(sorted(self.items.files.items()))

    def read(self, name: str) -> bytes:
        """The content of a file; OSError where it is damaged or too large for a text."""
        return read_member(self.items.root, self.items.files[name], LARGEST)

    def images(self) -> Images:
        """The pictures, read out of the archive when they are asked for."""
        return ZipImages(self.items.root, [item.image for item in self.items.found.values()])


def read_member(path: Path, name: str, at_most: int) -> bytes:
    """A file of a zip archive; OSError with both names where it is damaged or larger than `at_most` bytes."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            content = member.read(at_most + 1)
    except (*DAMAGE, KeyError) as error:
        raise OSError(f"{name} in {path.name} cannot be read ({error})") from error
    if len(content) > at_most:
        raise OSError(f"{name} in {path.name} is larger than {at_most:,} bytes")
    return content


class ZipImages(ImageSequence):
    """Pictures inside a zip archive, opened when they are asked for."""

    def __init__(self, path: Path, names: Iterable[str]):
        self.path, self.names = path, list(names)
        self.paths = [path / PurePosixPath(name) for name in self.names]

    def __len__(self) -> int:
        return len(self.names)

    def open(self, row: int) -> Image.Image:
        """The image of a row in RGB; OSError with its name and the archive where it is none."""
        return decode(io.BytesIO(self._content(row)), f"image {row}: {self.names[row]} in {self.path}")

    def _content(self, row: int) -> bytes:
        return read_member(self.path, self.names[row], LARGEST)

    def fingerprint(self, row: int) -> str:
        """SHA-256 of the content of an image."""
        return hashlib.sha256(self._content(row)).hexdigest()

    def take(self, rows: Iterable[int]) -> "ZipImages":
        """The images of these rows, in this order."""
        return ZipImages(self.path, [self.names[row] for row in rows])
