"""Folders as people have them are read without an option; what is not understood is named."""

import os
from collections import Counter

import pytest

from lib.data import load
from tests.layouts import LAYOUTS, LINKED, UNKNOWN
from tests.picture_files import write


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read_without_an_option(name, tmp_path):
    layout = LAYOUTS[name]
    corpus = load("folder", write(tmp_path, layout.files()))
    assert len(corpus) == layout.pictures, corpus.problems
    assert sum(map(len, corpus.captions)) == layout.captions
    assert sum(map(len, corpus.tags)) == layout.tags
    assert set(corpus.split) == set(layout.splits)
    assert [note for note in corpus.notes if note.startswith("layout: ")]
    for image in corpus.images:
        assert image.mode == "RGB"


@pytest.mark.parametrize("name", LINKED)
def test_linked_folders(name, tmp_path):
    files = LAYOUTS[name].files()
    write(tmp_path / "elsewhere", files)
    (tmp_path / "mine").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "mine" / "data")
    os.symlink(tmp_path / "mine", tmp_path / "mine" / "round")
    corpus = load("folder", tmp_path / "mine")
    assert len(corpus) == 4
    assert [p for p in corpus.problems if p.startswith("round: is a link to a folder that is read already")]


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_understood_is_named_with_its_columns(name, tmp_path):
    files, named = UNKNOWN[name]
    with pytest.raises(ValueError, match="nothing could be read") as error:
        load("folder", write(tmp_path, files()))
    for text in named:
        assert text in str(error.value)


def test_texts_are_what_they_were(tmp_path):
    """Quotes, commas, bars and lines come out of each kind of list as they went in."""
    for name in (
        "captions.csv",
        "captions.tsv",
        "captions.csv, nothing quoted",
        "captions.csv, semicolons",
        "COCO, flat",
    ):
        corpus = load("folder", write(tmp_path / name.replace(" ", "_"), LAYOUTS[name].files()))
        texts = Counter(text for captions in corpus.captions for text in captions)
        wanted = Counter(
            f"{text} {k}"
            for text in ("A dog, running.", 'A 12" pizza', "Une fenêtre", "Three; or four | birds")
            for k in range(5)
        )
        assert texts == wanted, name
