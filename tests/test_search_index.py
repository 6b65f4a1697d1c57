"""The index against sorting all cosines, its files, its errors; hubs against loops."""

import json

import numpy as np
import pytest

from lib.search import Index, csls_penalties, inverted_softmax_penalties, occurrences, skewness


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def items():
    """Clustered vectors of unequal lengths, as embeddings are, and queries near them."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(40, 24))
    vectors = centres[random.integers(0, 40, 4000)] + 0.4 * random.normal(size=(4000, 24))
    queries = vectors[::80] + 0.3 * random.normal(size=(50, 24))
    return (vectors * random.uniform(0.1, 9, (4000, 1))).astype(np.float32), queries.astype(np.float32)


@pytest.fixture(scope="module")
def exact(items):
    return Index(items[0])


@pytest.fixture(scope="module")
def approximate(items):
    return Index(items[0], approximate=True, probes=4)


def by_sorting(vectors, queries, k, among=None):
    cosines = unit(queries.astype(np.float64)) @ unit(vectors.astype(np.float64)).T
    if among is not None:
        cosines[:, ~among] = -np.inf
    rows = np.argsort(-cosines, axis=1)[:, :k]
    return np.take_along_axis(cosines, rows, 1), rows


def test_exact_search_is_sorting(items, exact):
    cosines, rows = exact.search(items[1], 10)
    wanted_cosines, wanted_rows = by_sorting(*items, 10)
    np.testing.assert_array_equal(rows, wanted_rows)
    np.testing.assert_allclose(cosines, wanted_cosines, atol=1e-6)


@pytest.mark.parametrize("name", ["exact", "approximate"])
def test_only_some_items_may_be_found(items, name, request):
    index, among = request.getfixturevalue(name), np.random.default_rng(1).random(4000) < 0.01
    rows = index.search(items[1], 7, among)[1]
    assert among[rows].all()
    if name == "exact":
        np.testing.assert_array_equal(rows, by_sorting(*items, 7, among)[1])
    every = index.search(items[1][:3], int(among.sum()), among)[1]  # more than lie in the probed cells
    assert all(set(found) == set(np.flatnonzero(among)) for found in every.tolist())


def test_more_probes_find_more_and_all_find_all(items, approximate):
    wanted = by_sorting(*items, 10)[1]

    def recall(probes):
        approximate.probes = probes
        rows = approximate.search(items[1], 10)[1]
        return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, wanted, strict=True)])

    found = [recall(probes) for probes in (1, 4, approximate.cells)]
    assert found == sorted(found)
    assert found[0] < found[2]
    assert found[2] > 0.95  # what is left is the rounding to a byte
    approximate.probes = 4


@pytest.mark.parametrize("name", ["exact", "approximate"])
def test_saved_and_loaded_it_answers_the_same(items, name, request, tmp_path):
    index = request.getfixturevalue(name)
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index")
    assert (again.ids, again.dim, again.approximate, again.probes) == (
        index.ids,
        index.dim,
        index.approximate,
        index.probes,
    )
    for before, after in zip(index.search(items[1], 5), again.search(items[1], 5), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(again.vector(17), index.vector(17))
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["index.json", "vectors.faiss"]


def test_files_that_do_not_belong_together_are_refused(items, exact, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vectors\.faiss"):
        Index.load(tmp_path)
    exact.save(tmp_path)
    Index(items[0][:10]).save(tmp_path / "other")
    (tmp_path / "other" / "vectors.faiss").replace(tmp_path / "vectors.faiss")
    with pytest.raises(ValueError, match="save the index again"):
        Index.load(tmp_path)


def test_ids_survive_as_texts_or_integers_only(tmp_path):
    index = Index(np.eye(3), ["né", "b", "c"])
    index.save(tmp_path)
    assert Index.load(tmp_path).ids == ["né", "b", "c"]
    assert json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))["ids"][0] == "né"
    with pytest.raises(TypeError, match="tuple"):
        Index(np.eye(2), [(0, 1), (0, 2)]).save(tmp_path)


def test_neighbours_leave_the_item_out(items, exact):
    index = Index(items[0][:50], [f"item {i}" for i in range(50)])
    wanted = by_sorting(items[0][:50], items[0][7:8], 6)[1][0][1:]
    found = index.neighbours("item 7", 5)
    assert [name for name, _ in found] == [f"item {i}" for i in wanted]
    assert len(index.neighbours("item 7", 49)) == 49
    np.testing.assert_allclose(index.vector("item 7"), unit(items[0][7:8])[0], atol=1e-6)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda index: Index(np.zeros((0, 4))), ValueError, "at least one vector"),
        (lambda index: Index(np.ones(4)), ValueError, r"\(N, D\)"),
        (lambda index: Index(np.array([[1.0, 0], [0, 0]])), ValueError, "row 1 of vectors is zero"),
        (lambda index: Index(np.array([[1.0, np.nan]])), ValueError, "not finite"),
        (lambda index: Index(np.eye(2), ["a"]), ValueError, "2 vectors but 1 ids"),
        (lambda index: Index(np.eye(3), ["a", "b", "a"]), ValueError, "'a' stands for more than one"),
        (lambda index: Index(np.eye(20), approximate=True), ValueError, "too few"),
        (lambda index: index.search(np.ones((1, 5)), 1), ValueError, "5 dimensions, the index has 4"),
        (lambda index: index.search(np.ones(4), 1), ValueError, r"\(N, D\)"),
        (lambda index: index.search(np.zeros((1, 4)), 1), ValueError, "row 0 of queries is zero"),
        (lambda index: index.search(np.ones((1, 4)), 5), ValueError, "from 1 to the 4 items"),
        (lambda index: index.search(np.ones((1, 4)), 0), ValueError, "not 0"),
        (lambda index: index.search(np.ones((1, 4)), 2, np.arange(4) == 1), ValueError, "from 1 to the 1 items"),
        (lambda index: index.search(np.ones((1, 4)), 1, np.ones(3, bool)), ValueError, "among"),
        (lambda index: index.vector("z"), KeyError, "no item has the id 'z'"),
        (lambda index: index.neighbours("z"), KeyError, "no item has the id 'z'"),
        (lambda index: index.neighbours("a", 4), ValueError, "3 other items"),
    ],
)
def test_errors_say_what_is_wrong(act, error, message):
    with pytest.raises(error, match=message):
        act(Index(np.eye(4), list("abcd")))


# ---------------------------------------------------------------------------------------------------------------- hubs
def test_occurrences_count():
    np.testing.assert_array_equal(occurrences(np.array([[0, 2], [2, 1], [2, 0]]), 4), [2, 1, 3, 0])
    with pytest.raises(ValueError, match="from 0 to 3"):
        occurrences(np.array([[4]]), 4)
    assert skewness([1, 2, 3]) == 0
    assert skewness([0, 0, 0, 0, 9]) > 1
    with pytest.raises(ValueError, match="equally"):
        skewness([2, 2])


def test_penalties_rank_as_csls_and_the_inverted_softmax_do(monkeypatch):
    monkeypatch.setattr("lib.search.hubs.TILE", 100)  # several tiles, the last one short
    random = np.random.default_rng(0)
    gallery, references, queries = (unit(random.normal(size=(n, 6))) for n in (31, 40, 9))
    k, temperature = 5, 0.1

    csls = np.zeros((9, 31))
    inverted = np.zeros((9, 31))
    for i, query in enumerate(queries):
        r_query = np.mean(sorted(query @ gallery.T)[-k:])
        for j, item in enumerate(gallery):
            r_item = np.mean(sorted(item @ references.T)[-k:])
            csls[i, j] = 2 * query @ item - r_query - r_item
            inverted[i, j] = np.exp(query @ item / temperature) / np.sum(np.exp(references @ item / temperature))
    cosines = queries @ gallery.T
    for penalties, wanted in (
        (csls_penalties(gallery, references, k), csls),
        (inverted_softmax_penalties(gallery, references, temperature), inverted),
    ):
        assert penalties.shape == (31,)
        np.testing.assert_array_equal(np.argsort(cosines - penalties, 1), np.argsort(wanted, 1))


def test_penalties_hold_a_planted_hub_back():
    """Each query lies between its own item and a direction that all queries share; item 0 is that direction."""
    random = np.random.default_rng(0)
    gallery, hub = unit(random.normal(size=(200, 64))), unit(random.normal(size=(1, 64)))
    queries = unit(gallery + 1.2 * hub)
    gallery[0] = hub[0]
    cosines = queries[:100] @ gallery.T
    before = occurrences(cosines.argmax(1), 200)
    assert before[0] > 90
    for penalties in (
        csls_penalties(gallery, queries[100:], 10),
        inverted_softmax_penalties(gallery, queries[100:], 0.05),
    ):
        after = occurrences((cosines - penalties).argmax(1), 200)
        assert after[0] < 10
        assert skewness(after) < skewness(before)


def test_penalties_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="from 1 to the 3"):
        csls_penalties(np.eye(3), np.eye(3), 4)
    with pytest.raises(ValueError, match="do not fit"):
        csls_penalties(np.eye(3), np.eye(4), 2)
