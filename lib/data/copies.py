"""Find pictures that are another one again: resized, recompressed, mirrored, or with up to 5 % of a side cut off.

Small thumbnails of each whole picture are compared with those of eleven crops of every other, and with their mirror
images: all pairs, a matrix product at a time. For what is near, the crop is fitted, and the two must agree in every
part of the picture: drawings that differ in a detail are different pictures.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from lib.data.images import Images

MOST = 200_000  # pictures: all pairs are compared, about a minute for 40,000 and half an hour for these
FLAT = 2  # of 255: a picture whose channels vary by no more is of one colour
COARSE, SMALL, BIG, FINE, PART = 4, 8, 160, 48, 4  # pixels of the sides of thumbnails; of the parts of the fine one
# Of 255, root mean square for the first two. Copies of emoji and photos (half the size, mirrored, up to 5 % cut off,
# JPEG quality 30) stay below 6 at SMALL and below 10 in the worst PART; of 250 pairs of emoji that are near at SMALL
# and differ in more than 0.4 % of their pixels, none is below 10.
COARSE_RADIUS, SMALL_RADIUS, PART_RADIUS = 7.0, 8.0, 12.0
STEPS, FARTHEST = (0.02, 0.01, 0.005, 0.0025), 0.15  # shares of a side, when a crop is fitted
TRIED = 3  # crops that the fit begins from, for one pair
ROWS = 256  # pictures that are compared with all earlier ones at a time

Box = tuple[float, float, float, float]  # what is cut off at left, top, right and bottom, as shares of the sides
CROPS: tuple[Box, ...] = (
    *((share,) * 4 for share in (0.0, 0.025, 0.05)),
    *((0.05, 0.05, 0, 0), (0, 0.05, 0.05, 0), (0, 0, 0.05, 0.05), (0.05, 0, 0, 0.05)),
    *((0.05, 0, 0, 0), (0, 0.05, 0, 0), (0, 0, 0.05, 0), (0, 0, 0, 0.05)),
)  # fmt: skip


class Copy(NamedTuple):
    """The picture `row` is the earlier picture `of` again; `mirrored`: left and right exchanged."""

    row: int
    of: int
    mirrored: bool


class _Near(NamedTuple):
    """Two pictures that may be one: the crop of one of them that is nearest to the other."""

    distance: float
    crop: int
    of_later: bool  # which of the two was cropped to compare
    mirrored: bool


def is_flat(image: Image.Image) -> bool:
    """Whether an RGB or grey image is of one colour, give or take what compression makes of it."""
    return all(high - low <= FLAT for low, high in np.reshape(image.getextrema(), (-1, 2)).tolist())


def find_copies(images: Images, threads: int = 4, progress: bool = True) -> list[Copy]:
    """The pictures that are an earlier one again, each with the first such, in the order of the pictures.

    Pictures of one colour are no copies of each other, and what cannot be read is left out: `lib.data.obtain.check`
    names both. Raises ValueError for more than `MOST` pictures.
    """
    if len(images) > MOST:
        raise ValueError(
            f"{len(images):,} pictures, at most {MOST:,}: for more there is lib.data.leaks.near_duplicates"
        )
    with ThreadPoolExecutor(threads) as pool:
        described = pool.map(lambda row: _describe(images, row), range(len(images)))
        found = list(tqdm(described, "thumbnails", len(images), unit="picture", disable=not progress))
    rows = [row for row, crops in enumerate(found) if crops is not None]
    crops = np.array([found[row] for row in rows], dtype=np.uint8).reshape(-1, len(CROPS), SMALL, SMALL, 3)
    thumbnail = lru_cache(256)(lambda row: _thumbnail(images[row]))
    near = tqdm(_near(crops), "copies", len(rows), unit="picture", disable=not progress)
    return [copy for later, others in enumerate(near) if (copy := _first(later, others, rows, thumbnail))]


def _describe(images: Images, row: int) -> np.ndarray | None:
    """Thumbnails (crops, SMALL, SMALL, 3) uint8; None for a picture of one colour or one that cannot be read."""
    try:
        image = images[row].convert("RGB")
    except OSError:
        return None
    if is_flat(image):
        return None
    image = _thumbnail(image)
    return np.stack([_cut(image, box, SMALL, Image.Resampling.BOX) for box in CROPS])


def _thumbnail(image: Image.Image) -> Image.Image:
    """BIG x BIG pixels, whatever the shape: a copy may have another one."""
    return image.convert("RGB").resize((BIG, BIG), Image.Resampling.BILINEAR)


def _cut(image: Image.Image, box: Box, size: int, method: Image.Resampling) -> np.ndarray:
    width, height = image.size
    left, top, right, bottom = box
    inner = (left * width, top * height, width - right * width, height - bottom * height)
    return np.asarray(image.resize((size, size), method, box=inner))


def _near(crops: np.ndarray) -> Iterator[dict[int, list[_Near]]]:
    """For each picture the earlier ones that it may be again, with the nearest crops, in the order of the pictures."""
    step = SMALL // COARSE
    coarse = crops.reshape(*crops.shape[:2], COARSE, step, COARSE, step, 3).mean((3, 5), dtype=np.float32)
    for start in range(0, len(crops), ROWS):
        stop = min(start + ROWS, len(crops))
        found: list[dict[int, list[_Near]]] = [{} for _ in range(start, stop)]
        for crop in range(len(CROPS)):
            for mirrored in (False, True):
                for of_later in (True, False)[: 2 if crop else 1]:  # uncropped, both ways are one
                    a, b = (crop, 0) if of_later else (0, crop)
                    pairs = _within(coarse[start:stop, a], _turned(coarse[:stop, b], mirrored), COARSE_RADIUS)
                    pairs = pairs[pairs[:, 1] < pairs[:, 0] + start]
                    first = crops[start + pairs[:, 0], a].astype(np.float32)
                    second = _turned(crops[pairs[:, 1], b], mirrored)
                    distances = np.sqrt(np.square(first - second).mean((1, 2, 3)))
                    for (i, j), distance in zip(pairs.tolist(), distances.tolist(), strict=True):
                        if distance <= SMALL_RADIUS:
                            found[i].setdefault(j, []).append(_Near(distance, crop, of_later, mirrored))
        yield from found


def _turned(thumbnails: np.ndarray, mirrored: bool) -> np.ndarray:
    return thumbnails[..., ::-1, :] if mirrored else thumbnails


def _within(first: np.ndarray, second: np.ndarray, radius: float) -> np.ndarray:
    """Pairs (P, 2) of thumbnails (N, S, S, 3) and (M, S, S, 3) with a root mean square difference up to `radius`."""
    a, b = first.reshape(len(first), -1), second.reshape(len(second), -1)
    squares = np.square(b).sum(1) - 2 * (a @ b.T)
    return np.argwhere(squares <= radius**2 * a.shape[1] - np.square(a).sum(1)[:, None])


def _first(
    later: int, others: dict[int, list[_Near]], rows: list[int], thumbnail: Callable[[int], Image.Image]
) -> Copy | None:
    """The earliest picture that this one is again, if there is one."""
    for earlier in sorted(others):
        for near in sorted(others[earlier])[:TRIED]:
            cropped, whole = (later, earlier) if near.of_later else (earlier, later)
            target = thumbnail(rows[whole])
            target = ImageOps.mirror(target) if near.mirrored else target
            if _worst_part(thumbnail(rows[cropped]), target, CROPS[near.crop]) <= PART_RADIUS:
                return Copy(rows[later], rows[earlier], near.mirrored)
    return None


def _worst_part(cropped: Image.Image, whole: Image.Image, box: Box) -> float:
    """The largest mean difference in a part of two pictures, when the crop of the one is fitted to the other."""
    target = _fine(whole, CROPS[0])
    best, least = box, float(np.abs(_fine(cropped, box) - target).mean())
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for tried in _around(best, step):
                difference = float(np.abs(_fine(cropped, tried) - target).mean())
                if difference < least:
                    best, least, moved = tried, difference, True
    difference = np.abs(_fine(cropped, best) - target).mean(2)
    parts = FINE // PART
    return float(difference.reshape(parts, PART, parts, PART).mean((1, 3)).max())


def _fine(image: Image.Image, box: Box) -> np.ndarray:
    return _cut(image, box, FINE, Image.Resampling.BILINEAR).astype(np.float32)


def _around(box: Box, step: float) -> Iterable[Box]:
    for side in range(4):
        for change in (step, -step):
            moved = list(box)
            moved[side] = min(max(moved[side] + change, 0.0), FARTHEST)
            left, top, right, bottom = moved
            yield left, top, right, bottom
