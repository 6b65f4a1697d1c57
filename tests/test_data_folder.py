"""Any folder of pictures and texts: pairing, damaged texts, damaged pictures; Instagram's folders on top of it."""

import json
import random
from collections import Counter

import pytest
from PIL import Image

from lib.data import load
from lib.data.corpora.instacities import CITIES
from lib.data.corpora.reading import held_out
from lib.data.corpora.texts import decode, hashtags
from tests.picture_files import SHARED, jpeg, photos, write


@pytest.fixture
def folder(tmp_path):
    return write(
        tmp_path,
        photos(".", ["a.jpg", "sub/b.PNG", "sub/deeper/c.jpeg", "d.webp"])
        | {
            "a.txt": "A  first #Text\nwith #two_tags #Text &#39;\n",
            "sub/b.json": json.dumps({"caption": "from json", "tags": ["x", 3, "y"], "url": "http://example.org"}),
            "sub/deeper/c.txt": "#only",
            "d.txt": "d",
            "d.json": "{broken",
            "README.md": "neither picture nor text",
        },
    )


def test_pictures_with_their_texts(folder):
    corpus = load("folder", folder)
    assert corpus.image_ids == ["a", "d", "sub/b", "sub/deeper/c"]
    assert corpus.captions == [["A first #Text with #two_tags #Text &#39;"], ["d"], ["from json"], ["#only"]]
    assert corpus.tags == [["Text", "two_tags"], [], ["x", "y"], ["only"]]
    assert corpus.images[2].size == (12, 9)
    assert corpus.problems == (
        "d.json: no JSON (JSONDecodeError); ignored",
        "sub/b.PNG: tag 3 of image 'sub/b' is no text but int; left out",
    )
    assert corpus.notes == ("layout: texts of the same name beside the pictures (4)", "not used: README.md")
    assert load("folder", folder, tags_from_text=False).tags == [[], [], ["x", "y"], []]


def test_splits_by_folder(tmp_path):
    names = ["train/1.jpg", "val/2.jpg", "web/3.jpg", "other/4.jpg", "5.jpg"]
    write(tmp_path, photos(".", names) | {name.replace("jpg", "txt"): "text" for name in names})
    assert set(load("folder", tmp_path, split="web").split) == {"web"}
    corpus = load("folder", tmp_path)
    assert dict(zip(corpus.image_ids, corpus.split.tolist(), strict=True)) == {
        "train/1": "train",
        "val/2": "val",
        "web/3": "web",
    }
    assert [problem.partition(":")[0] for problem in corpus.problems] == ["5.jpg", "other/4.jpg"]
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        load("folder", tmp_path, split="dev")


def many(folder, n, twice=0):
    """n different pictures, and the first `twice` of them once more."""
    files = {f"{i}.jpg": jpeg(i) for i in range(n)} | {f"copy of {i}.jpg": jpeg(i) for i in range(twice)}
    return write(folder, files | {name.replace("jpg", "txt"): name for name in files})


def test_splits_are_drawn_by_content(tmp_path):
    corpus = load("folder", many(tmp_path / "a", 60, twice=20), seed=1)
    split_of = dict(zip(corpus.image_ids, corpus.split.tolist(), strict=True))
    assert Counter(split_of[str(i)] for i in range(60)) == {"train": 48, "val": 6, "test": 6}
    assert all(split_of[f"copy of {i}"] == split_of[str(i)] for i in range(20))
    assert {split_of[f"copy of {i}"] for i in range(20)} > {"train"}
    assert set(load("folder", tmp_path / "a", split="train").split) == {"train"}
    assert load("folder", tmp_path / "a", seed=2).split.tolist() != corpus.split.tolist()

    for path in (tmp_path / "a").glob("?.jpg"):  # other names, the same splits
        path.rename(path.with_name(f"renamed {path.name}"))
        path.with_suffix(".txt").rename(path.with_name(f"renamed {path.stem}.txt"))
    renamed = load("folder", tmp_path / "a", seed=1)
    again = {
        image_id.removeprefix("renamed "): split
        for image_id, split in zip(renamed.image_ids, renamed.split, strict=True)
    }
    assert again == split_of
    with pytest.raises(ValueError, match="30 test and 30 validation items out of 60"):
        load("folder", tmp_path / "a", val=0.5, test=0.5)


def test_a_split_without_a_folder_is_drawn_from_the_training_folder(tmp_path):
    many(tmp_path / "train", 20)
    many(tmp_path / "test", 5)
    corpus = load("folder", tmp_path, val=0.25)
    assert Counter(corpus.split.tolist()) == {"train": 15, "val": 5, "test": 5}
    assert all(
        split == "test" for name, split in zip(corpus.image_ids, corpus.split, strict=True) if name.startswith("test")
    )


