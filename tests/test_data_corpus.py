"""Corpus and image files: what is refused, and that every view stays aligned with its images."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from lib.base.files import ROOT, atomic_path
from lib.data import CORPORA, Corpus, ImageFiles, cache_dir, data_dir, load
from lib.data.images import unreadable
from lib.vision import extract_features


@pytest.fixture
def images(tmp_path):
    paths = []
    for i in range(4):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGBA", (3, 2), (60 * i, 0, 0, 255)).save(paths[-1])
    return ImageFiles(paths)


@pytest.fixture
def corpus(images):
    return Corpus(
        name="toy",
        images=images,
        image_ids=["a", "b", "c", "d"],
        captions=[["one", "two"], [], ["three"], ["four"]],
        tags=[["x", "y"], ["z"], [], ["x"]],
        labels=np.eye(4, 2, dtype=bool),
        label_names=["first", "second"],
        split=np.array(["train", "web", "train", "test"]),
        licence="CC0",
        source="here",
        attribution="us",
    )


def test_texts_carry_their_image(corpus):
    texts, image_of_text = corpus.texts()
    assert texts == ["one", "two", "three", "four"]
    assert image_of_text.tolist() == [0, 0, 2, 3]
    assert image_of_text.dtype == np.int64
    tags, image_of_tag = corpus.tag_texts()
    assert tags == ["x y", "z", "x"]
    assert image_of_tag.tolist() == [0, 1, 3]


def test_select_and_take_keep_rows_aligned(corpus):
    train = corpus.select("train")
    assert train.image_ids == ["a", "c"]
    assert train.captions == [["one", "two"], ["three"]]
    assert train.labels.tolist() == [[True, False], [False, False]]
    assert train.texts()[1].tolist() == [0, 0, 1]
    assert train.images[1].getpixel((0, 0)) == (120, 0, 0)
    backwards = corpus.take([3, 1])
    assert backwards.image_ids == ["d", "b"]
    assert backwards.images.fingerprint(0) == corpus.images.fingerprint(3)
    assert corpus.take(corpus.split == "test").image_ids == ["d"]
    assert corpus.select("web").texts()[1].shape == (0,)


def test_select_errors(corpus):
    with pytest.raises(ValueError, match=r"unknown split 'dev'.*train"):
        corpus.select("dev")
    with pytest.raises(ValueError, match=r"no image in split 'val'.*test.*train"):
        corpus.select("val")
    with pytest.raises(ValueError, match="mask of shape"):
        corpus.take(np.array([True]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_ids": ["a", "b", "c"]}, "image_ids has 3 rows for 4 images"),
        ({"image_ids": ["a", "b", "c", "a"]}, r"'a' in rows \[0, 3\]"),
        ({"captions": [["one"], [], ["three"], "four"]}, "captions row 3"),
        ({"tags": [["x"], [" "], [], []]}, "tags row 1"),
        ({"split": np.array(["train", "dev", "train", "test"])}, "split row 1 is 'dev'"),
        ({"labels": np.eye(4, 3, dtype=bool)}, r"shape \(4, 3\), not bool of shape \(4, 2\)"),
        ({"labels": np.eye(4, 2)}, "float64"),
        ({"labels": None}, "label_names without labels"),
    ],
)
def test_wrong_parts_are_refused_by_field_and_row(corpus, change, message):
    with pytest.raises(ValueError, match=f"corpus toy: .*{message}"):
        dataclasses.replace(corpus, **change)


def test_corpus_is_frozen_and_describes_itself(corpus):
    with pytest.raises(dataclasses.FrozenInstanceError):
        corpus.name = "other"
    assert repr(corpus) == "Corpus toy: 4 images (2 train, 1 test, 1 web); 4 captions, 4 tags, 2 labels; CC0"


def test_problems_are_counted_and_do_not_change_what_a_corpus_is(corpus):
    told = dataclasses.replace(corpus, problems=("file, row 3: wrong", "file, row 9: wrong"))
    assert repr(told).endswith("CC0; problems: 2")
    assert told.fingerprint() == corpus.fingerprint()
    assert corpus.problems == ()


def test_fingerprint_sees_every_part(corpus, tmp_path):
    fingerprints = [corpus.fingerprint(), corpus.select("train").fingerprint(), corpus.take([3, 2, 1, 0]).fingerprint()]
    for change in (
        {"captions": [["one", "two"], [], ["three"], ["five"]]},
        {"tags": [["x", "y"], ["z"], [], []]},
        {"labels": np.eye(4, 2, dtype=bool)[::-1].copy()},
        {"split": np.array(["train", "web", "val", "test"])},
        {"image_ids": ["a", "b", "c", "e"]},
    ):
        fingerprints.append(dataclasses.replace(corpus, **change).fingerprint())
    Image.new("RGB", (3, 2), "blue").save(corpus.images.paths[1])
    changed = dataclasses.replace(corpus, images=ImageFiles(corpus.images.paths))
    fingerprints.append(changed.fingerprint())
    assert len(set(fingerprints)) == len(fingerprints)
    assert dataclasses.replace(changed).fingerprint() == changed.fingerprint()


def test_images_open_lazily_and_name_the_broken_file(images):
    images.paths[1].write_bytes(b"no picture")
    Image.effect_noise((64, 64), 50).save(images.paths[2])
    images.paths[2].write_bytes(images.paths[2].read_bytes()[:1000])
    images.paths[3].unlink()
    later = ImageFiles(images.paths)
    assert later[0].mode == "RGB"
    for i, error in ((1, OSError), (2, OSError), (3, FileNotFoundError)):
        with pytest.raises(error, match=f"image {i}: .*{i}.png"):
            later[i]
    with pytest.raises(IndexError):
        later[4]
    assert len(later[1:3]) == 2


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_every_corpus_refuses_unknown_options_by_name(name):
    with pytest.raises(ValueError, match=f"corpus '{name}' has no option 'speed'; it has: "):
        load(name, speed=3)


def test_data_dir_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.delenv("DATA", raising=False)
    assert data_dir() == ROOT / "data" / "raw"
    monkeypatch.setenv("DATA", str(tmp_path))
    assert data_dir() == tmp_path
    monkeypatch.setenv("DATA", "../elsewhere")  # counts from the repository, wherever a notebook runs
    monkeypatch.chdir(tmp_path)
    assert data_dir() == ROOT.parent / "elsewhere"


def test_cache_dir_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("LIB_CACHE", str(tmp_path / "elsewhere"))
    assert cache_dir("a", "b") == tmp_path / "elsewhere" / "a" / "b"
    assert (tmp_path / "elsewhere" / "a" / "b").is_dir()


def test_atomic_path_leaves_the_old_file_when_writing_fails(tmp_path):
    target = tmp_path / "file.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("old")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        fail()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_annotated_shares_are_nested_and_leave_everything_else_alone(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(500)]
    for path in paths:
        path.write_bytes(path.name.encode())
    corpus = Corpus(
        name="toy",
        images=ImageFiles(paths),
        image_ids=[f"i{i}" for i in range(500)],
        captions=[["one", "two"] if i % 5 else [] for i in range(500)],
        tags=[["x"]] * 500,
        labels=None,
        label_names=[],
        split=np.array(["train"] * 400 + ["val", "test"] * 50),
        licence="CC0",
        source="here",
        attribution="us",
    )
    part_of = {share: corpus.annotate(share, seed=1) for share in (0, 0.1, 0.25, 1)}
    kept = {share: {i for i in range(400) if part.captions[i]} for share, part in part_of.items()}
    assert [len(kept[share]) for share in part_of] == [0, 32, 80, 320]
    assert kept[0] < kept[0.1] < kept[0.25] < kept[1]
    for share, part in part_of.items():
        web = set(np.flatnonzero(part.split == "web").tolist())
        assert web == kept[1] - kept[share]  # and not the 80 that never had captions
        assert part.captions[400:] == corpus.captions[400:]
        assert (part.split[400:] == corpus.split[400:]).all()
        assert part.tags == corpus.tags
    assert part_of[1].fingerprint() == corpus.fingerprint()
    assert corpus.annotate(0.25, seed=2).captions != part_of[0.25].captions
    # Whatever order the pictures are in, the same ones keep their captions.
    backwards = corpus.take(np.arange(500)[::-1]).annotate(0.25, seed=1)
    assert backwards.captions[::-1] == part_of[0.25].captions

    groups = dataclasses.replace(corpus, groups=[f"g{i // 8}" for i in range(500)])
    again = groups.take(np.arange(400)).annotate(0.5, seed=1)
    assert all(
        len(set(again.split[start : start + 8][np.arange(start, start + 8) % 5 > 0])) == 1 for start in range(0, 400, 8)
    )
    assert len({group for group, split in zip(again.groups, again.split, strict=True) if split == "web"}) == 25

    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="a share between 0 and 1"):
            corpus.annotate(share)
    with pytest.raises(ValueError, match=r"toy: no training picture has captions, annotated=0\.5 is impossible"):
        corpus.select("test").annotate(0.5)
    with pytest.raises(ValueError, match="groups has 499 rows for 500 images"):
        dataclasses.replace(corpus, groups=["g"] * 499)


def test_readable_leaves_the_damaged_out_and_names_them(corpus):
    assert corpus.readable(progress=False) is corpus
    corpus.images.paths[1].write_bytes(b"<!DOCTYPE html>gone")
    corpus.images.paths[2].unlink()
    corpus = dataclasses.replace(corpus, problems=("a.txt, row 3: empty",))
    found = unreadable(corpus.images, progress=False)
    assert [(row, name) for row, name, _ in found] == [(row, str(corpus.images.paths[row])) for row in (1, 2)]
    readable = corpus.readable(progress=False)
    assert readable.image_ids == ["a", "d"]
    assert readable.captions == [["one", "two"], ["four"]]
    assert readable.problems[0] == "a.txt, row 3: empty"
    for problem, file, why in zip(
        readable.problems[1:], ("1.png", "2.png"), ("a web page", "no such file"), strict=True
    ):
        assert file in problem
        assert why in problem
    assert len(extract_features(readable.images, device="cpu", cache=False, progress=False, threads=1)) == 2
    with pytest.raises(ValueError, match=r"corpus toy: no image can be read, the first is .*1\.png: it is a web page"):
        corpus.take([1, 2]).readable(progress=False)
