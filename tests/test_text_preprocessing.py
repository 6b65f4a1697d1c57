"""Cleaning as in the paper, and words of tweets."""

import pytest
from gensim.utils import simple_preprocess
from hypothesis import given
from hypothesis import strategies as st

from lib.text.preprocessing import STOP_WORDS, preprocess, tokenize_tweet


@pytest.mark.parametrize(
    ("text", "words", "stems"),
    [
        ("#NewYork: the T-shirts!", ["newyork", "tshirts"], ["newyork", "tshirt"]),
        ("3 dogs,\nrunning2", ["dogs", "running"], ["3", "dog", "running2"]),
        ("RT photo http youtube a pinterest", [], []),
        ("pictures of ponies", ["pictures", "ponies"], ["poni"]),  # "pictur" is a stop word after stemming
        ("dont don't Don’t", [], []),
        ("café naïve 猫", ["caf", "nave"], ["caf", "nave"]),
        ("x" * 16 + " " + "y" * 15, ["y" * 15], ["x" * 16, "y" * 15]),
        ("", [], []),
    ],
)
def test_preprocess(text, words, stems):
    assert preprocess(text) == words
    assert preprocess(text, stem=True) == stems


@given(st.text(alphabet=st.characters(max_codepoint=0x17F), max_size=40))
def test_words_are_those_of_gensim(text):
    clean = "".join(c for c in text if c.isascii() and (c.isalnum() or c in "# \t\n\v\f\r")).replace("#", " ")
    assert preprocess(text) == [word for word in simple_preprocess(clean) if word not in STOP_WORDS]


def test_stop_words_keep_what_a_picture_can_show():
    assert {"the", "dont", "rt", "pinterest"} <= STOP_WORDS
    assert not STOP_WORDS & {"fire", "top", "side", "computer", "shell", "well", "two", "man"}


def test_tweets_keep_names_hashtags_and_emoticons():
    assert tokenize_tweet("@Ann so #Happy :-) http://a.b/c 😀") == [
        "@ann", "so", "#happy", ":-)", "http://a.b/c", "😀",
    ]  # fmt: skip