def test_what_has_no_partner_and_what_is_there_twice(folder):
    write(folder, {"alone.txt": "x", "lonely.jpg": jpeg(), "a.png": jpeg(), "empty.jpg": jpeg(), "empty.txt": " \n"})
    corpus = load("folder", folder)
    assert len(corpus) == 4
    for what in (
        "alone.txt: text without",
        "lonely.jpg: no text",
        "'a' is there twice",
        "empty: no text or an empty one",
    ):
        assert any(what in problem for problem in corpus.problems), what


TEXTS = {
    "fine": "déjà vu".encode(),
    "bom": "\ufeffwith a mark".encode(),
    "gbk": "it’s fine… #猫cat".encode("gb18030"),
    "western": b"caf\xe9 au lait",
    "none": b"\xff\x81 x",
}


@pytest.fixture
def undecodable(tmp_path):
    return write(tmp_path, photos(".", [f"{n}.jpg" for n in TEXTS]) | {f"{n}.txt": t for n, t in TEXTS.items()})


def test_undecodable_texts_are_repaired_and_reported(undecodable):
    corpus = load("folder", undecodable)
    texts = dict(zip(corpus.image_ids, corpus.captions, strict=True))
    assert texts == {
        "fine": ["déjà vu"],
        "bom": ["with a mark"],
        "gbk": ["it’s fine… #猫cat"],
        "western": ["café au lait"],
        "none": ["\ufffd\ufffd x"],
    }
    assert corpus.tags[corpus.image_ids.index("gbk")] == ["猫cat"]
    assert sorted(corpus.problems) == [
        "gbk.txt: no UTF-8 (byte 2), read as gb18030",
        "none.txt: no UTF-8 (byte 0), unreadable bytes replaced by U+FFFD",
        "western.txt: no UTF-8 (byte 3), read as cp1252",
    ]


def test_undecodable_texts_can_be_dropped_or_read_otherwise(undecodable):
    corpus = load("folder", undecodable, undecodable="drop")
    assert corpus.image_ids == ["bom", "fine"]
    assert len(corpus.problems) == 3
    assert all(problem.endswith("; left out") for problem in corpus.problems)
    latin = load("folder", undecodable, encodings=("latin-1",))
    assert latin.captions[latin.image_ids.index("western")] == ["café au lait"]
    with pytest.raises(ValueError, match="undecodable is 'ignore': one of 'repair', 'drop'"):
        load("folder", undecodable, undecodable="ignore")


def test_decode_never_fails():
    for seed in range(300):
        text, repair = decode(random.Random(seed).randbytes(40))
        assert isinstance(text, str)
        assert repair
    assert decode(b"") == ("", "")


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("#NYC, so#glued! # not &#39; ##twice #été #a_b-c #1", ["NYC", "twice", "été", "a_b"]),
        ("read http://example.org/page#comments now", []),
        ("https://example.org/?q=1/#top and www.example.org/#top", []),
        ("mail#me foo#bar /#x &#x27;", []),
        ("＃東京 #2020vision #_x #_ #42", ["東京", "2020vision", "_x"]),
        ("#हिन्दी #தமிழ்நாடு #ภาษาไทย #العَرَبِيَّة", ["हिन्दी", "தமிழ்நாடு", "ภาษาไทย", "العَرَبِيَّة"]),
        ("#می\u200cخواهم #a\u200d b", ["می\u200cخواهم", "a"]),
        ("#1\ufe0f\u20e3 (#in) .#x", ["in", "x"]),
    ],
)
def test_hashtags(text, tags):
    assert hashtags(text) == tags


@pytest.mark.parametrize(
    ("raw", "text", "repair"),
    [
        ("naïve 猫".encode()[:-1], "naïve ", "no UTF-8 (byte 7), the last letter is cut off; left out"),
        ("a 😀".encode()[:-1], "a ", "no UTF-8 (byte 2), the last letter is cut off; left out"),
        (b"caf\xe9", "café", "no UTF-8 (byte 3), read as cp1252"),
        ("é and è".encode() + b"\xff!", "é and è\ufffd!", "no UTF-8 (byte 9), unreadable bytes replaced by U+FFFD"),
        ("猫是".encode("gbk"), "猫是", "no UTF-8 (byte 2), read as gb18030"),
        ("x é".encode("utf-16"), "x é", ""),
        ("x é".encode("utf-32"), "x é", ""),
        ("hello".encode("utf-16-le"), "hello", "no UTF-8, read as utf-16-le"),
        ("hello".encode("utf-16-be"), "hello", "no UTF-8, read as utf-16-be"),
        ("в каникулах".encode("gbk"), "в каникулах", "no UTF-8 (byte 0), read as gb18030"),
        (b"\xef\xbb\xbfcaf\xe9!", "caf\ufffd!", "no UTF-8 (byte 3), unreadable bytes replaced by U+FFFD"),
        (b"\xff\xfea\0b", "a\ufffd", "no UTF-16 (byte 4), unreadable bytes replaced by U+FFFD"),
        (b"a\0b", "", "NUL bytes: no text; left out"),
    ],
)
def test_decode(raw, text, repair):
    assert decode(raw) == (text, repair)


