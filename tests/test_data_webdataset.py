"""WebDataset shards: read from their place without unpacking, whatever is in them."""

import io
import json
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data import load
from lib.data.corpora.reading import Items
from lib.data.corpora.webdataset import TarImages, members
from tests.picture_files import jpeg, write


def tar(path, files, links=(), form=tarfile.PAX_FORMAT):
    """Write an archive of (name, content) pairs, and of (name, target, kind) links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target, kind in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return path


def sample(key, seed=0, caption="a caption"):
    meta = {"caption": caption, "url": "http://example.org", "key": key, "status": "success", "sha256": "0" * 64}
    return [(f"{key}.jpg", jpeg(seed)), (f"{key}.txt", caption.encode()), (f"{key}.json", json.dumps(meta).encode())]


@pytest.fixture
def shards(tmp_path):
    for shard in range(2):
        files = [f for i in range(3) for f in sample(f"{shard:05d}{i:04d}", 3 * shard + i, f"picture {i} #of{shard}")]
        tar(tmp_path / f"{shard:05d}.tar", files)
    return write(tmp_path, {"00000_stats.json": "{}", "00000.parquet": b"PAR1"})


def test_pictures_and_texts(shards):
    corpus = load("webdataset", shards)
    assert corpus.image_ids == [f"{shard:05d}/{shard:05d}{i:04d}" for shard in range(2) for i in range(3)]
    assert corpus.captions[4] == ["picture 1 #of1"]
    assert corpus.tags[4] == ["of1"]
    assert corpus.problems == ()
    for i in range(6):
        assert corpus.images[i].getpixel((0, 0)) == _first_pixel(i)
    later = corpus.take([5, 0])
    assert later.images.fingerprint(0) == corpus.images.fingerprint(5)
    assert len(corpus.images[1:3]) == 2
    assert len({corpus.images.fingerprint(i) for i in range(6)}) == 6
    assert sorted(p.name for p in shards.iterdir()) == ["00000.parquet", "00000.tar", "00000_stats.json", "00001.tar"]
    assert len(load("webdataset", shards / "00001.tar")) == 3
    assert set(corpus.split) == {"train"}
    assert sorted(load("webdataset", shards, val=0.2, test=0.4).split) == [
        "test",
        "test",
        "train",
        "train",
        "train",
        "val",
    ]


def _first_pixel(seed):
    from PIL import Image

    return Image.open(io.BytesIO(jpeg(seed))).convert("RGB").getpixel((0, 0))


def test_captions_of_the_json_where_there_is_no_text(tmp_path):
    picture, _, meta = sample("1", caption="only in json")
    tar(tmp_path / "a.tar", [picture, meta])
    assert load("webdataset", tmp_path, split="web").captions == [["only in json"]]


def test_names_that_lead_outside_and_links_do_no_harm(tmp_path):
    folder = tmp_path / "shards"
    secret = write(tmp_path, {"secret.jpg": jpeg(9), "secret.txt": "secret"}) / "secret.jpg"
    files = [*sample("good"), *sample("../outside"), *sample(str(tmp_path / "absolute")), *sample("a/../../up")]
    files += [("..\\windows.jpg", jpeg()), ("C:/drive.jpg", jpeg())]
    links = [("link.jpg", str(secret), tarfile.SYMTYPE), ("hard.jpg", "good.jpg", tarfile.LNKTYPE)]
    links += [("device.jpg", "", tarfile.CHRTYPE), ("folder", "", tarfile.DIRTYPE)]
    tar(folder / "0.tar", files, links)
    before = set(tmp_path.rglob("*"))
    corpus = load("webdataset", folder)
    assert corpus.image_ids == ["0/good"]
    assert set(tmp_path.rglob("*")) == before
    for name, why in [
        ("../outside.jpg", "leads outside"),
        (f"{tmp_path}/absolute.txt", "leads outside"),
        ("a/../../up.json", "leads outside"),
        ("..\\windows.jpg", "leads outside"),
        ("C:/drive.jpg", "leads outside"),
        ("link.jpg", "is a link"),
        ("hard.jpg", "is a link"),
        ("device.jpg", "is no regular file"),
    ]:
        assert any(p.startswith(f"0.tar: {name}: ") and why in p for p in corpus.problems), (name, corpus.problems)
    assert len(corpus.problems) == 3 * 3 + 2 + 3


def test_what_is_incomplete_or_there_twice(tmp_path):
    files = [
        *sample("a"),
        ("b.jpg", jpeg()),
        ("c.txt", b"alone"),
        *sample("a", 5),
        ("a.png", jpeg()),
        ("d.jpg", jpeg()),
    ]
    files += [("d.txt", b"caf\xe9 au lait"), ("readme.md", b"x"), ("sub/a.jpg", jpeg(3)), ("sub/a.txt", b"in a folder")]
    tar(tmp_path / "0.tar", files)
    corpus = load("webdataset", tmp_path)
    assert dict(zip(corpus.image_ids, corpus.captions, strict=True)) == {
        "0/a": ["a caption"],
        "0/d": ["café au lait"],
        "0/sub/a": ["in a folder"],
    }
    assert corpus.images[0].getpixel((0, 0)) == _first_pixel(0)
    for what in (
        "0.tar: a.jpg: key 'a' has a picture already",
        "0.tar: a.txt: is there twice",
        "0.tar: a.json: is there twice",
        "0.tar: a.png: key 'a' has a picture already",
        "0.tar: b: no text",
        "0.tar: c: text without a picture",
        "0.tar: d.txt: no UTF-8 (byte 3), read as cp1252",
    ):
        assert any(what in problem for problem in corpus.problems), (what, corpus.problems)
    assert len(corpus.problems) == 7


def test_shards_that_break_off_or_are_damaged_give_what_they_have(shards):
    whole = (shards / "00000.tar").read_bytes()
    (shards / "00000.tar").write_bytes(whole[: len(whole) // 2 - 5000])
    damaged = bytearray((shards / "00001.tar").read_bytes())
    with tarfile.open(shards / "00001.tar") as archive:
        third = archive.getmembers()[6]
    damaged[third.offset : third.offset + 512] = b"x" * 512
    (shards / "00001.tar").write_bytes(damaged)
    tar(shards / "good.tar", sample("k"))
    (shards / "gz.tar").write_bytes(b"\x1f\x8b compressed")
    (shards / "zero.tar").write_bytes(b"")
    corpus = load("webdataset", shards)
    assert {"00001/000010000", "00001/000010001", "good/k"} <= set(corpus.image_ids)
    for what in (
        "00001.tar: damaged or incomplete; what follows byte",
        "gz.tar: no tar archive, or a compressed one",
        "zero.tar: no tar archive",
    ):
        assert any(what in problem for problem in corpus.problems), (what, corpus.problems)
    assert any(problem.startswith("00000.tar: ") for problem in corpus.problems)
    for image in corpus.images:
        assert image.mode == "RGB"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_offsets_in_all_formats_and_with_long_names(tmp_path, form):
    key = "/".join(["long" * 10] * 3) if form != tarfile.USTAR_FORMAT else "x/y"
    tar(tmp_path / "0.tar", [*sample("first"), *sample(key, 7)], form=form)
    corpus = load("webdataset", tmp_path)
    assert corpus.image_ids == ["0/first", f"0/{key}"]
    assert corpus.images[1].getpixel((0, 0)) == _first_pixel(7)


@given(
    cut=st.integers(0, 40_000) | st.integers(20, 40).map((512).__mul__),
    at=st.integers(0, 40_000),
    byte=st.integers(0, 255),
)
def test_any_damage_is_reported_or_harmless(tmp_path_factory, cut, at, byte):
    """Whatever happens to a shard: never another exception, and no member reaches beyond the file."""
    folder = tmp_path_factory.mktemp("damage")
    path = tar(folder / "0.tar", [f for i in range(4) for f in sample(f"{i}", i)])
    content = bytearray(path.read_bytes())
    content[at % len(content)] = byte
    path.write_bytes(content[: max(1, len(content) - cut)])
    items = Items("webdataset", folder)
    found = list(members(path, items))
    assert all(len(member.read()) == member.size for member in found)
    assert len(found) == 12 or items.problems


def test_pictures_in_shards_are_named_when_they_cannot_be_opened(tmp_path):
    tar(tmp_path / "0.tar", [("a.jpg", b"<html>gone</html>"), ("a.txt", b"a"), ("b.jpg", b""), ("b.txt", b"b")])
    corpus = load("webdataset", tmp_path)
    with pytest.raises(OSError, match=r"image 0: a\.jpg in .*0\.tar is not a readable image \(it is a web page"):
        corpus.images[0]
    with pytest.raises(OSError, match=r"image 1: b\.jpg in .*0\.tar is not a readable image \(it is empty"):
        corpus.images[1]
    (tmp_path / "0.tar").write_bytes(b"short")
    with pytest.raises(OSError, match=r"0\.tar: a\.jpg breaks off after 0 of 17 bytes"):
        corpus.images[0]
    assert isinstance(corpus.images, TarImages)


def test_no_shards(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no \*\.tar in"):
        load("webdataset", tmp_path)
    with pytest.raises(FileNotFoundError, match="To get it: give the folder of the shards"):
        load("webdataset")
