"""All text embeddings through the same calls: they learn planted topics, survive a file, and say what they cannot."""

import zlib

import gensim.models
import numpy as np
import pytest
from gensim.corpora import Dictionary
from gensim.models import TfidfModel

from lib.text.doc2vec import Doc2Vec
from lib.text.embedding import TextEmbedding, count_matrix
from lib.text.fasttext import FastText
from lib.text.glove import PretrainedGlove
from lib.text.glove_training import Glove
from lib.text.lda import LDA
from lib.text.tfidf import TfidfSVD
from lib.text.transformer import MiniLM
from lib.text.word2vec import Word2Vec

# Four topics whose words share no letters' pieces with each other, and words that stand in all of them.
TOPICS = [
    ["cat", "dog", "horse", "mouse", "rabbit", "sheep"],
    ["bread", "milk", "cheese", "butter", "soup", "rice"],
    ["car", "train", "boat", "truck", "wagon", "tram"],
    ["rain", "snow", "storm", "wind", "cloud", "fog"],
]
COMMON = ["the", "with", "and", "of"]
TEXTS = 400
MAKERS = {
    "CBOW": lambda: Word2Vec(dim=16, window=4, min_count=2, epochs=30),
    "skip-gram": lambda: Word2Vec(dim=16, window=4, min_count=2, epochs=15, skip_gram=True),
    "fastText": lambda: FastText(dim=16, window=4, min_count=2, epochs=40, buckets=5_000),
    "PV-DBOW": lambda: Doc2Vec(dim=16, window=4, min_count=2, epochs=30, sample=0.0),
    "PV-DM": lambda: Doc2Vec(dim=16, window=2, min_count=2, epochs=60, dm=True, sample=0.0),
    "LDA": lambda: LDA(dim=8, min_count=2, passes=6),
    "GloVe": lambda: Glove(dim=16, window=4, min_count=2, epochs=30, steps=20, device="cpu"),
    "tf-idf + SVD": lambda: TfidfSVD(dim=8, min_count=2),
}
PRETRAINED = {"pretrained GloVe": PretrainedGlove, "MiniLM": lambda: MiniLM(device="cpu")}


def planted(texts=TEXTS, seed=0):
    """Texts of eight words: of one topic each, among words of none; and their topics."""
    random = np.random.default_rng(seed)
    topics = random.integers(len(TOPICS), size=texts)
    documents = [
        random.permutation([*random.choice(TOPICS[topic], 6), *random.choice(COMMON, 2)]).tolist() for topic in topics
    ]
    return documents, topics


DOCUMENTS, TOPIC_OF = planted()


@pytest.fixture(scope="module")
def fitted():
    return {name: make().fit(DOCUMENTS) for name, make in (MAKERS | PRETRAINED).items()}


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def share_right(vectors, topics):
    """Share of rows whose nearest other row by cosine is of the same topic."""
    cosines = unit(vectors) @ unit(vectors).T
    np.fill_diagonal(cosines, -np.inf)
    return np.mean(np.asarray(topics)[cosines.argmax(1)] == topics)


@pytest.mark.parametrize("name", [*MAKERS, *PRETRAINED])
def test_same_calls_for_all(fitted, name):
    embedding = fitted[name]
    assert isinstance(embedding, TextEmbedding)
    texts = ["The cat and the dog", ["rain", "snow"]]
    for vectors in (embedding.transform(texts), embedding.query(texts)):
        assert vectors.shape == (2, embedding.dim)
        assert vectors.dtype == np.float32
        assert np.isfinite(vectors).all()
    assert embedding.empty == 0
    np.testing.assert_allclose(embedding.transform([texts[1]]), embedding.transform(["rain snow"]), atol=1e-6)
    np.testing.assert_allclose(embedding.transform(texts)[1:], embedding.transform(texts[1:]), atol=1e-6)
    assert embedding.vector("cat").shape == (embedding.dim,)
    assert embedding.vector("cat").dtype == np.float32
    assert embedding.transform([]).shape == (0, embedding.dim)


