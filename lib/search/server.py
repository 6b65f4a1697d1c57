"""Serves the search page to a class: one HTML file, answers as JSON, pictures. One process, by Tornado.

Tornado comes with JupyterLab; its loop holds thousands of connections, where a thread for each would not. Nothing that
takes long runs in the loop: one thread answers the queries that wait, all their texts encoded in one batch, and others
open pictures.
"""

import asyncio
import base64
import hashlib
import logging
import re
import socket
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, stream_request_body

from lib.search.answers import Pictures, Searches
from lib.search.engine import Engine

PAGE = Path(__file__).with_name("page.html")
EXAMPLES = ("wild animal", "red + heart", "water:2 + animal", "red + circle - face", "something to eat in summer")
ADDRESS, HEADERS = 8192, 16384  # bytes of a request's address and of all its headers that are read
REFUSED_AT = 1 << 20  # bytes of headers from which on a connection is closed without an answer
SILENT = 20.0  # seconds without a request, with half of one, or without reading an answer
BACKLOG = 1024  # connections that may wait to be accepted; a class opens six for each visitor
LOCAL = ("localhost", "127.0.0.1", "[::1]")  # what this machine calls itself; no foreign name can be one of them
EVERYWHERE = ("", "0.0.0.0", "::")

# Seconds after which a thread that computes is asked to let another one go on. Searches give up their turn many times,
# to faiss and numpy, and would wait Python's 5 ms each time behind a loop that is busy with a class.
SWITCH = 0.0002

log = logging.getLogger(__name__)


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen at an address; port 0 takes a free one.

    Raises OSError where it is taken or not this machine's, ValueError for a port that is none.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"ports go from 0 to 65535, not {port}")
    return bind_sockets(port, host or None, backlog=BACKLOG)


def known_hosts(host: str) -> set[str]:
    """The names and addresses under which a server at `host` is asked for rightly, as a browser writes them."""
    names = {*LOCAL, host}
    if host in EVERYWHERE:
        import psutil

        names |= {socket.gethostname(), socket.getfqdn(), f"{socket.gethostname()}.local"}
        names |= {address.address.partition("%")[0] for of in psutil.net_if_addrs().values() for address in of}
    return {f"[{name}]" if ":" in name and name[0] != "[" else name for name in map(str.lower, names - {""})}


