"""MIRFLICKR-25K: the published folders, and the matrices of DCMH in both MATLAB formats."""

from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from lib.data import load
from lib.data.corpora.matfiles import MatImages, read_names, variables
from tests.picture_files import photos, write

N = 12
LABELS = {"sky": "1\n2\n12\n", "animals": "2\n", "sky_r1": "1\n", "clouds_r1": ""}


def mirflickr_files():
    files = photos("mirflickr", [f"im{i}.jpg" for i in range(1, N + 1)])
    files |= {f"mirflickr/meta/tags/tags{i}.txt": f"tag{i}\r\nboth\r\n" for i in range(1, N + 1)}
    files |= {f"mirflickr/meta/tags_raw/tags{i}.txt": f"Tag {i}\r\n" for i in range(1, N + 1)}
    files |= {f"mirflickr25k_annotations_v080/{name}.txt": rows for name, rows in LABELS.items()}
    return files | {"mirflickr25k_annotations_v080/README.txt": "1\n2\n"}


@pytest.fixture
def mirflickr(tmp_path):
    return write(tmp_path, mirflickr_files())


def test_tags_labels_and_a_split_by_seed(mirflickr):
    corpus = load("mirflickr25k", mirflickr, test=3, val=2)
    assert corpus.image_ids == [f"im{i}.jpg" for i in range(1, N + 1)]
    assert corpus.tags[9] == ["tag10", "both"]
    assert corpus.captions == [[]] * N
    assert corpus.label_names == ["animals", "sky"]
    assert np.flatnonzero(corpus.labels[:, 1]).tolist() == [0, 1, 11]
    assert np.flatnonzero(corpus.labels[:, 0]).tolist() == [1]
    assert Counter(corpus.split.tolist()) == {"train": 7, "test": 3, "val": 2}
    assert load("mirflickr25k", mirflickr, test=3, val=2, seed=1).split.tolist() != corpus.split.tolist()
    assert corpus.images[11].size == (12, 9)


def test_relevant_labels_and_raw_tags(mirflickr):
    relevant = load("mirflickr25k", mirflickr, labels="relevant", raw_tags=True, test=1, val=1)
    assert relevant.label_names == ["clouds_r1", "sky_r1"]
    assert relevant.labels.sum(0).tolist() == [0, 1]
    assert relevant.tags[0] == ["Tag 1"]
    both = load("mirflickr25k", mirflickr, labels="both", test=1, val=1)
    assert both.label_names == ["animals", "clouds_r1", "sky", "sky_r1"]


def test_problems_of_the_folders(mirflickr):
    (mirflickr / "mirflickr" / "im4.jpg").unlink()
    write(mirflickr, {"mirflickr25k_annotations_v080/sky.txt": "1\nfour\n"})
    corpus = load("mirflickr25k", mirflickr, test=1, val=1)
    assert len(corpus) == N - 1
    assert set(corpus.problems) == {
        "mirflickr25k_annotations_v080/sky.txt, row 2: no photo number; ignored",
        "mirflickr/meta/tags/tags4.txt: image 'im4.jpg' has no file mirflickr/im4.jpg; left out",
    }
    assert len(load("mirflickr25k", mirflickr, test=1, val=1, photos=False)) == N


# --------------------------------------------------------------------------------------------------------------- DCMH
def dcmh_matrices():
    rng = np.random.default_rng(0)
    return {
        "images": rng.integers(0, 256, (N, 16, 20, 3), dtype=np.uint8),  # height 16, width 20
        "LAll": rng.integers(0, 2, (N, 24)).astype(np.float64),
        "YAll": (rng.random((N, 1386)) < 0.01).astype(np.float64),
    }


@pytest.fixture
def matrices():
    return dcmh_matrices()


def write_hdf5(path, **variables):
    """As MATLAB -v7.3 does: axes reversed; into a file or a stream."""
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in variables.items():
            file[name] = array.transpose(0, 3, 2, 1) if array.ndim == 4 else array.T


def write_names(path, names):
    """The file FAll, a column of texts; into a file or a stream."""
    column = np.empty((len(names), 1), dtype=object)
    column[:, 0] = names
    savemat(path, {"FAll": column})


def check(corpus, matrices):
    assert len(corpus) == N
    assert np.array_equal(corpus.labels, matrices["LAll"] == 1)
    assert corpus.tags[3] == [f"word{i + 1:04d}" for i in np.flatnonzero(matrices["YAll"][3])]
    assert np.array_equal(np.asarray(corpus.images[5]), matrices["images"][5])
    assert Counter(corpus.split.tolist()) == {"train": 8, "test": 3, "val": 1}
    test = corpus.select("test")
    rows = np.flatnonzero(corpus.split == "test")
    assert np.array_equal(np.asarray(test.images[2]), matrices["images"][rows[2]])
    assert test.images.fingerprint(2) == corpus.images.fingerprint(int(rows[2]))
    assert len({corpus.images.fingerprint(i) for i in range(N)}) == N


