"""Search a collection with words and pictures: an index over embeddings, a query language, a page for the classroom.

python -m lib search                             # the search page of the embedded corpus, in the browser

from lib.data import load
from lib.search import Engine
engine = Engine.of(load("openmoji"))             # learns a joint space once, then reads it from the cache
for hit in engine.search("red + heart - face", k=5):
    print(f"{hit.score:.2f} {hit.name}")
"""

from lib.search.engine import Engine, Hit
from lib.search.hubs import csls_penalties, inverted_softmax_penalties, occurrences, skewness
from lib.search.index import Index
from lib.search.query import QueryError, Term, compose, parse

__all__ = [
    "Engine",
    "Hit",
    "Index",
    "QueryError",
    "Term",
    "compose",
    "csls_penalties",
    "inverted_softmax_penalties",
    "occurrences",
    "parse",
    "skewness",
]