class Server:
    """The page at sockets that listen; `serve_forever` runs it until `shutdown` (from any thread) or Control-C."""

    def __init__(self, engine: Engine, sockets: Sequence[socket.socket], hosts: Iterable[str] = LOCAL):
        """hosts: the names that a request may ask for, see `known_hosts`; any other is refused.

        A page of elsewhere could else have its own name resolve to this machine, and read what it serves.
        """
        self.sockets, self.hosts = list(sockets), frozenset(hosts)
        self.port: int = self.sockets[0].getsockname()[1]
        self.searches, self.pictures = Searches(engine), Pictures(engine)
        self.about = {
            "splits": [name for name in ("train", "val", "test", "web") if (engine.corpus.split == name).any()],
            "examples": EXAMPLES,
            "attribution": engine.corpus.attribution,
        }
        self.page = PAGE.read_bytes()
        self.policy = _content_policy(self.page.decode())
        self._loop: asyncio.AbstractEventLoop | None = None

    def serve_forever(self) -> None:
        """Answer requests until `shutdown` is called."""
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        try:
            asyncio.run(self._serve())
        finally:
            sys.setswitchinterval(before)

    def shutdown(self) -> None:
        """End `serve_forever`, and close the sockets."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ended.set)

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        routes = [(r"/", _Page), (r"/about", _About), (r"/search", _Search), (r"/picture/(\d{1,9})", _Picture)]
        # The access log would say every request; what went wrong is said by the handlers.
        application = Application(
            routes, default_handler_class=_Nothing, log_function=lambda handler: None, server=self
        )
        http = HTTPServer(
            application,
            max_header_size=REFUSED_AT,
            max_body_size=REFUSED_AT,
            idle_connection_timeout=SILENT,
            body_timeout=SILENT,
        )
        http.add_sockets(self.sockets)
        await self._ended.wait()
        http.stop()
        await http.close_all_connections()


def _content_policy(page: str) -> str:
    """What the page may do: run its own script and style, told by their hashes, and ask this server."""
    allowed = {}
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        allowed[tag] = f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    return (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@stream_request_body  # so that a request with a body is answered before the body is there
class _Handler(RequestHandler):
    server: Server

    def initialize(self) -> None:
        self.server = self.settings["server"]

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        headers = {
            "Content-Security-Policy": self.settings["server"].policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        for name, value in headers.items():
            self.set_header(name, value)

    async def prepare(self) -> None:
        """Refuse what is too large or meant for another server, before anything is done for it."""
        request = self.request
        if len(request.uri or "") > ADDRESS:
            await self.refuse(414, f"the address has more than {ADDRESS:,} characters")
        elif sum(len(name) + len(value) + 4 for name, value in request.headers.get_all()) > HEADERS:
            await self.refuse(431, f"the headers have more than {HEADERS:,} bytes")
        elif "Host" not in request.headers or request.host_name not in self.server.hosts:
            called, names = request.headers.get("Host", "")[:80], ", ".join(sorted(self.server.hosts))
            await self.refuse(403, f"this server is not called {called!r}, but {names}")
        elif request.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in request.headers:
            await self.refuse(413, "nothing may be sent here")

    def data_received(self, chunk: bytes) -> None:
        """Throw away what nobody asked for."""

    async def refuse(self, status: int, reason: str) -> None:
        """Answer with an error and its reason as JSON."""
        self.set_status(status)
        await self.reply({"error": reason})

    async def reply(self, content: Any, kind: str = "application/json", caching: str = "no-store") -> None:
        """Send an answer; who does not read it in time, or left, is let go."""
        stream: Any = getattr(self.request.connection, "stream", None)
        if not isinstance(content, dict):
            self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", caching)
        try:
            sent = self.finish(content)
            if not sent.done():  # the system's buffer took not all of it
                await asyncio.wait_for(sent, SILENT)
            sent.result()
        except StreamClosedError:
            log.debug("a visitor left before the answer was there")
        except TimeoutError:
            if stream is not None:
                stream.close()

    def write_error(self, status_code: int, **_: Any) -> None:
        """What Tornado refuses, such as methods other than GET and HEAD, in the form of all errors."""
        self.finish({"error": self._reason})


class _Nothing(_Handler):
    async def get(self) -> None:
        await self.refuse(404, "there is nothing at this address")

    head = get


class _Page(_Handler):
    async def get(self) -> None:
        await self.reply(self.server.page, "text/html; charset=utf-8")

    head = get


class _About(_Handler):
    async def get(self) -> None:
        await self.reply(self.server.about)

    head = get


class _Search(_Handler):
    async def get(self) -> None:
        asked = self.get_query_argument("k", "18")
        try:
            if not re.fullmatch(r"-?[0-9]{1,9}", asked):
                raise ValueError(f"the number of results is no number: {asked[:40]!r}")
            query, split = self.get_query_argument("q", ""), self.get_query_argument("split", "")
            await self.reply(await self.server.searches.answer(query, int(asked), split))
        except ValueError as error:
            await self.reply({"error": str(error)})
        except OverflowError as error:
            self.set_header("Retry-After", "2")
            await self.refuse(503, str(error))

    head = get


class _Picture(_Handler):
    async def get(self, row: str) -> None:
        count = len(self.server.pictures.images)
        if int(row) >= count:
            return await self.refuse(404, f"there is no picture {int(row):,}; they go from 0 to {count - 1:,}")
        try:
            jpeg = await self.server.pictures.jpeg(int(row))
        except Exception as error:  # whatever a damaged file makes its decoder raise concerns this picture alone
            log.warning("picture %s cannot be shown: %s", row, error)
            why = re.sub(r"[^\s'\"]*[/\\]", "", str(error)) or type(error).__name__  # without this machine's folders
            return await self.refuse(404, f"picture {row} cannot be shown: {why}")
        # Asked for again each time, and answered "not modified": at the same address may be another corpus next time.
        await self.reply(jpeg, "image/jpeg", "no-cache")

    head = get
