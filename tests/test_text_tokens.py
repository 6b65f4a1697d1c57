"""Words, vocabularies and padding."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.text import Vocabulary, pad, tokenize


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A woman’s T-shirt, 2 o'clock!", ["a", "woman's", "t", "shirt", "2", "o'clock"]),
        ("flag: Côte d’Ivoire", ["flag", "côte", "d'ivoire"]),
        ("piñata", ["piñata"]),
        ("pin\u0303ata", ["piñata"]),
        ("'quoted' snake_case", ["quoted", "snake", "case"]),
        ("猫 КОШКА", ["猫", "кошка"]),
        ("😀 ... #", []),
        ("", []),
    ],
)
def test_tokenize(text, words):
    assert tokenize(text) == words


@given(st.text())
def test_tokens_are_words_and_stay_words(text):
    for word in tokenize(text):
        assert word
        assert not any(character.isspace() for character in word)
        assert word[0] != "'"
        assert word[-1] != "'"
    assert tokenize(" ".join(tokenize(text))) == tokenize(text)


def test_vocabulary_orders_by_count_then_alphabet():
    vocabulary = Vocabulary.build(["a dog", "a cat", "the dog"])
    assert vocabulary.words == ["<pad>", "<unknown>", "<start>", "<end>", "a", "dog", "cat", "the"]
    assert len(vocabulary) == 8
    assert vocabulary.encode("A cat, a mouse") == [2, 4, 6, 4, 1, 3]
    assert vocabulary.encode("") == [2, 3]
    assert Vocabulary.build(["a dog", "a cat"], min_count=2).words[4:] == ["a"]
    assert "dog" in vocabulary
    assert "mouse" not in vocabulary
    assert "<pad>" not in vocabulary


def test_vocabulary_survives_a_file(tmp_path):
    vocabulary = Vocabulary.build(["piñata and o’clock"])
    vocabulary.save(tmp_path / "words.json")
    again = Vocabulary.load(tmp_path / "words.json")
    assert again.words == vocabulary.words
    assert again.encode("piñata") == vocabulary.encode("piñata")
    assert json.loads((tmp_path / "words.json").read_text(encoding="utf-8"))["words"] == ["and", "o'clock", "piñata"]
    (tmp_path / "words.json").write_text("[1, 2")
    with pytest.raises(ValueError, match=r"words\.json is no vocabulary"):
        Vocabulary.load(tmp_path / "words.json")


def test_vocabulary_refuses_repeated_words():
    with pytest.raises(ValueError, match="dog"):
        Vocabulary(["dog", "cat", "dog"])


def test_pad():
    ids, lengths = pad([[2, 5, 3], [2, 3], []])
    assert ids.tolist() == [[2, 5, 3], [2, 3, 0], [0, 0, 0]]
    assert lengths.tolist() == [3, 2, 0]
    assert ids.dtype == lengths.dtype == torch.long
    assert pad([])[0].shape == (0, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("ภาษาไทย สวย", ["ภาษาไทย", "สวย"]),
        ("العَرَبِيَّة جميلة", ["العَرَبِيَّة", "جميلة"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("İstanbul IŞIK ılık", ["istanbul", "işik", "ılık"]),
        ("n\u0308a \u0308a", ["n\u0308a", "a"]),
        ("1\ufe0f\u20e3 ❤\ufe0f a", ["1", "a"]),
        ("👩\u200d👧 x", ["x"]),
    ],
)
def test_marks_stay_with_their_letters(text, words):
    assert tokenize(text) == words


def test_one_text_is_no_list_of_texts():
    for wrong in (["a dog"], None, b"a dog", 3):
        with pytest.raises(TypeError, match="tokenize takes one text"):
            tokenize(wrong)
    with pytest.raises(TypeError, match="is one text, 'a dog': a list is wanted"):
        Vocabulary.build("a dog")
    with pytest.raises(TypeError, match="row 1: list in the place of a text"):
        Vocabulary.build(["a dog", ["a", "cat"]])
    with pytest.raises(TypeError, match="words is one text, 'dog'"):
        Vocabulary("dog")
    with pytest.raises(TypeError, match="tokenize takes one text, not list"):
        Vocabulary.build(["a dog"]).encode(["a", "dog"])
