"""Retrieval scores from embeddings or similarities: ranks, named protocols, label relevance, intervals."""

from lib.evaluation.ranks import Ranks
from lib.evaluation.retrieval import PROTOCOLS, Scores, chance, evaluate, evaluate_similarity

__all__ = ["PROTOCOLS", "Ranks", "Scores", "chance", "evaluate", "evaluate_similarity"]
