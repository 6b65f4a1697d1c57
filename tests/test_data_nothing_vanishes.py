"""Whatever was looked at is in the corpus or in its problems, with file and row."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.base.files import ROOT
from lib.data import load
from tests import test_data_coco as coco
from tests import test_data_mirflickr as mirflickr
from tests import test_data_nuswide as nuswide
from tests import test_data_webvision as webvision
from tests.layouts import pictures, quoted
from tests.picture_files import jpeg, photos, write
from tests.test_data_webdataset import sample, tar

WORDS = st.text(st.sampled_from("abc é猫,;|\"'#\t\n"), max_size=12)
NAMES = [f"{i}.jpg" for i in range(5)]
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(
    rows=st.lists(st.tuples(st.integers(0, 7), WORDS), min_size=1, max_size=12),
    separator=st.sampled_from(",\t;|"),
    header=st.booleans(),
    quote=st.booleans(),
)
def test_each_row_of_a_table_is_taken_or_reported(tmp_path_factory, rows, separator, header, quote):
    """Taken and reported are what was there, whatever stands in the cells, quoted or not."""
    folder = tmp_path_factory.mktemp("table")
    texts = [(f"{number}.jpg", text if quote else " ".join(text.split())) for number, text in rows]
    lines = [separator.join(quoted(cell, separator) if quote else cell for cell in row) for row in texts]
    content = "\n".join([*([f"image{separator}caption"] if header else []), *lines]) + "\n"
    write(folder, {"captions.csv": content} | {name: jpeg(i) for i, name in enumerate(NAMES)})
    try:
        corpus = load("folder", folder, split="train")
    except ValueError as error:
        said, captions = str(error), {}
        taken = set()
        counted = re.search(r"read; (\d+) problems", said)
        if counted and int(counted[1]) > 10:  # the message shows the first ten
            return
    else:
        said = "\n".join(corpus.problems)
        captions = {
            image_id: " ".join(texts) for image_id, texts in zip(corpus.image_ids, corpus.captions, strict=True)
        }
        taken = set(captions)
    for name in NAMES:
        assert name[0] in taken or name in said, (content, said)
    # Without a header and without quotes nobody can tell a separator in the first text from one between columns.
    open_to_doubt = not header and not quote and any(separator in text for _, text in texts)
    reported = open_to_doubt or "captions.csv, row" in said or "captions.csv: no list" in said
    for name, text in texts:
        clean = " ".join(text.split())
        if name in NAMES and clean:
            assert clean in captions.get(name[0], "") or reported, (content, captions, said)
        elif name not in NAMES:
            assert name in said or "captions.csv: no list" in said, (content, said)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@MANY
@given(cells=st.lists(JSON, min_size=1, max_size=6))
def test_cells_that_are_no_text_are_reported(tmp_path_factory, cells):
    folder = tmp_path_factory.mktemp("cells")
    records = [{"file_name": "0.jpg", "text": "fine"}, *({"file_name": "1.jpg", "text": cell} for cell in cells)]
    content = "".join(json.dumps(record) + "\n" for record in records)
    corpus = load(
        "folder", write(folder, {"metadata.jsonl": content, "0.jpg": jpeg(0), "1.jpg": jpeg(1)}), split="train"
    )
    corpus.fingerprint()
    taken = {text for captions in corpus.captions for text in captions}
    for row, cell in enumerate(cells, 2):
        values = cell if isinstance(cell, list) else [cell]
        for value in values:
            fine = isinstance(value, str) and " ".join(value.split()) in taken
            said = any("metadata.jsonl, row" in problem for problem in corpus.problems)
            assert fine or said or any(isinstance(value, dict) for value in values), (row, cell, corpus.problems)


def test_web_pages_and_half_characters_in_the_place_of_captions(tmp_path):
    texts = ["<!DOCTYPE html><html>404</html>", "half \ud83d", "fine", "<html>gone", "\0"]
    files = {f"{i}.json": json.dumps({"captions": [text]}) for i, text in enumerate(texts)}
    files |= {f"{i}.jpg": jpeg(i) for i in range(5)} | {"5.jpg": jpeg(5), "5.txt": "<!doctype html>"}
    corpus = load("folder", write(tmp_path, files))
    assert [text for captions in corpus.captions for text in captions] == ["fine"]
    for name, what in [
        ("0", "a web page"),
        ("1", "a lone surrogate, place 6"),
        ("3", "a web page"),
        ("4", "NUL"),
        ("5", "a web page"),
    ]:
        assert any(problem.startswith(f"{name}.jpg: ") and what in problem for problem in corpus.problems), what


def test_pictures_that_cannot_be_opened_are_dropped_or_refused(tmp_path):
    files = pictures() | {f"{name.rpartition('.')[0]}.txt": name for name in pictures()}
    write(tmp_path, files | {"b b.jpg": files["b b.jpg"][:200], "c.png": "<html>"})
    assert len(load("folder", tmp_path)) == 4
    corpus = load("folder", tmp_path, damaged="drop")
    assert corpus.image_ids == ["a", "d"]
    assert [problem.partition(":")[0] for problem in corpus.problems] == ["b b", "c"]
    assert not any(str(tmp_path) in problem for problem in corpus.problems)
    with pytest.raises(ValueError, match=r"2 pictures cannot be opened:\nb b: is not a readable image.*\nc: is not"):
        load("folder", tmp_path, damaged="raise")
    with pytest.raises(ValueError, match="damaged is 'keep': 'drop' or 'raise'"):
        load("folder", tmp_path, damaged="keep")


# ------------------------------------------------------------------------------------------------------------- readers
def test_names_that_are_no_utf8_or_not_composed(tmp_path):
    write(tmp_path, {"b.jpg": jpeg(1), "b.txt": "b", "cafe\u0301.jpg": jpeg(2), "caf\u00e9.txt": "composed"})
    for suffix, content in ((b".jpg", jpeg(3)), (b".txt", b"latin")):
        with open(os.fsencode(tmp_path) + b"/na\xefve" + suffix, "wb") as file:
            file.write(content)
    corpus = load("folder", tmp_path)
    assert dict(zip(corpus.image_ids, corpus.captions, strict=True)) == {
        "b": ["b"], "caf\u00e9": ["composed"], "na\u00efve": ["latin"],
    }  # fmt: skip
    assert len(corpus.fingerprint()) == 16
    assert [image.mode for image in corpus.images] == ["RGB"] * 3


def test_shards_with_dots_in_names_and_parts_of_other_kinds(tmp_path):
    files = [
        ("my.photo.jpg", jpeg(1)),
        ("my.photo.txt", b"dotted"),
        *sample("a", 2),
        ("a.cls", b"3"),
        ("a.seg.png", jpeg(3)),
    ]
    files += [("b.jpg", jpeg(4)), ("b.caption", b"of b"), ("notes.md", b"x"), ("v.1.json", b"{}")]
    corpus = load("webdataset", tar(tmp_path / "0.tar", files).parent)
    assert corpus.image_ids == ["0/a", "0/b", "0/my.photo"]
    assert corpus.captions == [["a caption"], ["of b"], ["dotted"]]
    assert "0.tar: not used: 1 x .cls, 1 x .md, 1 x .seg.png" in corpus.notes
    assert [problem for problem in corpus.problems if problem.startswith("0.tar: v")]


def test_one_json_that_is_nested_too_deep_does_not_end_a_corpus(tmp_path):
    write(tmp_path, {"a.jpg": jpeg(1), "a.json": "[" * 200_000, "b.jpg": jpeg(2), "b.txt": "b"})
    corpus = load("folder", tmp_path)
    assert corpus.image_ids == ["b"]
    assert "a.json: no JSON (ValueError); ignored" in corpus.problems


def test_records_of_coco_without_their_keys(tmp_path):
    root = write(tmp_path, coco.coco_files())
    for kind, damage in {
        "captions": {"annotations": [{"id": 1}, 3, {"image_id": [1], "caption": "x"}], "images": [{"id": 5}, None]},
        "instances": {"annotations": [{"image_id": 9}, {"image_id": 9, "category_id": 77}], "categories": [{"id": 3}]},
    }.items():
        path = root / f"annotations/{kind}_train2014.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {key: [*rows, *content[key]] for key, rows in damage.items()}))
    corpus = load("coco", root, annotations="2014")
    assert len(corpus) == 4
    for what in (
        "captions_train2014.json, row 1 of annotations: no record with image_id (int) and caption (str)",
        "captions_train2014.json, row 2 of annotations", "captions_train2014.json, row 3 of annotations",
        "captions_train2014.json, row 1: no record with file_name (str)", "captions_train2014.json, row 2: no record",
        "instances_train2014.json, row 1 of annotations", "row 2 of annotations: category 77 is not listed",
        "instances_train2014.json, row 1 of categories",
    ):  # fmt: skip
        assert any(what in problem for problem in corpus.problems), (what, corpus.problems)


def test_coco_with_the_photos_of_one_part(tmp_path):
    root = write(tmp_path, {k: v for k, v in coco.coco_files().items() if not k.startswith("train2014/")})
    corpus = load("coco", root, annotations="2014")
    assert set(corpus.split) == {"val"}
    assert corpus.problems == ("train2014: no such folder; the photos of this part are left out",)
    assert load("coco", root).problems == corpus.problems


def test_mirflickr_photos_without_tags_and_labels_without_photos(tmp_path):
    root = write(tmp_path, mirflickr.mirflickr_files() | photos("mirflickr", ["im99.jpg"]))
    path = next(iter(sorted((root / "mirflickr25k_annotations_v080").glob("[a-z]*.txt"))))
    path.write_text(path.read_text() + "98\n")
    problems = load("mirflickr25k", root, test=3, val=2).problems
    assert "mirflickr/im99.jpg: photo without a file of tags; left out" in problems
    assert any("label of photo 98" in problem for problem in problems)


def test_labels_that_are_neither_0_nor_1_are_refused_with_their_place(tmp_path):
    matrices = mirflickr.dcmh_matrices()
    matrices["LAll"] = matrices["LAll"].astype(float)
    for wrong in (2.0, -1.0, np.nan):
        matrices["LAll"][1, 3] = wrong
        mirflickr.write_hdf5(tmp_path / "FLICKR-25K.mat", **matrices)
        with pytest.raises(
            ValueError, match=rf"FLICKR-25K\.mat: LAll has {wrong} in row 2, column 4, and not only 0 and 1"
        ):
            load("mirflickr25k-dcmh", tmp_path, test=3, val=2)


def test_nuswide_photos_in_both_lists_and_empty_lists(tmp_path):
    files = nuswide.nuswide_files()
    train, test = ("ImageList/TrainImagelist.txt", "ImageList/TestImagelist.txt")
    first = files[train].splitlines()[0]
    corpus = load("nuswide", write(tmp_path / "both", files | {test: f"{files[test]}{first}\n"}))
    assert any("is in the train and the test list; left out" in problem for problem in corpus.problems)
    assert len(corpus) == 59
    corpus = load("nuswide", write(tmp_path / "empty", files | {test: ""}))
    assert any(problem.startswith("TestImagelist.txt: lists no photo") for problem in corpus.problems)


def test_webvision_tags_that_are_one_text(tmp_path):
    files = webvision.webvision_files()
    name = next(name for name in sorted(files) if name.endswith(".json") and "tags" in str(files[name]))
    records = json.loads(files[name])
    records[0]["tags"] = "sun sea"
    records[1 % len(records)]["title"] = 3
    corpus = load("webvision", write(tmp_path, files | {name: json.dumps(records)}))
    assert ["sun", "sea"] in corpus.tags
    assert any("is no text but int" in problem for problem in corpus.problems)


def test_numbers_that_are_not_those_of_the_registry_are_noted(tmp_path):
    corpus = load("coco", write(tmp_path, coco.coco_files()))
    assert "4 images, not the 123,287 of the registry" in corpus.notes
    assert not any("registry" in note for note in load("coco", tmp_path, labels=False).notes)


DAMAGED = """
import json, sys
from pathlib import Path
from tests.tiny_corpora import TINY
corpora = [TINY[name].load(name, Path(sys.argv[1], name)) for name in sys.argv[2:]]
print(json.dumps([[list(corpus.problems), list(corpus.notes)] for corpus in corpora]))
"""


def test_problems_come_in_an_order_that_no_hash_decides(tmp_path):
    from tests.tiny_corpora import TINY, lay_out

    names = [name for name, tiny in TINY.items() if tiny.damage]
    for name in names:
        extra = {f"lost {i}.txt": "x" for i in range(9)} if name == "folder" else {}
        lay_out(lay_out(tmp_path / name, TINY[name].files() | extra), TINY[name].damage())
    said = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", DAMAGED, str(tmp_path), *names]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        said.add(done.stdout.splitlines()[-1])
    assert len(said) == 1
