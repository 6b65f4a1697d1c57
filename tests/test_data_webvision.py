"""WebVision 1.0: lists that belong to each other by row, records per query, and what is missing from them."""

import json

import pytest

from lib.data import load
from tests.picture_files import photos, write

SYNSETS = ["n01440764 tench, Tinca tinca", "n02012849 crane", "n03126707 crane"]


def record(i, **fields):
    return {"id": f"id{i}", "title": f"title {i}", "description": f"about {i}", "url": "http://example.org"} | fields


def engine_files(engine, queries):
    """`queries`: query number -> (label, number of pictures)."""
    files, listed, meta = {}, [], []
    for number, (label, count) in queries.items():
        records = [
            record(i, **({"tags": [f"tag{i}", "two words"]} if engine == "flickr" else {})) for i in range(count)
        ]
        files[f"{engine}/q{number:04d}.json"] = json.dumps(records)
        for i in reversed(range(count)):  # the records are not in the order of the list
            listed.append(f"{engine}/q{number:04d}/{engine}{i}.jpg {label}\n")
            meta.append(f"{engine}/q{number:04d}.json {i + 1}\n")
    files[f"info/train_filelist_{engine}.txt"] = "".join(listed)
    files[f"info/train_meta_list_{engine}.txt"] = "".join(meta)
    files[f"info/queries_{engine}.txt"] = "".join(f"{number} query {number}\n" for number in queries)
    return files | photos(".", [line.split()[0] for line in listed])


def webvision_files():
    files = engine_files("google", {1: (0, 2), 2: (1, 1)}) | engine_files("flickr", {1: (0, 2), 3: (2, 2)})
    files["info/synsets.txt"] = "".join(f"{synset}\n" for synset in SYNSETS)
    files["info/val_filelist.txt"] = "val000001.jpg 2\nval000002.jpg 0\n"
    return files | photos("val_images_256", ["val000001.jpg", "val000002.jpg"])


@pytest.fixture
def webvision(tmp_path):
    return write(tmp_path, webvision_files())


def test_texts_tags_and_labels(webvision):
    corpus = load("webvision", webvision)
    assert len(corpus) == 9
    assert corpus.label_names == ["tench, Tinca tinca", "crane", "crane (2)"]
    assert corpus.image_ids[:2] == ["google/q0001/google1.jpg", "google/q0001/google0.jpg"]
    assert corpus.captions[0] == ["title 1", "about 1"]
    assert corpus.tags[0] == []
    assert corpus.tags[3] == ["tag1", "two words"]
    assert corpus.labels.argmax(1).tolist() == [0, 0, 1, 0, 0, 2, 2, 2, 0]
    val = corpus.select("val")
    assert val.image_ids == ["val/val000001.jpg", "val/val000002.jpg"]
    assert val.captions == [[], []]
    assert val.images[0].size == corpus.images[0].size == (12, 9)
    assert corpus.problems == ()


def test_options(webvision):
    google = load("webvision", webvision, engines="google", synsets=1, query_as_tag=True, validation=False)
    assert google.image_ids == ["google/q0001/google1.jpg", "google/q0001/google0.jpg"]
    assert google.tags == [["query 1"], ["query 1"]]
    assert google.label_names == ["tench, Tinca tinca"]
    assert set(load("webvision", webvision, engines="flickr", photos=False).split) == {"train", "val"}
    with pytest.raises(ValueError, match="engines is 'bing'"):
        load("webvision", webvision, engines="bing")


def test_records_in_a_folder_of_their_own(webvision):
    (webvision / "google_json").mkdir()
    for number in (1, 2):
        (webvision / f"google/q{number:04d}.json").rename(webvision / f"google_json/q{number:04d}.json")
    assert load("webvision", webvision).captions[0] == ["title 1", "about 1"]


def test_problems_are_collected(webvision):
    (webvision / "google/q0002.json").unlink()
    (webvision / "flickr/q0001/flickr0.jpg").unlink()
    write(webvision, {"flickr/q0003.json": "{broken", "google/q0001.json": json.dumps([record(0, title=None)])})
    write(webvision, {"info/val_filelist.txt": "val000001.jpg 2\nval000002.jpg\n"})
    corpus = load("webvision", webvision)
    assert corpus.image_ids == ["google/q0001/google0.jpg", "flickr/q0001/flickr1.jpg", "val/val000001.jpg"]
    assert corpus.captions[0] == ["about 0"]
    for place, what in [
        ("info/train_filelist_google.txt, row 1", "no record 2 in google/q0001.json"),
        ("google/q0002.json", "no such file"),
        ("info/train_filelist_google.txt, row 3", "no record 1"),
        ("info/train_filelist_flickr.txt, row 2", "no file flickr/q0001/flickr0.jpg"),
        ("flickr/q0003.json", "is no JSON"),
        ("info/train_filelist_flickr.txt, row 4", "no record 1"),
        ("info/val_filelist.txt, row 2", "no line"),
    ]:
        assert any(p.startswith(place) and what in p for p in corpus.problems), (place, corpus.problems)


def test_lists_that_do_not_fit_are_refused(webvision):
    write(webvision, {"info/train_meta_list_google.txt": "google/q0001.json 1\n"})
    with pytest.raises(ValueError, match=r"train_filelist_google\.txt has 3 rows, .*train_meta_list_google\.txt has 1"):
        load("webvision", webvision)
    (webvision / "info/synsets.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no synsets\.txt in .*info.*To get it"):
        load("webvision", webvision)