def test_folder_wants_a_root_that_is_there(tmp_path):
    for root in (None, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"corpus folder: no folder .*To get it: give the folder"):
            load("folder", root)
    with pytest.raises(ValueError, match=r"nothing could be read; 1 problems:\n.*no picture \(\.jpg.* among 0 files"):
        load("folder", tmp_path)


def test_damaged_pictures_are_named_when_they_are_opened(tmp_path, monkeypatch):
    noise = tmp_path / "truncated.jpg"
    Image.effect_noise((99, 99), 80).save(noise)
    png = tmp_path / "broken.png"
    Image.effect_noise((99, 99), 80).save(png)
    write(
        tmp_path,
        {
            "truncated.jpg": noise.read_bytes()[:900],
            "broken.png": png.read_bytes()[:60] + b"\0" * 40 + png.read_bytes()[100:],
            "zero.jpg": b"",
            "page.jpg": "\n <!DOCTYPE html><html><body>404 Not Found</body></html>",
            "huge.png": png.read_bytes(),
            "whole.jpg": jpeg(),
            "gone.jpg": jpeg(),
        }
        | {f"{name}.txt": name for name in ("truncated", "broken", "zero", "page", "huge", "whole", "gone")},
    )
    corpus = load("folder", tmp_path)
    assert len(corpus) == 7  # loading opens no picture
    (tmp_path / "gone.jpg").unlink()
    (tmp_path / "gone.jpg").mkdir()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for name, why in {
        "truncated": r"truncated\.jpg",
        "broken": r"broken\.png",
        "zero": r"zero\.jpg is not a readable image \(it is empty\)",
        "page": r"page\.jpg is not a readable image \(it is a web page",
        "gone": r"gone\.jpg is not a readable image",
        "huge": r"huge\.png is refused, it would need too much memory",
    }.items():
        with pytest.raises(OSError, match=rf"image \d: .*{why}"):
            corpus.images[corpus.image_ids.index(name)]
    assert corpus.images[corpus.image_ids.index("whole")].mode == "RGB"


# ---------------------------------------------------------------------------------------------------------- Instagram
def post_files(images, captions, cities, n=20):
    names = [f"{city}/{10**18 + i}" for city in cities for i in range(n)]
    files = photos(images, [f"{name}.jpg" for name in names])
    return files | {f"{captions}/{name}.txt": f"in {name} #{name[:3]}" for name in names}


def posts(root, *arguments, **options):
    return write(root, post_files(*arguments, **options))


def test_instacities1m(tmp_path):
    cities = ("london", "toronto", "miami")
    root = posts(tmp_path, "img_resized_1M/cities_instagram", "captions_resized_1M/cities_instagram", cities)
    corpus = load("instacities1m", root)
    assert corpus.label_names == ["london", "miami", "toronto"]
    assert corpus.labels.sum(0).tolist() == [20, 20, 20]
    assert corpus.tags[0] == ["lon"]
    for city in cities:
        here = [i for i, image_id in enumerate(corpus.image_ids) if image_id.startswith(city)]
        assert Counter(corpus.split[here].tolist()) == {"train": 16, "val": 1, "test": 3}
        assert corpus.labels[here, corpus.label_names.index(city)].all()
    other = load("instacities1m", root, seed=1)
    assert other.split.tolist() != corpus.split.tolist()
    assert len(CITIES) == 10


def test_instany100k_and_folders_of_other_names(tmp_path):
    root = posts(tmp_path, "img_resized", "captions", ["newyork", "springfield"], n=2)
    corpus = load("instany100k", root)
    assert corpus.label_names == ["newyork"]
    assert len(corpus) == 2
    assert sum("'springfield' is none of the cities" in problem for problem in corpus.problems) == 2
    with pytest.raises(FileNotFoundError, match=r"img_resized_1M.*taken down by petition of Meta"):
        load("instacities1m", root)


def test_held_out_depends_on_keys_and_seed_alone():
    keys = [f"k{i}" for i in range(50)]
    split = dict(zip(keys, held_out(keys, 10, 5), strict=True))
    assert Counter(split.values()) == {"train": 35, "test": 10, "val": 5}
    backwards = dict(zip(keys[::-1], held_out(keys[::-1], 10, 5), strict=True))
    assert backwards == split
    assert held_out(keys, 10, 5, seed=1) != held_out(keys, 10, 5)
    with pytest.raises(ValueError, match="30 test and 20 validation items out of 50"):
        held_out(keys, 30, 20)


@pytest.mark.shared_data
@pytest.mark.skipif(not (SHARED / "tweets").is_dir(), reason=f"no tweets in {SHARED}")
def test_real_tweets():
    corpus = load("folder", SHARED / "tweets")
    assert len(corpus) == 4869
    assert sum(map(bool, corpus.tags)) == 2370  # "#13" and what follows a letter are no hashtags
    assert len(corpus.problems) == 1131
    assert {problem.partition("), ")[2] for problem in corpus.problems} == {"read as gb18030"}
    assert len(load("folder", SHARED / "tweets", undecodable="drop")) == 4869 - 1131
