"""What the search page is answered: hits for a query, and pictures, made beside the loop that serves them."""

import asyncio
import io
import json
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from lib.search.engine import Engine, Hit
from lib.search.query import Term, parse

SIDE = 300  # pixels of a picture, for sharp screens
LONGEST, CONCEPTS, MOST = 1000, 32, 1000  # of a query: characters, concepts, results
BATCH, WAITING = 32, 2000  # queries answered together; queries that may wait
ANSWERS, PICTURES = 500, 4096  # answers and pictures that are kept as they were sent


def answer(engine: Engine, query: str, k: int, split: str = "") -> dict:
    """What the page shows for a query: {"terms": ..., "hits": ...}; at most k pictures, of one split or (empty) of all.

    Raises ValueError (QueryError for the query) with a message for the person who typed.
    """
    terms = read_query(query)
    among = engine.corpus.split == split if split else None
    if among is not None and not among.any():
        raise ValueError(f"there are no pictures of the split {split[:40]!r}")
    named = {term.text for term in terms if term.picture}
    there = len(engine.corpus) if among is None else int(among.sum())
    if not 1 <= k <= MOST:
        raise ValueError(f"the number of results must be from 1 to {MOST}, not {k}")
    hits = engine.search(terms, max(1, min(k, there - len(named))), among)
    return {"terms": [_term(engine, term) for term in terms], "hits": [_hit(hit) for hit in hits]}


def read_query(query: str) -> list[Term]:
    """The concepts of a query that a visitor typed; ValueError for one so long that others would wait for it."""
    if len(query) > LONGEST:
        raise ValueError(f"a query has at most {LONGEST:,} characters, this one has {len(query):,}")
    terms = parse(query)
    if len(terms) > CONCEPTS:
        raise ValueError(f"a query has at most {CONCEPTS} concepts, this one has {len(terms)}")
    return terms


def _term(engine: Engine, term: Term) -> dict:
    if not term.picture:
        return {"name": term.text, "weight": term.weight, "row": None}
    row = engine.index.row(term.text)
    return {"name": engine.hit(row, 1.0).name, "weight": term.weight, "row": row}


def _hit(hit: Hit) -> dict:
    term = str(Term(hit.id, picture=True)).removeprefix("+ ")  # as it is typed
    return {"row": hit.row, "name": hit.name, "split": hit.split, "score": hit.score, "term": term}


class Searches:
    """Answers queries in one thread (the sentence encoder is not made for several), all that wait together."""

    def __init__(self, engine: Engine):
        self.engine, self.thread = engine, ThreadPoolExecutor(1, "search")
        self.waiting: list[tuple[tuple, asyncio.Future]] = []
        self.known: OrderedDict[tuple, bytes] = OrderedDict()  # a class asks the same again
        self.work: asyncio.Task | None = None

    async def answer(self, *asked) -> bytes:
        """What the function `answer` gives for (query, k, split), as JSON; OverflowError where too many wait."""
        if asked in self.known:
            self.known.move_to_end(asked)
            return self.known[asked]
        if len(self.waiting) >= WAITING:
            raise OverflowError("too many searches at once; try again in a moment")
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((asked, future))
        if self.work is None or self.work.done():
            self.work = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting[:BATCH], self.waiting[BATCH:]
            different = list(dict.fromkeys(asked for asked, _ in batch))
            replies = await asyncio.get_running_loop().run_in_executor(self.thread, self._answers, different)
            for asked, future in batch:
                reply = replies[asked]
                if future.done():
                    continue  # the visitor left
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
                    self.known[asked] = reply
            while len(self.known) > ANSWERS:
                self.known.popitem(last=False)

    def _answers(self, questions: list[tuple]) -> dict[tuple, bytes | Exception]:
        texts: set[str] = set()
        for query, _, _ in questions:
            try:
                texts |= {term.text for term in read_query(query) if not term.picture}
            except ValueError:
                continue  # is told below, to the one who typed it
        replies: dict[tuple, bytes | Exception] = {}
        try:
            self.engine.remember(sorted(texts))
        except Exception as error:
            return dict.fromkeys(questions, error)
        for asked in questions:
            try:
                replies[asked] = json.dumps(answer(self.engine, *asked)).encode()
            except Exception as error:
                replies[asked] = error
        return replies


class Pictures:
    """Pictures as JPEG files, made when they are first asked for and kept, the least asked for given up first."""

    def __init__(self, engine: Engine):
        self.images, self.threads = engine.corpus.images, ThreadPoolExecutor(1, "picture")
        self.made: OrderedDict[int, asyncio.Future] = OrderedDict()

    async def jpeg(self, row: int) -> bytes:
        """The picture of a row; whatever its file raises where it cannot be opened."""
        if row not in self.made:
            self.made[row] = asyncio.get_running_loop().run_in_executor(self.threads, self._make, row)
        self.made.move_to_end(row)
        if len(self.made) > PICTURES:
            self.made.popitem(last=False)
        try:
            return await asyncio.shield(self.made[row])  # others may wait for it, too
        except Exception:
            self.made.pop(row, None)  # the file may be mended meanwhile
            raise

    def _make(self, row: int) -> bytes:
        image, stored = self.images[row].convert("RGB"), io.BytesIO()
        image.thumbnail((SIDE, SIDE))
        image.save(stored, "jpeg", quality=90)
        return stored.getvalue()
