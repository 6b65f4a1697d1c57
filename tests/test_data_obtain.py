"""`obtain`: what is downloaded, skipped, recognised and asked for, with a server on this machine."""

import hashlib
import io
import os
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lib.data.obtain.get import RECORD, NotObtained, obtain
from lib.data.obtain.registry import Entry, RemoteFile


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/") + ".jpg", content)
    return buffer.getvalue()


PHOTOS, MORE, TEXT = zipped(photos__1=b"one"), zipped(photos__2=b"two"), b"1.jpg\ta caption\n"


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    for name, content in (("photos.zip", PHOTOS), ("more.zip", MORE), ("text.tsv", TEXT)):
        (served / name).write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(served)))
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "raw" / "toy"


@pytest.fixture
def entry(server):
    """Makes an entry; `hand` names files that have no address, other arguments are fields of the entry."""

    def make(hand=(), digests=None, **fields):
        def file(name, content, **more):
            digest = (digests or {}).get(name, hashlib.sha256(content).hexdigest())
            urls = () if name in hand else (f"http://127.0.0.1:{server.server_port}/{name}",)
            return RemoteFile(name=name, urls=urls, bytes=len(content), sha256=digest, **more)

        files = (
            file("photos.zip", PHOTOS, unpack=True, gives=("photos/1.jpg",)),
            file("more.zip", MORE, unpack=True, gives=("photos/2.jpg",)),
            file("text.tsv", TEXT, folder="texts"),
        )
        layout = ("photos/*.jpg", "texts/text.tsv | text.tsv")
        known = {"title": "t", "source": "s", "size": "2", "licence": "CC0", "attribution": "us", "sha256": {}}
        return Entry(
            **{**known, "name": "toy", "obtain": "ask us", "form": False, "files": files, "layout": layout, **fields}
        )

    return make


def run(entry, root):
    said = []
    obtain(entry, root, progress=False, say=said.append)
    return said


def files_in(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and not p.name.startswith("."))


def test_everything_is_fetched_and_the_second_call_asks_for_nothing(entry, root, server):
    said = run(entry(), root)
    assert files_in(root) == ["more.zip", "photos.zip", "photos/1.jpg", "photos/2.jpg", "texts/text.tsv"]
    assert said[0] == "toy: photos.zip downloaded, verified, unpacked; it may be deleted"
    assert said[-1] == f"toy: all there in {root}"
    server.asked.clear()
    assert run(entry(), root)[0] == "toy: photos.zip is unpacked already"
    assert server.asked == []


def test_archives_may_be_deleted_afterwards(entry, root, server):
    run(entry(), root)
    (root / "photos.zip").unlink()
    server.asked.clear()
    run(entry(), root)
    assert server.asked == []


def test_lost_content_is_unpacked_again_from_the_archive(entry, root, server):
    run(entry(), root)
    (root / "photos" / "1.jpg").unlink()
    server.asked.clear()
    assert run(entry(), root)[0] == "toy: photos.zip was there, verified, unpacked; it may be deleted"
    assert (root / "photos" / "1.jpg").read_bytes() == b"one"
    assert server.asked == []


def test_interrupted_unpacking_is_not_taken_for_done(entry, root, monkeypatch):
    def killed(*args):
        (root / "photos").mkdir()
        (root / "photos" / "1.jpg").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lib.data.obtain.get.unpack", killed)
        with pytest.raises(KeyboardInterrupt):
            run(entry(), root)
    run(entry(), root)
    assert (root / "photos" / "1.jpg").read_bytes() == b"one"


def test_what_was_put_there_by_hand_is_recognised(entry, root, server):
    (root / "photos").mkdir(parents=True)
    (root / "photos" / "mine.jpg").write_bytes(b"x")
    (root / "text.tsv").write_bytes(b"x")
    assert run(entry(), root) == [f"toy: all there in {root}, put there by hand"]
    assert server.asked == []


def test_part_by_hand_and_the_rest_from_the_mirror(entry, root, server):
    (root / "photos").mkdir(parents=True)
    (root / "photos" / "1.jpg").write_bytes(b"unpacked by hand")
    (root / "more.zip").write_bytes(MORE)
    said = run(entry(), root)
    assert said[0] == "toy: photos.zip is unpacked already"
    assert said[1] == "toy: more.zip was there, verified, unpacked; it may be deleted"
    assert server.asked == ["/text.tsv"]
    assert (root / "photos" / "1.jpg").read_bytes() == b"unpacked by hand"


