"""NUS-WIDE: files that belong to each other by row, the subsets TC10 and TC21, and rows that are wrong."""

import numpy as np
import pytest

from lib.data import load
from tests.picture_files import photos, write

N, CONCEPTS, WORDS = 60, 25, 30
IMAGES = [f"{'actor' if i % 2 else 'zoo'}/{i:04d}_{9000 + i}.jpg" for i in range(N)]
NAMES = [f"c{i:02d}" for i in range(CONCEPTS)]
TRAIN = [i for i in range(N) if i % 3]
TEST = [i for i in range(N) if i % 3 == 0]
RNG = np.random.default_rng(0)
LABELS = RNG.random((N, CONCEPTS)) < np.linspace(0.02, 0.2, CONCEPTS)
TAGS = RNG.random((N, WORDS)) < 0.04


def column(values):
    return "".join(f"{int(value)}\n" for value in values)


def label_files(traintest):
    files = {}
    for name, values in zip(NAMES, LABELS.T, strict=True):
        if traintest:
            files[f"Groundtruth/TrainTestLabels/Labels_{name}_Train.txt"] = column(values[TRAIN])
            files[f"Groundtruth/TrainTestLabels/Labels_{name}_Test.txt"] = column(values[TEST])
        else:
            files[f"Groundtruth/AllLabels/Labels_{name}.txt"] = column(values)
    return files


def image_list(rows):
    return "".join(IMAGES[i].replace("/", "\\") + "\r\n" for i in rows)


def common_files():
    words = [f"w{i}" for i in range(WORDS)]
    rows = ["".join(f"{int(flag)}\t" for flag in row) + "\r\n" for row in TAGS]
    return {
        "ConceptsList/Concepts81.txt": "".join(f"{name} \r\n" for name in NAMES),
        "ImageList/Imagelist.txt": image_list(range(N)),
        "ImageList/TrainImagelist.txt": image_list(TRAIN),
        "ImageList/TestImagelist.txt": image_list(TEST),
        "NUS_WID_Tags/TagList1k.txt": "\n".join(words),
        "NUS_WID_Tags/AllTags1k.txt": "".join(rows),
        "NUS_WID_Tags/All_Tags.txt": "".join(f"{9000 + i}     any{i} all\r\n" for i in range(N)),
    }


def nuswide_files():
    return common_files() | label_files(traintest=False) | photos("Flickr", IMAGES)


@pytest.fixture
def nuswide(tmp_path):
    return write(tmp_path, nuswide_files())


def test_all_concepts_with_the_official_split(nuswide):
    corpus = load("nuswide", nuswide)
    assert corpus.image_ids == IMAGES
    assert [i for i in range(N) if corpus.split[i] == "train"] == TRAIN
    assert corpus.label_names == NAMES
    assert np.array_equal(corpus.labels, LABELS)
    assert corpus.tags == [[f"w{i}" for i in np.flatnonzero(row)] for row in TAGS]
    assert corpus.images[7].size == (12, 9)
    assert corpus.problems == ()


@pytest.mark.parametrize("concepts", [21, 10])
def test_subsets_of_the_most_frequent_concepts(nuswide, concepts):
    corpus = load("nuswide", nuswide, concepts=concepts)
    ranked = sorted(range(CONCEPTS), key=lambda c: (-LABELS[:, c].sum(), c))
    chosen = sorted(ranked[:concepts])
    assert corpus.label_names == [NAMES[c] for c in chosen]
    rows = [i for i in range(N) if LABELS[i, chosen].any()]
    assert corpus.image_ids == [IMAGES[i] for i in rows]
    assert np.array_equal(corpus.labels, LABELS[np.ix_(rows, chosen)])
    tagged = load("nuswide", nuswide, concepts=concepts, untagged=False)
    assert 0 < len(tagged) < len(corpus)
    assert all(tagged.tags)


def test_labels_by_train_and_test_give_the_same(nuswide, tmp_path):
    other = write(tmp_path / "other", common_files() | label_files(traintest=True))
    corpus = load("nuswide", other, photos=False)
    assert np.array_equal(corpus.labels, LABELS)
    assert corpus.image_ids == IMAGES
    with pytest.raises(FileNotFoundError, match=r"no Flickr or images .*photos=False"):
        load("nuswide", other)


def test_all_tags(nuswide):
    corpus = load("nuswide", nuswide, tags="all")
    assert corpus.tags[5] == ["any5", "all"]
    lines = common_files()["NUS_WID_Tags/All_Tags.txt"].splitlines(keepends=True)
    lines[3] = "4711  of another photo\n"
    write(nuswide, {"NUS_WID_Tags/All_Tags.txt": "".join(lines)})
    corpus = load("nuswide", nuswide, tags="all")
    assert corpus.tags[3] == []
    (problem,) = corpus.problems
    assert "All_Tags.txt, row 4: is for photo '4711'" in problem


def test_wrong_rows_are_reported(nuswide):
    values = column(LABELS[:, 2]).splitlines()
    values[8] = "-1130179"
    rows = common_files()["NUS_WID_Tags/AllTags1k.txt"].splitlines(keepends=True)
    rows[4] = "0\t1\n"
    write(
        nuswide,
        {
            "Groundtruth/AllLabels/Labels_c02.txt": "\n".join(values),
            "NUS_WID_Tags/AllTags1k.txt": "".join(rows),
            "ImageList/TestImagelist.txt": image_list(TEST[1:]),
        },
    )
    (nuswide / "Flickr" / IMAGES[7]).unlink()
    corpus = load("nuswide", nuswide)
    assert corpus.image_ids == [image for i, image in enumerate(IMAGES) if i not in (0, 7)]
    for place, what in [
        ("Labels_c02.txt, row 9", "neither 0 nor 1"),
        ("AllTags1k.txt, row 5", "2 columns for 30 tags"),
        ("Imagelist.txt, row 1", "neither the train nor the test list"),
        ("Imagelist.txt, row 8", f"no file Flickr/{IMAGES[7]}"),
    ]:
        assert any(place in p and what in p for p in corpus.problems), (place, corpus.problems)
    assert len(corpus.problems) == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("Groundtruth/AllLabels/Labels_c03.txt", "0\n1\n", r"Labels_c03\.txt has 2 values for 60 photos"),
        ("NUS_WID_Tags/AllTags1k.txt", "0\n", r"AllTags1k\.txt has 1 lines for 60 photos"),
        ("ImageList/Imagelist.txt", "a\\1_1.jpg\na\\1_1.jpg\n", r"row 2: a/1_1\.jpg is there twice"),
    ],
)
def test_files_that_cannot_be_aligned_are_refused(nuswide, name, content, message):
    write(nuswide, {name: content})
    with pytest.raises(ValueError, match=message):
        load("nuswide", nuswide)


def test_wrong_options(nuswide):
    with pytest.raises(ValueError, match="concepts is 20: one of 81, 21, 10"):
        load("nuswide", nuswide, concepts=20)
