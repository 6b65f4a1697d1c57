"""Self-supervised learning from web data (Gomez et al. 2019): an image model learns vectors of the words beside it."""

from lib.systems.web_text.concepts import concept_metrics, concept_scores, concepts, relevance, spellings
from lib.systems.web_text.embeddings import text_embeddings
from lib.systems.web_text.regression import CosineRegression, SigmoidRegression, TextRegression, min_max

__all__ = [
    "CosineRegression",
    "SigmoidRegression",
    "TextRegression",
    "concept_metrics",
    "concept_scores",
    "concepts",
    "min_max",
    "relevance",
    "spellings",
    "text_embeddings",
]
