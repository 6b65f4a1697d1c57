"""Pixels for training: close to Pillow's, cropped as asked for, and a clear message for every broken file."""

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data import load
from lib.vision.pixels import Crop, Pixels, read_pixels
from tests.picture_files import SHARED, write


def photo(width, height, seed=0):
    """Something like a photo: coarse colours, and fine structure that is mostly brightness."""
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((5, 5, 3), (12, 12, 3), (60, 60, 1))]
    parts = [Image.fromarray(part.repeat(3 // part.shape[2], axis=2)) for part in parts]
    layers = [np.asarray(part.resize((width, height), Image.Resampling.BICUBIC)) for part in parts]
    return Image.fromarray(np.mean(layers, axis=0).astype(np.uint8))


def saved(image, name, tmp_path, **options):
    path = tmp_path / name
    image.save(path, **({"quality": 90} if path.suffix == ".jpg" else {}) | options)
    return path


def by_pillow(path, size=224):
    """The central square, resized by Pillow, (3, size, size) int."""
    with Image.open(path) as image:
        image = image.convert("RGB")
    side = min(image.size)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    square = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(square).astype(int).transpose(2, 0, 1)


def difference(path):
    return np.abs(read_pixels(path).numpy().astype(int) - by_pillow(path))


@pytest.mark.parametrize(
    ("size", "mean", "largest"),
    [
        ((500, 375), 0.3, 4),
        ((375, 500), 0.3, 4),
        ((640, 480), 0.8, 6),  # decoded at a half
        ((1200, 900), 3.5, 20),  # at a quarter, which keeps more detail than Pillow's filter
        ((224, 224), 1.2, 14),
        ((100, 60), 2.3, 28),
    ],
)
def test_jpeg_is_close_to_pillow(tmp_path, size, mean, largest):
    """Units of 255. Colour planes are not smoothed, which shows most in small pictures, where nothing is averaged."""
    for seed in range(3):
        found = difference(saved(photo(*size, seed), "photo.jpg", tmp_path))
        assert found.mean() < mean
        assert found.max() <= largest


@pytest.mark.parametrize(("mode", "name"), [("RGB", "a.png"), ("P", "a.png"), ("L", "a.jpg"), ("CMYK", "a.jpg")])
def test_other_files_are_as_pillow_has_them(tmp_path, mode, name):
    assert difference(saved(photo(300, 260).convert(mode), name, tmp_path)).max() <= 1


@pytest.mark.shared_data
@pytest.mark.skipif(not (SHARED / "flickr8k").is_dir(), reason=f"no Flickr8k in {SHARED}")
def test_real_photos_are_close_to_pillow(tmp_path):
    images = load("flickr8k", SHARED / "flickr8k").images[::400]
    sizes = ((500, 375), 0.2, 12), ((640, 480), 1.2, 35)
    for size, mean, largest in sizes:
        paths = [saved(image.resize(size), f"{i}.jpg", tmp_path) for i, image in enumerate(images)]
        found = np.stack([difference(path) for path in paths])
        assert found.mean() < mean
        assert found.max() <= largest


def test_crops_and_mirrors(tmp_path):
    ramp = np.zeros((120, 200, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(200), np.arange(120)[:, None]
    path = saved(Image.fromarray(ramp), "ramp.png", tmp_path)
    whole = read_pixels(path, 120)
    np.testing.assert_array_equal(whole, torch.from_numpy(ramp[:, 40:160]).permute(2, 0, 1))
    np.testing.assert_array_equal(read_pixels(path, 120, Crop(flip=True)), whole.flip(2))
    corner = read_pixels(path, 60, Crop(side=0.5, left=1.0, top=0.0))
    np.testing.assert_array_equal(corner, torch.from_numpy(ramp[:60, 140:]).permute(2, 0, 1))


@pytest.fixture
def pictures(tmp_path):
    return [saved(photo(90, 70, seed), f"{seed}.jpg", tmp_path) for seed in range(7)]


def test_batches(pictures):
    batches = [[3, 1], torch.tensor([0, 6, 2]), np.array([5]), [4]]
    pixels = Pixels(pictures, size=32, smallest=0.6, threads=3)
    first = list(pixels.epoch(batches, epoch=0))
    assert [tuple(batch.shape) for batch in first] == [(len(batch), 3, 32, 32) for batch in batches]
    assert all(b.dtype == torch.uint8 and b.is_contiguous(memory_format=torch.channels_last) for b in first)
    backwards = next(Pixels(pictures, 32, 0.6, threads=1).epoch([[4, 5, 2, 6, 0, 1, 3]]))
    assert torch.equal(torch.cat(first), backwards.flip(0))
    assert not torch.equal(first[0], next(pixels.epoch(batches, epoch=1)))
    assert not torch.equal(first[0], next(Pixels(pictures, 32, 0.6, seed=1).epoch(batches)))


def test_pixels_stay_when_the_next_picture_is_decoded(tmp_path):
    paths = [saved(photo(32, 32, seed), f"{seed}.jpg", tmp_path) for seed in range(2)]
    first = read_pixels(paths[0], 32)
    kept = first.clone()
    assert not torch.equal(read_pixels(paths[1], 32), kept)
    assert torch.equal(first, kept)


def test_evaluation_takes_the_centre(pictures):
    pixels = Pixels(pictures, size=32, smallest=0.6)
    assert len(pixels) == 7
    torch.testing.assert_close(pixels[[2, 0]], torch.stack([read_pixels(pictures[i], 32) for i in (2, 0)]))
    with pytest.raises(ValueError, match=r"smallest is 1\.2"):
        Pixels(pictures, smallest=1.2)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><p>gone", "it is a web page"),
        ("truncated", "truncated"),
        ("header only", "not a readable image"),
        ("huge", "too much memory"),
        (None, "no such file"),
    ],
)
def test_a_broken_file_is_named(tmp_path, content, why):
    good = saved(photo(90, 70), "good.jpg", tmp_path).read_bytes()
    frame = good.index(b"\xff\xc0")  # marker, length, precision, then height and width
    made = {
        "truncated": good[: len(good) // 2],
        "header only": good[:40],
        "huge": good[: frame + 5] + b"\xea\x60\xea\x60" + good[frame + 9 :],  # 60,000 x 60,000
    }
    if content is not None:
        write(tmp_path, {"bad.jpg": made.get(content, content)})
    pixels = Pixels([tmp_path / "good.jpg", tmp_path / "bad.jpg"], size=32)
    with pytest.raises(OSError, match=rf"bad\.jpg.*{why}"):
        pixels[[0, 1]]
    with pytest.raises(OSError, match=rf"bad\.jpg.*{why}"):
        list(pixels.epoch([[0], [1]]))
