"""One decoder: what a picture looks like in a viewer, as RGB, whatever its file holds and is called.

Content decides, not the suffix. Of an animation the first frame counts. The EXIF orientation is applied. What is
transparent is seen on white. Grey of more than 8 bits is brought to 0..255: 16-bit by its full range (65535 is white),
floats that lie in 0..1 or in 0..255 by that range, other floats and wider integers by their own smallest and largest
value. CMYK is taken as Adobe writes it. Colour profiles are not applied.
"""

import contextlib
import functools
import importlib
import importlib.util
import io
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError, features

MAX_PIXELS = 89_478_485  # a quarter of a gigabyte as RGB; where Pillow begins to warn of decompression bombs
MAX_RATIO = 20  # of the longer side to the shorter; no crop shows what is on a longer strip, and enlarging it is costly

ORIENTATION = 0x0112
TINY = np.finfo(np.float64).tiny
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Samples of a PNG against those that Pillow makes of them: its transparent colour is told in samples of the file.
SAMPLES = {"1": 255.0, "L;2": 85.0, "L;4": 17.0, "RGB;16B": 1 / 256}
BRANDS = re.compile(rb".{4}ftyp(?:(?P<avif>avi[fs])|hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)


class UnreadableImage(OSError):
    """A picture that cannot be shown: `where` it is, the `kind` of what is wrong with it, and `why`.

    Kinds are "empty", "web page", "huge", "strip", "format" (a package is missing) and "corrupt".
    """

    def __init__(self, where: str, kind: str, why: str):
        said = {
            "huge": f"{where} is refused, it would need too much memory ({why})",
            "strip": f"{where} is refused, it is a strip ({why})",
            "format": f"{where} cannot be decoded here: {why}",
        }
        super().__init__(said.get(kind, f"{where} is not a readable image ({why}); fetch it again"))
        self.where, self.kind, self.why = where, kind, why


def decode(file: str | Path | BinaryIO, where: str) -> Image.Image:
    """One picture, a file or a stream, as a viewer shows it, in RGB.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableImage: it is no picture, a damaged one, one of more than `MAX_PIXELS`, or a strip whose longer side
            is more than `MAX_RATIO` times the shorter; the message begins with `where`.
    """
    _register_heif()
    with _explained(where, file), Image.open(file) as image:
        check_size(image.size, where)
        if getattr(image, "default_image", False):  # an APNG's picture for those who cannot show its frames
            image.seek(1)
        return as_seen(image)


def shown(image: Image.Image, where: str) -> Image.Image:
    """`as_seen` of an image that may still be a file unread; UnreadableImage as `decode`."""
    with _explained(where):
        check_size(image.size, where)
        return as_seen(image)


@contextlib.contextmanager
def _explained(where: str, file: str | Path | BinaryIO | None = None) -> Iterator[None]:
    """Whatever a decoder raises becomes UnreadableImage."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{where}: no such file") from None
    except PermissionError as error:
        raise PermissionError(f"{where}: you may not read this file") from error
    except UnreadableImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise UnreadableImage(where, "huge", str(error) or "there is not so much") from error
    except Exception as error:  # decoders raise all kinds at damaged content: SyntaxError, struct.error, RuntimeError
        raise UnreadableImage(where, *_why(file, error)) from error


def check_size(size: tuple[int, int], where: str) -> None:
    """Raise UnreadableImage where a picture of this (width, height) has too many pixels or is a strip."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise UnreadableImage(where, "huge", f"{width} x {height} = {width * height} pixels, at most {MAX_PIXELS}")
    if max(size) > MAX_RATIO * min(size):
        raise UnreadableImage(where, "strip", f"{width} x {height} pixels, sides of at most {MAX_RATIO} to 1")


def as_seen(image: Image.Image) -> Image.Image:
    """A new RGB image of what a viewer shows: turned as EXIF says, on white, in 8 bits."""
    _load(image)
    turned = orientation(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _grey(image)
    elif image.has_transparency_data:
        image = _on_white(image)
    else:
        image = image.convert("RGB")
    seen = turn(image, turned)
    seen.info = {}  # what it said is done, and must not be done again
    return seen


def is_plain(image: Image.Image) -> bool:
    """Whether the pixels alone, which are RGB or grey, say what is seen."""
    _load(image)
    return image.mode in ("RGB", "L") and not image.has_transparency_data and orientation(image) == 1


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where there is none, or, as in viewers, one that cannot be read."""
    found = 1
    with contextlib.suppress(SyntaxError, ValueError, LookupError, TypeError, OSError, struct.error):
        found = image.getexif().get(ORIENTATION, 1)
    return found if isinstance(found, int) and found in TURNS else 1


def orientation_of_jpeg(content: bytes) -> int:
    """The same of the bytes of a JPEG, whose header is only read where it speaks of an orientation."""
    if b"Exif\0" not in content and b"Orientation" not in content:
        return 1
    with Image.open(io.BytesIO(content)) as image:
        return orientation(image)


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """The image as it is to be seen."""
    return image if orientation == 1 else image.transpose(TURNS[orientation])


def _load(image: Image.Image) -> None:
    _scale_transparent_colour(image)
    image.load()  # some formats tell the orientation behind the pixels, or turn the image themselves


def _on_white(image: Image.Image) -> Image.Image:
    """RGB of an image with transparency in any form: an alpha channel, one in the palette, or a transparent colour."""
    image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _grey(image: Image.Image) -> Image.Image:
    """RGB of grey in more than 8 bits."""
    values = np.asarray(image).astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    sixteen = image.mode.startswith("I;") or (image.mode == "I" and (image.format in ("PNG", "PPM") or high > 255))
    if sixteen and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    elif image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    bounded = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    shown = np.round((bounded - low) * 255 / max(high - low, TINY)).astype(np.uint8)
    if isinstance(hidden := image.info.get("transparency"), int):
        shown[values == hidden] = 255
    return Image.fromarray(shown).convert("RGB")


def _scale_transparent_colour(image: Image.Image) -> None:
    """Bring the transparent colour of a PNG that is not yet decoded into the range that its pixels will have."""
    colour = image.info.get("transparency")
    tile = getattr(image, "tile", None)  # how the pixels are stored; empty once they are read
    if image.format != "PNG" or colour is None or isinstance(colour, bytes) or not tile:
        return
    factor = SAMPLES.get(str(tile[0].args), 1)
    if image.mode != "P" and factor != 1:
        scaled = [int(sample * factor) for sample in (colour if isinstance(colour, tuple) else (colour,))]
        image.info["transparency"] = tuple(scaled) if isinstance(colour, tuple) else scaled[0]


@functools.cache
def _register_heif() -> None:
    """Let Pillow open HEIC, the format of telephones, where the optional package pillow-heif is installed."""
    if importlib.util.find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()


def _why(file: str | Path | BinaryIO | None, error: Exception) -> tuple[str, str]:
    """The kind of what is wrong with a file that could not be decoded, and why."""
    head = _head(file)
    if head is None:
        return "corrupt", str(error)
    if not head:
        return "empty", "it is empty"
    if re.match(rb"\s*<(!doctype|html|head)", head, re.IGNORECASE):
        return "web page", f"it is a web page, not a picture: {head[:40].decode(errors='replace')!r}"
    if isinstance(error, UnidentifiedImageError) and (brand := BRANDS.match(head)):
        if brand["avif"] and not features.check("avif"):
            return "format", "it is AVIF, which the installed Pillow cannot read: pip install --upgrade pillow"
        if not brand["avif"] and "HEIF" not in Image.OPEN:
            return "format", "it is HEIC, which needs a further package: pip install pillow-heif"
    if isinstance(error, UnidentifiedImageError):
        return "corrupt", f"no known format, it begins with {head[:12]!r}"
    return "corrupt", str(error) or type(error).__name__


def _head(file: str | Path | BinaryIO | None) -> bytes | None:
    """The first bytes; None where they cannot be had, as of a folder or an image in memory."""
    if file is None:
        return None
    if not isinstance(file, str | Path):
        file.seek(0)
        return file.read(256)
    if Path(file).is_file() and os.access(file, os.R_OK):
        with open(file, "rb") as stream:
            return stream.read(256)
    return None
