"""data/registry.yaml: every corpus that can be loaded says where it comes from."""

import hashlib
import importlib.util
from pathlib import Path

import pytest
import yaml

from lib.data import CORPORA

REGISTRY = Path(__file__).parents[1] / "data" / "registry.yaml"
FIELDS = {"title", "source", "size", "sha256", "licence", "attribution", "obtain", "form"}


@pytest.fixture(scope="module")
def registry():
    return yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))


def test_every_corpus_is_registered(registry):
    assert set(CORPORA) <= set(registry)


def test_entries_are_complete(registry):
    for name, entry in registry.items():
        assert entry.keys() == FIELDS, name
        assert isinstance(entry["form"], bool), name
        assert all(entry[field] for field in FIELDS - {"form", "sha256"}), name
        assert all(len(digest) == 64 for digest in entry["sha256"].values()), name


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_openmoji_files_are_the_registered_ones(registry):
    """The splits and the twins of OpenMoji are for these files; other versions of the packages need a new look."""
    for name, expected in registry["openmoji"]["sha256"].items():
        package, _, inside = name.partition("/")
        path = Path(importlib.util.find_spec(package).origin).parent / inside
        if path.is_dir():
            listing = "".join(f"{digest(file)}  {file.name}\n" for file in sorted(path.glob("*.svg")))
            assert hashlib.sha256(listing.encode()).hexdigest() == expected, name
        else:
            assert digest(path) == expected, name
