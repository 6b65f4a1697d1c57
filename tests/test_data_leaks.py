"""Near-duplicates against a comparison of all pairs; leaks by id and by picture; the photos two corpora share."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib.data import Corpus, ImageFiles, ImageList
from lib.data.leaks import (
    MAX_RADIUS,
    flickr_id,
    leak_check,
    near_duplicates,
    near_pairs,
    perceptual_hashes,
    shared_ids,
)


def all_pairs(first, second, radius):
    """Every pair compared, bit by bit."""
    distance = np.array([[(int(a) ^ int(b)).bit_count() for b in second] for a in first], dtype=int).reshape(
        len(first), len(second)
    )
    pairs = np.argwhere(distance <= radius)
    return pairs, distance[pairs[:, 0], pairs[:, 1]]


def clustered(rng, n, flips):
    """Hashes of which many differ in a few bits."""
    centres = rng.integers(0, 2**64, 5, dtype=np.uint64)
    hashes = centres[rng.integers(0, 5, n)]
    for _ in range(flips):
        hashes ^= np.uint64(1) << rng.integers(0, 64, n, dtype=np.uint64)
    return hashes


@given(
    n=st.integers(0, 30), m=st.integers(0, 30), radius=st.integers(0, MAX_RADIUS), flips=st.integers(0, 8),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_near_pairs_are_all_pairs_within_the_radius(n, m, radius, flips, seed):
    rng = np.random.default_rng(seed)
    hashes = clustered(rng, n + m, flips)
    first, second = hashes[:n], hashes[n:]
    pairs, distances = near_pairs(first, second, radius)
    wanted, wanted_distances = all_pairs(first, second, radius)
    assert np.array_equal(pairs, wanted)
    assert np.array_equal(distances, wanted_distances)
    assert pairs.dtype == distances.dtype == np.int64


def test_near_duplicates_name_each_pair_once():
    hashes = clustered(np.random.default_rng(0), 60, 2)
    pairs, distances = near_duplicates(hashes, 4)
    wanted, _ = all_pairs(hashes, hashes, 4)
    assert np.array_equal(pairs, wanted[wanted[:, 0] < wanted[:, 1]])
    assert len(pairs) > 100
    assert distances.max() == 4


def test_memory_is_bounded_and_nothing_is_lost(monkeypatch):
    hashes = clustered(np.random.default_rng(0), 300, 1)
    expected = near_pairs(hashes, hashes, 6)[0]
    sizes = []
    monkeypatch.setattr("lib.data.leaks.PAIRS_AT_ONCE", 500)
    count = np.bitwise_count
    monkeypatch.setattr(np, "bitwise_count", lambda x: sizes.append(len(x)) or count(x))
    assert np.array_equal(near_pairs(hashes, hashes, 6)[0], expected)
    assert len(expected) > 5_000
    assert max(sizes[:-1]) <= 500


def test_radius_out_of_range():
    for radius in (-1, MAX_RADIUS + 1):
        with pytest.raises(ValueError, match="not between 0 and 11 of 64 bits"):
            near_pairs(np.zeros(1, np.uint64), np.zeros(1, np.uint64), radius)


# -------------------------------------------------------------------------------------------------------- real pictures
def drawing(seed, size=(120, 90)):
    """A picture of a few smooth blobs."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def corpus_of(folder, name, pictures, ids):
    folder.mkdir()
    for image_id, picture in zip(ids, pictures, strict=True):
        if picture is None:
            (folder / image_id).write_bytes(b"<html>")
        else:
            picture.save(folder / image_id, quality=90)
    n = len(ids)
    return Corpus(
        name=name, images=ImageFiles([folder / i for i in ids]), image_ids=list(ids), captions=[["a"]] * n,
        tags=[[]] * n, labels=None, label_names=[], split=np.array(["train"] * n), licence="CC0", source="here",
        attribution="us",
    )  # fmt: skip


def recompressed(picture):
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=30)
    return Image.open(stream).convert("RGB")


@pytest.fixture
def train(tmp_path):
    pictures = [drawing(i) for i in range(8)] + [recompressed(drawing(100)), drawing(101).resize((50, 60)), None]
    pictures += [recompressed(drawing(102).resize((400, 300))), drawing(50)]
    ids = [f"{i}.jpg" for i in range(12)] + ["1234567890_00aa11bb22.jpg"]
    return corpus_of(tmp_path / "train", "web", pictures, ids)


@pytest.fixture
def test(tmp_path):
    pictures = [drawing(i) for i in (100, 101, 102, 103)] + [drawing(200)]
    return corpus_of(
        tmp_path / "test", "bench", pictures, ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "1234567890_00aa11bb22_m.jpg"]
    )


