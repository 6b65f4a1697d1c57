"""The server of the search page: who is answered, who is refused and why, and that nobody stops anybody."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from lib.search import Engine
from lib.search import server as serving
from lib.search.__main__ import main
from lib.search.server import Server, known_hosts, listen
from tests.search_engine import COLOURS, colour_engine, save_space


@contextmanager
def served(engine, hosts=serving.LOCAL) -> Iterator[int]:
    """The port of a running server."""
    server = Server(engine, listen("127.0.0.1", 0), hosts)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def engine():
    return colour_engine()


@pytest.fixture(scope="module")
def port(engine):
    with served(engine) as port:
        yield port


def ask(port: int, path: str, method: str = "GET", body=None, **headers):
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def reason(body: bytes) -> str:
    return json.loads(body)["error"]


def test_the_page_its_answers_and_its_pictures(port):
    status, headers, body = ask(port, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"Search pictures" in body
    found = json.loads(ask(port, "/search?q=red&k=2")[2])
    assert found["hits"][0]["name"] == "red"
    status, headers, body = ask(port, "/picture/0")
    assert (status, headers["Content-Type"], body[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert ask(port, "/picture/0", If_None_Match=headers["ETag"])[0] == 304


@pytest.mark.parametrize("path", ["/", "/about", "/search?q=red", "/picture/1"])
def test_head_is_get_without_the_body(port, path):
    status, headers, body = ask(port, path, "HEAD")
    assert (status, body) == (200, b"")
    assert headers["Content-Length"] == str(len(ask(port, path)[2]))


@pytest.mark.parametrize("path", ["/", "/search?q=red", "/search?q=", "/picture/0", "/picture/99", "/etc"])
def test_every_answer_says_what_a_browser_may_do_with_it(port, path):
    headers = ask(port, path)[1]
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Server" not in headers
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "localhost:8866", "[::1]:8866"])
def test_this_machine_is_answered_under_its_own_names(port, host):
    assert ask(port, "/about", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8866", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]"],
)
def test_another_name_is_refused_wherever_it_resolves_to(port, host):
    for path in ("/", "/about", "/search?q=red", "/picture/0", "/nothing"):
        status, _, body = ask(port, path, Host=host)
        assert status == 403
        assert "this server is not called" in reason(body)


def test_a_request_without_a_name_is_refused(port):
    for request in (b"GET /about HTTP/1.0\r\n\r\n", b"GET /about HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(request)
            assert b" 200 " not in connection.recv(65536).split(b"\r\n")[0]


def test_the_names_of_a_machine_that_serves_the_room():
    assert known_hosts("127.0.0.1") == {"localhost", "127.0.0.1", "[::1]"}
    assert known_hosts("Teachers-PC") == {"localhost", "127.0.0.1", "[::1]", "teachers-pc"}
    assert known_hosts("fe80::1") == {"localhost", "127.0.0.1", "[::1]", "[fe80::1]"}
    everywhere = known_hosts("0.0.0.0")
    assert socket.gethostname().lower() in everywhere
    assert len(everywhere) >= 5
    assert "evil.example" not in everywhere


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO"])
def test_other_methods_are_refused(port, method):
    status, _, body = ask(port, "/search?q=red", method)
    assert status in (405, 413)
    assert reason(body)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /search?q=" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: x\r\n" * 5000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 900_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000000\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_what_is_too_large_or_no_request_gets_a_clear_answer(port, request_, status):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request_)
        assert connection.recv(65536).split()[1] == str(status).encode()
    assert ask(port, "/about")[0] == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("q=", "the query is empty"),
        ("q=" + "x" * 1001, "a query has at most 1,000 characters, this one has 1,001"),
        ("q=" + "%2B".join("x" * 33), "a query has at most 32 concepts, this one has 33"),
        ("q=red&k=0", "from 1 to 1000, not 0"),
        ("q=red&k=x", "the number of results is no number: 'x'"),
        ("q=red&k=" + "9" * 5000, "no number"),
        ("q=red&split=x", "no pictures of the split 'x'"),
        ("q=@nobody", "no such picture"),
        ("q=red-red", "cancel"),
    ],
)
def test_a_query_that_cannot_be_answered_is_told_why(port, query, message):
    status, _, body = ask(port, f"/search?{query.replace('red-red', 'red%20-%20red')}")
    assert status == 200
    assert message in reason(body)


@pytest.mark.parametrize("row", ["8", "999999999", "-1", "1e3", "..%2f", "9" * 50, "%D9%A3"])
def test_a_picture_that_is_not_there(port, row):
    status, _, body = ask(port, f"/picture/{row}")
    assert status == 404
    assert reason(body)


class Damaged(list):
    """Pictures of which each raises something else."""

    def __getitem__(self, row):
        errors = [OSError("cannot identify image file '/some/folder/cat.jpg'"), ValueError("bad"), MemoryError()]
        if row < len(errors):
            raise errors[row]
        return super().__getitem__(row)


def test_a_damaged_picture_is_a_404_with_the_reason_and_no_folder():
    engine = colour_engine()
    damaged = Damaged([Image.new("RGB", (8, 8))] * len(COLOURS))
    object.__setattr__(engine.corpus, "images", damaged)
    with served(engine) as port:
        status, _, body = ask(port, "/picture/0")
        assert status == 404
        assert reason(body) == "picture 0 cannot be shown: cannot identify image file 'cat.jpg'"
        assert ask(port, "/picture/1")[0] == ask(port, "/picture/2")[0] == 404
        assert ask(port, "/picture/3")[0] == 200


def test_a_connection_is_kept_and_used_again(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/search?q=red")
        assert connection.getresponse().read()
        first = connection.sock
        assert first is not None
    connection.close()


@contextmanager
def connections(port: int, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Connections that sent the same bytes and read nothing."""
    opened = []
    try:
        for _ in range(count):
            opened.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            opened[-1].sendall(sent)
        yield opened
    finally:
        for one in opened:
            one.close()


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: loc", b"GET /search?q=red HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50]
)
def test_who_is_silent_or_does_not_read_stops_nobody(port, sent):
    with connections(port, 150, sent):
        started = time.monotonic()
        assert ask(port, "/search?q=blue")[0] == 200
        assert ask(port, "/picture/2")[0] == 200
        assert time.monotonic() - started < 5


