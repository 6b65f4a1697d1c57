"""What img2dataset may fetch: in a process of its own, as the guard changes sockets, against servers that misbehave."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lib.base.files import ROOT
from lib.data.obtain import guard

INSIDE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0",
    "fc00::1", "ff02::1", "2001:db8::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1",
    "64:ff9b::a00:1", "2001:0:7f00:1::",
]  # fmt: skip
OUTSIDE = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside(address):
    assert not guard.is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_addresses_outside(address):
    assert guard.is_public(address)


class Handler(BaseHTTPRequestHandler):
    """The path says how to misbehave."""

    def do_GET(self):
        self.server.asked.append(self.path)
        kind = self.path.split("/")[1]
        getattr(self, kind)()

    def log_message(self, *_):
        """Says nothing."""

    def reply(self, content=b"picture", status=200, **headers):
        self.send_response(status)
        headers = {"Content-Length": str(len(content)), **{k.replace("_", "-"): v for k, v in headers.items()}}
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def good(self):
        self.reply()

    def busy_once(self):
        if self.server.asked.count(self.path) == 1:
            self.reply(b"", 429, Retry_After="1")
        else:
            self.reply()

    def always_busy(self):
        self.reply(b"", 503)

    def two_hours(self):
        self.reply(b"", 429, Retry_After="7200")

    def announces(self):
        self.reply(b"", Content_Length="30000000")

    def endless(self):
        self.reply(b"", Content_Length=None)
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            self.server.cut.set()

    def lies(self):
        self.reply(Content_Length="100")

    def drips(self):
        self.reply(b"", Content_Length="1000")
        self.drip()

    def drips_headers(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self.drip()

    def drip(self):
        try:
            while not self.server.released.wait(0.05):
                self.wfile.write(b"x")
        except OSError:
            self.server.cut.set()

    def drops(self):
        self.close_connection = True

    def silent(self):
        self.server.released.wait(30)

    def inside(self):
        self.reply(b"", 302, Location="http://127.0.0.2:1/secret")

    def to_file(self):
        self.reply(b"", 302, Location="file:///etc/passwd")

    def to_ftp(self):
        self.reply(b"", 302, Location="ftp://127.0.0.1/x")

    def around(self):
        self.reply(b"", 302, Location=self.path)

    def floods(self):
        self.send_response(200)
        for number in range(1000):
            self.send_header(f"X-{number}", "x" * 100)
        self.end_headers()


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.asked, server.released, server.cut = [], threading.Event(), threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


SCRIPT = """
import json, socket, sys, time, urllib.request
sys.path.insert(0, {folder!r})
import guard
{before}
guard.SECONDS = {seconds}
guard.install(allow_private={allow})
started = time.monotonic()
try:
    with urllib.request.urlopen(urllib.request.Request({url!r}), timeout={timeout}) as reply:
        said = ["read", reply.read().decode()]
except Exception as error:
    said = [type(error).__name__, str(error)]
print(json.dumps([*said, time.monotonic() - started]))
"""


def fetch(url, allow=True, before="", seconds=1.0, timeout=0.5):
    """What the guarded urlopen of a fresh process says: [kind, text], and how long it took."""
    folder = str(Path(guard.__file__).parent)
    code = SCRIPT.format(folder=folder, url=url, allow=allow, before=before, seconds=seconds, timeout=timeout)
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    kind, text, taken = json.loads(done.stdout)
    return kind, text, taken


@pytest.mark.parametrize(
    ("behaviour", "kind", "message"),
    [
        ("good", "read", "picture"),
        ("busy_once", "read", "picture"),
        ("always_busy", "HTTPError", "HTTP Error 503"),
        ("two_hours", "HTTPError", "HTTP Error 429"),
        ("announces", "Refused", "refused by this program: 30,000,000 bytes were announced"),
        ("endless", "Refused", "refused by this program: more than 20,971,520 bytes"),
        ("lies", "IncompleteRead", "93 more expected"),
        ("drips", "TimeoutError", "timed out: not here after 2 seconds"),
        ("drips_headers", "TimeoutError", "timed out: not here after 2 seconds"),
        ("drops", "RemoteDisconnected", ""),
        ("silent", "TimeoutError", "timed out"),
        ("to_file", "HTTPError", "Redirection to url 'file:///etc/passwd' is not allowed"),
        ("to_ftp", "URLError", "unknown url type: ftp"),
        ("around", "HTTPError", "infinite loop"),
        ("floods", "HTTPException", "got more than 100 headers"),
    ],
)
def test_every_picture_ends_within_its_time_with_a_reason(server, behaviour, kind, message):
    url = f"http://127.0.0.1:{server.server_port}/{behaviour}/1.jpg"
    said, text, taken = fetch(url, seconds=2.0)
    assert (said, message in text) == (kind, True), text
    assert taken < 6
    if behaviour in ("endless", "drips", "drips_headers"):
        assert server.cut.wait(5)  # the connection is gone, not only forgotten


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "0"])
def test_this_machine_is_refused_under_any_name(server, host):
    said, text, _ = fetch(f"http://{host}:{server.server_port}/good", allow=False)
    assert said == "URLError"
    assert guard.REFUSED in text
    assert server.asked == []


PRETEND = "public = guard.is_public\nguard.is_public = lambda a: a == '127.0.0.1' or public(a)"


def test_a_redirect_inside_is_refused(server):
    """The test server passes for a public one; what it leads to does not."""
    said, text, _ = fetch(f"http://127.0.0.1:{server.server_port}/inside", allow=False, before=PRETEND)
    assert said == "URLError"
    assert f"{guard.REFUSED}: 127.0.0.2 is no address of the public internet" in text
    assert server.asked == ["/inside"]


def test_a_name_that_resolves_to_something_else_the_second_time_is_refused(server):
    rebinding = (
        "answers = iter(['8.8.8.8', '127.0.0.1'])\n"
        "found = lambda port: [(socket.AF_INET, socket.SOCK_STREAM, 6, '', (next(answers), port))]\n"
        "resolve = lambda host, port, *rest, **more: found(port)\n"
        "socket.getaddrinfo = resolve\n"
        "resolve('rebinding.example', 80)"  # somebody checks the name, and sees a public address
    )
    said, text, _ = fetch(f"http://rebinding.example:{server.server_port}/good", allow=False, before=rebinding)
    assert said == "URLError"
    assert guard.REFUSED in text
    assert server.asked == []


def test_the_guard_is_in_every_process_or_there_is_none(tmp_path):
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    source = Path(guard.__file__).read_text(encoding="utf-8")
    for text, status, message in (
        (source, 1, guard.REFUSED),
        (source.replace("install(os", "missing(os"), 86, "missing"),
    ):
        (tmp_path / "sitecustomize.py").write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": str(tmp_path), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=ROOT.anchor,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status
        assert message in done.stderr


def test_waiting_times():
    assert guard.asked_to_wait("7") == 7
    assert guard.asked_to_wait("soon") == guard.asked_to_wait("") == 0
    assert guard.asked_to_wait("Fri, 31 Dec 2100 23:59:59 GMT") > 1e6
