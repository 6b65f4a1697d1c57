"""Unpack zip, tar, gz and deb, inside one folder, so that an interruption or a bad archive leaves nothing half done."""

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm.auto import tqdm

# What the readers raise for damaged archives; OSError because bz2 has no class of its own, and because damage can make
# names that no disk takes. OF_THE_DISK is not the archive's fault.
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError,
    KeyError, OverflowError, OSError,
)  # fmt: skip
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
COMPRESSED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}  # by first bytes
SEPARATOR = re.compile(r"[/\\]")
SYMLINK = 0o120000


class UnsafeArchive(ValueError):
    """An archive with a member that would be written, or would point, outside the folder it is unpacked in."""


def unpack(archive: Path, folder: Path, progress: bool = True) -> None:
    """Unpack an archive into a folder, in a temporary folder of it first; files that are there already are replaced.

    Where the archive consists of one folder of the name of `folder`, its content is taken. Raises UnsafeArchive with
    the name of a member that is absolute, has "..", or is a link that leaves the folder, ValueError where the archive
    is damaged, OSError where the disk is full or not to be written to; nothing of it is in the folder then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # No random name: what a killed process left is found and removed.
    temporary = folder / f".{archive.name}.unpacking"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with tqdm(unit="B", unit_scale=True, desc=f"unpack {archive.name}", disable=not progress) as bar:
            _reader(archive.name.lower())(archive, temporary, bar)
        if hasattr(os, "sync"):
            os.sync()  # what is called unpacked survives a power cut
        (*others, inner) = [*temporary.iterdir()] or [temporary]
        alone = not others and inner.name == folder.name and inner.is_dir() and not inner.is_symlink()
        _move(inner if alone else temporary, folder)
    except UnsafeArchive:
        raise
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            raise
        raise ValueError(f"{archive} is damaged ({error}): delete it and fetch it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _reader(name: str) -> Callable[[Path, Path, tqdm], None]:
    if name.endswith(".zip"):
        return _unzip
    if name.endswith(".deb"):
        return _undeb
    return _untar if re.search(r"\.(tar|tgz|tar\.\w+)$", name) else _gunzip


def _unzip(archive: Path, folder: Path, bar: tqdm) -> None:
    with zipfile.ZipFile(archive) as content:
        members = content.infolist()
        bar.reset(total=sum(member.file_size for member in members))
        for member in members:
            _check_name(archive, member.filename)
            if (member.external_attr >> 16) & 0o170000 == SYMLINK:
                raise UnsafeArchive(f"{archive}: member {member.filename!r} is a link; nothing was unpacked")
        for member in members:
            content.extract(member, folder)
            bar.update(member.file_size)


class _Member(tarfile.TarInfo):
    """A member of a tar; tarfile takes a damaged head of any but the first for the end of the archive."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"its end is missing, or a head in it is damaged: {error}") from error


def _untar(archive: Path, folder: Path, bar: tqdm, inside: IO[bytes] | None = None) -> None:
    """Unpack the tar file `archive`, or the one `inside` it, compressed or not."""
    links: set[PurePosixPath] = set()
    file = inside or archive.open("rb")
    head = file.read(6)
    file.seek(0)
    reader = next((reader for first, reader in COMPRESSED.items() if head.startswith(first)), None)
    with (
        file,
        reader(file) if reader else file as stream,
        tarfile.open(fileobj=stream, mode="r:", tarinfo=_Member) as content,
    ):
        for member in content:
            _check_name(archive, member.name)
            path = PurePosixPath(member.name)
            # The filter of tarfile resolves links on disk, which older Pythons can be misled about by chains of them;
            # where nothing is ever written through a link there is no chain.
            if member.issym():
                links.add(path)
            through = links & {*path.parents, *([PurePosixPath(member.linkname)] if member.islnk() else [])}
            if through:
                raise UnsafeArchive(f"{archive}: member {member.name!r} goes through a link; nothing was unpacked")
            try:
                content.extract(member, folder, filter="data")
            except tarfile.FilterError as error:
                raise UnsafeArchive(f"{archive}: member {member.name!r}: {error}; nothing was unpacked") from error
            bar.update(member.size)
        # The checksum of what is compressed comes at its end, behind that of the tar.
        while rest := stream.read(1 << 20):
            if rest.strip(b"\0"):
                raise tarfile.ReadError("something stands behind its end")


def _undeb(archive: Path, folder: Path, bar: tqdm) -> None:
    """A Debian package: an `ar` archive, in which a tar file, data.tar.xz, holds what would be installed."""
    with archive.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise tarfile.ReadError("no Debian package")
        while header := file.read(60):
            name, size = header[:16].decode("ascii", "replace").strip(" /"), header[48:58].strip()
            if len(header) < 60 or not size.isdigit():
                raise tarfile.ReadError("broken off")
            if name.startswith("data.tar"):
                return _untar(archive, folder, bar, io.BytesIO(file.read(int(size))))
            file.seek(int(size) + int(size) % 2, os.SEEK_CUR)  # members begin at even places
    raise tarfile.ReadError("without data.tar")


def _gunzip(archive: Path, folder: Path, bar: tqdm) -> None:
    with gzip.open(archive) as content, (folder / archive.stem).open("wb") as file:
        while chunk := content.read(1 << 20):
            file.write(chunk)
            bar.update(len(chunk))


def _check_name(archive: Path, name: str) -> None:
    if ".." in SEPARATOR.split(name) or name[:1] in ("/", "\\") or name[1:2] == ":":
        raise UnsafeArchive(f"{archive}: member {name!r} lies outside the folder; nothing was unpacked")


def _move(source: Path, target: Path) -> None:
    """Move the content of a folder into another on the same disk; folders that both have are merged."""
    for entry in source.iterdir():
        goal = target / entry.name
        if entry.is_dir() and not entry.is_symlink() and goal.is_dir():
            _move(entry, goal)
        else:
            os.replace(entry, goal)