def test_half_a_request_is_given_up(engine, monkeypatch):
    monkeypatch.setattr(serving, "SILENT", 0.3)
    with served(engine) as port, connections(port, 3, b"GET / HT") as opened:
        assert all(one.recv(100) == b"" for one in opened)  # closed by the server


def test_who_does_not_read_a_long_answer_is_let_go(engine, monkeypatch):
    monkeypatch.setattr(serving, "SILENT", 0.3)
    server = Server(engine, listen("127.0.0.1", 0))
    server.page = b"x" * 50_000_000  # more than the buffers of both sides
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with connections(server.port, 1, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as (one,):
        assert one.recv(1)
        time.sleep(1)  # longer than the server waits
        got = 0
        with contextlib.suppress(ConnectionError):  # how the system tells of an answer that was cut
            while chunk := one.recv(1 << 20):
                got += len(chunk)
        assert got < 50_000_000
    server.shutdown()
    thread.join(10)


def test_equal_searches_are_encoded_once():
    engine = colour_engine()
    with served(engine) as port:
        visitors = [threading.Thread(target=ask, args=(port, "/search?q=sky+%2B+sea")) for _ in range(20)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
    assert engine.encoded == 2


def test_a_failing_encoder_is_an_error_of_that_search_only(monkeypatch):
    engine = colour_engine()
    with served(engine) as port:
        monkeypatch.setattr(engine, "encode", lambda texts: 1 / 0)
        assert ask(port, "/search?q=red")[0] == 500
        monkeypatch.undo()
        assert ask(port, "/search?q=red")[0] == 200


def test_a_taken_port_is_said_before_the_preparation(monkeypatch, capsys):
    monkeypatch.setattr("lib.search.__main__.load", lambda *_: pytest.fail("the corpus was read first"))
    (taken,) = listen("127.0.0.1", 0)
    with taken:
        assert main(["--port", str(taken.getsockname()[1]), "--no-browser"]) == 1
    assert "cannot listen at 127.0.0.1" in capsys.readouterr().err
    assert main(["--port", "99999999", "--no-browser"]) == 1
    assert main(["--host", "no.such.host.invalid", "--no-browser"]) == 1


@pytest.mark.parametrize("name", ["space.pt", "index.json", "vectors.faiss"])
def test_a_damaged_cache_is_said_removed_and_made_anew(tmp_path, monkeypatch, name):
    engine = colour_engine()
    learned = []

    def learn(corpus, folder, device, say):
        learned.append(folder)
        save_space(engine, folder)

    monkeypatch.setenv("LIB_CACHE", str(tmp_path))
    monkeypatch.setattr("lib.search.engine._learn", learn)
    Engine.of(engine.corpus, "cpu")
    Engine.of(engine.corpus, "cpu")
    assert len(learned) == 1
    path = learned[0] / name
    content = bytearray(path.read_bytes())
    for place in range(0, len(content), max(1, len(content) // 20)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        said = []
        found = Engine.of(engine.corpus, "cpu", say=said.append)
        assert f"{learned[0]} is removed and made anew" in said[0]
        assert np.array_equal(found.index.vector("red"), engine.index.vector("red"))


def test_other_pictures_are_another_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIB_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr("lib.search.engine._read", lambda folder, corpus, say: asked.append(folder))
    monkeypatch.setattr("lib.search.engine._learn", lambda *_: None)
    for colour in ("red", "blue"):
        with pytest.raises(OSError, match="is the disk sound"):
            Engine.of(colour_engine([Image.new("RGB", (8, 8), colour)] * len(COLOURS)).corpus, "cpu")
    assert asked[0] == asked[1] != asked[2]
