"""The reader that has read no caption: which weights its words have, and what it does with what it does not know."""

import numpy as np
import pytest

from lib.systems.webly import GloveReader, sentence_reader
from lib.text.glove import PretrainedGlove

TEXTS = ["a dog on the grass", "a cat on the sofa", "a dog and a cat"]


def test_words_are_weighted_by_the_training_texts():
    glove, (found,) = PretrainedGlove(), GloveReader(TEXTS).transform(["a dog sofa"])
    by_hand = np.log(3 / 2) * glove.vector("dog") + np.log(3 / 1) * glove.vector("sofa")  # "a" is in all of them
    assert np.allclose(found, by_hand / np.linalg.norm(by_hand), atol=1e-5)


def test_an_unknown_text_is_zero_and_the_others_have_length_one():
    vectors = GloveReader(TEXTS).transform(["qqqqzzzz", "dog", "a zebra in Africa"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, GloveReader.dim)
    assert np.allclose(np.linalg.norm(vectors, axis=1), [0, 1, 1])


def test_names_of_readers():
    assert isinstance(sentence_reader("glove", TEXTS), GloveReader)
    assert sentence_reader("minilm", TEXTS, "cpu").dim == 384
    with pytest.raises(ValueError, match="no reader 'gloves': 'minilm' or 'glove'"):
        sentence_reader("gloves", TEXTS)
    with pytest.raises(ValueError, match="no training text"):
        GloveReader([])
