"""Small picture and text files in the layouts that corpora are published in; made by the tests, never real data."""

import io
import os
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from lib.base.files import ROOT

SHARED = (ROOT / (os.environ.get("DATA") or Path("..", "shared", "data"))).resolve()  # the real corpora, if any


def jpeg(seed: int = 0, size: tuple[int, int] = (12, 9)) -> bytes:
    """The bytes of a small JPEG of one colour, which depends on the seed."""
    stream = io.BytesIO()
    colour = tuple(np.random.default_rng(seed).integers(0, 256, 3).tolist())
    Image.new("RGB", size, colour).save(stream, "JPEG")
    return stream.getvalue()


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    """Write files below a folder, creating folders as needed; gives the folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def photos(folder: str, names: list[str]) -> dict[str, bytes]:
    """Files for `write`: a small JPEG under each name, of a colour of its own."""
    return {f"{folder}/{name}": jpeg(zlib.crc32(f"{folder}/{name}".encode())) for name in names}
