"""Queries of several concepts: how they are written, and how they become one vector.

    query   = [sign] concept { [sign] concept }
    sign    = "+" | "-"                               "-" only at the beginning of a word: T-shirt is one word
    concept = ( words | '"' text '"' | "@" id ) [ ":" weight ]
    weight  = a number above 0                        directly behind the colon; without it 1

Words that stand side by side are one concept, read as a whole: `wild animal` is one, `wild + animal` are two. A concept
ends at a sign, at its weight, or before a quoted text or a picture. `@id` is a picture of the collection. A colon with
a blank behind it is text (`flag: Japan`); quotes take any text or id as it is (`"10:30"`, `@"my cat.jpg"`).

    red + circle - face        dog:2 beach -person        @1F436 + "black + white" - smile
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TOKEN = re.compile(
    r"""\s*(?:(?P<sign>[+-])
        |"(?P<quoted>[^"]*)"
        |@(?P<picture>"[^"]*"|[^\s"+:]+)
        |:(?P<weight>[^\s"+]+)
        |(?P<word>[^\s"+:]+(?::(?=\s|$))?))""",
    re.VERBOSE,
)


class QueryError(ValueError):
    """What was typed is no query; the message says why and shows the place."""


@dataclass(frozen=True)
class Term:
    """One concept of a query: words, or the id of a picture, and how much it counts (below 0: unwanted)."""

    text: str
    weight: float = 1.0
    picture: bool = False

    def __str__(self) -> str:
        forbidden = r'[\s"+:]' if self.picture else r'["+:]|^[@-]|\s-|\s@'
        text = ("@" if self.picture else "") + (f'"{self.text}"' if re.search(forbidden, self.text) else self.text)
        size = "" if abs(self.weight) == 1 else f":{abs(self.weight):g}"
        return f"{'-' if self.weight < 0 else '+'} {text}{size}"


def parse(query: str) -> list[Term]:
    """The concepts of a typed query, in order; grammar at the top of this file.

    Raises QueryError for a query without a concept, a sign without one, a weight that is no number above 0, and a
    quote that is not closed.
    """
    terms: list[Term] = []
    sign = 0  # where none was written
    words: list[str] = []

    def finish(text: str | None = None, picture: bool = False) -> None:
        """The concept being read is complete: the words so far, or a text of its own behind them."""
        nonlocal sign, words
        if words:
            terms.append(Term(" ".join(words), float(sign or 1)))
            sign, words = 0, []
        if text is not None:
            terms.append(Term(text, float(sign or 1), picture))
            sign = 0

    position, closed = 0, True  # closed: there is no concept that a weight could belong to
    query = query.strip()
    while position < len(query):
        token = TOKEN.match(query, position)
        if token is None:
            raise QueryError(f"a quote is not closed, or a colon stands alone, at: {query[position:].strip()}")
        kind = token.lastgroup or ""
        text = token[kind]
        if kind == "sign":
            finish()
            if sign:
                raise QueryError(f"two signs without a concept between them: {query[: token.end()]}")
            sign = 1 if text == "+" else -1
        elif kind == "word":
            words.append(text)
        elif kind == "weight":
            finish()
            if closed:
                raise QueryError(f"the weight {text!r} follows no concept: {query[: token.end()]}")
            terms[-1] = Term(terms[-1].text, terms[-1].weight * _weight(text, terms[-1].text), terms[-1].picture)
        elif not (text := text.strip('"').strip()):
            raise QueryError("the text between the quotes is empty")
        else:
            finish(text, kind == "picture")
        closed = kind in ("sign", "weight")
        position = token.end()
    finish()
    if sign:
        raise QueryError(f"the last sign has no concept behind it: {query}")
    if not terms:
        raise QueryError("the query is empty; type some words, such as: red + circle - face")
    return terms


def _weight(text: str, concept: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise QueryError(f"the weight {text!r} of {concept!r} is no number above 0; put text with a colon in quotes")
    return weight


def compose(vectors: np.ndarray, weights: Sequence[float], covariance: np.ndarray | None = None) -> np.ndarray:
    """One query vector (D,) float32 of unit length out of several concepts: q = sum_i w_i v_i / s_i, scaled to 1.

    vectors: (n, D), one a concept; weights: (n,), below 0 for what is unwanted. s_i is the length of v_i, so that the
    ranking by q is the ranking by the weighted sum of cosines. With `covariance` (D, D) of the gallery's vectors, s_i
    is the standard deviation of the gallery's scores for v_i: then the ranking is that of the weighted sum of
    standardised scores. This matters where a picture and words are added: their cosines spread differently.

    Raises ValueError for shapes that do not fit, a vector that is zero or not finite, and concepts that cancel out.
    """
    vectors, factors = np.asarray(vectors, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) == 0 or factors.shape != (len(vectors),):
        raise ValueError(f"compose needs n vectors (n, D) and n weights, got {vectors.shape} and {factors.shape}")
    if covariance is None:
        spread = np.linalg.norm(vectors, axis=1)
    else:
        covariance = np.asarray(covariance, dtype=np.float64)
        if covariance.shape != 2 * vectors.shape[1:]:
            raise ValueError(f"covariance is {covariance.shape}, vectors have {vectors.shape[1]} dimensions")
        spread = np.sqrt(np.einsum("nd,de,ne->n", vectors, covariance, vectors).clip(min=0))
    if not (np.isfinite(vectors).all() and np.isfinite(factors).all() and spread.all()):
        raise ValueError("a concept has a zero or infinite vector or weight: it points nowhere")
    parts = factors[:, None] * vectors / spread[:, None]
    total = parts.sum(0)
    length = np.linalg.norm(total)
    if length < 1e-6 * np.linalg.norm(parts, axis=1).sum() or length == 0:
        raise ValueError("the concepts cancel each other out: nothing is left to search for")
    return (total / length).astype(np.float32)