def test_dcmh_in_one_v73_file(tmp_path, matrices):
    write_hdf5(tmp_path / "FLICKR-25K.mat", **matrices)
    corpus = load("mirflickr25k-dcmh", tmp_path, test=3, val=1)
    check(corpus, matrices)
    assert corpus.image_ids[0] == "00001"


@pytest.mark.parametrize("folders", [True, False])
def test_dcmh_in_several_files(tmp_path, matrices, folders):
    def path(key):
        return tmp_path / (key if folders else ".") / f"mirflickr25k-{key.lower()}.mat"

    write_hdf5(path("IAll"), IAll=matrices["images"])
    for key in ("LAll", "YAll", "FAll"):
        path(key).parent.mkdir(exist_ok=True)
    savemat(path("LAll"), {"LAll": matrices["LAll"]})
    savemat(path("YAll"), {"YAll": matrices["YAll"]})
    names = [f"im{3 * i + 1}.jpg" for i in range(N)]
    write_names(path("FAll"), names)
    corpus = load("mirflickr25k-dcmh", tmp_path, test=3, val=1)
    assert corpus.image_ids[2] == "im7.jpg"
    check(corpus, matrices)

    path("IAll").unlink()
    with pytest.raises(FileNotFoundError, match=r"no mirflickr in .*photos=False does without"):
        load("mirflickr25k-dcmh", tmp_path, test=3, val=1)
    write(tmp_path, photos("mirflickr", names))
    assert load("mirflickr25k-dcmh", tmp_path, test=3, val=1).images[4].size == (12, 9)


def test_one_picture_is_read_at_a_time(tmp_path, matrices, monkeypatch):
    write_hdf5(tmp_path / "FLICKR-25K.mat", **matrices)
    images = MatImages(tmp_path / "FLICKR-25K.mat", "images")
    asked = []
    read = h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda self, key: asked.append(key) or read(self, key))
    assert len(images[3:9]) == 6
    assert asked == []
    images[3:9][1]
    assert asked == [4]


def test_dcmh_files_that_do_not_fit(tmp_path, matrices):
    with pytest.raises(FileNotFoundError, match=r"no FLICKR-25K\.mat or mirflickr25k-lall\.mat .*To get it: download"):
        load("mirflickr25k-dcmh", tmp_path)
    write_hdf5(tmp_path / "FLICKR-25K.mat", **(matrices | {"YAll": matrices["YAll"][:5]}))
    with pytest.raises(ValueError, match=r"has 12 rows and .* 5: not of one set"):
        load("mirflickr25k-dcmh", tmp_path)
    write_hdf5(tmp_path / "FLICKR-25K.mat", **(matrices | {"LAll": matrices["LAll"][:, :10]}))
    with pytest.raises(ValueError, match=r"FLICKR-25K\.mat: LAll is \(12, 10\), not \(pictures, 24\)"):
        load("mirflickr25k-dcmh", tmp_path)


@pytest.mark.parametrize("damage", ["page", "empty", "truncated v5", "truncated v7.3"])
def test_damaged_matrices_are_named(tmp_path, matrices, damage):
    path = tmp_path / "FLICKR-25K.mat"
    if damage == "truncated v5":
        savemat(path, matrices, do_compression=True)
    else:
        write_hdf5(path, **matrices)
    if damage.startswith("truncated"):
        path.write_bytes(path.read_bytes()[:2000])
    else:
        path.write_text("<html>not found</html>" if damage == "page" else "")
    with pytest.raises(ValueError, match=r"FLICKR-25K\.mat is no MATLAB file or a damaged one"):
        load("mirflickr25k-dcmh", tmp_path)


def test_names_in_a_v73_file(tmp_path):
    path = tmp_path / "names.mat"
    with h5py.File(path, "w") as file:
        cells = [file.create_dataset(f"#refs#/{i}", data=np.array([[ord(c)] for c in f"im{i}.jpg"])) for i in range(3)]
        file.create_dataset("FAll", data=np.array([[cell.ref for cell in cells]], dtype=h5py.ref_dtype))
    assert variables(path) == ["FAll"]
    assert read_names(path, "FAll") == ["im0.jpg", "im1.jpg", "im2.jpg"]
