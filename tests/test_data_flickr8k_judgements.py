"""Human judgements of image-caption pairs as Flickr8k publishes them."""

from collections import Counter

import numpy as np
import pytest

from lib.data.corpora.flickr8k_judgements import load_judgements
from tests.picture_files import SHARED, write

TOKENS = "".join(f"{i}.jpg#{k}\tCaption  {k} of {i} .\n" for i in range(3) for k in range(5))
EXPERT = "0.jpg\t1.jpg#2\t1\t1\t2\n0.jpg\t0.jpg#2\t4\t4\t4\n2.jpg\t0.jpg#2\t2\t3\t3\n"
CROWD = "0.jpg\t0.jpg#2\t1\t3\t0\n0.jpg\t1.jpg#2\t0\t0\t3\n1.jpg\t2.jpg#2\t0.333333333333333\t1\t2\n"


@pytest.fixture
def root(tmp_path):
    texts = {"Flickr8k.token.txt": TOKENS, "ExpertAnnotations.txt": EXPERT, "CrowdFlowerAnnotations.txt": CROWD}
    return write(tmp_path, {f"Flickr8k_text/{name}": content for name, content in texts.items()})


def test_both_files(root):
    judged = load_judgements("flickr8k", root)
    assert list(judged) == ["expert", "crowd"]
    expert, crowd = judged.values()
    assert expert.image_ids == ["0.jpg", "0.jpg", "2.jpg"]
    assert expert.captions == ["Caption 2 of 1 .", "Caption 2 of 0 .", "Caption 2 of 0 ."]
    np.testing.assert_array_equal(expert.scores, [[1, 1, 2], [4, 4, 4], [2, 3, 3]])
    assert expert.own.tolist() == [False, True, False]
    np.testing.assert_array_equal(crowd.scores, [[1], [0], [1 / 3]])
    foreign = expert.foreign()
    assert foreign.image_ids == ["0.jpg", "2.jpg"]
    assert foreign.captions == ["Caption 2 of 1 .", "Caption 2 of 0 ."]
    np.testing.assert_array_equal(foreign.scores, [[1, 1, 2], [2, 3, 3]])


def test_what_is_there_is_read(root, monkeypatch, tmp_path):
    (root / "Flickr8k_text" / "ExpertAnnotations.txt").unlink()
    assert list(load_judgements("flickr8k", root)) == ["crowd"]
    assert load_judgements("openmoji") == {}
    (tmp_path / "flickr8k").symlink_to(root)
    monkeypatch.setenv("DATA", str(tmp_path))
    assert list(load_judgements("flickr8k")) == ["crowd"]
    (root / "Flickr8k_text" / "Flickr8k.token.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no Flickr8k_text/Flickr8k\.token\.txt .*To get it"):
        load_judgements("flickr8k", root)


@pytest.mark.parametrize(
    ("kind", "line", "why"),
    [
        ("Expert", "0.jpg\t1.jpg#3\t1\t1", "4 fields"),
        ("Expert", "0.jpg\t1.jpg#9\t1\t1\t1", "no caption '1.jpg#9'"),
        ("Expert", "0.jpg\t1.jpg#2\t3\t3\t3", "judged in row 1 already"),
        ("Expert", "0.jpg\t1.jpg#3\t1\t1\t5", r"1, 2, 3 or 4, not \(1.0, 1.0, 5.0\)"),
        ("Expert", "0.jpg\t1.jpg#3\t1\tone\t1", "could not convert string to float: 'one'"),
        ("Expert", "", "1 fields"),
        ("CrowdFlower", "0.jpg\t1.jpg#3\t0.5\t1\t2", "share of yes is 0.5, but 1 said yes and 2 no"),
        ("CrowdFlower", "0.jpg\t1.jpg#3\t0\t0\t0", "0 said yes and 0 no"),
        ("CrowdFlower", "0.jpg\t1.jpg#3\tnan\t1\t2", "share of yes is nan"),
    ],
)
def test_a_bad_line_is_named(root, kind, line, why):
    path = root / "Flickr8k_text" / f"{kind}Annotations.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=rf"{kind}Annotations\.txt, row 4: .*{why}"):
        load_judgements("flickr8k", root)


def test_an_empty_file_is_named(root):
    write(root, {"Flickr8k_text/ExpertAnnotations.txt": ""})
    with pytest.raises(ValueError, match=r"ExpertAnnotations\.txt is empty"):
        load_judgements("flickr8k", root)


@pytest.mark.shared_data
@pytest.mark.skipif(not (SHARED / "flickr8k").is_dir(), reason=f"no Flickr8k in {SHARED}")
def test_real_flickr8k():
    judged = load_judgements("flickr8k", SHARED / "flickr8k")
    expert, crowd = judged["expert"], judged["crowd"]
    assert (len(expert.captions), len(expert.foreign().captions), len(crowd.captions)) == (5822, 5664, 47830)
    assert (int(expert.own.sum()), int(crowd.own.sum())) == (158, 721)
    assert len(set(expert.image_ids)) == len(set(crowd.image_ids)) == 1000
    assert Counter(expert.scores.ravel().tolist()) == {1: 9797, 2: 4997, 3: 1701, 4: 971}
    assert (np.diff(expert.scores) >= 0).all()  # sorted within a pair
    assert np.unique(crowd.scores).size == 12
