"""Images one at a time: files, a plain list of PIL images, or what an adapter reads out of an archive."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, overload, runtime_checkable

from PIL import Image

from lib.data.decoder import UnreadableImage, decode, is_plain, shown

AT_ONCE = 1024


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

    Where the sequence has fingerprints of its own they count; else an image's is the SHA-256 of mode, size and pixels,
    or, where more than the pixels decides what is seen (transparency, a palette, EXIF, 16 bits), of what is seen.
    """

    def __init__(self, images: Any, rows: Iterable[int] | None = None):
        """`images` has a length and gives a PIL image for a row; `rows` are those to use, all of them without."""
        self.images = images
        self.rows = list(range(len(images)) if rows is None else rows)

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, row: int) -> Image.Image:
        """The image of a row in RGB as a viewer shows it; TypeError where the sequence gives something else than PIL's.

        OSError where it is a strip, has too many pixels, or belongs to a file that cannot be decoded.
        """
        return shown(self._as_given(row), f"image {row}")

    def _as_given(self, row: int) -> Image.Image:
        image = self.images[self.rows[row]]
        if not isinstance(image, Image.Image):
            raise TypeError(f"image {row} is of type {type(image).__name__}, not a PIL image; for files: ImageFiles")
        return image

    def fingerprint(self, row: int) -> str:
        """SHA-256 (hexadecimal) of mode, size and pixels, or of what is seen."""
        if hasattr(self.images, "fingerprint"):
            return self.images.fingerprint(self.rows[row])
        image = self._as_given(row)
        kind = image.mode if is_plain(image) else "seen"
        if kind == "seen":
            image = shown(image, f"image {row}")
        return hashlib.sha256(f"{kind} {image.size} ".encode() + image.tobytes()).hexdigest()

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
        """The image of a file in RGB as a viewer shows it; OSError with row and path where it is none."""
        return decode(self.paths[row], f"image {row}: {self.paths[row]}")

    def fingerprint(self, row: int) -> str:
        """SHA-256 (hexadecimal) of the content of an image file; FileNotFoundError with row and path."""
        known = self._fingerprints[row]
        if known is None:
            if not self.paths[row].exists():
                raise FileNotFoundError(f"image {row}: {self.paths[row]}: no such file")
            known = self._fingerprints[row] = hashlib.sha256(self.paths[row].read_bytes()).hexdigest()
        return known

    def take(self, rows: Iterable[int]) -> "ImageFiles":
        """The images of these rows, in this order."""
        rows = list(rows)
        return ImageFiles([self.paths[row] for row in rows], [self._fingerprints[row] for row in rows])


class Unreadable(NamedTuple):
    """An image that cannot be opened: its row, its name (the file, where it has one), and the reason."""

    row: int
    name: str
    reason: str


class DamagedImages(OSError):
    """Images that were left out; `found` has them all, and the message names them all."""

    def __init__(self, images: Images, errors: Mapping[int, OSError]):
        self.found = [_unreadable(images, row, error) for row, error in sorted(errors.items())]
        lines = [f"{len(self.found):,} of {len(images):,} images are damaged and left out, all others are done:"]
        super().__init__("\n".join(lines + [f"  {error}" for _, error in sorted(errors.items())]))


def unreadable(images: Images, threads: int = 4, progress: bool = True) -> list[Unreadable]:
    """Every image that cannot be opened, in their order; each one is decoded to find out."""
    from tqdm.auto import tqdm

    def look(row: int) -> Unreadable | None:
        try:
            images[row]
        except OSError as error:
            return _unreadable(images, row, error)
        return None

    def all_rows() -> Iterator[Unreadable | None]:
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(images), AT_ONCE):  # no more futures than that: corpora have millions
                yield from pool.map(look, range(start, min(start + AT_ONCE, len(images))))

    return [found for found in tqdm(all_rows(), "open", len(images), unit="image", disable=not progress) if found]


def _unreadable(images: Images, row: int, error: OSError) -> Unreadable:
    paths = getattr(images, "paths", None)
    reason = error.why if isinstance(error, UnreadableImage) else str(error)
    return Unreadable(row, str(paths[row]) if paths else f"image {row}", reason)
