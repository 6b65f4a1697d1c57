"""A list of addresses becomes a corpus: real img2dataset against a server of our own that also misbehaves."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.data import load
from lib.data.__main__ import main
from lib.data.obtain.addresses import Listed, read_list
from lib.data.obtain.assemble import FAILED, OUTCOMES, assemble
from tests.picture_files import jpeg, write

PAGE = b"<!DOCTYPE html><html><body>not here any more</body></html>"


class Handler(BaseHTTPRequestHandler):
    """Answers by the beginning of the name that is asked for; notes what was asked and by whom."""

    def do_GET(self):
        kind = self.path.strip("/").split("-")[0]
        self.server.asked.append((self.path, self.headers["User-Agent"]))
        if kind == "slow":
            self.server.released.wait(30)
            return  # closes the connection
        if kind == "missing":
            return self.send_error(404)
        if kind == "forbidden":
            return self.send_error(403)
        content = PAGE if kind == "page" else b"" if kind == "empty" else jpeg(int(self.path[-5]), (600, 400))
        self.send_response(200)
        if kind == "optout":
            self.send_header("X-Robots-Tag", self.path.split("-")[1])
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(content) + 1000 * (kind == "broken")))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.released = [], threading.Event()
        server.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


KINDS = {
    "good-0.jpg": "good",
    "good-1.jpg": "good",
    "good-2.jpg": "good",
    "missing-0.jpg": "missing",
    "slow-0.jpg": "too slow",
    "optout-noai-0.jpg": "opted out",
    "optout-noimageai-0.jpg": "opted out",
    "optout-all-3.jpg": "good",
    "page-0.jpg": "undecodable",
    "empty-0.jpg": "undecodable",
    "forbidden-0.jpg": "unreachable",
    "broken-0.jpg": "unreachable",
}


@pytest.mark.slow
def test_a_list_becomes_a_corpus_and_every_failure_is_told(server, tmp_path, capsys):
    rows = [f'"{i}, a ""{name}""",{server.address}/{name},sun;sea' for i, name in enumerate(KINDS)]
    rows += [f"again,{server.address}/good-0.jpg,sky", "local,file:///etc/hosts,x", "none,,x"]
    urls = write(tmp_path, {"urls.csv": "caption,url,words\n" + "\n".join(rows).replace(";", " ")}) / "urls.csv"
    out = tmp_path / "out"
    command = ["assemble", str(urls), "--out", str(out), "--tags", "words", "--size", "256", "--timeout", "2"]
    command += ["--allow-private"]
    assert main(command) == 0

    table = capsys.readouterr().out
    counts = Counter(KINDS.values()) + Counter({"no address": 2})
    shown = {
        line[:12].strip(): int(line[12:].split()[0]) for line in table.splitlines() if line[:12].strip() in OUTCOMES
    }
    assert shown == counts
    assert f'load("webdataset", root="{out}")' in table

    failed = [json.loads(line) for line in (out / FAILED).read_text(encoding="utf-8").splitlines()]
    why = {row["url"].rpartition("/")[2]: row["why"] for row in failed}
    assert why == {name: kind for name, kind in KINDS.items() if kind != "good"} | {
        "hosts": "no address",
        "": "no address",
    }
    assert {"HTTP Error 404: Not Found"} == {row["message"] for row in failed if row["why"] == "missing"}

    corpus = load("webdataset", out)
    assert corpus.problems == ()
    assert sorted(corpus.captions) == [
        ['0, a "good-0.jpg"', "again"], ['1, a "good-1.jpg"'], ['2, a "good-2.jpg"'], ['7, a "optout-all-3.jpg"']
    ]  # fmt: skip
    assert corpus.tags[corpus.captions.index(['0, a "good-0.jpg"', "again"])] == ["sun", "sea", "sky"]
    assert {image.size for image in corpus.images} == {(384, 256)}
    assert all("img2dataset" in agent for _, agent in server.asked)

    # A second call asks for nothing; another list is not mixed in; what failed is a list again.
    asked = len(server.asked)
    assert main(command) == 0
    assert len(server.asked) == asked
    assert table.endswith(capsys.readouterr().out)
    assert main([*command[:4], "--tags", "words", "--size", "128"]) == 1
    assert "was begun with another list or size" in capsys.readouterr().err
    listed, _ = read_list(out / FAILED)
    assert listed[f"{server.address}/missing-0.jpg"] == Listed(['3, a "missing-0.jpg"'], ["sun", "sea"])


@pytest.mark.slow
def test_a_strangers_list_fetches_nothing_from_inside(server, tmp_path, capsys):
    urls = write(tmp_path, {"u.txt": f"{server.address}/good-0.jpg a\nhttp://169.254.169.254/latest/1.jpg b"}) / "u.txt"
    assert main(["assemble", str(urls), "--out", str(tmp_path / "out")]) == 1
    table = capsys.readouterr().out
    assert "refused               2  100.0%  an address inside a network, or more than 20 MB" in table
    assert server.asked == []


def test_a_proxy_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    with pytest.raises(ValueError, match=r"a proxy is set \(http\).*--allow-private"):
        assemble(write(tmp_path, {"u.txt": "http://a.org/1 x"}) / "u.txt", tmp_path / "out")


