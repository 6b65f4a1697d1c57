"""Flickr8k and Flickr30k in all forms they are published in, and what happens to what is wrong in them."""

import gzip
import json
from collections import Counter

import pytest

from lib.data import load
from tests.picture_files import SHARED, photos, write

NAMES = [f"{i}_abc.jpg" for i in range(7)]
SPLITS = ["train", "train", "train", "val", "test", "test"]  # the seventh photo is in no list


def tokens(names, captions=5):
    return "".join(f"{name}#{k}\tcaption {k} of {name} .\n" for name in names for k in range(captions))


def lists(template, parts):
    listed = dict(zip(NAMES, SPLITS, strict=False))
    return {
        template.format(part): "".join(f"{name}\n" for name, where in listed.items() if where == split)
        for part, split in parts.items()
    }


def karpathy(names=NAMES, splits=(*SPLITS, "test")):
    entries = [
        {"filename": name, "imgid": i, "split": split, "sentences": [{"raw": f"{k} of {name}"} for k in range(5)]}
        for i, (name, split) in enumerate(zip(names, splits, strict=True))
    ]
    return json.dumps({"images": entries, "dataset": "flickr"})


def flickr8k_files():
    parts = {"train": "train", "dev": "val", "test": "test"}
    files = {"Flickr8k_text/Flickr8k.token.txt": tokens(NAMES), "dataset_flickr8k.json": karpathy()}
    return files | lists("Flickr8k_text/Flickr_8k.{}Images.txt", parts) | photos("Flicker8k_Dataset", NAMES)


@pytest.fixture
def flickr8k(tmp_path):
    return write(tmp_path, flickr8k_files())


def flickr30k_files():
    """Captions as multi30k has them, and the photos."""
    files = photos("flickr30k-images", NAMES)
    for part, split in {"train": "train", "val": "val", "test_2016": "test"}.items():
        names = [name for name, where in zip(NAMES, SPLITS, strict=False) if where == split]
        files[f"{part}_images.txt"] = "".join(f"{name}\n" for name in names)
        for k in range(1, 6):
            files[f"{part}.{k}.en.gz"] = gzip.compress("".join(f"{k} of {name}\n" for name in names).encode())
    return files


@pytest.fixture
def flickr30k(tmp_path):
    return write(tmp_path, flickr30k_files())


def test_flickr8k_official_files(flickr8k):
    corpus = load("flickr8k", flickr8k)
    assert corpus.image_ids == NAMES[:6]
    assert corpus.split.tolist() == SPLITS
    assert corpus.captions[3] == [f"caption {k} of {NAMES[3]} ." for k in range(5)]
    assert corpus.images[5].size == (12, 9)
    assert corpus.problems == ()
    assert "problems" not in repr(corpus)


def test_photos_in_no_list_are_taken_when_asked_for(flickr8k):
    corpus = load("flickr8k", flickr8k, unlisted="train")
    assert corpus.image_ids == NAMES
    assert corpus.split[6] == "train"
    with pytest.raises(ValueError, match="unknown split 'rest'"):
        load("flickr8k", flickr8k, unlisted="rest")


def test_flickr8k_karpathy(flickr8k):
    corpus = load("flickr8k", flickr8k, annotations="karpathy")
    assert corpus.split.tolist() == [*SPLITS, "test"]
    assert corpus.captions[6][4] == f"4 of {NAMES[6]}"


