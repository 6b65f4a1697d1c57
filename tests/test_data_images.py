"""Whatever holds images has one protocol, and a plain list of PIL images goes all the way."""

import json

import numpy as np
import pytest
from PIL import Image

from lib.data import Corpus, ImageFiles, ImageList, Images
from lib.data.corpora.matfiles import MatImages
from lib.data.corpora.reading import MissingImages
from lib.data.corpora.webdataset import TarImages
from lib.data.images import ImageSequence, as_images
from lib.report.rows import read_metrics, row, write_metrics


def colours(*names: str) -> list[Image.Image]:
    return [Image.new("RGB", (8, 6), name) for name in names]


def corpus_of(images) -> Corpus:
    n = len(images)
    return Corpus(
        name="own", images=images, image_ids=[str(i) for i in range(n)], captions=[[f"colour {i}"] for i in range(n)],
        tags=[[]] * n, labels=None, label_names=[], split=np.array(["train", "test"] * n)[:n], licence="own",
        source="own", attribution="own",
    )  # fmt: skip


@pytest.mark.parametrize("kind", [ImageFiles, ImageList, MatImages, MissingImages, TarImages])
def test_every_class_of_images_has_the_protocol(kind):
    assert issubclass(kind, ImageSequence)
    assert issubclass(kind, Images)
    assert not kind.__abstractmethods__


def test_no_class_of_images_is_left_out():
    def below(kind):
        return {kind}.union(*map(below, kind.__subclasses__()))

    assert below(ImageSequence) - {ImageSequence} >= {ImageFiles, ImageList, MatImages, MissingImages, TarImages}
    assert all(not kind.__abstractmethods__ for kind in below(ImageSequence) - {ImageSequence})


def test_what_has_the_protocol_stays_as_it_is(tmp_path):
    files = ImageFiles([tmp_path / "a.png"])
    assert as_images(files) is files
    assert isinstance(as_images(colours("red")), ImageList)


def test_a_list_is_taken_from_and_sliced():
    images = ImageList(colours("red", "lime", "blue", "white"))
    assert [image.getpixel((0, 0)) for image in images.take([3, 1]).take([1, 0])] == [(0, 255, 0), (255, 255, 255)]
    assert isinstance(images[1:3], ImageList)
    assert images[1:3].fingerprint(1) == images.fingerprint(2) == images.take([2]).fingerprint(0)
    assert images[-1].getpixel((0, 0)) == (255, 255, 255)


def test_fingerprints_are_of_what_is_seen():
    red = Image.new("RGB", (8, 6), "red")
    palettes = [Image.new("P", (8, 6), 0) for _ in range(2)]
    for image, colour in zip(palettes, ([255, 0, 0], [0, 0, 255]), strict=True):
        image.putpalette(colour * 256)
    clear = palettes[0].copy()
    clear.info["transparency"] = 0
    different = [red, Image.new("RGB", (6, 8), "red"), red.convert("L"), *palettes, clear, red.convert("RGBA")]
    prints = ImageList(different).fingerprint
    assert prints(0) == ImageList([red.copy()]).fingerprint(0)
    assert prints(3) == prints(6)  # opaque red both
    assert len({prints(i) for i in range(6)}) == 6
    bytes.fromhex(prints(0))  # the feature cache reads it as a number


def test_own_fingerprints_count():
    class Views:
        def __len__(self):
            return 2

        def __getitem__(self, row):
            return colours("red", "lime")[row]

        def fingerprint(self, row):
            return "ab"[row] * 64

    assert as_images(Views()).take([1]).fingerprint(0) == "b" * 64


def test_what_is_no_image_is_named():
    images = ImageList([*colours("red"), "b.png"])
    with pytest.raises(TypeError, match=r"image 1 is of type str, not a PIL image; for files: ImageFiles"):
        images[1]


def test_a_corpus_of_a_plain_list_goes_all_the_way(tmp_path, monkeypatch):
    from lib.vision import extract_features

    monkeypatch.setattr("lib.vision.extract.feature_folder", lambda *_: (tmp_path / "features", "cpu"))
    corpus = corpus_of(colours("red", "lime", "blue", "white"))
    test = corpus.select("test")
    assert [image.getpixel((0, 0)) for image in test.images] == [(0, 255, 0), (255, 255, 255)]
    assert test.take([1]).images.fingerprint(0) == corpus.images.fingerprint(3)
    other = corpus_of(colours("red", "lime", "blue", "black"))
    assert corpus.fingerprint() == corpus_of(colours("red", "lime", "blue", "white")).fingerprint()
    assert corpus.fingerprint() != other.fingerprint()

    rows = [row("x", "own", "test", "rsum", [1.0])]
    write_metrics(tmp_path / "m.json", rows, notebook="x", protocol="y", corpus=test)
    assert read_metrics(tmp_path / "m.json")["provenance"]["data_hash"] == test.fingerprint()
    assert json.loads((tmp_path / "m.json").read_text())["provenance"]["corpus"] == "own"

    features = extract_features(corpus.images, device="cpu", progress=False, threads=1)
    again = extract_features(other.images, device="cpu", progress=False, threads=1)
    np.testing.assert_array_equal(features[:3], again[:3])
    assert not np.allclose(features[3], again[3])
    plain = extract_features(colours("lime"), device="cpu", progress=False, threads=1)
    np.testing.assert_array_equal(plain[0], features[1])
