"""The feature cache: each picture once, whatever interrupts or runs beside it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lib.vision.extract as extract
from lib.base.feature_store import FeatureStore
from lib.data import ImageFiles
from lib.data.images import DamagedImages

REPOSITORY = Path(__file__).parents[1]


def key(i):
    return f"{i:032x}" + 32 * "0"


def rows_of(positions):
    return np.stack([np.full((2, 3), i, dtype=np.float32) for i in positions])


def one_by_one(positions):
    for i in positions:
        yield [i], rows_of([i])


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store")


def test_rows_come_back_in_the_order_asked_for(store):
    keys = [key(i) for i in range(6)]
    first = store.get(keys[:4], one_by_one)
    assert isinstance(first, np.memmap)
    np.testing.assert_array_equal(first, rows_of(range(4)))
    order = [5, 2, 4, 2]
    mixed = store.get([keys[i] for i in order], lambda missing: [(missing, rows_of([order[i] for i in missing]))])
    np.testing.assert_array_equal(mixed, rows_of(order))
    again = FeatureStore(store.folder).get(keys[1:4], None)
    np.testing.assert_array_equal(again, rows_of([1, 2, 3]))
    assert isinstance(again, np.memmap)
    for features in (first, mixed, again):
        with pytest.raises(ValueError, match="read-only"):
            features[0] = 1


def test_equal_contents_keep_a_corpus_mapped(store):
    keys = [key(0), key(1), key(0)]
    features = store.get(keys, lambda missing: [(missing, rows_of([0, 1, 0]))])
    assert isinstance(features, np.memmap)
    np.testing.assert_array_equal(features, rows_of([0, 1, 0]))


def test_what_came_before_an_error_is_kept(store):
    def fails(missing):
        yield from one_by_one(missing[:3])
        raise KeyboardInterrupt

    keys = [key(i) for i in range(5)]
    with pytest.raises(KeyboardInterrupt):
        store.get(keys, fails)
    asked = []

    def rest(missing):
        asked.extend(missing)
        yield missing, rows_of(missing)

    np.testing.assert_array_equal(FeatureStore(store.folder).get(keys, rest), rows_of(range(5)))
    assert asked == [3, 4]


WRITER = """
import os, signal, sys, time
import numpy as np
from lib.base.feature_store import FeatureStore
folder, kill_at, log = sys.argv[1], int(sys.argv[2]), sys.argv[3]
store = FeatureStore(folder)
store.commit_every = 2
def compute(missing):
    for i in missing:
        if i == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
        with open(log, "a") as file:
            file.write(f"{i}\\n")
        yield [i], np.full((1, 2, 3), i, dtype=np.float32)