def test_every_problem_is_listed_and_the_rest_is_loaded(flickr8k):
    text = flickr8k / "Flickr8k_text"
    (flickr8k / "Flicker8k_Dataset" / NAMES[1]).unlink()
    write(
        text,
        {
            "Flickr8k.token.txt": tokens(NAMES[:4]).encode()
            + b"lost.jpg.1#0\torphan\nno tab in this line\n"
            + f"{NAMES[0]}#2\tthe same number again\n{NAMES[2]}#5\t \n".encode()
            + f"{NAMES[4]}#0\t".encode()
            + b"caf\xe9 au lait\n",
            "Flickr_8k.devImages.txt": f"{NAMES[3]}\n{NAMES[0]}\n",
        },
    )
    corpus = load("flickr8k", flickr8k)
    assert corpus.image_ids == [NAMES[0], NAMES[2], NAMES[3], NAMES[4]]
    assert corpus.split.tolist() == ["val", "train", "val", "test"]
    assert corpus.captions[3] == ["café au lait"]
    assert [len(captions) for captions in corpus.captions] == [5, 5, 5, 1]
    expected = [
        ("Flickr8k.token.txt, row 22", "no line"),
        ("Flickr8k.token.txt, row 23", "twice"),
        ("Flickr8k.token.txt, row 24", "empty"),
        ("Flickr8k.token.txt, row 25", "no UTF-8 (byte 15), read as cp1252"),
        ("trainImages.txt, row 1", f"'{NAMES[0]}' is listed in Flickr8k_text/Flickr_8k.devImages.txt, row 2 already"),
        ("Flickr8k.token.txt, row 6", f"{NAMES[1]}' has no photo; 5 captions left out"),
        ("Flickr8k.token.txt, row 21", "'lost.jpg.1' has no photo; 1 captions left out"),
        ("testImages.txt, row 2", f"{NAMES[5]}' has no caption in Flickr8k_text/Flickr8k.token.txt"),
    ]
    for place, what in expected:
        assert any(place in problem and what in problem for problem in corpus.problems), (place, corpus.problems)
    assert len(corpus.problems) == len(expected)
    assert repr(corpus).endswith(f"problems: {len(expected)}")
    assert corpus.select("train").problems == corpus.problems


def test_an_orphan_key_is_listed_without_photos_too(flickr8k):
    write(flickr8k, {"Flickr8k_text/Flickr8k.token.txt": tokens([*NAMES, "8_x.jpg.1"])})
    (problem,) = load("flickr8k", flickr8k, photos=False).problems
    assert "'8_x.jpg.1' has no photo; 5 captions left out" in problem


def test_absent_files_are_named_with_the_way_to_get_them(flickr8k, tmp_path, monkeypatch):
    (flickr8k / "Flickr8k_text" / "Flickr_8k.devImages.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no Flickr_8k.devImages.txt .* in .*Flickr8k_text.*To get it: fill"):
        load("flickr8k", flickr8k)
    with pytest.raises(FileNotFoundError, match=r"no flickr30k-images .*photos=False.*To get it"):
        load("flickr30k", write(tmp_path / "f30k", {"dataset_flickr30k.json": karpathy()}))
    monkeypatch.setenv("DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere/flickr8k\. To get it: fill in the request form"):
        load("flickr8k")
    with pytest.raises(ValueError, match="annotations is 'official8'"):
        load("flickr8k", flickr8k, annotations="official8")


def test_data_folder_is_where_corpora_are_looked_for(flickr8k, monkeypatch):
    flickr8k.rename(flickr8k.parent / "flickr8k")
    monkeypatch.setenv("DATA", str(flickr8k.parent))
    assert len(load("flickr8k")) == 6


@pytest.mark.parametrize("content", ["{", "[]", '{"images": 3}'])
def test_a_broken_split_file_is_named(flickr8k, content):
    write(flickr8k, {"dataset_flickr8k.json": content})
    with pytest.raises(ValueError, match=r"dataset_flickr8k\.json (is no JSON|has no list images)"):
        load("flickr8k", flickr8k, annotations="karpathy")


def test_incomplete_records_of_a_split_file(flickr8k):
    entries = json.loads(karpathy())["images"]
    del entries[1]["sentences"]
    entries[2]["split"] = "extra"
    entries[3]["filename"] = entries[0]["filename"]
    entries[4]["sentences"][0]["raw"] = "  "
    entries[6]["sentences"][3]["raw"] = None
    write(flickr8k, {"dataset_flickr8k.json": json.dumps({"images": entries})})
    corpus = load("flickr8k", flickr8k, annotations="karpathy")
    assert corpus.image_ids == [NAMES[0], NAMES[4], NAMES[5]]
    assert len(corpus.captions[1]) == 4
    for row, what in [(2, "sentences"), (3, "'extra'"), (4, "twice"), (5, "1 empty caption"), (7, "is no text")]:
        assert any(f"json, row {row}:" in p and what in p for p in corpus.problems), corpus.problems


