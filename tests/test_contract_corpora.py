"""What every adapter must do, on a tiny made collection of each corpus that exists: `tests/tiny_corpora.py`."""

import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from lib.base.files import ROOT
from lib.data import CORPORA, Corpus
from tests.tiny_corpora import TINY, lay_out

MADE = [name for name in CORPORA if name in TINY]
EACH = pytest.mark.parametrize("name", MADE)

AGAIN = """
import json, sys
from pathlib import Path
from tests.tiny_corpora import TINY
root = Path(sys.argv[1])
print(json.dumps({name: TINY[name].load(name, root / name).fingerprint() for name in sys.argv[2:]}))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a folder of each corpus."""
    folder = tmp_path_factory.mktemp("tiny")
    for name in MADE:
        (folder / name).mkdir()
        lay_out(folder / name, TINY[name].files())
    return folder


@pytest.fixture(scope="module")
def corpora(root) -> dict[str, Corpus]:
    return {name: TINY[name].load(name, root / name) for name in MADE}


@pytest.fixture(scope="module")
def elsewhere(root, corpora):
    """The fingerprints in a new process whose hash function of texts is another one."""
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", AGAIN, str(root), *MADE]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_has_a_tiny_one(name):
    assert name in TINY, f"corpus {name!r} is tested by nothing: add a tiny collection to TINY in tests/tiny_corpora.py"


@EACH
def test_counts_are_those_of_the_files(name, corpora):
    corpus, tiny = corpora[name], TINY[name]
    assert corpus.name == name
    assert corpus.problems == ()
    assert Counter(corpus.split.tolist()) == tiny.splits
    assert sum(map(len, corpus.captions)) == tiny.captions
    assert sum(map(len, corpus.tags)) == tiny.tags
    assert len(corpus.label_names) == tiny.labels
    assert (corpus.labels is None) == (tiny.labels == 0)
    for text in (corpus.licence, corpus.source, corpus.attribution):
        assert text.strip()


@EACH
def test_texts_are_texts_and_labels_are_bool(name, corpora):
    corpus = corpora[name]
    for texts in (*corpus.captions, *corpus.tags):
        assert isinstance(texts, list)
        assert all(isinstance(text, str) and text == text.strip() != "" for text in texts)
    assert all(type(image_id) is str for image_id in corpus.image_ids)
    if corpus.labels is not None:
        assert corpus.labels.dtype == bool
        assert corpus.labels.any()


@EACH
def test_every_picture_can_be_read_and_told_apart(name, corpora):
    images = corpora[name].images
    for image in images:
        assert image.mode == "RGB"
        assert min(image.size) > 0
    assert len({images.fingerprint(i) for i in range(len(images))}) == len(images)


@EACH
def test_parts_keep_texts_with_their_pictures(name, corpora):
    corpus = corpora[name]
    order = np.random.default_rng(0).permutation(len(corpus))
    parts = [(corpus.take(order), order)]
    parts += [(corpus.select(split), np.flatnonzero(corpus.split == split)) for split in TINY[name].splits]
    for part, rows in parts:
        assert part.image_ids == [corpus.image_ids[row] for row in rows]
        assert part.captions == [corpus.captions[row] for row in rows]
        assert part.tags == [corpus.tags[row] for row in rows]
        assert part.split.tolist() == corpus.split[rows].tolist()
        if corpus.labels is not None:
            assert np.array_equal(part.labels, corpus.labels[rows])
        for place, row in enumerate(rows.tolist()):
            assert part.images.fingerprint(place) == corpus.images.fingerprint(row)
            assert part.images[place].tobytes() == corpus.images[row].tobytes()


@EACH
def test_a_second_load_and_another_hash_seed_give_the_same(name, root, corpora, elsewhere):
    assert TINY[name].load(name, root / name).fingerprint() == corpora[name].fingerprint()
    assert elsewhere[name] == corpora[name].fingerprint()


class Listing:
    """Some directory entries, in the ways in which those of `os.scandir` are used."""

    def __init__(self, entries: list):
        self.entries = iter(entries)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.entries)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.entries = iter(())


@EACH
def test_the_order_in_which_a_disk_lists_its_files_does_not_matter(name, corpora, tmp_path, monkeypatch):
    files = TINY[name].files()
    backwards = lay_out(tmp_path, dict(reversed(files.items())))
    listdir, scandir = os.listdir, os.scandir

    def turned(*path):
        with scandir(*path) as entries:
            return Listing(sorted(entries, key=lambda entry: entry.name, reverse=True))

    monkeypatch.setattr(os, "listdir", lambda *path: sorted(listdir(*path), reverse=True))
    monkeypatch.setattr(os, "scandir", turned)
    assert TINY[name].load(name, backwards).fingerprint() == corpora[name].fingerprint()


@EACH
def test_damage_is_reported_with_its_place_and_the_rest_is_loaded(name, corpora, tmp_path):
    tiny = TINY[name]
    if tiny.damage is None:
        assert not tiny.files(), f"corpus {name!r} reads files: plant a damage in its entry in tests/tiny_corpora.py"
        return
    corpus = tiny.load(name, lay_out(lay_out(tmp_path, tiny.files()), tiny.damage()))
    assert len(corpus) >= len(corpora[name]) - 1
    assert [problem for problem in corpus.problems if problem.startswith(f"{tiny.place}: ")], corpus.problems
    assert not any(str(tmp_path) in problem for problem in corpus.problems), "problems are shown to others"
    for image in corpus.images:
        assert image.mode == "RGB"
