"""Word vectors of others: every format by its content, and what is damaged is named with its row."""

import gzip

import numpy as np
import pytest

from lib.text.embedding import WordVectors
from lib.text.vector_files import FileVectors
from lib.text.word2vec import Word2Vec
from tests.picture_files import write

WORDS = ["the", "of", "café", "dog"]
VECTORS = np.array([[0.5, -1, 2], [0.25, 0, 1e-3], [1, 2, 3], [4, 5, -6]], dtype=np.float32)
LINES = "".join(f"{word} {' '.join(map(str, row))}\n" for word, row in zip(WORDS, VECTORS.tolist(), strict=True))
BINARY = b"4 3\n" + b"".join(w.encode() + b" " + row.tobytes() for w, row in zip(WORDS, VECTORS, strict=True))
FORMS = {
    "GloVe": LINES.encode(),
    "GloVe, Windows": LINES.replace("\n", "\r\n").encode(),
    "word2vec, text": b"4 3\n" + LINES.encode(),
    "fastText .vec": b"4 3\n" + LINES.replace("\n", " \n").encode(),
    "word2vec, binary": BINARY,
    "word2vec, binary with line ends": BINARY.replace(b"of ", b"\nof "),
    "gzip": gzip.compress(b"4 3\n" + LINES.encode()),
    "gzip, binary": gzip.compress(BINARY),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_told_by_its_content(form, tmp_path):
    vectors = WordVectors.read(write(tmp_path, {"vectors": FORMS[form]}) / "vectors")
    assert list(vectors.words) == WORDS
    np.testing.assert_array_equal(vectors.vectors, VECTORS)
    assert vectors.dim == 3
    np.testing.assert_array_equal(vectors.vector("dog"), VECTORS[3])
    np.testing.assert_allclose(vectors.transform(["the dog", ["café"]]), [VECTORS[[0, 3]].mean(0), VECTORS[2]])
    assert list(WordVectors.read(tmp_path / "vectors", limit=2).words) == WORDS[:2]


def test_files_of_gensim(tmp_path):
    """A second library writes what is read here."""
    from gensim.models import KeyedVectors

    made = KeyedVectors(3)
    made.add_vectors(WORDS, VECTORS)
    for binary in (True, False):
        made.save_word2vec_format(str(tmp_path / "made"), binary=binary)
        np.testing.assert_allclose(WordVectors.read(tmp_path / "made").matrix(WORDS), VECTORS, rtol=1e-6)


def test_tokens_with_blanks_and_numbers(tmp_path):
    write(tmp_path, {"glove.txt": "the 0.1 0.2 0.3\n. . . 0.3 0.3 0.1\n1 2 3 4\n\nat name@domain.com 1 2 3\n"})
    vectors = WordVectors.read(tmp_path / "glove.txt")
    assert list(vectors.words) == ["the", ". . .", "1", "at name@domain.com"]
    np.testing.assert_array_equal(vectors.vector("1"), [2, 3, 4])


def test_what_was_read_survives_a_file_and_learns_weights(tmp_path):
    vectors = WordVectors.read(write(tmp_path, {"g.txt": LINES}) / "g.txt")
    vectors.fit([["the", "dog"], ["the", "café"]])
    vectors.save(tmp_path / "kept.npz")
    again = FileVectors.load(tmp_path / "kept.npz")
    assert again.dim == 3
    texts = ["the dog", "a café"]
    np.testing.assert_array_equal(again.transform(texts, "tfidf"), vectors.transform(texts, "tfidf"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "has no word vectors"),
        (b"one line of words\n", "has no word vectors"),
        (b"the 1 2\nof 1 x\n", "row 2: no word with 2 finite numbers"),
        (b"the 1 2\nof 1 nan\n", "row 2: no word with 2 finite numbers"),
        (b"3 2\nthe 1 2\nof 1 2\n", "2 words, not the 3 of its first line"),
        (b"0 2\n", "promises 0 words"),
        (BINARY[:-3], "breaks off in word 4 of 4"),
        (FORMS["gzip"][:-9], "cannot be unpacked"),
        ((793712314).to_bytes(4, "little") + b"\x0c", r"model of fastText \(\.bin\)"),
        (b"PK\x03\x04", "is a zip archive"),
        (b"999999999 999999999\nx", "breaks off in word 1"),
    ],
)
def test_what_is_damaged_is_named(content, what, tmp_path):
    write(tmp_path, {"vectors": content})
    with pytest.raises(ValueError, match=rf"vectors\b.*{what}"):
        WordVectors.read(tmp_path / "vectors")


def test_words_that_are_left_out_are_named(tmp_path):
    write(tmp_path, {"g.txt": b"the 1 2\nthe 3 4\ncaf\xe9 1 2\nof 1 2\n"})
    with pytest.warns(UserWarning, match=r"g\.txt: 2 words left out, among them row 2 \('the' is there twice\), row 3"):
        vectors = WordVectors.read(tmp_path / "g.txt")
    assert list(vectors.words) == ["the", "of"]
    np.testing.assert_array_equal(vectors.vector("the"), [1, 2])


def test_a_text_file_is_not_refused_for_pickles(tmp_path):
    write(tmp_path, {"g.txt": LINES})
    with pytest.raises(ValueError, match=r"g\.txt is no embedding written by Word2Vec\.save.*WordVectors\.read"):
        Word2Vec.load(tmp_path / "g.txt")
    with pytest.raises(FileNotFoundError):
        WordVectors.read(tmp_path / "nothing.txt")
