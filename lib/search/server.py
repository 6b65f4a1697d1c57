"""Serves the search page: one HTML file, answers as JSON, pictures. Standard library only, one process for a class."""

import io
import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from lib.search.engine import Engine, Hit
from lib.search.query import Term, parse

PAGE = Path(__file__).with_name("page.html")
SIDE = 300  # pixels of a picture, for sharp screens
EXAMPLES = ("wild animal", "red + heart", "water:2 + animal", "red + circle - face", "something to eat in summer")


def make_server(engine: Engine, host: str = "127.0.0.1", port: int = 8866) -> ThreadingHTTPServer:
    """A server of the page, listening; `serve_forever()` runs it. Port 0 takes a free one, see `server_port`.

    Raises OSError where the port is taken.
    """
    return _Server((host, port), engine)


def answer(engine: Engine, query: str, k: int, split: str = "") -> dict:
    """What the page shows for a query: {"terms": ..., "hits": ...}; at most k pictures, of one split or (empty) of all.

    Raises ValueError (QueryError for the query) with a message for the person who typed.
    """
    terms = parse(query)
    among = engine.corpus.split == split if split else None
    if among is not None and not among.any():
        raise ValueError(f"there are no pictures of the split {split!r}")
    named = {term.text for term in terms if term.picture}
    there = len(engine.corpus) if among is None else int(among.sum())
    if not 1 <= k <= 1000:
        raise ValueError(f"the number of results must be from 1 to 1000, not {k}")
    hits = engine.search(terms, max(1, min(k, there - len(named))), among)
    return {"terms": [_term(engine, term) for term in terms], "hits": [_hit(hit) for hit in hits]}


def _term(engine: Engine, term: Term) -> dict:
    if not term.picture:
        return {"name": term.text, "weight": term.weight, "row": None}
    row = engine.index.row(term.text)
    return {"name": engine.hit(row, 1.0).name, "weight": term.weight, "row": row}


def _hit(hit: Hit) -> dict:
    term = str(Term(hit.id, picture=True)).removeprefix("+ ")  # as it is typed
    return {"row": hit.row, "name": hit.name, "split": hit.split, "score": hit.score, "term": term}


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self) -> None:
        url, engine = urlsplit(self.path), self.server.engine
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/":
            self._send(PAGE.read_bytes(), "text/html; charset=utf-8")
        elif url.path == "/about":
            splits = [name for name in ("train", "val", "test", "web") if (engine.corpus.split == name).any()]
            self._json({"splits": splits, "examples": EXAMPLES, "attribution": engine.corpus.attribution})
        elif url.path == "/search":
            try:
                with self.server.one_at_a_time:
                    self._json(answer(engine, asked.get("q", ""), int(asked.get("k", 18)), asked.get("split", "")))
            except ValueError as error:
                self._json({"error": str(error)})
        elif url.path.startswith("/picture/") and (row := url.path.removeprefix("/picture/")).isdecimal():
            if int(row) >= len(engine.corpus):
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            image, stored = engine.corpus.images[int(row)], io.BytesIO()
            image.thumbnail((SIDE, SIDE))
            image.save(stored, "jpeg", quality=90)
            self._send(stored.getvalue(), "image/jpeg", "max-age=3600")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _json(self, content: dict) -> None:
        self._send(json.dumps(content).encode(), "application/json")

    def _send(self, body: bytes, kind: str, caching: str = "no-store") -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", caching)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Say nothing about each request."""


class _Server(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], engine: Engine):
        self.engine, self.one_at_a_time = engine, threading.Lock()
        super().__init__(address, _Handler)