def test_leaks_are_found_by_picture_and_by_id(train, test):
    leaks = leak_check(train, test, progress=False)
    assert leaks.by_picture.tolist() == [[8, 0], [9, 1], [11, 2]]
    assert leaks.by_id.tolist() == [[12, 4]]
    assert leaks.rows.tolist() == [8, 9, 11, 12]
    assert leaks.unreadable == 1
    assert leaks.without(train).image_ids == [f"{i}.jpg" for i in (*range(8), 10)]
    report = str(leaks)
    assert "4 of 13 images of web are in bench, which is 4 of its 5" in report
    assert "3 only by it" in report
    assert "not readable             1" in report


def test_by_id_alone_opens_no_picture(train, test):
    (train.images.paths[0].parent / "0.jpg").unlink()
    leaks = leak_check(train, test, pictures=False)
    assert leaks.rows.tolist() == [12]
    assert leaks.unreadable == 0


def test_nothing_in_common(train, test):
    leaks = leak_check(train.take(range(8)), test, progress=False)
    assert leaks.rows.tolist() == []
    assert len(leaks.without(train.take(range(8)))) == 8
    with pytest.raises(ValueError, match="web with 8 images was checked, not web with 13"):
        leaks.without(train)


def test_other_ids(train, test):
    leaks = leak_check(train, test, id_of=lambda image_id: image_id[-5], pictures=False)
    assert leaks.by_id.tolist() == []
    leaks = leak_check(train, test, id_of=lambda image_id: "x", pictures=False)
    assert len(leaks.by_id) == 13 * 5


def test_hashes_tell_pictures_apart(train):
    hashes, unreadable = perceptual_hashes(train.images, progress=False)
    assert hashes.dtype == np.uint64
    assert unreadable == [10]
    readable = np.delete(hashes, 10)
    assert len(near_duplicates(readable, 6)[0]) == 0
    again, _ = perceptual_hashes(train.images, threads=1, progress=False)
    assert np.array_equal(again, hashes)


def test_pictures_of_one_colour_are_near_nothing():
    plain = [Image.new("RGB", (60, 50), colour) for colour in ("white", "white", "navy")]
    hashes, unreadable = perceptual_hashes(ImageList([*plain, drawing(1), drawing(1)]), progress=False)
    assert unreadable == []
    assert near_duplicates(hashes)[0].tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("image_id", "expected"),
    [
        ("1000092795_ab12cd34ef.jpg", "1000092795"),
        ("36979_1c9a2d0b1e.jpg", "36979"),
        ("photos/1000092795_ab12cd34ef.jpg", "1000092795"),
        ("2258277193_586949ec62.jpg.1", "2258277193"),
        ("COCO_val2014_000000391895.jpg", None),
        ("im12345.jpg", None),
        ("1000092795.jpg", "1000092795"),
        ("actor/0001_2124494179.jpg", "2124494179"),
        ("1234.jpg", None),
        ("123456789012.jpg", None),
        ("00000/000000012", None),
    ],
)
def test_flickr_id(image_id, expected):
    assert flickr_id(image_id) == expected


def test_shared_ids_match_every_occurrence():
    first = ["x.jpg", "1000092795_ab12cd34ef.jpg", "36979_1c9a2d0b1e.jpg"]
    second = ["36979_1c9a2d0b1e.jpg", "x.jpg", "36979_1c9a2d0b1e_b.jpg"]
    assert shared_ids(first, second).tolist() == [[2, 0], [2, 2]]
    assert shared_ids([], second).shape == (0, 2)


@pytest.mark.shared_data
def test_flickr8k_and_flickr30k_share_7478_photos():
    repository = Path(__file__).parents[1]
    data = repository / (os.environ.get("DATA") or "../shared/data")
    tokens = data / "flickr8k" / "Flickr8k_text" / "Flickr8k.token.txt"
    lists = [data / "flickr30k_captions" / f"{part}_images.txt" for part in ("train", "val", "test_2016")]
    for path in (tokens, *lists):
        if not path.exists():
            pytest.skip(f"{path} is not there; set DATA to the folder of flickr8k and flickr30k_captions")
    small = list(dict.fromkeys(line.partition("#")[0] for line in tokens.read_text(encoding="utf-8").splitlines()))
    large = [name for path in lists for name in path.read_text(encoding="utf-8").split()]
    assert len(large) == 31_014
    pairs = shared_ids(large, [name for name in small if name.endswith(".jpg")])
    assert len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1])) == 7_478
