"""Picture files to batches of pixels, for training an encoder: decoded, cropped, resized and flipped on CPU threads.

    pixels = Pixels(corpus.images.paths, smallest=0.8)
    for batch in pixels.epoch(batches_of_rows, epoch=0):  # (B, 3, 224, 224) uint8
        x = (batch.to(device, non_blocking=True).float() - encoder.mean) / encoder.std

Normalisation is left to the device: bytes take a quarter of the way that floats take to it.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from lib.data.decoder import check_size, decode, orientation_of_jpeg, turn
from lib.vision.extract import cores

AHEAD = 2  # batches that are read while one is used


class Crop(NamedTuple):
    """A square part of a picture: its side as a share of the short side, and where it lies (0 is left or top)."""

    side: float = 1.0
    left: float = 0.5
    top: float = 0.5
    flip: bool = False


CENTRE = Crop()


def read_pixels(path: str | Path, size: int = 224, crop: Crop = CENTRE) -> Tensor:
    """One picture as (3, size, size) uint8: the crop, resized as Pillow's antialiased bilinear filter does.

    JPEG goes through libjpeg-turbo, which enlarges the colour planes without smoothing them and decodes pictures that
    are at least twice too large at a half, a quarter or an eighth: a value is 0.1 of 255 off Pillow's on average on
    photos of 500 x 375, up to 1 on larger ones, where a crop begins at a whole pixel of what was decoded.
    Raises OSError naming a file that is missing, damaged, too large or no picture.
    """
    image = _decode(path, size / crop.side)
    height, width = image.shape[:2]
    side = max(1, round(crop.side * min(height, width)))
    top, left = round(crop.top * (height - side)), round(crop.left * (width - side))
    square = torch.from_numpy(image[top : top + side, left : left + side]).permute(2, 0, 1)
    pixels = interpolate(square[None], (size, size), mode="bilinear", antialias=True)[0]
    return pixels.flip(2) if crop.flip else pixels


def _decode(path: str | Path, least: float) -> np.ndarray:
    """A whole picture (H, W, 3) uint8; a large JPEG comes reduced, but no side of it to less than `least`."""
    import simplejpeg

    # Missing, another format, four colours, too large, damaged: Pillow reads it or says why not.
    with suppress(OSError, ValueError):
        with open(path, "rb") as file:
            content = file.read()
        height, width, *_ = simplejpeg.decode_jpeg_header(content)
        check_size((width, height), f"image {path}")
        factor = 1  # only powers of two: the decoder is slow at others, and 3/8 shifts the picture
        while factor < 8 and min(height, width) >= 2 * factor * least:
            factor *= 2
        reduced = {"min_factor": factor, "min_height": -(-height // factor), "min_width": -(-width // factor)}
        decoded = simplejpeg.decode_jpeg(content, fastupsample=True, **reduced)
        turned = orientation_of_jpeg(content)
        return decoded if turned == 1 else np.array(turn(Image.fromarray(decoded), turned))
    return np.array(decode(path, f"image {path}"))


class Pixels:
    """Pictures as batches of pixels: `pixels[rows]` for evaluation, `pixels.epoch` for training.

    `paths` are picture files, for example `corpus.images.paths`. `smallest`: a training crop's side is drawn between
    this share of the short side and all of it, its place uniformly. `flip`: mirror half of the training crops; turn
    it off where captions tell left from right. `threads`: default all. A batch is (B, 3, size, size) uint8, stored
    channels last.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        size: int = 224,
        smallest: float = 1.0,
        flip: bool = True,
        seed: int = 0,
        threads: int | None = None,
    ):
        if not 0 < smallest <= 1:
            raise ValueError(f"smallest is {smallest}: the smallest crop as a share of the short side, above 0 up to 1")
        self.paths, self.size, self.smallest, self.flip, self.seed = list(paths), size, smallest, flip, seed
        self._pool = ThreadPoolExecutor(threads or cores())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Sequence[int]) -> Tensor:
        """The central crops of these pictures; every call gives the same."""
        return self._wait(self._start([(int(row), CENTRE) for row in rows]))

    def epoch(self, batches: Iterable[Sequence[int]], epoch: int = 0) -> Iterator[Tensor]:
        """Random crops of the pictures in each batch of rows, read ahead; those of a row depend on seed and epoch."""
        waiting: deque[list[Future[Tensor]]] = deque()
        for batch in batches:
            waiting.append(self._start([(int(row), self._crop(int(row), epoch)) for row in batch]))
            if len(waiting) > AHEAD:
                yield self._wait(waiting.popleft())
        while waiting:
            yield self._wait(waiting.popleft())

    def _crop(self, row: int, epoch: int) -> Crop:
        side, left, top, mirror = np.random.default_rng([self.seed, epoch, row]).random(4).tolist()
        return Crop(self.smallest + (1 - self.smallest) * side, left, top, self.flip and mirror < 0.5)

    def _start(self, wanted: list[tuple[int, Crop]]) -> list[Future[Tensor]]:
        return [self._pool.submit(read_pixels, self.paths[row], self.size, crop) for row, crop in wanted]

    def _wait(self, futures: list[Future[Tensor]]) -> Tensor:
        pictures = [future.result().permute(1, 2, 0) for future in futures]
        return torch.stack(pictures).permute(0, 3, 1, 2)