@pytest.mark.slow
def test_an_interrupted_run_goes_on(server, tmp_path, monkeypatch):
    monkeypatch.setattr("lib.data.obtain.assemble.SHARD", 2)
    urls = (
        write(tmp_path, {"u.txt": "\n".join(f"{server.address}/good-{i}.jpg picture {i}" for i in range(6))}) / "u.txt"
    )
    out = tmp_path / "out"
    assert assemble(urls, out, allow_private=True) == {"good": 6}
    whole = load("webdataset", out).fingerprint()
    (out / "00001_stats.json").unlink()
    (out / "00001.tar").write_bytes((out / "00001.tar").read_bytes()[:700])
    del server.asked[:]
    assert assemble(urls, out, allow_private=True) == {"good": 6}
    assert sorted(path for path, _ in server.asked) == ["/good-2.jpg", "/good-3.jpg"]
    assert load("webdataset", out).fingerprint() == whole


# ------------------------------------------------------------------------------------------------------------ the list
CELLS = {"http://a.org/1.jpg": Listed(["one"], ["x", "y z"]), "https://b.org/%C3%BC.png": Listed(["zwei", "deux"], [])}


def lists():
    """The same two pictures in every form of a list."""
    yield (
        "a.csv",
        'url,caption,tags\nhttp://a.org/1.jpg,one,"x, y z"\nhttps://b.org/ü.png,zwei,\nhttps://b.org/ü.png,deux,\n',
    )
    yield (
        "a.tsv",
        "url\tcaption\ttags\nhttp://a.org/1.jpg\tone\tx,y z\nhttps://b.org/ü.png\tzwei\nhttps://b.org/ü.png\tdeux\n",
    )
    rows = [{"url": url, "captions": texts.captions, "tags": texts.tags} for url, texts in CELLS.items()]
    yield "a.jsonl", "\n\n".join(map(json.dumps, rows))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    yield "a.parquet", sink.getvalue().to_pybytes()


@pytest.mark.parametrize(("name", "content"), list(lists()), ids=["csv", "tsv", "jsonl", "parquet"])
def test_every_form_of_a_list_is_read(tmp_path, name, content):
    assert read_list(write(tmp_path, {name: content}) / name) == (CELLS, [])


def test_lists_without_a_header_and_damaged_ones(tmp_path):
    write(
        tmp_path,
        {
            "cc3m.tsv": 'a "quoted caption\thttp://a.org/1\nanother\thttp://a.org/2\n',
            "plain.txt": b"http://a.org/1  caf\xe9 au lait\n\nnothing\nhttp://a.org/2\n",
            "damaged.jsonl": '{"url": "http://a.org/1", "text": "x"}\n{broken\n[1]\n{"url": "ftp://a.org/2"}\n',
            "none.txt": "nothing\n",
            "list.xlsx": "",
            "other.csv": "link,words\nhttp://a.org/1,x\n",
        },
    )
    assert read_list(tmp_path / "cc3m.tsv", ["1"])[0] == {
        "http://a.org/1": Listed(['a "quoted caption'], []),
        "http://a.org/2": Listed(["another"], []),
    }
    listed, unusable = read_list(tmp_path / "plain.txt")
    assert listed == {"http://a.org/1": Listed(["café au lait"], []), "http://a.org/2": Listed([], [])}
    assert [row.message for row in unusable] == ["row 3 has no http address"]
    listed, unusable = read_list(tmp_path / "damaged.jsonl", ["text"])
    assert listed == {"http://a.org/1": Listed(["x"], [])}
    assert [row.message for row in unusable] == [
        "row 2 cannot be read",
        "row 3 cannot be read",
        "row 4 has no http address",
    ]
    assert read_list(tmp_path / "other.csv", tags="words")[0] == {"http://a.org/1": Listed([], ["x"])}
    for name, columns, message in (
        ("none.txt", (), "no row with an http address"),
        ("list.xlsx", (), "a list of addresses ends in .csv, .tsv"),
        ("cc3m.tsv", (), "no column of captions or tags; it has: 1, 2"),
        ("other.csv", ["caption"], "no column of caption; it has: link, words"),
    ):
        with pytest.raises(ValueError, match=message):
            read_list(tmp_path / name, columns)


def test_folders_of_others_are_left_alone(tmp_path):
    write(tmp_path, {"u.txt": "http://a.org/1 x", "out/mine.txt": "x"})
    with pytest.raises(ValueError, match="out is not empty and was not begun by this command"):
        assemble(tmp_path / "u.txt", tmp_path / "out")


def test_what_cannot_be_installed_or_run_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("lib.data.obtain.assemble.REQUIREMENTS", ("no-such-package==0; broken",))
    write(tmp_path, {"u.txt": "http://a.org/1 x"})
    command = ["assemble", str(tmp_path / "u.txt"), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    told = capsys.readouterr()
    assert "installing img2dataset" in told.out
    assert "no-such-package" in told.err
    assert not list((tmp_path / "cache").rglob(".ready"))  # half an environment is not taken for a whole one
