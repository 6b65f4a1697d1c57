"""MSCOCO: Karpathy's split and the official parts, 80 labels that are numbered with gaps."""

import json

import pytest

from lib.data import load
from tests.picture_files import photos, write

# cocoid, part, split of Karpathy's
IMAGES = [(9, "train2014", "train"), (25, "val2014", "restval"), (30, "val2014", "val"), (42, "val2014", "test")]
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}, {"id": 13, "name": "stop sign"}]
OBJECTS = [(9, 90), (9, 90), (9, 1), (30, 13)]


def filename(cocoid, part):
    return f"COCO_{part}_{cocoid:012d}.jpg"


def part_files(part):
    images = [{"id": i, "file_name": filename(i, p)} for i, p, _ in IMAGES if p == part]
    ids = {image["id"] for image in images}
    captions = [{"id": k, "image_id": i, "caption": f"{k} of {i} "} for k in range(5) for i in sorted(ids)]
    objects = [{"image_id": i, "category_id": c} for i, c in OBJECTS if i in ids]
    return {
        f"annotations/captions_{part}.json": json.dumps({"images": images, "annotations": captions}),
        f"annotations/instances_{part}.json": json.dumps(
            {"images": images, "annotations": objects, "categories": CATEGORIES}
        ),
    } | photos(part, [image["file_name"] for image in images])


def split_file(images=IMAGES):
    entries = [
        {
            "filepath": part,
            "filename": filename(cocoid, part),
            "cocoid": cocoid,
            "split": split,
            "sentences": [{"raw": f"{k} of {cocoid}"} for k in range(6)],
        }
        for cocoid, part, split in images
    ]
    return {"dataset_coco.json": json.dumps({"images": entries})}


def coco_files():
    return part_files("train2014") | part_files("val2014") | split_file()


@pytest.fixture
def coco(tmp_path):
    return write(tmp_path, coco_files())


def test_karpathy_split_with_and_without_restval(coco):
    corpus = load("coco", coco)
    assert corpus.image_ids == ["9", "25", "30", "42"]
    assert corpus.split.tolist() == ["train", "train", "val", "test"]
    assert corpus.captions[3] == [f"{k} of 42" for k in range(6)]
    assert corpus.images.paths[1].name == filename(25, "val2014")
    assert corpus.images[1].size == (12, 9)
    assert load("coco", coco, restval=False).image_ids == ["9", "30", "42"]
    assert corpus.problems == ()


def test_labels_in_the_order_of_the_category_ids(coco):
    corpus = load("coco", coco)
    assert corpus.label_names == ["person", "stop sign", "toothbrush"]
    assert corpus.labels.tolist() == [[True, False, True], [False] * 3, [False, True, False], [False] * 3]
    (coco / "annotations" / "instances_val2014.json").unlink()
    assert load("coco", coco, labels=False).labels is None
    with pytest.raises(FileNotFoundError, match=r"instances_val2014\.json .*labels=False does without"):
        load("coco", coco)


def test_official_parts(coco):
    corpus = load("coco", coco, annotations="2014")
    assert corpus.split.tolist() == ["train", "val", "val", "val"]
    assert corpus.captions[0] == [f"{k} of 9" for k in range(5)]
    assert corpus.labels.sum() == 3
    with pytest.raises(FileNotFoundError, match="no train2017"):
        load("coco", coco, annotations="2017")


def test_problems_are_collected(coco):
    (coco / "val2014" / filename(25, "val2014")).unlink()
    write(coco, split_file([*IMAGES, IMAGES[0], (50, "val2014", "extra")]))
    corpus = load("coco", coco)
    assert corpus.image_ids == ["9", "30", "42"]
    for row, what in [(2, f"no file val2014/{filename(25, 'val2014')}"), (5, "'9' is there twice"), (6, "'extra'")]:
        assert any(f"dataset_coco.json, row {row}: " in p and what in p for p in corpus.problems), corpus.problems
    assert len(corpus.problems) == 3

    content = json.loads((coco / "annotations/captions_val2014.json").read_text())
    content["images"].pop()
    write(coco, {"annotations/captions_val2014.json": json.dumps(content)})
    problems = load("coco", coco, annotations="2014").problems
    assert any("5 captions of image 42, which is not listed" in problem for problem in problems)


def test_another_json_file_is_refused_by_name(coco):
    write(coco, {"annotations/instances_val2014.json": '{"images": []}'})
    with pytest.raises(ValueError, match=r"instances_val2014\.json has no list categories, annotations"):
        load("coco", coco)


def test_texts_alone(coco):
    for part in ("train2014", "val2014"):
        for photo in (coco / part).iterdir():
            photo.unlink()
        (coco / part).rmdir()
    assert len(load("coco", coco, photos=False).texts()[0]) == 24
    with pytest.raises(FileNotFoundError, match=r"no train2014 in .*photos=False"):
        load("coco", coco)
