"""Tag vectors: a mean, a centre from training data alone, and zeros where nothing is known."""

import numpy as np
import pytest

from lib.systems.webly import TagVectors, tags_as_sentences


class Letters:
    """Each letter a direction; a word of other signs is unknown, as in GloVe."""

    dim = 3

    def transform(self, texts):
        return np.array([[text.count(letter) for letter in "abc"] for text in texts], dtype=np.float32).reshape(-1, 3)


def test_the_centred_mean_of_known_tags():
    tags = TagVectors(Letters(), [["a"], ["b", "b"], [], ["?"]])  # centre (1/2, 1/2, 0)
    found = tags.transform([["a", "b", "c"], ["a", "?"], ["?"], []])
    first = np.array([1 / 3 - 1 / 2, 1 / 3 - 1 / 2, 1 / 3])
    expected = [first / np.linalg.norm(first), [0.5**0.5, -(0.5**0.5), 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


def test_an_image_s_vector_does_not_depend_on_the_others():
    tags = TagVectors(Letters(), [["a", "b"], ["c"]])
    np.testing.assert_array_equal(tags.transform([["a", "c"], ["b"]])[:1], tags.transform([["a", "c"]]))


@pytest.mark.parametrize("training", [[], [[]], [["?"]]])
def test_no_training_tags_is_an_error(training):
    with pytest.raises(ValueError, match="no training image has a tag"):
        TagVectors(Letters(), training)


def test_a_list_of_tags_reads_as_one_sentence():
    class Lengths:
        dim = 2

        def transform(self, texts):
            return np.array([[len(text), text.count(" ")] for text in texts], dtype=np.float32)

    found = tags_as_sentences([["red", "dog"], [], ["sky"]], Lengths())
    assert found.tolist() == [[7, 1], [0, 0], [3, 0]]
    assert tags_as_sentences([[], []], Lengths()).tolist() == [[0, 0], [0, 0]]
