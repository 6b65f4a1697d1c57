"""Images one at a time: files, a plain list of PIL images, or what an adapter reads out of an archive."""

import hashlib
import os
import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, overload, runtime_checkable

from PIL import Image, UnidentifiedImageError


@runtime_checkable
class Images(Protocol):
    """What a `Corpus` needs of its images: how many, each one, what tells them apart, and some of them."""

    def __len__(self) -> int:
        """How many images there are."""
        ...

    def __getitem__(self, row: int, /) -> Image.Image:
        """The image of a row, decoded when it is asked for; OSError where it cannot be."""
        ...

    def fingerprint(self, row: int, /) -> str:
        """SHA-256 (hexadecimal) of the content of the image of a row; the key of its cached features."""
        ...

    def take(self, rows: Iterable[int], /) -> "Images":
        """The images of these rows, in this order."""
        ...


def as_images(images: Sequence | Images) -> Images:
    """What has the protocol as it is; anything else that has a length and gives PIL images as an `ImageList`."""
    return images if isinstance(images, Images) else ImageList(images)


class ImageSequence(Sequence[Image.Image]):
    """What the classes with the protocol share: a slice takes; a subclass says how one image is opened."""

    @abstractmethod
    def open(self, row: int) -> Image.Image:
        """The image of a row; OSError where it cannot be decoded."""

    @abstractmethod
    def fingerprint(self, row: int) -> str:
        """SHA-256 (hexadecimal) of the content of the image of a row."""

    @abstractmethod
    def take(self, rows: Iterable[int]) -> Self:
        """The images of these rows, in this order."""

    @overload
    def __getitem__(self, row: int) -> Image.Image: ...

    @overload
    def __getitem__(self, row: slice) -> Self: ...

    def __getitem__(self, row: int | slice) -> Image.Image | Self:
        return self.take(range(len(self))[row]) if isinstance(row, slice) else self.open(row)


class ImageList(ImageSequence):
    """A plain sequence of PIL images, such as a list.

    Where the sequence has fingerprints of its own they count; else an image's is the SHA-256 of mode, size and pixels.
    """

    def __init__(self, images: Any, rows: Iterable[int] | None = None):
        """`images` has a length and gives a PIL image for a row; `rows` are those to use, all of them without."""
        self.images = images
        self.rows = list(range(len(images)) if rows is None else rows)

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, row: int) -> Image.Image:
        """A copy of the image of a row in RGB; TypeError where the sequence gives something else than PIL images."""
        return self._as_given(row).convert("RGB")

    def _as_given(self, row: int) -> Image.Image:
        image = self.images[self.rows[row]]
        if not isinstance(image, Image.Image):
            raise TypeError(f"image {row} is of type {type(image).__name__}, not a PIL image; for files: ImageFiles")
        return image

    def fingerprint(self, row: int) -> str:
        """SHA-256 (hexadecimal) of mode, size and pixels."""
        if hasattr(self.images, "fingerprint"):
            return self.images.fingerprint(self.rows[row])
        image = self._as_given(row)
        if image.mode in ("P", "PA") or "transparency" in image.info:  # the pixels alone do not say what is seen
            image = image.convert("RGBA")
        return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()

    def take(self, rows: Iterable[int]) -> "ImageList":
        """The images of these rows, in this order."""
        return ImageList(self.images, [self.rows[row] for row in rows])


class ImageFiles(ImageSequence):
    """Image files that are opened when they are asked for: `images[i]` is a PIL image in RGB.

    `fingerprints` are the SHA-256 of the files where a manifest has them already; otherwise a file is read
    and hashed when its fingerprint is first asked for.
    """

    def __init__(self, paths: Iterable[str | Path], fingerprints: Iterable[str | None] | None = None):
        self.paths = [Path(path) for path in paths]
        self._fingerprints: list[str | None] = [None] * len(self.paths) if fingerprints is None else list(fingerprints)
        if len(self._fingerprints) != len(self.paths):
            raise ValueError(f"{len(self._fingerprints)} fingerprints for {len(self.paths)} image files")

    def __len__(self) -> int:
        return len(self.paths)

    def open(self, row: int) -> Image.Image:
        """The image of a file in RGB; OSError with row and path where it is none."""
        return open_image(self.paths[row], f"image {row}: {self.paths[row]}")

    def fingerprint(self, row: int) -> str:
        """SHA-256 (hexadecimal) of the content of an image file."""
        known = self._fingerprints[row]
        if known is None:
            known = self._fingerprints[row] = hashlib.sha256(self.paths[row].read_bytes()).hexdigest()
        return known

    def take(self, rows: Iterable[int]) -> "ImageFiles":
        """The images of these rows, in this order."""
        rows = list(rows)
        return ImageFiles([self.paths[row] for row in rows], [self._fingerprints[row] for row in rows])


def open_image(file: str | Path | BinaryIO, where: str) -> Image.Image:
    """Decode one picture, a file or a stream, to RGB; OSError begins with `where` and says what is wrong with it."""
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise FileNotFoundError(f"{where}: no such file") from None
    except Image.DecompressionBombError as error:
        raise OSError(f"{where} is refused, it would need too much memory ({error})") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise OSError(f"{where} is not a readable image ({_why(file) or error}); fetch it again") from error


def _why(file: str | Path | BinaryIO) -> str:
    """The two most common reasons why something is no picture; empty where it is another one."""
    if not isinstance(file, str | Path):
        file.seek(0)
        head = file.read(256)
    elif Path(file).is_file() and os.access(file, os.R_OK):
        with open(file, "rb") as stream:
            head = stream.read(256)
    else:
        return ""
    if not head:
        return "it is empty"
    return "it is a web page, not a picture" if re.match(rb"\s*<(!doctype|html)", head, re.IGNORECASE) else ""
