"""Regional semantics: windows over a grid, names and confidences, and the published files of detected regions."""

import base64

import numpy as np
import pytest
import torch

from lib.losses import info_nce
from lib.systems.a3vse.model import A3VSE
from lib.systems.a3vse.objective import A3VSEChoices, A3VSEObjective, SparsePairs, clues
from lib.text import Vocabulary, pad
from lib.training import Pairs, TrainConfig, fit
from lib.vision.bottom_up import SEMANTIC_COLUMNS, read_npy, read_tsv, read_vocabulary
from lib.vision.regions import Regions, grid_regions, image_classifier, label_vectors, windows


def test_windows_are_the_whole_quarters_and_ninths():
    boxes = windows()
    assert len(boxes) == 14
    assert boxes[0].tolist() == [0, 0, 7, 7]
    assert boxes[1:5].tolist() == [[0, 0, 4, 4], [3, 0, 7, 4], [0, 3, 4, 7], [3, 3, 7, 7]]
    assert windows(7, (1,), (1,)).tolist() == [[c, r, c + 1, r + 1] for r in range(7) for c in range(7)]
    with pytest.raises(ValueError, match="does not fit"):
        windows(3, (4,), (1,))


def random_grid(n=5, side=3, dim=4, classes=6):
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(n, side * side, dim)).astype(np.float16)
    return grid, rng.normal(size=(classes, dim)), rng.normal(size=classes), [f"class {i}" for i in range(classes)]


def test_grid_regions_equal_loops(monkeypatch):
    monkeypatch.setattr("lib.vision.regions.AT_ONCE", 2)  # blocks must not change the answer
    grid, weight, bias, names = random_grid()
    boxes = np.array([[0, 0, 3, 3], [1, 0, 3, 2], [2, 2, 3, 3]])
    regions = grid_regions(grid, weight, bias, names, boxes, guesses=2)
    np.testing.assert_allclose(regions.boxes, boxes / 3)
    for i in range(len(grid)):
        for r, (left, top, right, bottom) in enumerate(boxes):
            cells = [grid[i, y * 3 + x].astype(float) for y in range(top, bottom) for x in range(left, right)]
            feature = np.mean(cells, axis=0)
            np.testing.assert_allclose(regions.features[i, r], feature, atol=2e-3)
            scores = np.exp(weight @ feature + bias)
            order = np.argsort(-scores)[:2]
            assert regions.classes[i, r].tolist() == order.tolist()
            np.testing.assert_allclose(regions.confidence[i, r], scores[order] / scores.sum(), rtol=1e-4)
    with pytest.raises(ValueError, match="not square"):
        grid_regions(grid[:, :8], weight, bias, names)


def test_the_whole_window_is_the_networks_own_answer():
    torch = pytest.importorskip("torch")
    from lib.vision.backbones import backbone

    pixels = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = backbone("efficientnet_lite0")
    _, grid, logits = model(pixels)
    weight, bias, names = image_classifier()
    assert len(names) == len(weight) == 1000
    regions = grid_regions(grid.numpy(), weight, bias, names)
    probability = logits.softmax(1).topk(5)
    np.testing.assert_array_equal(regions.classes[:, 0], probability.indices.numpy())
    np.testing.assert_allclose(regions.confidence[:, 0], probability.values.numpy(), atol=1e-4)


def by_hand(**parts):
    """Two pictures, two regions, two guesses."""
    told = {
        "features": np.zeros((2, 2, 3), np.float32),
        "boxes": np.array([[0, 0, 1, 1], [0, 0, 0.5, 1]]),
        "classes": np.array([[[0, 1], [1, 2]], [[2, 0], [2, 1]]]),
        "confidence": np.array([[[0.5, 0.2], [0.6, 0.1]], [[0.9, 0.05], [0.3, 0.2]]]),
        "names": ["frisbee", "golden retriever", "fence"],
    }
    return Regions(**(told | parts))


def test_labels_are_the_most_confident_different_names():
    regions = by_hand()
    assert regions.labels(0, 2) == [("golden retriever", 0.6), ("frisbee", 0.5)]
    texts, confidence = regions.sequences(2)
    assert texts == ["golden retriever, frisbee", "fence, golden retriever"]
    np.testing.assert_allclose(confidence, [0.55, 0.55])
    expected = [[0.25, 0.4, 0.05], [0.025, 0.1, 0.6]]
    np.testing.assert_allclose(regions.label_matrix(), expected, rtol=1e-6)
    assert regions.take([1]).sequences(1)[0] == ["fence"]


