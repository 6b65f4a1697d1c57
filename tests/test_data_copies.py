"""Copies of drawings, made in every way that counts, are found among all others, and nothing else is."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from lib.data import ImageList, copies, load
from lib.data.copies import Copy, find_copies, is_flat


def recompressed(image, quality=30):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def cropped(image, left, top, right, bottom):
    width, height = image.size
    return image.crop(
        (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
    )


WAYS = {
    "recompressed": recompressed,
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "twice, as a thumbnail of another shape": lambda image: image.resize((448, 400)),
    "mirrored": ImageOps.mirror,
    "2.5 % off all around": lambda image: cropped(image, 0.025, 0.025, 0.025, 0.025),
    "5 % off at the left": lambda image: cropped(image, 0.05, 0, 0, 0),
    "5 % off at the bottom": lambda image: cropped(image, 0, 0, 0, 0.05),
    "5 % off at a corner": lambda image: cropped(image, 0, 0.05, 0.05, 0),
    "all of it": lambda image: recompressed(
        ImageOps.mirror(cropped(image, 0.03, 0.02, 0.02, 0.03)).resize((150, 150)), 60
    ),
}


def seen_alike(first, second):
    """Whether less than one pixel in a hundred differs visibly, mirrored or not."""
    a, b = (np.asarray(image.resize((112, 112), Image.Resampling.BOX), dtype=int) for image in (first, second))
    return min((np.abs(a - x).max(2) > 40).mean() for x in (b, b[:, ::-1])) < 0.01


def test_copies_of_emoji():
    """Every third emoji, half of them once more: what is found and what is true, both at least 98 %."""
    images = load("openmoji").images[::6]
    ways = list(WAYS.values())
    source = list(range(0, len(images), 2))
    made = [ways[number % len(ways)](images[i]) for number, i in enumerate(source)]
    origin = [*range(len(images)), *source]
    found = find_copies(ImageList([*images, *made]), progress=False)
    recalled = {copy.row for copy in found} & set(range(len(images), len(origin)))
    assert len(recalled) >= 0.98 * len(made)
    of_others = [(origin[copy.row], origin[copy.of]) for copy in found if origin[copy.row] != origin[copy.of]]
    wrong = [pair for pair in of_others if not seen_alike(images[pair[0]], images[pair[1]])]
    assert len(wrong) <= 0.02 * len(found), wrong


@pytest.fixture(scope="module")
def picture():
    coarse = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((280, 200), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("copy_first", [False, True])
def test_each_way(picture, way, copy_first):
    pair = [picture, WAYS[way](picture)]
    assert find_copies(ImageList(pair[::-1] if copy_first else pair), progress=False) == [
        Copy(1, 0, way in ("mirrored", "all of it"))
    ]


def test_a_detail_makes_another_picture(picture):
    other = picture.copy()
    other.paste("white", (100, 80, 120, 100))
    assert find_copies(ImageList([picture, other]), progress=False) == []


def test_each_is_a_copy_of_the_first(picture):
    others = [
        picture,
        Image.new("RGB", (9, 9)),
        recompressed(picture),
        ImageOps.mirror(picture),
        Image.new("L", (7, 9)),
    ]
    assert find_copies(ImageList(others), progress=False) == [Copy(2, 0, False), Copy(3, 0, True)]
    assert find_copies(ImageList([picture]), progress=False) == []
    assert find_copies(ImageList(others[1:2]), progress=False) == []


def test_one_colour():
    assert is_flat(Image.new("RGB", (9, 9), "navy"))
    assert is_flat(Image.new("L", (9, 9), 7))
    dot = Image.new("RGB", (9, 9))
    dot.putpixel((3, 3), (0, 3, 0))
    assert not is_flat(dot)


def test_too_many(picture, monkeypatch):
    monkeypatch.setattr(copies, "MOST", 1)
    with pytest.raises(ValueError, match=r"2 pictures, at most 1: for more there is lib\.data\.leaks"):
        find_copies(ImageList([picture, picture]))
