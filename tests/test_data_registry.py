"""registry.yaml: every corpus that can be loaded says where it comes from."""

import hashlib
import importlib.util
from pathlib import Path

import pytest
import yaml

from lib.data import CORPORA
from lib.data.obtain.registry import read_entry, read_registry

ENTRY = {
    "title": "a corpus",
    "source": "somewhere",
    "size": "3 pictures",
    "licence": "CC0",
    "attribution": "us",
    "obtain": "take it",
    "form": False,
    "sha256": {},
}
FILE = {
    "name": "a.zip",
    "urls": ["https://example.org/a.zip"],
    "bytes": 3,
    "sha256": "a" * 64,
    "unpack": True,
    "gives": ["a/*.jpg"],
}


@pytest.fixture(scope="module")
def registry():
    return read_registry()


@pytest.fixture
def written(tmp_path):
    def write(**changes):
        path = tmp_path / "registry.yaml"
        entry = {field: value for field, value in {**ENTRY, **changes}.items() if value is not ...}
        path.write_text(yaml.safe_dump({"toy": entry}), encoding="utf-8")
        return path

    return write


def test_every_corpus_is_registered_and_the_other_way_round(registry):
    assert set(CORPORA) == set(registry)


def test_what_is_to_be_downloaded_is_recognised_when_it_is_there(registry):
    for name, entry in registry.items():
        assert entry.layout or not entry.files, name
        assert not (entry.taken_down and entry.files), name


def test_entry_is_read(written):
    entry = read_entry("toy", written(files=[FILE], layout=["a/*.jpg | b/*.jpg"], counts={"images": 3}))
    (file,) = entry.files
    assert (file.name, file.urls, file.bytes, file.unpack, file.folder) == (
        "a.zip", ("https://example.org/a.zip",), 3, True, ".",
    )  # fmt: skip
    assert entry.counts == {"images": 3}
    assert entry.root("x") == Path("x")
    assert entry.root().name == "toy"


def test_missing_parts_of_the_layout(written, tmp_path):
    entry = read_entry("toy", written(layout=["pictures/*.jpg", "a.json | texts/a.json"]))
    assert entry.missing(tmp_path) == ["pictures/*.jpg", "a.json | texts/a.json"]
    for name in ("pictures/1.jpg", "texts/a.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert entry.missing(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": ...}, "toy: lacks licence"),
        ({"license": "CC0"}, "toy: unknown license; known: .*licence"),
        ({"form": "yes"}, "form is 'yes', not bool"),
        ({"title": " "}, "title is empty"),
        ({"sha256": {"a": "b"}}, "sha256 of a is no 64 hex"),
        ({"files": {"name": "a"}}, "files is .* not list"),
        ({"files": ["a.zip"]}, "files, row 1: is 'a.zip', no mapping"),
        ({"files": [{"urls": []}]}, "row 1: lacks name"),
        ({"files": [FILE, FILE]}, "files names one file twice"),
        ({"files": [{**FILE, "urls": ["file:///etc/passwd"]}]}, "no http address"),
        ({"files": [{**FILE, "name": "../a.zip"}]}, "no plain file name"),
        ({"files": [{**FILE, "folder": "../b"}]}, "lies outside the corpus"),
        ({"files": [{**FILE, "folder": "/b"}]}, "lies outside the corpus"),
        ({"files": [{**FILE, "sha256": "xyz"}]}, "sha256 is no 64"),
        ({"files": [{**FILE, "md5": "a" * 64}]}, "md5 is no 32"),
        ({"files": [{**FILE, "bytes": True}]}, "bytes is True, not int"),
        ({"files": [{**FILE, "bytes": 0}]}, "bytes is 0"),
        ({"files": [{**FILE, "name": "a.rar"}]}, "a.rar cannot be unpacked"),
        ({"files": [{**FILE, "gives": []}]}, "gives belongs to files that are unpacked, and they need it"),
        ({"files": [{**FILE, "unpack": False}]}, "gives belongs to files that are unpacked"),
        ({"files": [{**FILE, "gives": ["b | /a"]}]}, "gives ' /a' is no path inside the corpus"),
        ({"counts": {"picture": 3}}, "counts has unknown picture"),
        ({"layout": ["../a"]}, "no path inside the corpus"),
        ({"layout": [3]}, "layout has 3, which is no text"),
    ],
)
def test_wrong_entries_are_refused_with_the_field(written, changes, message):
    with pytest.raises(ValueError, match=message):
        read_registry(written(**changes))


def test_unknown_corpus_and_no_yaml(written, tmp_path):
    with pytest.raises(ValueError, match=r"no corpus 'tox' in .*; it has: toy"):
        read_entry("tox", written())
    (tmp_path / "bad.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ValueError, match="is not YAML"):
        read_registry(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text("- a", encoding="utf-8")
    with pytest.raises(ValueError, match="no mapping of corpus names"):
        read_registry(tmp_path / "bad.yaml")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_openmoji_files_are_the_registered_ones(registry):
    """The splits and the twins of OpenMoji are for these files; other versions of the packages need a new look."""
    for name, expected in registry["openmoji"].sha256.items():
        package, _, inside = name.partition("/")
        path = Path(importlib.util.find_spec(package).origin).parent / inside
        if path.is_dir():
            listing = "".join(f"{digest(file)}  {file.name}\n" for file in sorted(path.glob("*.svg")))
            assert hashlib.sha256(listing.encode()).hexdigest() == expected, name
        else:
            assert digest(path) == expected, name