features = store.get([f"{i:032x}" + 32 * "0" for i in range(20)], compute)
assert (features[:, 0, 0] == np.arange(20)).all()
"""


def writer(folder, log, kill_at=-1):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(kill_at), str(log)], cwd=REPOSITORY)


def test_a_killed_writer_leaves_whole_rows(tmp_path):
    log = tmp_path / "log"
    assert writer(tmp_path / "store", log, kill_at=7).wait(60) == -signal.SIGKILL
    kept = len(FeatureStore(tmp_path / "store").row_of)
    assert kept == 6  # two at a time are committed
    assert writer(tmp_path / "store", log).wait(60) == 0
    computed = log.read_text().split()
    assert sorted(map(int, computed)) == sorted([*range(20), 6])


def test_two_writers_share_the_work(tmp_path):
    log = tmp_path / "log"
    both = [writer(tmp_path / "store", log) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert sorted(map(int, log.read_text().split())) == list(range(20))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("rows.bin", "truncated"),
        ("keys.npy", "truncated"),
        ("meta.json", "truncated"),
        ("rows.bin", "removed"),
        ("meta.json", "removed"),
    ],
)
def test_damage_names_the_folder_to_delete(store, file, damage):
    store.get([key(i) for i in range(4)], one_by_one)
    path = store.folder / file
    if damage == "truncated":
        os.truncate(path, path.stat().st_size - 3)
    else:
        path.unlink()
    with pytest.raises(RuntimeError, match=f"damaged feature cache .*delete the folder {store.folder}"):
        FeatureStore(store.folder)


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_flipped_bit_is_found_said_and_made_anew(store, place, capsys):
    keys = [key(i) for i in range(6)]
    store.get(keys, one_by_one)
    flip(store.folder / "rows.bin", {"first": 0, "middle": 3 * 24 + 7, "last": 6 * 24 - 1}[place])
    asked = []

    def again(positions):
        asked.extend(positions)
        yield from one_by_one(positions)

    found = FeatureStore(store.folder).get(keys, again)
    np.testing.assert_array_equal(found, rows_of(range(6)))
    assert isinstance(found, np.memmap)  # in its old place
    assert asked == [{"first": 0, "middle": 3, "last": 5}[place]]
    assert f"{store.folder}: 1 damaged rows are computed anew" in capsys.readouterr().out
    np.testing.assert_array_equal(FeatureStore(store.folder).get(keys, None), rows_of(range(6)))


def test_rows_nobody_asks_for_are_not_looked_at_and_those_in_any_order_are(store):
    keys = [key(i) for i in range(6)]
    store.get(keys, one_by_one)
    flip(store.folder / "rows.bin", 2 * 24)
    np.testing.assert_array_equal(FeatureStore(store.folder).get(keys[3:], None), rows_of([3, 4, 5]))
    order = [5, 2, 2, 0]
    renewed = FeatureStore(store.folder).get([keys[i] for i in order], lambda wanted: [(wanted, rows_of([2]))])
    np.testing.assert_array_equal(renewed, rows_of(order))


def test_a_flipped_bit_in_the_keys_costs_the_row_alone(store):
    keys = [key(i) for i in range(6)]
    store.get(keys, one_by_one)
    whole = (store.folder / "keys.npy").read_bytes()
    start = len(whole) - 6 * 20
    for place in (start + 2 * 20, start + 2 * 20 + 18):  # in a fingerprint, in a checksum
        flip(store.folder / "keys.npy", place)
        np.testing.assert_array_equal(FeatureStore(store.folder).get(keys, one_by_two), rows_of(range(6)))


def test_what_cannot_be_made_anew_stays_damaged(store):
    store.get([key(i) for i in range(3)], one_by_one)
    flip(store.folder / "rows.bin", 30)

    def fails(positions):
        raise OSError("the picture is gone")

    for _ in range(2):
        with pytest.raises(OSError, match="the picture is gone"):
            FeatureStore(store.folder).get([key(i) for i in range(3)], fails)


def test_a_row_that_was_not_computed_is_said(store):
    with pytest.raises(RuntimeError, match=f"1 rows were not computed, the first is {key(1)}"):
        store.get([key(0), key(1)], lambda missing: one_by_one(missing[:1]))


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0b100
    path.write_bytes(bytes(content))


def one_by_two(positions):
    yield positions, rows_of(positions)


def test_another_shape_is_refused(store):
    store.get([key(0)], one_by_one)
    with pytest.raises(RuntimeError, match=r"\(2, 3\).*\(4,\)"):
        store.get([key(1)], lambda missing: [(missing, np.zeros((1, 4), dtype=np.float32))])


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Ten picture files, a cache of their own, and an encoder that says what it was given."""
    monkeypatch.setenv("LIB_CACHE", str(tmp_path / "cache"))
    paths = [tmp_path / f"{i}.png" for i in range(10)]
    for i, path in enumerate(paths):
        Image.new("RGB", (224, 224), (20 * i, 0, 0)).save(path)
    seen = []

    def run(pixels):
        red = pixels[:, 0, 0, 0]
        seen.extend((red // 20).tolist())
        return np.repeat(red[:, None].astype(np.float32), 4, axis=1)

    monkeypatch.setattr(extract, "make_engine", lambda *_: run)
    return ImageFiles(paths), seen


def features_of(images, **options):
    return extract.extract_features(images, device="cpu", progress=False, batch_size=3, **options)


def test_each_picture_is_encoded_once(pictures):
    images, seen = pictures
    features = features_of(images)
    np.testing.assert_array_equal(features[:, 0], 20 * np.arange(10))
    assert isinstance(features, np.memmap)
    assert seen == list(range(10))
    part = features_of(images.take([7, 2]))
    np.testing.assert_array_equal(part[:, 0], [140, 40])
    assert seen == list(range(10))
    np.testing.assert_array_equal(features_of(images, cache=False), features)
    assert len(seen) == 20


def test_extraction_resumes_after_a_broken_picture(pictures):
    images, seen = pictures
    good = images.paths[7].read_bytes()
    for_later = [images.fingerprint(i) for i in range(10)]
    images.paths[7].write_bytes(b"broken")
    with pytest.raises(OSError, match=r"7\.png is not a readable image"):
        features_of(images)
    assert seen == [*range(7), 8, 9]  # all others are done before the error
    images.paths[7].write_bytes(good)
    features = features_of(ImageFiles(images.paths, for_later))
    assert seen == [*range(7), 8, 9, 7]
    np.testing.assert_array_equal(features[:, 0], 20 * np.arange(10))


@pytest.mark.parametrize("cache", [True, False])
def test_damaged_pictures_do_not_end_a_run(pictures, cache, capsys):
    images, seen = pictures
    images.paths[2].write_bytes(b"broken")
    images.paths[5].unlink()
    Image.new("RGB", (1, 30_000)).save(images.paths[9])
    with pytest.raises(DamagedImages, match="3 of 10 images are damaged and left out, all others are done") as caught:
        features_of(images, cache=cache)
    assert [found.row for found in caught.value.found] == [2, 5, 9]
    assert [found.name for found in caught.value.found] == [str(images.paths[row]) for row in (2, 5, 9)]
    for row, why in ((2, "not a readable image"), (5, "no such file"), (9, "it is a strip")):
        assert re.search(rf"{row}\.png.*{why}", str(caught.value))
    assert sorted(seen) == [0, 1, 3, 4, 6, 7, 8]
    capsys.readouterr()
    kept = features_of(ImageFiles(images.paths), cache=cache, damaged="drop")
    np.testing.assert_array_equal(kept[:, 0], [20 * i for i in (0, 1, 3, 4, 6, 7, 8)])
    assert len(seen) == (7 if cache else 14)
    assert "3 of 10 images" in capsys.readouterr().out
    with pytest.raises(DamagedImages, match="2 of 2 images"):
        features_of(ImageFiles([images.paths[2], images.paths[5]]), cache=cache, damaged="drop")
    with pytest.raises(ValueError, match="damaged is 'skip'"):
        features_of(images, damaged="skip")


def test_content_is_the_key_and_not_the_name(pictures):
    images, seen = pictures
    features_of(images)
    Image.new("RGB", (224, 224), (180, 0, 0)).save(images.paths[0])
    changed = features_of(ImageFiles(images.paths))
    assert changed[0, 0] == 180
    assert seen == list(range(10))  # the new picture has the pixels, and so the file, of another
    Image.new("RGB", (224, 224), (200, 0, 0)).save(images.paths[0])
    assert features_of(ImageFiles(images.paths))[0, 0] == 200
    assert seen == [*range(10), 10]


def test_pictures_in_memory(pictures):
    images, seen = pictures
    in_memory = [images[i] for i in range(3)]
    np.testing.assert_array_equal(features_of(in_memory)[:, 0], [0, 20, 40])
    features_of(in_memory)
    assert seen == [0, 1, 2]
