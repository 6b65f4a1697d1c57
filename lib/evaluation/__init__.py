"""Retrieval scores from embeddings or similarities: ranks, named protocols, label relevance, intervals."""

from lib.evaluation.bootstrap import Difference, holm, paired_bootstrap
from lib.evaluation.labels import MeanOverQueries, map_at_r, mean_average_precision, precision_at_k
from lib.evaluation.ranks import Ranks
from lib.evaluation.retrieval import PROTOCOLS, Scores, chance, evaluate, evaluate_similarity

__all__ = [
    "PROTOCOLS",
    "Difference",
    "MeanOverQueries",
    "Ranks",
    "Scores",
    "chance",
    "evaluate",
    "evaluate_similarity",
    "holm",
    "map_at_r",
    "mean_average_precision",
    "paired_bootstrap",
    "precision_at_k",
]