def test_a_detectors_attribute_stands_before_its_class():
    said = {"attributes": np.array([[0, 1], [1, 1]]), "attribute_names": ["red", "wooden"]}
    regions = by_hand(**said, attribute_confidence=np.ones((2, 2)))
    assert regions.labels(0, 2) == [("wooden golden retriever", 0.6), ("red frisbee", 0.5)]
    assert regions.take([1]).labels(0, 1) == [("wooden fence", 0.9)]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"classes": np.zeros((2, 3, 2), int)}, "classes is"),
        ({"boxes": np.zeros((3, 4))}, "boxes are"),
        ({"confidence": np.zeros((2, 2, 1))}, "confidence is"),
        ({"names": ["frisbee"]}, "only|there are 1 names"),
    ],
)
def test_parts_that_do_not_fit_are_refused(part, message):
    with pytest.raises(ValueError, match=message):
        by_hand(**part)


def test_label_vectors_equal_loops():
    matrix, names = np.array([[0.5, 0.2, 0], [0, 0, 0]]), np.random.default_rng(0).normal(size=(3, 4))
    mean = 0.5 * (names[0] - names.mean(0)) + 0.2 * (names[1] - names.mean(0))
    vectors = label_vectors(matrix, names)
    np.testing.assert_allclose(vectors[0], mean / np.linalg.norm(mean), rtol=1e-5)
    assert (vectors[1] == 0).all()


# ------------------------------------------------------------------------------------------------ published files
def published(count=2, regions=36, seed=0):
    """Arrays as a detector leaves them: boxes in pixels, 2,048 numbers a region, numbers of classes and attributes."""
    rng = np.random.default_rng(seed)
    size = np.array([640, 480, 640, 480], np.float32)
    return {
        "objects_id": rng.integers(0, 1600, (count, regions)),
        "objects_conf": rng.random((count, regions), dtype=np.float32),
        "attrs_id": rng.integers(0, 400, (count, regions)),
        "attrs_conf": rng.random((count, regions), dtype=np.float32),
        "boxes": rng.random((count, regions, 4), dtype=np.float32) * size,
        "features": rng.random((count, regions, 2048), dtype=np.float32),
    }


def write_tsv(path, arrays, regions=36):
    """The layout of the published .tsv: no header, tabs, arrays in base64."""
    lines = []
    for i in range(len(arrays["features"])):
        plain = {"img_id": f"COCO_val2014_{i:012d}", "img_h": 480, "img_w": 640, "num_boxes": regions}
        coded = {name: base64.b64encode(array[i].tobytes()).decode() for name, array in arrays.items()}
        lines.append("\t".join(str((plain | coded)[name]) for name in SEMANTIC_COLUMNS))
    path.write_text("\n".join(lines) + "\n")


OBJECTS, ATTRIBUTES = [f"object {i}" for i in range(1600)], [f"attribute{i}" for i in range(400)]


def test_published_tsv(tmp_path):
    arrays = published()
    write_tsv(tmp_path / "val.tsv", arrays)
    ids, regions = read_tsv(tmp_path / "val.tsv", OBJECTS, ATTRIBUTES)
    assert ids == ["COCO_val2014_000000000000", "COCO_val2014_000000000001"]
    np.testing.assert_array_equal(regions.features, arrays["features"])
    assert regions.features.shape == (2, 36, 2048)
    np.testing.assert_allclose(regions.boxes, arrays["boxes"] / [640, 480, 640, 480], rtol=1e-6)
    best = arrays["objects_conf"][0].argmax()
    name = f"attribute{arrays['attrs_id'][0, best]} object {arrays['objects_id'][0, best]}"
    assert regions.labels(0, 1) == [(name, pytest.approx(float(arrays["objects_conf"][0].max())))]
    assert "attribute" not in read_tsv(tmp_path / "val.tsv", OBJECTS)[1].sequences(1)[0][0]


