"""The web set: a folder of posts or a corpus with tags, and what the filters leave of it."""

import numpy as np
import pytest

from lib.data import Corpus
from lib.systems.webly import controlled_web, web_pictures
from tests.picture_files import jpeg, photos, write

UNTAGGED = 4_000  # MIRFLICKR holds out 2,000 pictures each for validation and test; a web set takes them all


def mirflickr_files(tags: list[str], pictures: list[bytes]) -> dict[str, bytes | str]:
    """MIRFLICKR-25K as it is published, with these tag files and pictures and many pictures without tags."""
    tags, pictures = tags + [""] * UNTAGGED, pictures + [jpeg()] * UNTAGGED
    files = {f"mirflickr/im{i}.jpg": picture for i, picture in enumerate(pictures, 1)}
    files |= {f"mirflickr/meta/tags/tags{i}.txt": text for i, text in enumerate(tags, 1)}
    return files | {"mirflickr25k_annotations_v080/sky.txt": "1\n"}


def last_words(texts):
    """Stands for a tagger: the last word of each text."""
    return [text.split()[-1] for text in texts if text.split()]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA", str(tmp_path))
    return tmp_path


def test_a_folder_of_posts(data):
    posts = {
        "a.txt": "Look https://t.co/x #GoldenRetriever on the beach",
        "b.txt": "qwrtzp #xyzzyq",  # no English word
        "c.txt": "again #goldenretriever my beach",  # the same tags as a
        "d.txt": "an #ox, #sun and a cat",  # two letters are too few
    }
    write(data / "posts", posts | photos(".", ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]))
    corpus, steps = web_pictures("posts", last_words)
    assert corpus.image_ids == ["a", "d"]
    assert corpus.tags == [["golden", "retriever", "beach"], ["sun", "cat"]]
    assert corpus.split.tolist() == ["web", "web"]
    assert {step.name: step.images for step in steps if "left out" in step.why} == {
        "English tags": ["b"],
        "distinct tags": ["c"],
    }


def test_a_corpus_of_the_registry(data):
    tags = ["sunset\nnewyorkcity\nnikon d80", "dsc0001\nsunset", "sunset\nnew\nyork\ncity\nnikon"]
    write(data / "mirflickr25k", mirflickr_files(tags, [jpeg(i) for i in range(3)]))
    corpus, steps = web_pictures("mirflickr25k", last_words)
    assert corpus.image_ids == ["im1.jpg"]  # im2 has one English tag, im3 the first five of im1
    assert corpus.tags[0][:4] == ["sunset", "new", "york", "city"]
    assert [len(step.images) for step in steps[-2:]] == [UNTAGGED + 1, 1]


def test_what_cannot_be_a_web_set_is_said(data):
    with pytest.raises(ValueError, match=r"no web set: name one of .*mirflickr25k.*, or a folder in"):
        web_pictures("", last_words)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        web_pictures("nowhere", last_words)
    write(data / "posts", {"a.txt": "qwrtzp"} | photos(".", ["a.jpg"]))
    with pytest.raises(ValueError, match=r"(?s)web set posts: no picture is left\n.*English tags"):
        web_pictures("posts", last_words)


def annotated_corpus(n=40):
    return Corpus(
        name="toy",
        images=[None] * n,
        image_ids=[f"p{i}" for i in range(n)],
        captions=[[f"picture {i}"] for i in range(n)],
        tags=[["own"] for _ in range(n)],
        labels=None,
        label_names=[],
        split=np.array(["train"] * (n - 5) + ["test"] * 5),
        licence="none",
        source="made here",
        attribution="",
    )


def test_a_controlled_web_set_has_the_tags_that_it_is_given():
    corpus = annotated_corpus()
    tags = {image_id: [f"tag of {image_id}"] for image_id in corpus.image_ids}
    clean, web = controlled_web(corpus, 0.2, tags)
    assert (len(clean), len(web)) == (7, 28)  # of 35 training pictures
    assert set(clean.image_ids) == set(corpus.annotate(0.2).select("train").image_ids)
    assert web.tags == [[f"tag of {image_id}"] for image_id in web.image_ids]
    assert not any(web.captions)
    assert controlled_web(corpus, 1, tags)[1] is None


def test_noise_moves_tags_among_the_web_pictures():
    corpus = annotated_corpus()
    tags = {image_id: [image_id] for image_id in corpus.image_ids}
    _, web = controlled_web(corpus, 0.2, tags, noise=0.5)
    moved = [image_id for image_id, of_image in zip(web.image_ids, web.tags, strict=True) if of_image != [image_id]]
    assert len(moved) == 14
    assert sorted(word for of_image in web.tags for word in of_image) == sorted(web.image_ids)
