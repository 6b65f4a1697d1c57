"""The queries of learning from web text: which words are concepts, what is relevant, what a search is worth."""

import numpy as np
import pytest
import torch

from lib.evaluation import mean_average_precision, precision_at_k
from lib.systems.web_text import concept_metrics, concept_scores, concepts, relevance, spellings, text_embeddings
from lib.text.preprocessing import preprocess


def test_a_stem_is_spelled_as_most_write_it():
    found = spellings([["a running dog", "running"], ["runs"], ["dogs", "dog"]])
    assert found[preprocess("running", stem=True)[0]] == "running"
    assert found[preprocess("dogs", stem=True)[0]] == "dog"


def test_concepts_are_frequent_and_tell_pictures_apart():
    bags = [{"everywhere", f"rare{i}"} for i in range(100)]
    for row in range(20):
        bags[row].add("dog")
    for row in range(19):
        bags[row].add("puppy")  # beside the same pictures as dog: one concept
    for row in range(14, 28):
        bags[row].add("beach")  # six of the twenty with a dog
    for row in range(40, 50):
        bags[row].add("unknown")
    known = {"everywhere", "dog", "puppy", "beach", *(f"rare{i}" for i in range(100))}
    found = concepts(bags, known, most=10)
    assert found == {"simple": [("dog",), ("beach",)], "complex": [("dog", "beach")]}
    assert concepts(bags, known, most=1) == {"simple": [("dog",)], "complex": []}
    assert concepts(bags, known, most=10, enough=15)["simple"] == [("dog",)]


def test_a_picture_is_relevant_if_its_texts_mention_all():
    found = relevance([("dog",), ("dog", "beach")], [{"dog", "beach"}, {"dog"}, {"beach"}])
    assert found.tolist() == [[True, True], [True, False], [False, False]]


@pytest.mark.parametrize("make", [torch.from_numpy, np.asarray], ids=["tensor", "array"])
@pytest.mark.parametrize("cosine", [True, False])
def test_scores_are_those_of_the_evaluation(make, cosine):
    draw = np.random.default_rng(0)
    queries, pictures = make(draw.normal(size=(4, 6))), make(draw.normal(size=(30, 6)))
    relevant = make(draw.random((30, 4)) < 0.3)
    found = concept_scores(queries, pictures, relevant, cosine)
    own = np.eye(4, dtype=bool)
    assert found["p5"] == precision_at_k(queries, pictures, own, relevant, k=5, cosine=cosine)
    assert found["map"] == mean_average_precision(queries, pictures, own, relevant, cosine=cosine)
    assert len(found["map"].per_query) == 4


def test_what_is_reported_of_both_kinds_of_queries():
    found = concept_metrics({"simple": {"p5": 0.5, "map": 0.25}, "complex": {"p5": 0.75, "map": 0.125}})
    assert found == {"map_t2i": 0.25, "p5_simple": 0.5, "p5_complex": 0.75}


def test_every_embedding_learns_and_has_its_size():
    settings = {"dim": 4, "min_count": 1, "passes": 2, "glove_epochs": 2, "topics": 5, "device": "cpu"}
    made = text_embeddings(0, **settings)
    texts = "red dog runs", "blue bird sings", "red bird runs", "blue dog sings"
    documents = [text.split() for text in texts] * 5
    for name, embedding in made.items():
        vectors = embedding.fit(documents).transform(documents[:2])
        assert vectors.shape == (2, 5 if name == "LDA" else 4), name
        assert np.isfinite(vectors).all(), name