@pytest.mark.parametrize("name", [*MAKERS, *PRETRAINED])
def test_planted_topics_are_found(fitted, name):
    """Chance is 0.25 for texts and 0.22 for words. In PV-DM the words of the window do most of the predicting."""
    documents, topics = planted(100, seed=1)
    assert share_right(fitted[name].transform(documents), topics) > (0.6 if name == "PV-DM" else 0.85)
    words = [word for topic in TOPICS for word in topic]
    assert share_right(fitted[name].matrix(words), np.repeat(np.arange(4), 6)) > 0.75
    near = [word for word, _ in fitted[name].neighbours("cat", words, n=3)]
    assert len(set(near) & set(TOPICS[0])) >= 2


@pytest.mark.parametrize("name", MAKERS)
def test_shuffled_text_teaches_nothing(name):
    """The bars of the test above are not met by chance: without the topics the same code fails them."""
    words = np.array(DOCUMENTS)
    shuffled = np.random.default_rng(0).permutation(words.ravel()).reshape(words.shape).tolist()
    embedding = MAKERS[name]().fit(shuffled)
    assert share_right(embedding.matrix([w for t in TOPICS for w in t]), np.repeat(np.arange(4), 6)) < 0.6


@pytest.mark.parametrize("name", [*MAKERS, *PRETRAINED])
def test_a_file_keeps_everything(fitted, name, tmp_path):
    embedding = fitted[name]
    embedding.save(tmp_path / "a.npz")
    again = type(embedding).load(tmp_path / "a.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    texts = [*DOCUMENTS[:5], ["catdog"], []]
    np.testing.assert_array_equal(again.transform(texts), embedding.transform(texts))
    assert again.empty == embedding.empty
    np.testing.assert_array_equal(again.query(texts), embedding.query(texts))
    np.testing.assert_array_equal(again.vector("storm"), embedding.vector("storm"))
    assert list(again.words) == list(embedding.words)
    assert vars(again).keys() == vars(embedding).keys() or name in ("GloVe", "MiniLM", "CBOW")
    if hasattr(embedding, "vectors"):
        tfidf = embedding.transform(texts, weights="tfidf")
        np.testing.assert_array_equal(again.transform(texts, weights="tfidf"), tfidf)


def test_a_file_of_something_else_is_refused(fitted, tmp_path):
    fitted["CBOW"].save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz holds an embedding of class Word2Vec, not LDA"):
        LDA.load(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_text("no arrays")
    with pytest.raises(ValueError, match=r"b\.npz is no embedding written by LDA\.save"):
        LDA.load(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"c\.npz is no embedding"):
        LDA.load(tmp_path / "c.npz")
    with pytest.raises(FileNotFoundError):
        LDA.load(tmp_path / "d.npz")


@pytest.mark.parametrize("name", [*MAKERS, *PRETRAINED])
def test_empty_texts_get_zeros_and_unknown_words_a_key_error(fitted, name):
    embedding = fitted[name]
    vectors = embedding.transform(["", "cat", [], "  "])
    assert (vectors[[0, 2, 3]] == 0).all()
    assert vectors[1].any()
    assert embedding.empty == 3
    embedding.query(["", "cat"])
    assert embedding.empty == 1
    if name != "MiniLM":
        with pytest.raises(KeyError, match="qqqq"):
            embedding.vector("qqqq")
        assert "cat" in embedding
        assert "qqqq" not in embedding
        assert (embedding.transform(["qqqq"]) == 0).all()


@pytest.mark.parametrize("name", MAKERS)
def test_one_seed_one_result(fitted, name):
    again = MAKERS[name]().fit(DOCUMENTS)
    np.testing.assert_array_equal(again.transform(DOCUMENTS[:9]), fitted[name].transform(DOCUMENTS[:9]))
    other = MAKERS[name]()
    other.seed = 1
    assert not np.array_equal(other.fit(DOCUMENTS).transform(DOCUMENTS[:9]), again.transform(DOCUMENTS[:9]))


@pytest.mark.parametrize("name", MAKERS)
def test_too_little_text_is_an_error(name):
    with pytest.raises(ValueError, match="lower min_count"):
        MAKERS[name]().fit([["once"], []])


# ------------------------------------------------------------------------------------------------ document vectors
def test_mean_and_tfidf_weights_against_gensim(fitted):
    embedding = fitted["CBOW"]
    texts = [*DOCUMENTS[:20], ["cat", "cat", "unseen", "the", "rain"]]
    mean = embedding.transform(texts)
    dictionary = Dictionary(DOCUMENTS)
    model = TfidfModel(dictionary=dictionary, normalize=True)
    weighted = embedding.transform(texts, weights="tfidf")
    for row, text in enumerate(texts):
        known = [word for word in text if word in embedding]
        np.testing.assert_allclose(mean[row], embedding.matrix(known).mean(0), atol=1e-6)
        expected = sum(weight * embedding.vector(dictionary[word]) for word, weight in model[dictionary.doc2bow(text)])
        np.testing.assert_allclose(weighted[row], expected, atol=1e-5)
    assert not np.allclose(unit(mean), unit(weighted), atol=0.01)


def test_tfidf_weights_need_a_corpus_and_know_their_names(fitted):
    with pytest.raises(ValueError, match="call fit first"):
        PretrainedGlove().transform(["cat"], weights="tfidf")
    with pytest.raises(ValueError, match="'idf', not 'mean' or 'tfidf'"):
        fitted["CBOW"].transform(["cat"], weights="idf")
    everywhere = Word2Vec(dim=4, min_count=1).fit([["a", "b"], ["a", "c"]])
    assert (everywhere.transform([["a"]], weights="tfidf") == 0).all()  # says nothing: log(2 / 2) = 0
    assert everywhere.empty == 1


def test_tfidf_svd_is_the_projection_of_the_tfidf_vectors():
    embedding = TfidfSVD(dim=4, min_count=2).fit(DOCUMENTS)
    model = TfidfModel(dictionary=(dictionary := Dictionary(DOCUMENTS)), normalize=True)
    dense = np.zeros((len(DOCUMENTS), len(dictionary)))
    for row, text in enumerate(DOCUMENTS):
        for word, weight in model[dictionary.doc2bow(text)]:
            dense[row, word] = weight
    _, _, right = np.linalg.svd(dense, full_matrices=False)
    exact = dense @ right[:4].T
    ours = embedding.transform(DOCUMENTS)
    np.testing.assert_allclose(ours @ ours.T, exact @ exact.T, atol=0.02)
    with pytest.raises(ValueError, match="dim is 99, but only 28 words"):
        TfidfSVD(dim=99, min_count=1).fit(DOCUMENTS)


def test_count_matrix():
    counts, words = count_matrix([["b", "a", "b"], [], ["c"]])
    assert words == ["b", "a", "c"]
    assert counts.toarray().tolist() == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]


# ------------------------------------------------------------------------------------------------ gensim as the oracle
def test_neighbours_are_those_of_gensim(fitted):
    model = gensim.models.Word2Vec(DOCUMENTS, vector_size=16, window=4, min_count=2, epochs=30, seed=0, workers=1)
    embedding = fitted["CBOW"]
    expected = model.wv.most_similar("cat", topn=5)
    found = embedding.neighbours("cat", embedding.words, n=5)
    assert [word for word, _ in found] == [word for word, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=1e-6)
    direction = embedding.vector("cat") + embedding.vector("rain")
    assert "cat" not in dict(embedding.neighbours(direction, embedding.words, without=["cat"]))


def test_fasttext_builds_new_words_as_gensim_does(fitted):
    model = gensim.models.FastText(
        DOCUMENTS, vector_size=16, window=4, min_count=2, epochs=40, bucket=5_000, seed=0, workers=1
    )
    embedding = fitted["fastText"]
    np.testing.assert_allclose(embedding.vector("horse"), model.wv["horse"], atol=1e-6)

    def buckets(word):
        pieces = [f"<{word}>"[i : i + n] for n in range(3, 7) for i in range(len(word) + 3 - n)]
        return [gensim.models.fasttext_inner.ft_hash_bytes(piece.encode()) % 5_000 for piece in pieces]

    seen = {bucket for word in embedding.words for bucket in buckets(word)}
    for word in ("trai", "rabbi"):
        assert word not in embedding.words
        known = [bucket for bucket in buckets(word) if bucket in seen]
        assert 0 < len(known) < len(buckets(word))
        np.testing.assert_allclose(embedding.vector(word), model.wv.vectors_ngrams[known].mean(0), atol=1e-6)
    assert embedding.neighbours("horses", embedding.words, n=1)[0][0] in TOPICS[0]


def test_topics_of_a_word_are_those_of_gensim(fitted):
    embedding = fitted["LDA"]
    terms = embedding.model.get_term_topics(embedding.words.index("cat"), minimum_probability=0)
    expected = np.zeros(8)
    expected[[topic for topic, _ in terms]] = [float(strength) for _, strength in terms]
    np.testing.assert_allclose(embedding.vector("cat"), expected / expected.sum(), atol=1e-6)
    np.testing.assert_allclose(embedding.query(["cat rain"])[0], embedding.matrix(["cat", "rain"]).mean(0), atol=1e-6)
    shares = embedding.transform(DOCUMENTS[:10])
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    bag = [(i, DOCUMENTS[0].count(word)) for i, word in enumerate(embedding.words) if word in DOCUMENTS[0]]
    topics = dict(embedding.model.get_document_topics(bag, minimum_probability=0))
    np.testing.assert_allclose(shares[0], [topics[k] for k in range(8)], atol=0.02)


def test_a_rare_word_has_topics_where_gensim_underflows():
    embedding = LDA(dim=200, min_count=1, passes=1).fit([*DOCUMENTS, ["cat", "unicorn"]])
    assert embedding.model.expElogbeta[:, embedding.words.index("unicorn")].max() < 1e-3
    assert embedding.vector("unicorn").sum() == pytest.approx(1, abs=1e-5)
    embedding.model.state.sstats[:] = 0  # as after many updates with other words
    embedding.model.sync_state()
    embedding._remember()
    assert (embedding.model.expElogbeta == 0).all()
    assert embedding.vector("cat") == pytest.approx(np.full(200, 1 / 200), abs=1e-6)


def test_doc2vec_agrees_with_itself_on_training_texts(fitted):
    """The vector inferred for a training text is near the one that training gave it."""
    for name in ("PV-DBOW", "PV-DM"):
        inferred = unit(fitted[name].transform(DOCUMENTS[:50]))
        trained = unit(np.array([fitted[name].model.dv[i] for i in range(50)]))
        own = np.sum(inferred * trained, axis=1).mean()
        other = np.sum(inferred * np.roll(trained, 1, axis=0), axis=1).mean()
        assert own > other + 0.2


@pytest.mark.parametrize("dm", [False, True], ids=["PV-DBOW", "PV-DM"])
def test_doc2vec_infers_as_gensim_does_but_from_a_start_that_every_process_shares(dm, monkeypatch):
    embedding = Doc2Vec(dim=16, window=4, min_count=2, epochs=5, dm=dm, sample=0.0).fit(DOCUMENTS[:100])
    words = DOCUMENTS[0]
    found = embedding.transform([words])[0]

    def start(size, seed_string):  # in gensim the start is Python's hash of the text, another one in each process
        draws = np.random.Generator(np.random.SFC64(zlib.crc32(seed_string.encode())))
        return (draws.random(size).astype(np.float32) - 0.5) / size

    monkeypatch.setattr(gensim.models.doc2vec, "pseudorandom_weak_vector", start)
    embedding.model.random.seed(embedding.seed)
    np.testing.assert_allclose(found, embedding.model.infer_vector(words), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", [*MAKERS, *PRETRAINED])
def test_texts_are_no_words_and_one_text_is_no_list(fitted, name):
    make = (MAKERS | PRETRAINED)[name]
    captions = ["a dog runs on the beach", "two men ride a horse"]
    for wrong, why in (
        (captions, "document 0 is one text, 'a dog runs"),
        (captions[0], "not one text: 'a dog"),
        ([captions, captions], "document 0 is a list of texts, 'a dog runs"),
        ([["dog", 3]], "document 0 has int in the place of a word"),
    ):
        with pytest.raises(TypeError, match=f"fit takes lists of words.*{why}"):
            make().fit(wrong)
    embedding = fitted[name]
    for call in (embedding.transform, embedding.query):
        with pytest.raises(TypeError, match="texts is one text, 'a red car'"):
            call("a red car")
        with pytest.raises(TypeError, match="row 0 is a list of texts, 'a dog runs"):
            call([captions])
        with pytest.raises(TypeError, match="row 1 has int in the place of a word"):
            call(["a dog", [3]])
    with pytest.raises(TypeError, match="words is one text, 'cat'"):
        embedding.matrix("cat")
    with pytest.raises(TypeError, match="among is one text, 'dog'"):
        embedding.neighbours("cat", "dog")
