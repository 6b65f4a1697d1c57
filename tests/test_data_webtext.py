"""Web text: repairs, hashtags, and the filters of the webly paper, on texts whose result can be seen."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data import Corpus
from lib.data.webtext import (
    STOP_WORDS,
    distinct_tags,
    emoji_to_words,
    english_tags,
    filter_corpus,
    fix_encoding,
    is_english,
    keyword_frequency,
    keywords,
    per_owner,
    remove_emoji,
    remove_links,
    rewrite,
    split_hashtags,
    split_words,
)


def corpus_of(tags, captions=None):
    n = len(tags)
    return Corpus(
        name="toy", images=list(range(n)), image_ids=[f"i{k}" for k in range(n)], captions=captions or [[]] * n,
        tags=tags, labels=None, label_names=[], split=np.array(["web"] * n), licence="CC0", source="here",
        attribution="us",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- texts
@pytest.mark.parametrize(
    ("function", "before", "after"),
    [
        (fix_encoding, "cafÃ© &amp; itâ€™s", "café & it's"),
        (fix_encoding, "nothing wrong: café, 日本, 🐶", "nothing wrong: café, 日本, 🐶"),
        (remove_links, "see https://t.co/aB1 and www.example.org/x?y=1, t.co/z", "see and"),
        (remove_links, "RT @me: hi @you. (@him) me@example.org", "hi . ( ) me@example.org"),
        (remove_links, "cut off http:… here", "cut off here"),
        (remove_links, "a wwwhat, got.com/here", "a wwwhat, got.com/here"),
        (emoji_to_words, "nice 🐶❤️", "nice dog face red heart"),
        (emoji_to_words, "👍🏽 and 🇯🇵", "thumbs up medium skin tone and Japan"),
        (remove_emoji, "a🐶b ❤️ 5 #", "a b 5 #"),
        (split_hashtags, "Love #NewYorkCity! #foodporn", "Love new york city! food porn"),
        (split_hashtags, "&#39; a#b /#c #", "&#39; a#b /#c #"),
        (split_hashtags, "#日本 #café", "日本 café"),
    ],
)
def test_texts(function, before, after):
    assert " ".join(function(before).split()) == after


@pytest.mark.parametrize(
    ("joined", "words"),
    [
        ("NewYorkCity", "new york city"),
        ("newyorkcity", "new york city"),
        ("NEWYORKCITY", "new york city"),
        ("ILoveNY", "i love ny"),
        ("worldCup2018", "world cup 2018"),
        ("blackandwhite", "black and white"),
        ("goldengatebridge", "golden gate bridge"),
        ("catsofinstagram", "cats of instagram"),
        ("iPhone", "iphone"),
        ("sunset", "sunset"),
        ("nyc", "nyc"),
        ("under_score", "under score"),
        ("café_del_mar", "café del mar"),
        ("2018", "2018"),
        ("_", ""),
        ("", ""),
    ],
)
def test_split_words(joined, words):
    assert split_words(joined) == words.split()


@given(st.text(alphabet="abcXYZ019_é日", max_size=12))
def test_splitting_keeps_every_letter(joined):
    assert "".join(split_words(joined)) == joined.replace("_", "").lower()


def test_english_is_what_a_dictionary_says():
    assert all(map(is_english, ["dog", "dogs", "london", "sunset", "selfie"]))
    assert not any(map(is_english, ["hund", "noche", "plage", "d90", "", "Dog"]))


# ----------------------------------------------------------------------------------------------------------- filters
def test_english_tags():
    corpus = corpus_of(
        [
            ["dog", "beach"],
            ["hund", "dog"],
            ["dog", "dog"],
            ["black dog", "sea"],
            ["schwarzer dog", "sea"],
            [],
            ["Dog", "SEA"],
        ]
    )
    kept, (step,) = filter_corpus(corpus, english_tags(2))
    assert kept.image_ids == ["i0", "i3", "i6"]
    assert step.images == ["i1", "i2", "i4", "i5"]
    assert step.before == 7
    assert "fewer than 2 English tags" in str(step)
    assert filter_corpus(corpus, english_tags(1))[0].image_ids == ["i0", "i1", "i2", "i3", "i4", "i6"]
    assert filter_corpus(corpus, english_tags(2, {"hund", "dog"}.__contains__))[0].image_ids == ["i1"]


def test_per_owner_keeps_the_first():
    corpus = corpus_of([["a"]] * 7)
    owner_of = dict(zip(corpus.image_ids, "xyxxyxx", strict=True))
    kept, (step,) = filter_corpus(corpus, per_owner(owner_of, at_most=2))
    assert kept.image_ids == ["i0", "i1", "i2", "i4"]
    assert step.images == ["i3", "i5", "i6"]
    with pytest.raises(KeyError, match="i0"):
        filter_corpus(corpus, per_owner({}))


def test_distinct_tags_compares_the_first_five_in_order():
    corpus = corpus_of(
        [list("abcdef"), list("abcdeg"), list("bacdef"), ["A", "b", "c", "d", "e"], list("ab"), [], list("ab")]
    )
    kept, (step,) = filter_corpus(corpus, distinct_tags())
    assert kept.image_ids == ["i0", "i2", "i4"]
    assert step.images == ["i1", "i3", "i5", "i6"]


def test_filters_compose_and_account_for_every_image():
    rng = np.random.default_rng(0)
    words = ["dog", "cat", "hund", "katze", "beach", "sea"]
    corpus = corpus_of([list(rng.choice(words, rng.integers(0, 4), replace=False)) for _ in range(200)])
    owner_of = {image_id: str(rng.integers(8)) for image_id in corpus.image_ids}
    kept, steps = filter_corpus(corpus, english_tags(), per_owner(owner_of), distinct_tags())
    assert [step.before for step in steps] == [200, *(200 - np.cumsum([len(s.images) for s in steps])[:2])]
    removed = [image_id for step in steps for image_id in step.images]
    assert sorted([*kept.image_ids, *removed]) == sorted(corpus.image_ids)
    assert all(len(step.images) > 0 for step in steps)
    assert max(Counter(owner_of[i] for i in kept.image_ids).values()) <= 5
    assert kept.tags == [corpus.tags[corpus.image_ids.index(i)] for i in kept.image_ids]


def test_nothing_left_is_no_error():
    kept, steps = filter_corpus(corpus_of([["x"]]), english_tags(2), distinct_tags())
    assert len(kept) == 0
    assert [step.before for step in steps] == [1, 0]


def test_rewrite_changes_texts_and_drops_empty_and_repeated_ones():
    corpus = corpus_of(
        [["NewYork", "new york", "🐶"], ["sea"]], [["look #NewYork http://t.co/x", "http://t.co/y"], ["a  sea"]]
    )

    def lower(text):
        return text.lower()

    def split(text):
        return " ".join(word for part in text.split() for word in split_words(part))

    changed, steps = rewrite(corpus, remove_links, split_hashtags, remove_emoji, split)
    assert changed.captions == [["look new york"], ["a sea"]]
    assert changed.tags == [["new york"], ["sea"]]
    assert [step.name for step in steps] == ["remove links", "split hashtags", "remove emoji", "split"]
    assert [step.images for step in steps] == [["i0", "i1"], ["i0"], ["i0"], ["i0"]]  # spaces are made single first
    assert corpus.captions[0][0] == "look #NewYork http://t.co/x"
    assert rewrite(changed, lower)[1][0].images == []


# ---------------------------------------------------------------------------------------------------------- keywords
def test_keywords_are_counted_sorted_and_grouped():
    texts = ["A dog and two dogs on the grass", "The dogs run, the dog runs", "glass of a bus", "Running don't"]
    found = keywords(texts)
    assert list(found.items()) == [
        ("dogs", 4), ("runs", 2), ("bus", 1), ("don't", 1), ("glass", 1), ("grass", 1), ("running", 1),
    ]  # fmt: skip
    assert list(keywords(texts, count=2)) == ["dogs", "runs"]
    assert keywords(texts, stop_words=())["the"] == 3
    assert keywords([]) == {}


@given(st.lists(st.sampled_from(["dog", "dogs", "dress", "dresses", "bus", "as", "news", "new"]), max_size=30))
def test_grouping_loses_no_occurrence(words):
    assert sum(keywords(words, stop_words=()).values()) == len(words)


def test_stop_words_have_no_content():
    assert {"a", "the", "of", "with", "is", "their"} <= STOP_WORDS
    assert not STOP_WORDS & {"man", "dog", "red", "water", "young", "run"}


def test_keyword_frequency_is_that_of_the_most_frequent_keyword():
    corpus = corpus_of([["Dog", "sea"], ["sea view"], ["nothing"], []])
    found = keyword_frequency(corpus, {"dog": 9, "sea": 5, "view": 7})
    assert found.tolist() == [9, 7, 0, 0]
    assert found.dtype == np.int64
