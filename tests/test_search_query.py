"""The query language against what each query means, and composition against weighted sums of cosines."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.search import QueryError, Term, compose, parse


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("wild animal", [Term("wild animal")]),
        ("red + circle - face", [Term("red"), Term("circle"), Term("face", -1)]),
        ("red+circle -face", [Term("red"), Term("circle"), Term("face", -1)]),
        ("dog:2 beach -person", [Term("dog", 2), Term("beach"), Term("person", -1)]),
        ("- face:0.5 + dog", [Term("face", -0.5), Term("dog")]),
        ("well-known T-shirt", [Term("well-known T-shirt")]),
        ("flag: Japan", [Term("flag: Japan")]),
        ('"10:30 + 5":3 clock', [Term("10:30 + 5", 3), Term("clock")]),
        ("@1F436-200D + blue - dog", [Term("1F436-200D", picture=True), Term("blue"), Term("dog", -1)]),
        ('more @"my cat.jpg":2', [Term("more"), Term("my cat.jpg", 2, picture=True)]),
        ("a  b\tc", [Term("a b c")]),
    ],
)
def test_what_a_query_means(query, terms):
    assert parse(query) == terms


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("+", "no concept behind"),
        ("red -", "no concept behind"),
        ("red + - blue", "two signs"),
        ("dog:x", "no number above 0"),
        ("dog:0", "no number above 0"),
        ("dog:-1", "no number above 0"),
        ("dog:nan", "no number above 0"),
        ("dog:inf", "no number above 0"),
        ("dog:2:3", "no number above 0"),
        ("dog :2 :3", "follows no concept"),
        (":2 dog", "follows no concept"),
        ('red + "blue', "quote is not closed"),
        ('red + ""', "empty"),
    ],
)
def test_what_is_no_query(query, message):
    with pytest.raises(QueryError, match=message):
        parse(query)


words = st.text("ab'é-7", min_size=1, max_size=6).filter(lambda word: not word.startswith("-"))
texts = st.one_of(
    st.lists(words, min_size=1, max_size=3).map(" ".join), st.sampled_from(["a + b", "10:30", "x -y", "@a"])
)
terms_of = st.builds(
    lambda text, size, minus, picture: Term(text, -size if minus else size, picture),
    texts, st.sampled_from([0.25, 1.0, 2.0, 3.5]), st.booleans(), st.booleans(),
)  # fmt: skip


@given(st.lists(terms_of, min_size=1, max_size=5))
def test_a_query_that_is_printed_is_read_again(terms):
    assert parse(" ".join(map(str, terms))) == terms


@given(st.text(max_size=30))
def test_any_text_is_a_query_or_a_query_error(text):
    try:
        terms = parse(text)
    except QueryError:
        return
    assert terms
    assert all(term.text.strip() and term.weight for term in terms)


@pytest.fixture
def space():
    random = np.random.default_rng(0)
    stretched = random.normal(size=(300, 8)) * np.linspace(0.2, 3, 8)
    return random.normal(size=(3, 8)), stretched / np.linalg.norm(stretched, axis=1, keepdims=True)


def naive_scores(vectors, weights, gallery, standardise):
    """Weighted sum of the cosines of each concept, standardised over the gallery or not; all in loops."""
    total = np.zeros(len(gallery))
    for vector, weight in zip(vectors, weights, strict=True):
        cosines = np.array([float(item @ vector) / np.linalg.norm(vector) for item in gallery])
        if standardise:
            cosines = (cosines - cosines.mean()) / cosines.std()
        total += weight * cosines
    return total


@pytest.mark.parametrize("standardise", [False, True])
def test_the_composed_vector_ranks_as_the_weighted_sum_does(space, standardise):
    vectors, gallery = space
    weights = [1.0, 2.5, -0.5]
    covariance = np.cov(gallery.T) if standardise else None
    query = compose(vectors, weights, covariance)
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(
        np.argsort(-(gallery @ query)), np.argsort(-naive_scores(vectors, weights, gallery, standardise))
    )


def test_lengths_of_the_concepts_do_not_matter(space):
    vectors, _ = space
    longer = vectors * [[3.0], [0.1], [7.0]]
    np.testing.assert_allclose(compose(vectors, [1, 2, -1]), compose(longer, [1, 2, -1]), atol=1e-6)
    np.testing.assert_allclose(compose(vectors[:1], [5]), vectors[0] / np.linalg.norm(vectors[0]), atol=1e-6)


@pytest.mark.parametrize(
    ("vectors", "weights", "message"),
    [
        (np.zeros((0, 4)), [], "n vectors"),
        (np.ones(4), [1], "n vectors"),
        (np.ones((2, 4)), [1], "n weights"),
        (np.zeros((1, 4)), [1], "points nowhere"),
        (np.full((1, 4), np.nan), [1], "points nowhere"),
        (np.ones((1, 4)), [np.inf], "points nowhere"),
        (np.ones((2, 4)), [1, -1], "cancel"),
    ],
)
def test_what_cannot_be_composed(vectors, weights, message):
    with pytest.raises(ValueError, match=message):
        compose(vectors, weights)


def test_a_covariance_of_another_size_is_refused():
    with pytest.raises(ValueError, match="covariance"):
        compose(np.ones((1, 4)), [1], np.eye(3))
