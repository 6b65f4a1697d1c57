"""Archives: what is unpacked, what is refused, and that a refused one leaves nothing behind."""

import errno
import gzip
import io
import shutil
import stat
import tarfile
import zipfile

import numpy as np
import pytest

from lib.data.obtain.unpack import UnsafeArchive, unpack

FILES = {"photos/1.jpg": b"one", "photos/sub/2.jpg": b"two", "read me.txt": b"text".ljust(100_000)}


def make_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path, files, links=(), kind=""):
    """`links` are (name, target, type) that come before the files."""
    with tarfile.open(path, f"w{kind}") as archive:
        for name, target, link in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = link, target
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def make_deb(path, files, kind=":xz", before=b"12345"):
    """An `ar` archive: the format's number, `before` as the control part, the files as data."""
    data = make_tar(path.with_suffix(".data"), files, kind=kind).read_bytes()
    members = {"debian-binary": b"2.0\n", "control.tar.xz": before, f"data.tar{kind.replace(':', '.')}": data}
    heads = {name: f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(c):<10}`\n".encode() for name, c in members.items()}
    path.write_bytes(b"!<arch>\n" + b"".join(heads[n] + c + b"\n" * (len(c) % 2) for n, c in members.items()))
    return path


def files_in(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def target(tmp_path):
    """A folder beside which nothing may appear."""
    folder = tmp_path / "room" / "corpus"
    folder.mkdir(parents=True)
    yield folder
    assert [p.name for p in folder.parent.iterdir()] == ["corpus"]
    assert not [p for p in folder.iterdir() if p.name.endswith(".unpacking")]


def archives(tmp_path, files=FILES):
    return [
        make_zip(tmp_path / "a.zip", files),
        make_tar(tmp_path / "a.tar", files),
        make_tar(tmp_path / "a.tar.gz", files, kind=":gz"),
        make_tar(tmp_path / "a.tgz", files, kind=":gz"),
        make_tar(tmp_path / "a.tar.xz", files, kind=":xz"),
        make_tar(tmp_path / "a.tar.bz2", files, kind=":bz2"),
        make_deb(tmp_path / "a.deb", files),
    ]


@pytest.mark.parametrize("number", range(6))
def test_content_comes_out_and_joins_what_is_there(tmp_path, target, number):
    (target / "photos").mkdir()
    (target / "photos" / "0.jpg").write_bytes(b"mine")
    (target / "photos" / "1.jpg").write_bytes(b"half")
    unpack(archives(tmp_path)[number], target, progress=False)
    assert files_in(target) == {**FILES, "photos/0.jpg": b"mine"}


def test_gz_of_one_file(tmp_path, target):
    (tmp_path / "list.txt.gz").write_bytes(gzip.compress(b"lines"))
    unpack(tmp_path / "list.txt.gz", target, progress=False)
    assert files_in(target) == {"list.txt": b"lines"}


def test_folder_of_the_same_name_is_not_nested(tmp_path, target):
    unpack(make_zip(tmp_path / "a.zip", {"corpus/1.jpg": b"one", "corpus/b/2.jpg": b"two"}), target, progress=False)
    assert files_in(target) == {"1.jpg": b"one", "b/2.jpg": b"two"}


def test_a_folder_alone_of_another_name_stays(tmp_path, target):
    unpack(make_zip(tmp_path / "a.zip", {"photos/1.jpg": b"one"}), target, progress=False)
    assert files_in(target) == {"photos/1.jpg": b"one"}


def test_empty_archive(tmp_path, target):
    unpack(make_zip(tmp_path / "a.zip", {}), target, progress=False)
    assert files_in(target) == {}


OUTSIDE = ["../evil.jpg", "photos/../../evil.jpg", "/tmp/evil.jpg", "..\\evil.jpg", "\\evil.jpg", "C:evil.jpg"]


@pytest.mark.parametrize("make", [make_zip, make_tar, make_deb])
@pytest.mark.parametrize("name", OUTSIDE)
def test_names_outside_are_refused_with_the_name(tmp_path, target, make, name):
    archive = make(tmp_path / f"a.{make.__name__[5:]}", {"good.jpg": b"good", name: b"evil"})
    with pytest.raises(UnsafeArchive) as caught:
        unpack(archive, target, progress=False)
    assert repr(name) in str(caught.value)
    assert str(archive) in str(caught.value)
    assert files_in(target) == {}


@pytest.mark.parametrize(
    ("links", "culprit"),
    [
        ([("photos", "../..", tarfile.SYMTYPE)], "photos"),
        ([("photos", "/etc", tarfile.SYMTYPE)], "photos"),
        ([("passwd", "/etc/passwd", tarfile.LNKTYPE)], "passwd"),
        ([("passwd", "../../passwd", tarfile.LNKTYPE)], "passwd"),
        ([("photos", "other", tarfile.SYMTYPE)], "photos/1.jpg"),  # inside, but the file would be written through it
        ([("a", "b", tarfile.SYMTYPE), ("c", "a", tarfile.LNKTYPE)], "c"),
        ([("pipe", "", tarfile.FIFOTYPE)], "pipe"),
        ([("disk", "", tarfile.BLKTYPE)], "disk"),
    ],
)
def test_links_that_leave_and_devices_are_refused_with_the_name(tmp_path, target, links, culprit):
    archive = make_tar(tmp_path / "a.tar", {"photos/1.jpg": b"one"}, links)
    with pytest.raises(UnsafeArchive, match=f"member '{culprit}'"):
        unpack(archive, target, progress=False)
    assert files_in(target) == {}


def test_links_inside_are_kept(tmp_path, target):
    archive = make_tar(tmp_path / "a.tar", {"photos/1.jpg": b"one"}, [("latest", "photos/1.jpg", tarfile.SYMTYPE)])
    unpack(archive, target, progress=False)
    assert (target / "latest").read_bytes() == b"one"


def test_links_in_zip_are_refused(tmp_path, target):
    link = zipfile.ZipInfo("photos")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc")
    with pytest.raises(UnsafeArchive, match="member 'photos' is a link"):
        unpack(tmp_path / "a.zip", target, progress=False)


@pytest.mark.parametrize("number", range(6))
def test_truncated_archive_leaves_what_was_there(tmp_path, target, number):
    path = archives(tmp_path)[number]
    content = path.read_bytes()
    path.write_bytes(content[:50_000] if path.suffix == ".tar" else content[:-40])
    (target / "mine.txt").write_bytes(b"mine")
    with pytest.raises(ValueError, match=rf"{path.name} is damaged .*delete it and fetch it again"):
        unpack(path, target, progress=False)
    assert files_in(target) == {"mine.txt": b"mine"}


def test_flipped_bytes_are_noticed(tmp_path, target):
    path = make_zip(tmp_path / "a.zip", {"noise.bin": bytes(range(256)) * 100})
    content = bytearray(path.read_bytes())
    content[60:70] = b"0123456789"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip is damaged"):
        unpack(path, target, progress=False)


@pytest.mark.parametrize("number", [0, 2, 3, 4, 5])
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path, target, number):
    """In each kind with a checksum of its own; 100 places each, over the whole file."""
    noise = np.random.default_rng(0)
    path = archives(tmp_path, {"a.bin": noise.bytes(3000), "b/c.txt": b"text" * 500, "d.bin": noise.bytes(700)})[number]
    content = path.read_bytes()
    unpack(path, target, progress=False)
    whole, noticed = files_in(target), 0
    for place in noise.integers(0, 8 * len(content), 100):
        shutil.rmtree(target)
        target.mkdir()
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            unpack(path, target, progress=False)
        except ValueError:
            noticed += 1
            assert files_in(target) == {}
        else:
            assert files_in(target) == whole  # the date of an entry, a comment
    assert noticed > 50


def test_a_tar_that_is_damaged_behind_its_first_file_is_not_taken_for_a_short_one(tmp_path, target):
    path = make_tar(tmp_path / "a.tar", {"1.txt": b"one", "2.txt": b"two", "3.txt": b"three"})
    content = path.read_bytes()
    for damaged in (
        content[:1024] + b"x" + content[1025:],  # the name in the second head
        content[:2048],  # ends behind the second file
        content[:1536],
        content + b"more",
        content.rstrip(b"\0") + bytes(-len(content.rstrip(b"\0")) % 512),  # without the two blocks that end it
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.tar is damaged"):
            unpack(path, target, progress=False)
        assert files_in(target) == {}


def test_a_full_disk_is_not_the_fault_of_the_archive(tmp_path, target, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lib.data.obtain.unpack._unzip", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(make_zip(tmp_path / "a.zip", FILES), target, progress=False)


def test_web_page_is_no_archive(tmp_path, target):
    for name in ("a.zip", "a.tar.gz", "a.txt.gz", "a.deb"):
        (tmp_path / name).write_bytes(b"<!DOCTYPE html>" * 100)
        with pytest.raises(ValueError, match=rf"{name} is damaged"):
            unpack(tmp_path / name, target, progress=False)


def test_remains_of_a_killed_run_are_removed(tmp_path, target):
    remains = target / ".a.zip.unpacking" / "photos"
    remains.mkdir(parents=True)
    (remains / "half.jpg").write_bytes(b"ha")
    unpack(make_zip(tmp_path / "a.zip", FILES), target, progress=False)
    assert files_in(target) == FILES
