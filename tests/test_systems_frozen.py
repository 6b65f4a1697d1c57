"""From a corpus to pairs: which texts, in which order, whose picture; and the small models that learn on them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from lib.data import Corpus, ImageFiles
from lib.models import CCA
from lib.systems import frozen
from lib.systems.frozen import from_cca, frozen_features, frozen_pairs, gru_model, linear_model
from lib.training import validate


class Letters:
    """Stands for an encoder: how often a text has each letter."""

    dim = 26

    def transform(self, texts):
        return np.array([[text.count(chr(97 + i)) for i in range(26)] for text in texts], dtype=np.float32)


def vector(text):
    return torch.from_numpy(Letters().transform([text])[0])


@pytest.fixture
def corpus(tmp_path):
    colours = ["red", "green", "blue", "black", "white"]
    for colour in colours:
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"{colour}.png")
    return Corpus(
        name="colours",
        images=ImageFiles([tmp_path / f"{colour}.png" for colour in colours]),
        image_ids=colours,
        captions=[["a red square", "red"], ["green"], [], ["black"], ["white"]],
        tags=[["warm"], [], ["cold", "sky"], ["dark"], []],
        labels=None,
        label_names=[],
        split=np.array(["train", "train", "train", "val", "test"]),
        licence="none",
        source="made here",
        attribution="",
    )


@pytest.fixture
def no_encoding(monkeypatch):
    """Features without an encoder: the mean colour of each picture."""

    def extract(images, encoder="efficientnet_lite0", device="auto"):
        return np.stack([np.asarray(image, dtype=np.float32).mean((0, 1)) for image in images])

    monkeypatch.setattr(frozen, "extract_features", extract)


def test_captions_in_their_order_with_their_pictures(corpus, no_encoding):
    pairs = frozen_pairs(corpus, "train", encoder=Letters())
    expected = torch.stack([vector(text) for text in ("a red square", "red", "green")])
    torch.testing.assert_close(pairs.texts, expected)
    assert pairs.image_of_text.tolist() == [0, 0, 1]
    torch.testing.assert_close(pairs.images[2], torch.tensor([0.0, 0.0, 255.0]))
    assert len(pairs.images) == 3  # a picture without a text is there, a distractor


def test_kinds_of_texts_follow_each_other_as_asked(corpus, no_encoding):
    pairs = frozen_pairs(corpus, "train", ("tags", "captions", "both"), encoder=Letters())
    texts = [vector(text) for text in ("warm", "cold sky", "a red square", "red", "green")]
    texts.append(F.normalize(vector("a red square") + vector("warm"), dim=0))  # the first caption; blue has none
    torch.testing.assert_close(pairs.texts, torch.stack(texts))
    assert pairs.image_of_text.tolist() == [0, 2, 0, 0, 1, 0]
    alone = frozen_pairs(corpus, "train", "both", encoder=Letters())
    torch.testing.assert_close(alone.texts, pairs.texts[-1:])


def test_all_pictures_without_a_split(corpus, no_encoding):
    pairs = frozen_pairs(corpus, texts="tags", encoder=Letters())
    assert pairs.image_of_text.tolist() == [0, 2, 3]
    torch.testing.assert_close(frozen_features(corpus), pairs.images)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_given_features_are_those_of_the_whole_corpus(corpus, make):
    given = make(np.arange(10, dtype=np.float32).reshape(5, 2))
    pairs = frozen_pairs(corpus, "test", encoder=Letters(), images=given)
    assert type(pairs.images) is type(given)
    assert pairs.images.tolist() == [[8.0, 9.0]]
    with pytest.raises(ValueError, match="features of 3 pictures, but corpus colours has 5"):
        frozen_pairs(corpus, "test", encoder=Letters(), images=given[:3])


def test_on_disk_or_in_memory_is_the_same(corpus):
    mapped, memory = (frozen_pairs(corpus, "train", encoder=Letters(), in_memory=way) for way in (False, True))
    assert isinstance(mapped.images, np.ndarray)
    assert not mapped.images.flags.writeable
    assert isinstance(memory.images, torch.Tensor)
    torch.testing.assert_close(torch.from_numpy(np.array(mapped.images)), memory.images, rtol=0, atol=0)


def test_what_is_not_there_is_said(corpus, no_encoding):
    with pytest.raises(ValueError, match=r"corpus colours: no picture of test has tags"):
        frozen_pairs(corpus, "test", "tags", encoder=Letters())
    with pytest.raises(ValueError, match=r"unknown kinds of texts \['labels'\]: any of .*captions"):
        frozen_pairs(corpus, "test", ["captions", "labels"], encoder=Letters())
    with pytest.raises(ValueError, match="corpus colours has no image in split 'web'"):
        frozen_pairs(corpus, "web", encoder=Letters())


def test_a_seed_makes_the_same_model_again():
    first, again, other = (linear_model(6, 4, 3, dropout=0.2, text_dropout=0.1, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.image[-1].weight, again.image[-1].weight)
    assert not torch.equal(first.image[-1].weight, other.image[-1].weight)
    assert [side[0].p for side in (first.image, first.sentence)] == [0.2, 0.1]
    assert linear_model(6, 4, 3, dropout=0.2).sentence[0].p == 0.2


def test_from_cca_ranks_as_cca_does():
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(80, 4, generator=draw)
    images, texts = (hidden @ torch.randn(4, size, generator=draw) for size in (9, 7))
    cca = CCA(3, ridge=0.1, power=1.0).fit(images, texts)
    model = from_cca(cca, dropout=0.3, seed=0).eval()
    assert model.image[0].p == model.sentence[0].p == 0.3
    expected = F.normalize(cca.encode_images(images)) @ F.normalize(cca.encode_sentences(texts)).T
    with torch.no_grad():
        torch.testing.assert_close(model(images, texts), expected, rtol=1e-4, atol=1e-5)


def test_gru_model_reads_words_that_it_is_given(corpus):
    words = torch.randn(11, 5, generator=torch.Generator().manual_seed(0))
    model = gru_model(6, len(words), 8, word_vectors=words, seed=0)
    torch.testing.assert_close(model.sentence.encoder.embed.weight.detach()[1:], words[1:])
    ids, lengths = torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([3, 2])
    with torch.no_grad():
        assert model.eval()(torch.randn(4, 6), (ids, lengths)).shape == (4, 2)


def test_pairs_are_what_validate_scores(corpus, no_encoding):
    pairs = frozen_pairs(corpus, "train", encoder=Letters())
    assert validate(linear_model(3, 26, 4, seed=0), pairs, device="cpu").images == 3