def test_nothing_left_is_an_error_with_the_problems(flickr8k):
    write(flickr8k, {"Flickr8k_text/Flickr8k.token.txt": "a\nb\n"})
    with pytest.raises(ValueError, match=r"nothing could be read; 8 problems:\n.*token.txt, row 1: no line"):
        load("flickr8k", flickr8k)


def test_flickr30k_multi30k(flickr30k):
    corpus = load("flickr30k", flickr30k)
    assert corpus.image_ids == NAMES[:6]
    assert corpus.split.tolist() == SPLITS
    assert corpus.captions[4] == [f"{k} of {NAMES[4]}" for k in range(1, 6)]
    assert corpus.source == "Flickr30k, train_images.txt"


def test_multi30k_that_does_not_fit_line_by_line_is_refused(flickr30k):
    write(flickr30k, {"val.3.en.gz": gzip.compress(b"one\ntwo\n")})
    with pytest.raises(ValueError, match=r"val\.3\.en\.gz has 2 lines, .*val_images\.txt has 1"):
        load("flickr30k", flickr30k)


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_gzip_file_is_named(flickr30k, damage):
    path = flickr30k / "val.2.en.gz"
    path.write_bytes(path.read_bytes()[:-6] if damage == "cut" else b"no gzip")
    with pytest.raises(ValueError, match=r"val\.2\.en\.gz cannot be unpacked .*fetch it again"):
        load("flickr30k", flickr30k)


@pytest.mark.parametrize("entities", [True, False])
def test_flickr30k_token_file(flickr30k, entities):
    files = {"results_20130124.token": tokens(NAMES)}
    if entities:  # ids without .jpg
        files |= {
            k: v.replace(".jpg", "") for k, v in lists("{}.txt", {s: s for s in ("train", "val", "test")}).items()
        }
    corpus = load("flickr30k", write(flickr30k, files))
    assert corpus.source == "Flickr30k, results_20130124.token"
    assert corpus.image_ids == NAMES[:6]
    assert corpus.split.tolist() == SPLITS
    assert load("flickr30k", flickr30k, annotations="multi30k").captions[0][0] == f"1 of {NAMES[0]}"


def test_without_photos_texts_work_and_pictures_say_why_not(flickr30k):
    for photo in (flickr30k / "flickr30k-images").iterdir():
        photo.unlink()
    corpus = load("flickr30k", flickr30k, photos=False)
    assert corpus.problems == ()
    assert len(corpus.texts()[0]) == 30
    test = corpus.select("test")
    with pytest.raises(FileNotFoundError, match=rf"image 1 \({NAMES[5]}\): .*photos=False"):
        test.images[1]
    assert len(test.images[:1]) == 1
    assert test.fingerprint() != corpus.select("train").fingerprint()


def test_annotated_share(flickr30k):
    full, third = load("flickr30k", flickr30k), load("flickr30k", flickr30k, annotated=1 / 3)
    assert Counter(third.split.tolist()) == {"train": 1, "web": 2, "val": 1, "test": 2}
    for split, captions, before in zip(third.split, third.captions, full.captions, strict=True):
        assert captions == ([] if split == "web" else before)


@pytest.mark.shared_data
@pytest.mark.skipif(not (SHARED / "flickr8k").is_dir(), reason=f"no Flickr8k in {SHARED}")
def test_real_flickr8k():
    corpus = load("flickr8k", SHARED / "flickr8k")
    assert Counter(corpus.split.tolist()) == {"train": 6000, "val": 1000, "test": 1000}
    assert set(map(len, corpus.captions)) == {5}
    (problem,) = corpus.problems
    assert "'2258277193_586949ec62.jpg.1' has no photo; 5 captions left out" in problem
    assert corpus.images[7999].mode == "RGB"
    assert len(load("flickr8k", SHARED / "flickr8k", unlisted="train")) == 8091


@pytest.mark.shared_data
@pytest.mark.skipif(not (SHARED / "flickr30k_captions").is_dir(), reason=f"no Flickr30k captions in {SHARED}")
def test_real_flickr30k_captions():
    corpus = load("flickr30k", SHARED / "flickr30k_captions", photos=False)
    assert Counter(corpus.split.tolist()) == {"train": 29000, "val": 1014, "test": 1000}
    assert set(map(len, corpus.captions)) == {5}
    assert corpus.problems == ()
