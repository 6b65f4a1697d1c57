"""What the models of Gomez et al. are asked for: concepts out of the training texts, alone and in pairs.

A concept is a stem; a picture is relevant to a query if its texts mention all of the query's concepts. No label takes
part.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from lib.evaluation import mean_average_precision, precision_at_k
from lib.text.preprocessing import preprocess

Query = tuple[str, ...]


def spellings(documents: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return for every stem its most frequent spelling in some documents, each a list of texts."""
    seen = Counter(word for texts in documents for word in preprocess(" ".join(texts)))
    rare_first = [word for word, _ in reversed(seen.most_common())]
    return {stem: word for word in rare_first for stem in preprocess(word, stem=True)}


def concepts(
    bags: Sequence[Collection[str]], known: Collection[str], most: int, enough: int = 10
) -> dict[str, list[Query]]:
    """Return "simple" queries, stems that are frequent in bags of stems, and "complex" ones, pairs that stand together.

    Args:
        bags: the stems beside each training picture.
        known: stems that may be asked for, such as those with a spelling.
        most: queries of each kind; the most frequent ones.
        enough: pictures that a stem must stand beside; a pair at least 0.6 times as many. What stands beside a quarter
            of all pictures tells none apart, and two stems that stand beside mostly the same pictures are one concept.
    """
    rows_of: dict[str, set[int]] = {}
    for row, bag in enumerate(bags):
        for stem in bag:
            rows_of.setdefault(stem, set()).add(row)
    single: list[str] = []
    for stem in sorted(rows_of, key=lambda stem: (-len(rows_of[stem]), stem)):
        rows = rows_of[stem]
        usual = stem in known and enough <= len(rows) < len(bags) / 4
        if usual and not any(len(rows & rows_of[other]) > len(rows | rows_of[other]) / 2 for other in single):
            single.append(stem)
    single = single[:most]
    together = {pair: len(rows_of[pair[0]] & rows_of[pair[1]]) for pair in combinations(single, 2)}
    common = [pair for pair, n in together.items() if 0.6 * enough <= n < min(len(rows_of[stem]) for stem in pair) / 2]
    pairs: list[Query] = [*sorted(common, key=lambda pair: (-together[pair], pair))[:most]]
    return {"simple": [(stem,) for stem in single], "complex": pairs}


def relevance(queries: Sequence[Query], bags: Sequence[Collection[str]]) -> Tensor:
    """Return (pictures, queries) bool: the texts of the picture mention all concepts of the query."""
    return torch.tensor([[all(stem in bag for stem in query) for query in queries] for bag in bags])


def concept_scores(queries, pictures, relevant, cosine: bool = True) -> dict:
    """Return "p5" and "map", fractions, of searching pictures (N, D) with query vectors (Q, D); relevant is (N, Q).

    Both behave as numbers and know the value of each query (`per_query`).
    """
    own = torch.eye(len(queries), dtype=torch.bool)
    given = (queries, pictures, own, relevant)
    return {"p5": precision_at_k(*given, k=5, cosine=cosine), "map": mean_average_precision(*given, cosine=cosine)}


def concept_metrics(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return map_t2i (of single concepts), p5_simple and p5_complex from `concept_scores` of both kinds of queries."""
    return {"map_t2i": scores["simple"]["map"]} | {f"p5_{kind}": of_kind["p5"] for kind, of_kind in scores.items()}