def test_tsv_that_is_something_else_is_refused_with_its_line(tmp_path):
    write_tsv(tmp_path / "ten.tsv", published(1, 10), 10)
    with pytest.raises(ValueError, match="line 1: 10 regions, not 36"):
        read_tsv(tmp_path / "ten.tsv", OBJECTS)
    (tmp_path / "plain.tsv").write_text("1\t640\t480\t36\tAAAA\tAAAA\n")
    with pytest.raises(ValueError, match="no classes"):
        read_tsv(tmp_path / "plain.tsv", OBJECTS)
    arrays = published(1)
    arrays["objects_conf"] = arrays["objects_conf"][:, :35]
    write_tsv(tmp_path / "short.tsv", arrays)
    with pytest.raises(ValueError, match="objects_conf holds 35"):
        read_tsv(tmp_path / "short.tsv", OBJECTS)
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(ValueError, match="no picture"):
        read_tsv(tmp_path / "empty.tsv", OBJECTS)


def test_published_npy_stays_on_disk(tmp_path):
    arrays = published()
    np.save(tmp_path / "val_ims.npy", arrays.pop("features"))
    np.savez(tmp_path / "val.npz", **arrays)
    regions = read_npy(tmp_path / "val_ims.npy", tmp_path / "val.npz", OBJECTS, ATTRIBUTES)
    assert isinstance(regions.features, np.memmap)
    assert len(regions.sequences(3)[0][1].split(", ")) == 3
    del arrays["attrs_id"]
    np.savez(tmp_path / "less.npz", **arrays)
    with pytest.raises(ValueError, match="lacks \\['attrs_id'\\]"):
        read_npy(tmp_path / "val_ims.npy", tmp_path / "less.npz", OBJECTS, ATTRIBUTES)


def test_vocabulary_takes_the_first_synonym(tmp_path):
    (tmp_path / "objects.txt").write_text("yolk\nstop sign,stopsign\n")
    assert read_vocabulary(tmp_path / "objects.txt") == ["yolk", "stop sign"]
    (tmp_path / "objects.txt").write_text("yolk\n\ngoggles\n")
    with pytest.raises(ValueError, match="line 2"):
        read_vocabulary(tmp_path / "objects.txt")


@pytest.mark.parametrize("source", ["classifier", "tsv", "npy"])
def test_a_detectors_regions_take_the_place_of_the_classifiers_unchanged(source, tmp_path):
    """Whatever the source, the same lines make data, model and objective of it, and every part of it learns."""
    rng, own = np.random.default_rng(0), torch.arange(12)
    if source == "classifier":
        names = [f"class {i}" for i in range(50)]
        regions = grid_regions(rng.random((12, 49, 20), np.float32), rng.normal(size=(50, 20)), np.zeros(50), names)
    elif source == "tsv":
        write_tsv(tmp_path / "train.tsv", published(12))
        _, regions = read_tsv(tmp_path / "train.tsv", OBJECTS, ATTRIBUTES)
    else:
        arrays = published(12)
        np.save(tmp_path / "ims.npy", arrays.pop("features"))
        np.savez(tmp_path / "classes.npz", **arrays)
        regions = read_npy(tmp_path / "ims.npy", tmp_path / "classes.npz", OBJECTS, ATTRIBUTES)
    assert regions.features.shape == (12, *((14, 20) if source == "classifier" else (36, 2048)))

    said, confidence = regions.sequences(3)
    vocabulary = Vocabulary.build(said)
    words, lengths = pad([vocabulary.encode(text) for text in said])
    images, captions = torch.from_numpy(np.array(regions.features)), torch.randn(12, 4)
    labels = label_vectors(regions.label_matrix(), rng.normal(size=(len(regions.names), 4)))
    others = Pairs(images[4:], words[4:], own[:8], lengths[4:])
    clue = clues((2.0, torch.from_numpy(labels[4:]), captions[:4]))
    options = {"others": others, "epochs": 2, "others_per_batch": 8, "confidence": torch.from_numpy(confidence[4:])}
    data = SparsePairs(images[:4], words[:4], own[:4], lengths[:4], clue_images=clue[0], clue_texts=clue[1], **options)
    choices = A3VSEChoices(weak=0.1, soft=1.0, image_adversary=0.1, text_adversary=0.1)
    model = A3VSE(images.shape[2], 6, 8, words=torch.randn(len(vocabulary), 6), attend=True)
    before = {name: value.clone() for name, value in model.named_parameters()}
    objective = A3VSEObjective(data, info_nce, choices)
    fit(model, data, TrainConfig(2, 4, 1e-2), objective=objective, progress=False)
    assert set(objective.log[-1]) >= {"pair", "weak", "soft", "image_accuracy", "text_accuracy"}
    still = {name for name, value in model.named_parameters() if torch.equal(value, before[name])}
    assert still <= {"image_pool.query", "word_pool.query"}  # attention takes the place of pooling