def test_form_says_what_to_do_then_takes_what_was_placed(entry, root):
    wanted = entry(hand=("photos.zip", "more.zip"), form=True)
    with pytest.raises(NotObtained) as caught:
        run(wanted, root)
    message = str(caught.value)
    assert "A form must be signed before it may be had. To get it: ask us." in message
    assert f"photos.zip ({len(PHOTOS):,} bytes) has to be put into {root} by hand; then run this again" in message
    assert "more.zip" in message  # it does not stop at the first
    assert (root / "texts" / "text.tsv").read_bytes() == TEXT  # what needs no form is there
    (root / "photos.zip").write_bytes(PHOTOS)
    (root / "more.zip").write_bytes(MORE)
    assert run(wanted, root)[-1] == f"toy: all there in {root}"


def test_wrong_file_placed_by_hand_is_named_and_left_alone(entry, root, server):
    root.mkdir(parents=True)
    (root / "photos.zip").write_bytes(PHOTOS[:-10])
    with pytest.raises(NotObtained, match=rf"photos\.zip has {len(PHOTOS) - 10} bytes, .*move it away and run this"):
        run(entry(), root)
    assert (root / "photos.zip").read_bytes() == PHOTOS[:-10]
    assert "/photos.zip" not in server.asked


def test_wrong_sha256_is_an_error_and_nothing_of_it_is_unpacked(entry, root):
    with pytest.raises(NotObtained, match=r"photos\.zip could not be downloaded:\n.*not the registered 000"):
        run(entry(digests={"photos.zip": "0" * 64}), root)
    assert files_in(root) == ["more.zip", "photos.zip.rejected", "photos/2.jpg", "texts/text.tsv"]


def test_changed_file_is_verified_again(entry, root):
    run(entry(), root)
    (root / "texts" / "text.tsv").write_bytes(b"x" * len(TEXT))
    with pytest.raises(NotObtained, match=r"text\.tsv has SHA-256 .*move it away"):
        run(entry(), root)


def test_taken_down(entry, root):
    with pytest.raises(NotObtained, match=r"toy was taken down: the owner wished so\. To get it: ask us"):
        run(entry(taken_down="the owner wished so", files=()), root)
    (root / "photos").mkdir(parents=True)
    (root / "photos" / "1.jpg").write_bytes(b"x")
    (root / "text.tsv").write_bytes(b"x")
    assert "by hand" in run(entry(taken_down="the owner wished so", files=()), root)[0]


def test_only_by_hand(entry, root):
    with pytest.raises(NotObtained, match=r"To get it: ask us\.\n- photos/\*\.jpg is not in .*toy"):
        run(entry(files=()), root)
    assert run(entry(files=(), layout=()), root) == ["toy: ask us"]


def test_an_archive_without_a_registered_checksum_gets_one_at_first_use(entry, root, server):
    wanted = entry(digests={"photos.zip": None, "more.zip": None, "text.tsv": None})
    assert run(wanted, root)[0].endswith(
        "its checksum kept, as none is registered to verify it by, unpacked; it may be deleted"
    )
    (root / "photos" / "1.jpg").unlink()
    other = zipped(photos__1=b"eno")
    assert len(other) == len(PHOTOS)
    stamp = (root / "photos.zip").stat()
    (root / "photos.zip").write_bytes(other)
    os.utime(root / "photos.zip", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # only its content tells
    with pytest.raises(NotObtained, match=r"photos\.zip has SHA-256 .*registered at first use, in .*\.get\.json"):
        run(wanted, root)
    assert not (root / "photos" / "1.jpg").exists()
    (root / "photos.zip").unlink()  # the right one from the server again
    run(wanted, root)
    assert (root / "photos" / "1.jpg").read_bytes() == b"one"


def test_a_damaged_archive_is_not_what_later_ones_are_compared_with(entry, root):
    root.mkdir(parents=True)
    (root / "photos.zip").write_bytes(PHOTOS[:-30] + bytes(30))
    wanted = entry(digests={"photos.zip": None})
    with pytest.raises(NotObtained, match=r"photos\.zip is damaged .*delete it and fetch it again"):
        run(wanted, root)
    (root / "photos.zip").unlink()
    run(wanted, root)
    assert (root / "photos" / "1.jpg").read_bytes() == b"one"


@pytest.mark.parametrize("content", ["{", "[]", '{"photos.zip": 3}'])
def test_damaged_record_is_named(entry, root, content):
    root.mkdir(parents=True)
    (root / RECORD).write_text(content, encoding="utf-8")
    with pytest.raises(NotObtained, match=r"\.get\.json is damaged .*delete it"):
        run(entry(), root)
