"""Downloads against a server on this machine that is slow, breaks off, lies or has nothing."""

import hashlib
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lib.data.obtain.download import DownloadError, download, verify
from lib.data.obtain.registry import RemoteFile

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """The first part of the path says how to misbehave; `server.log` has the Range of each request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        behaviour = self.path.split("/")[1]
        self.server.log.append((behaviour, self.headers.get("Range"), self.headers.get("If-Range")))
        getattr(self, behaviour)()

    def log_message(self, *args):
        pass

    def reply(self, content, *, status=200, kind="application/zip", declared=None, headers=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) if declared is None else declared))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def reply_range(self, content, version='"v1"', limit=None):
        """Honours Range and If-Range; closes the connection after `limit` bytes."""
        asked, only_if = self.headers.get("Range"), self.headers.get("If-Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and only_if in (None, version) else 0
        if start >= len(content):
            return self.reply(b"", status=416, headers={"Content-Range": f"bytes */{len(content)}"})
        extent = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        rest = content[start:]
        self.close_connection = limit is not None
        status = 206 if start else 200
        return self.reply(rest[:limit], status=status, declared=len(rest), headers={"ETag": version, **extent})

    def good(self):
        self.reply_range(CONTENT)

    def missing(self):
        self.reply(b"no such thing", status=404)

    def breaks(self):
        self.reply_range(CONTENT, limit=400_000)

    def breaks_once(self):
        first = len(self.server.log) == 1
        self.reply_range(CONTENT, limit=400_000 if first else None)

    def dead(self):
        self.close_connection = True

    def changes(self):
        """Another version of the file at every request."""
        n = len(self.server.log)
        self.reply_range(bytes([n]) * len(CONTENT), version=f'"v{n}"', limit=400_000 if n == 1 else None)

    def forgetful(self):
        """No Range, no version: everything from the start."""
        self.reply(CONTENT)

    def confused(self):
        """Answers a Range with another one the first time it is asked."""
        if self.headers.get("Range") and len(self.server.log) == 1:
            self.reply(CONTENT, status=206, headers={"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"})
        else:
            self.good()

    def wrong(self):
        self.reply(b"x" * len(CONTENT))

    def short(self):
        self.reply(CONTENT[:1000])

    def page(self):
        self.reply(b"<!DOCTYPE html><html><head><title>Please  sign\nin</title></head></html>", kind="text/html")

    def page_in_disguise(self):
        self.reply(b"\n<html><body>Quota exceeded</body></html>")

    def busy_once(self):
        if len(self.server.log) == 1:
            self.reply(b"later", status=503)
        else:
            self.good()

    def stalls_once(self):
        if len(self.server.log) == 1:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.send_header("ETag", '"v1"')
            self.end_headers()
            self.wfile.write(CONTENT[:300_000])
            self.wfile.flush()
            self.server.release.wait(10)
            self.close_connection = True
        else:
            self.good()

    def trickle(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        for byte in b"slow!":
            time.sleep(0.05)
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def two_hours(self):
        self.reply(b"later", status=429, headers={"Retry-After": "7200"})

    def until_a_date(self):
        self.reply(b"later", status=503, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"})

    def a_second(self):
        if len(self.server.log) == 1:
            self.reply(b"later", status=429, headers={"Retry-After": "1"})
        else:
            self.good()

    def always_busy(self):
        self.reply(b"later", status=503)

    def no_ranges_and_breaks(self):
        """Everything from the start each time, and never the end; not even at the same place."""
        self.close_connection = True
        self.reply(CONTENT[: 400_000 + 1000 * (len(self.server.log) % 3)], declared=len(CONTENT))

    def endless(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(10_000):
            self.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

    def crawls(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not self.server.release.wait(0.05):
            self.wfile.write(b"x")
            self.wfile.flush()

    def wanders(self):
        """A redirect to itself, without an end."""
        self.reply(b"", status=302, headers={"Location": self.path})

    def astray(self):
        self.reply(b"", status=302, headers={"Location": "file:///etc/passwd"})

    def always_confused(self):
        """Answers every Range with another one, and everything else rightly."""
        if self.headers.get("Range"):
            self.reply(CONTENT, status=206, headers={"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"})
        else:
            self.good()

    def compressed(self):
        """Some servers declare a .gz file as an encoding of what is inside; the file is wanted as it is."""
        self.reply(CONTENT, headers={"Content-Encoding": "gzip"})


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # clients hang up on what they do not want
            super().handle_error(request, client_address)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("lib.data.obtain.download.PAUSE", 0)
    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.log, server.release = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetch(server, tmp_path):
    """Download from mirrors that behave as told; the target and what lies beside it."""

    def fetch(*behaviours, name="a.zip", sha256=SHA256, timeout=5.0, **fields):
        urls = tuple(f"http://127.0.0.1:{server.server_port}/{behaviour}/{name}" for behaviour in behaviours)
        file = RemoteFile(name=name, urls=urls, sha256=sha256, **fields)
        target = tmp_path / "raw" / name
        digest = download(file, target, timeout=timeout, progress=False)
        assert digest == hashlib.sha256(target.read_bytes()).hexdigest()
        return target

    fetch.folder = tmp_path / "raw"
    fetch.beside = lambda: sorted(path.name for path in fetch.folder.iterdir())
    return fetch


@pytest.mark.parametrize("behaviour", ["good", "busy_once", "forgetful", "compressed"])
def test_whole_file(fetch, behaviour):
    assert fetch(behaviour, bytes=len(CONTENT)).read_bytes() == CONTENT
    assert fetch.beside() == ["a.zip"]


def test_slow_but_steady_server_is_waited_for(fetch):
    assert fetch("trickle", sha256=None, timeout=0.5).read_bytes() == b"slow!"


@pytest.mark.parametrize(
    ("behaviour", "timeout", "there"),
    [("breaks_once", 5, 400_000), ("stalls_once", 0.3, 300_000)],
)
def test_broken_connection_is_taken_up_where_it_broke(fetch, server, behaviour, timeout, there):
    assert fetch(behaviour, timeout=timeout).read_bytes() == CONTENT
    assert server.log == [(behaviour, None, None), (behaviour, f"bytes={there}-", '"v1"')]


def test_interrupted_download_is_continued_by_the_next_call(fetch, server):
    step = 400_000
    with pytest.raises(DownloadError, match=r"a\.zip could not be downloaded"):
        fetch("dead")
    fetch.folder.joinpath("a.zip.part").write_bytes(CONTENT[:step])
    fetch("good")
    assert server.log[-1] == ("good", f"bytes={step}-", None)  # SHA-256 is known: a wrong beginning would be noticed
    assert fetch.folder.joinpath("a.zip").read_bytes() == CONTENT


def test_what_has_come_is_kept_when_the_server_gives_up(fetch, server):
    fetch.folder.mkdir()
    fetch.folder.joinpath("a.zip.part").write_bytes(CONTENT[:7])
    with pytest.raises(DownloadError, match=r"dead/a\.zip: .*5 attempts; the next call goes on after the 7 bytes"):
        fetch("dead")
    assert fetch.folder.joinpath("a.zip.part").read_bytes() == CONTENT[:7]


def test_many_breaks_are_no_failure_while_bytes_come(fetch, server, monkeypatch):
    monkeypatch.setattr("lib.data.obtain.download.ATTEMPTS", 2)
    assert fetch("breaks").read_bytes() == CONTENT
    assert [asked for _, asked, _ in server.log] == [None, "bytes=400000-", "bytes=800000-"]


def test_complete_part_is_only_verified(fetch, server):
    fetch.folder.mkdir()
    fetch.folder.joinpath("a.zip.part").write_bytes(CONTENT)
    assert fetch("good").read_bytes() == CONTENT
    assert [asked for _, asked, _ in server.log] == [f"bytes={len(CONTENT)}-"]


def test_too_long_part_is_thrown_away(fetch):
    fetch.folder.mkdir()
    fetch.folder.joinpath("a.zip.part").write_bytes(CONTENT + b"more")
    assert fetch("good").read_bytes() == CONTENT


def test_another_version_is_not_appended(fetch, server):
    """Without a SHA-256 only If-Range stands between two versions."""
    assert fetch("changes", sha256=None).read_bytes() == bytes([2]) * len(CONTENT)
    assert server.log[1][1:] == ("bytes=400000-", '"v1"')


def test_bytes_that_were_not_asked_for_are_not_appended(fetch, server):
    fetch.folder.mkdir()
    fetch.folder.joinpath("a.zip.part").write_bytes(CONTENT[:1000])
    assert fetch("confused").read_bytes() == CONTENT
    assert fetch.beside() == ["a.zip"]  # nothing was rejected
    assert [asked for _, asked, _ in server.log] == ["bytes=1000-", None]


def test_without_sha256_bytes_of_an_unknown_origin_are_not_used(fetch, server):
    fetch.folder.mkdir()
    fetch.folder.joinpath("a.zip.part").write_bytes(b"whatever")
    assert fetch("good", sha256=None).read_bytes() == CONTENT
    assert server.log == [("good", None, None)]


def test_wrong_beginning_is_noticed_and_fetched_again(fetch, server):
    fetch.folder.mkdir()
    fetch.folder.joinpath("a.zip.part").write_bytes(b"x" * 1000)
    assert fetch("good").read_bytes() == CONTENT
    assert [asked for _, asked, _ in server.log] == ["bytes=1000-", None]


def test_mirrors_are_tried_in_order_until_one_is_good(fetch, server):
    assert fetch("missing", "page", "wrong", "good").read_bytes() == CONTENT
    assert [behaviour for behaviour, *_ in server.log] == ["missing", "page", "wrong", "good"]


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("missing", "the server answers 404 Not Found"),
        ("page", "sent a web page ('Please sign in'), not the file; open the address in a browser"),
        ("page_in_disguise", "sent a web page, not the file"),
        ("short", "there it has 1,000 bytes, not the registered 1,048,576"),
        ("wrong", f"not the registered {SHA256}"),
    ],
)
def test_failures_say_which_mirror_and_why(fetch, behaviour, message):
    with pytest.raises(DownloadError) as caught:
        fetch(behaviour, bytes=len(CONTENT))
    assert "a.zip could not be downloaded" in str(caught.value)
    assert f"/{behaviour}/a.zip: " in str(caught.value)
    assert message in str(caught.value)
    assert not fetch.folder.joinpath("a.zip").exists()


def test_what_came_with_a_wrong_sha256_is_kept_for_a_look(fetch):
    with pytest.raises(DownloadError):
        fetch("wrong")
    assert fetch.folder.joinpath("a.zip.rejected").read_bytes() == b"x" * len(CONTENT)
    fetch("good")  # and is not in the way


def test_web_pages_are_welcome_where_they_are_wanted(fetch):
    assert fetch("page", name="a.html", sha256=None).read_bytes().startswith(b"<!DOCTYPE html>")


def test_no_server_at_all(tmp_path, server):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        port = other.server_port
    file = RemoteFile(name="a.zip", urls=(f"http://127.0.0.1:{port}/a.zip",))
    with pytest.raises(DownloadError, match=r"Connection refused.*5 attempts"):
        download(file, tmp_path / "a.zip", progress=False)


def test_full_disk_is_seen_before(fetch, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DownloadError, match=r"1,048,576 bytes are to come, .*raw has room for 1,000"):
        fetch("good")


def test_verify(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    assert verify(path, RemoteFile(name="a"), progress=False) == SHA256
    with pytest.raises(DownloadError, match="a has 1,048,576 bytes, not the registered 3"):
        verify(path, RemoteFile(name="a", bytes=3), progress=False)
    md5 = hashlib.md5(CONTENT).hexdigest()
    assert verify(path, RemoteFile(name="a", md5=md5), progress=False) == SHA256
    with pytest.raises(DownloadError, match=f"a has MD5 {md5}, not the registered {'0' * 32}"):
        verify(path, RemoteFile(name="a", md5="0" * 32), progress=False)


@pytest.mark.parametrize(
    ("behaviour", "message", "requests"),
    [
        ("two_hours", "the server answers 429 Too Many Requests and asks to come back in 7,200 s", 1),
        ("until_a_date", "the server answers 503 Service Unavailable and asks to come back in ", 1),
        ("always_busy", "the server answers 503 Service Unavailable (5 attempts)", 5),
        ("no_ranges_and_breaks", "5 attempts", None),
        ("endless", "more than the 1,048,576 bytes that the file should have came", 1),
        ("crawls", "the server sends only ", 1),
        ("wanders", "Exceeded 30 redirects", 31),
        ("astray", "No connection adapters were found", 1),
    ],
)
def test_a_server_that_never_gives_the_file_is_given_up(fetch, server, monkeypatch, behaviour, message, requests):
    monkeypatch.setattr("lib.data.obtain.download.WINDOW", 0.5)
    started = time.monotonic()
    size = len(CONTENT) if behaviour == "endless" else None
    with pytest.raises(DownloadError) as caught:
        fetch(behaviour, bytes=size)
    assert message in str(caught.value)
    assert time.monotonic() - started < 15
    assert len(server.log) == (requests or len(server.log))
    assert len(server.log) <= 31
    assert fetch(behaviour, "good", bytes=size).read_bytes() == CONTENT  # and the next mirror is tried


def test_a_short_wait_is_kept_and_shown(fetch, server, capsys, tmp_path):
    started = time.monotonic()
    file = RemoteFile(name="a.zip", urls=(f"http://127.0.0.1:{server.server_port}/a_second/a.zip",), sha256=SHA256)
    download(file, tmp_path / "a.zip")
    assert time.monotonic() - started >= 1
    assert "a.zip: the server answers 429 Too Many Requests; again in 1 s (1 of 5 attempts)" in capsys.readouterr().out


def test_an_endless_body_is_stopped_before_the_disk_is_full(fetch, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 50 << 20})())
    with pytest.raises(DownloadError, match="raw is all but full, and more are to come"):
        fetch("endless", sha256=None)


@pytest.mark.parametrize("note", ["", "{", "[]", "null", '{"url": 3}', "\0\0\0"])
def test_a_damaged_note_of_the_origin_is_none(fetch, server, note):
    fetch.folder.mkdir()
    fetch.folder.joinpath("a.zip.part").write_bytes(b"whatever")
    fetch.folder.joinpath("a.zip.part.json").write_text(note)
    assert fetch("good", sha256=None).read_bytes() == CONTENT


def test_a_wrong_range_leaves_the_bytes_to_the_next_mirror(fetch, server):
    fetch.folder.mkdir()
    fetch.folder.joinpath("a.zip.part").write_bytes(CONTENT[:1000])
    assert fetch("always_confused", "good").read_bytes() == CONTENT
    assert [(who, asked) for who, asked, _ in server.log] == [
        ("always_confused", "bytes=1000-"),
        ("good", "bytes=1000-"),
    ]


def test_a_wrong_range_of_the_only_mirror_is_not_asked_for_again(fetch, server):
    fetch.folder.mkdir()
    fetch.folder.joinpath("a.zip.part").write_bytes(CONTENT[:1000])
    assert fetch("always_confused").read_bytes() == CONTENT
    assert [asked for _, asked, _ in server.log] == ["bytes=1000-", None]
