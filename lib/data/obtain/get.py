"""Bring the files of a corpus to the folder that `load` reads: download, verify, unpack, or say what to do by hand."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.base.files import write_text
from lib.data.obtain.download import DownloadError, download, verify
from lib.data.obtain.registry import Entry, RemoteFile, there
from lib.data.obtain.unpack import unpack

RECORD = ".get.json"  # what was verified and unpacked, so that a second call is a matter of a moment


class NotObtained(RuntimeError):
    """A corpus that is not there, wholly or in part; the message says what is missing and what to do."""


def obtain(entry: Entry, root: Path, progress: bool = True, say: Callable[[str], Any] = print) -> None:
    """Get every file of a corpus into `root`; what is there and verified is skipped.

    Raises NotObtained with all that is missing, and why, when everything that could be done is done.
    """
    if entry.layout and not entry.missing(root) and not (root / RECORD).exists():
        say(f"{entry.name}: all there in {root}, put there by hand")
        return
    if entry.taken_down:
        raise NotObtained(f"{entry.name} was taken down: {entry.taken_down}. {_by_hand(entry)}")
    failures = _get_files(entry, root, progress, say) if entry.files else []
    if entry.layout:
        failures += [f"{line} is not in {root}" for line in entry.missing(root)]
    if failures:
        listed = "".join(f"\n- {failure}" for failure in failures)
        raise NotObtained(f"{entry.name} is not complete. {_by_hand(entry)}{listed}")
    say(f"{entry.name}: all there in {root}" if entry.layout else f"{entry.name}: {entry.obtain}")


def _by_hand(entry: Entry) -> str:
    form = "A form must be signed before it may be had. " if entry.form else ""
    return f"{form}To get it: {entry.obtain}."


def _get_files(entry: Entry, root: Path, progress: bool, say: Callable[[str], Any]) -> list[str]:
    from filelock import FileLock

    root.mkdir(parents=True, exist_ok=True)
    failures = []
    with FileLock(root / ".get.lock"):  # two calls at once would write to one .part
        for file in entry.files:
            try:
                say(f"{entry.name}: {_get_file(file, root, progress)}")
            except (DownloadError, OSError, ValueError) as error:
                failures.append(str(error))
    return failures


def _get_file(file: RemoteFile, root: Path, progress: bool) -> str:
    """Bring one file to its place; says in a few words what was done."""
    record = _read_record(root)
    known = record.get(file.name, {})
    complete = bool(file.gives) and all(there(root, pattern) for pattern in file.gives)
    if complete and not known.get("unpacking"):
        return f"{file.name} is unpacked already"
    # A file that nobody published a checksum of is recognised by the one it had when it was first used.
    first = known.get("sha256") if file.sha256 is None else None
    wanted = replace(file, sha256=file.sha256 or first)
    target = root / file.name if file.unpack else root / file.folder / file.name
    done = "was there, "
    try:
        if not target.exists():
            if not file.urls:
                size = "" if file.bytes is None else f" ({file.bytes:,} bytes)"
                raise DownloadError(
                    f"{file.name}{size} has to be put into {target.parent} by hand; then run this again"
                )
            known = {"sha256": download(wanted, target, progress=progress), "stamp": _stamp(target)}
            done = "downloaded, "
        elif file.unpack or known.get("stamp") != _stamp(target):  # what is unpacked is read again in any case
            try:
                known = {"sha256": verify(target, wanted, progress), "stamp": _stamp(target)}
            except DownloadError as error:
                raise DownloadError(f"{error}; move it away and run this again") from error
    except DownloadError as error:
        if first is None or first not in str(error):
            raise
        raise DownloadError(
            f"{error}; registered at first use, in {root / RECORD}: delete that if it is new"
        ) from error
    verified = "verified" if wanted.sha256 or file.md5 else "its checksum kept, as none is registered to verify it by"
    if file.unpack:
        # Without the checksum: an archive that cannot be unpacked is none to trust.
        _write_record(root, {**record, file.name: {**({"sha256": first} if first else {}), "unpacking": True}})
        unpack(target, root / file.folder, progress)
        verified += ", unpacked; it may be deleted"
    _write_record(root, {**record, file.name: known})
    return f"{file.name} {done}{verified}"


def _stamp(path: Path) -> list[int]:
    """What changes when a file does, without reading it."""
    return [path.stat().st_size, path.stat().st_mtime_ns]


def _read_record(root: Path) -> dict:
    path = root / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(record, dict) or not all(isinstance(known, dict) for known in record.values()):
            raise ValueError("no entries by file")
        return record
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, the files are verified again then") from error


def _write_record(root: Path, record: dict) -> None:
    write_text(root / RECORD, json.dumps(record, indent=1))
