"""Download one file from the first of its mirrors that has it, go on where an interruption left it, and verify it.

Whatever a server does, a download ends: a mirror is given up that is silent, brings nothing new, sends less than
SLOWEST, wants to be asked again much later, or sends more than was announced or there is room for.
"""

import email.utils
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from lib.base.files import publish, write_text
from lib.data.obtain.registry import RemoteFile

if TYPE_CHECKING:
    import requests

# requests and not pooch: that has hashes and progress, too, but begins every interrupted download from zero and knows
# one address a file; the photos of COCO are 20 GB.
ATTEMPTS = 5  # without a new byte, before the next mirror is tried
PAUSE = 0.2  # seconds before the first of them, doubled for each
BUSY = (429, 500, 502, 503, 504)  # answers that a later request may better
LONGEST_WAIT = 60.0  # seconds that a server may ask us to wait (Retry-After)
SLOWEST, WINDOW = 1000, 60.0  # bytes a second that have to come, on the average of so many seconds
ROOM = 100 << 20  # bytes that stay free on the disk
CHUNK = 1 << 16  # bytes; what a break loses at most
WEB_PAGE = re.compile(rb"\s*(<!doctype\s+html|<html|<head)", re.IGNORECASE)
TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


class DownloadError(RuntimeError):
    """A file that could not be had, or that is not the registered one; the message says why for each mirror."""


class _Again(Exception):
    """An answer that a new request may better, after `wait` seconds where the server says so."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


class _WrongRange(DownloadError):
    """Other bytes than were asked for."""


def download(file: RemoteFile, target: Path, *, timeout: float = 30.0, progress: bool = True) -> str:
    """Fetch `file` to `target` from the first of its urls that gives it whole; returns its SHA-256.

    Bytes arrive in `<target>.part`, which the next call continues, and are renamed when size and checksum are those of
    the registry. `timeout` is how many seconds a server may be silent. Raises DownloadError where every mirror fails;
    what came with a wrong checksum is kept beside it as `<target>.rejected`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    failures, misled = [], []
    with _session() as session:
        for url in file.urls:
            try:
                return _Transfer(session, url, file, target, timeout, progress).run()
            except _WrongRange:
                misled.append(url)  # the bytes that are here may serve with another mirror
            except DownloadError as error:
                failures.append(f"{url}: {error}")
        for url in misled:
            try:
                return _Transfer(session, url, file, target, timeout, progress, ranges=False).run()
            except DownloadError as error:
                failures.append(f"{url}: {error}")
    tried = "\n".join(f"  {failure}" for failure in failures) or "  it has no address in the registry"
    raise DownloadError(f"{file.name} could not be downloaded:\n{tried}")


def verify(path: Path, file: RemoteFile, progress: bool = True) -> str:
    """The SHA-256 of a file; DownloadError where it, the MD5 or the size is not the registered one."""
    size = path.stat().st_size
    if file.bytes is not None and size != file.bytes:
        raise DownloadError(f"{path} has {size:,} bytes, not the registered {file.bytes:,}")
    digest, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    bar = tqdm(total=size, unit="B", unit_scale=True, desc=f"verify {file.name}", disable=not progress, leave=False)
    with path.open("rb") as stream, bar:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            if file.md5:
                md5.update(chunk)
            bar.update(len(chunk))
    if file.sha256 not in (None, digest.hexdigest()):
        raise DownloadError(f"{path} has SHA-256 {digest.hexdigest()}, not the registered {file.sha256}")
    if file.md5 not in (None, md5.hexdigest()):
        raise DownloadError(f"{path} has MD5 {md5.hexdigest()}, not the registered {file.md5}")
    return digest.hexdigest()


def _session() -> "requests.Session":
    import requests

    session = requests.Session()
    # Files are wanted as they are: a server that compresses on the way would change sizes and break Range.
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": "webly-retrieval (python-requests)"})
    return session


class _Transfer:
    """One file from one mirror; `part` holds the bytes there are, `state` where they are from."""

    def __init__(
        self, session, url: str, file: RemoteFile, target: Path, timeout: float, progress: bool, ranges: bool = True
    ):
        self.session, self.url, self.file, self.target = session, url, file, target
        self.timeout, self.progress, self.ranges = timeout, progress, ranges
        self.part = target.with_name(f"{target.name}.part")
        self.state = target.with_name(f"{target.name}.part.json")

    def run(self) -> str:
        """Bring the file to its target and return its SHA-256, or raise DownloadError."""
        while True:
            fresh = self.have() == 0
            self._until_whole()
            try:
                digest = verify(self.part, self.file, self.progress)
            except DownloadError:
                os.replace(self.part, self.target.with_name(f"{self.target.name}.rejected"))
                self.state.unlink(missing_ok=True)
                if fresh:
                    raise
                continue  # bytes from before may have been of another version or mirror
            publish(self.part, self.target)
            self.state.unlink(missing_ok=True)
            return digest

    def have(self) -> int:
        """Bytes that have arrived."""
        return self.part.stat().st_size if self.part.exists() else 0

    def _until_whole(self) -> None:
        import requests
        import urllib3

        reason: Exception
        silent, most = 0, self.have()
        while True:
            wait = 0.0
            try:
                return self._request()
            except (
                requests.TooManyRedirects,
                requests.exceptions.InvalidURL,
                requests.exceptions.InvalidSchema,
            ) as error:
                raise DownloadError(str(error)) from error
            except _Again as error:
                reason, wait = error, error.wait
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason = error
            # More than ever before: a server that knows no ranges and breaks off brings the same bytes again.
            silent, most = (0, self.have()) if self.have() > most else (silent + 1, most)
            if silent == ATTEMPTS:
                kept = f"; the next call goes on after the {self.have():,} bytes it has" if self.have() else ""
                raise DownloadError(f"{reason} ({ATTEMPTS} attempts{kept})") from reason
            wait = max(wait, min(PAUSE * 2**silent, 10))
            if wait >= 1 and self.progress:
                tqdm.write(f"{self.file.name}: {reason}; again in {wait:.0f} s ({silent} of {ATTEMPTS} attempts)")
            time.sleep(wait)

    def _request(self) -> None:
        """One request: the whole file or what is missing of it, appended as it comes."""
        have = self.have() if self.ranges else 0
        state = self._remembered()
        headers = {}
        if have and state.get("url") == self.url and state.get("version"):
            headers = {"Range": f"bytes={have}-", "If-Range": state["version"]}
        elif have and (
            self.file.sha256 or self.file.md5
        ):  # bytes of another mirror: a wrong mixture is noticed at the end
            headers = {"Range": f"bytes={have}-"}
        answer = self.session.get(self.url, headers=headers, stream=True, timeout=(self.timeout, self.timeout))
        with answer:
            if answer.status_code == 416 and headers:
                if have != self._size_in(answer):
                    self.part.unlink()
                    raise _Again("the server has fewer bytes than are here already")
                return
            if answer.status_code in BUSY:
                raise _Again(f"the server answers {answer.status_code} {answer.reason}", self._asked_to_wait(answer))
            if answer.status_code not in (200, 206):
                raise DownloadError(f"the server answers {answer.status_code} {answer.reason}")
            self._receive(answer, have if answer.status_code == 206 else 0)

    def _receive(self, answer: "requests.Response", start: int) -> None:
        if answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _WrongRange(f"asked for bytes from {start}, got {answer.headers.get('Content-Range')}")
        first = answer.raw.read1(CHUNK, decode_content=False)
        self._refuse_web_page(answer, first if start == 0 else b"")
        total = self._size_in(answer)
        if None not in (total, self.file.bytes) and total != self.file.bytes:
            raise DownloadError(f"there it has {total:,} bytes, not the registered {self.file.bytes:,}")
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - start > free:
            raise DownloadError(f"{total - start:,} bytes are to come, {self.part.parent} has room for {free:,}")
        self._remember(answer)
        options = {"unit": "B", "unit_scale": True, "desc": self.file.name, "disable": not self.progress}
        largest = self.file.bytes if total is None else total
        with self.part.open("ab" if start else "wb") as stream, tqdm(total=total, initial=start, **options) as bar:
            for chunk in self._chunks(answer, first, free):
                bar.update(stream.write(chunk))
                if largest is not None and stream.tell() > largest:
                    break
        if largest is not None and self.have() > largest:
            self.part.unlink()
            raise DownloadError(f"more than the {largest:,} bytes that the file should have came; it was stopped")
        if total is not None and self.have() != total:
            raise _Again(f"{self.have():,} of {total:,} bytes came")

    def _chunks(self, answer: "requests.Response", chunk: bytes, free: int) -> Iterator[bytes]:
        """The bytes as they come; DownloadError where they come too slowly, or more than there is room for."""
        began, window, came = time.monotonic(), 0, 0
        while chunk:
            yield chunk
            window, came = window + len(chunk), came + len(chunk)
            if came > free - ROOM and shutil.disk_usage(self.part.parent).free < ROOM:
                raise DownloadError(f"after {came:,} bytes {self.part.parent} is all but full, and more are to come")
            if (seconds := time.monotonic() - began) > WINDOW:
                if window < SLOWEST * seconds:
                    raise DownloadError(f"the server sends only {window / seconds:.0f} bytes a second")
                began, window = time.monotonic(), 0
            chunk = answer.raw.read1(CHUNK, decode_content=False)

    def _asked_to_wait(self, answer: "requests.Response") -> float:
        """Seconds of Retry-After, 0 without; DownloadError where they are more than one waits for."""
        asked = answer.headers.get("Retry-After", "").strip()
        if asked.isdecimal():
            wait = float(asked)
        else:
            date = email.utils.parsedate_tz(asked)
            wait = email.utils.mktime_tz(date) - time.time() if date else 0.0
        if wait > LONGEST_WAIT:
            raise DownloadError(
                f"the server answers {answer.status_code} {answer.reason} and asks to come back in {wait:,.0f} s"
            )
        return max(0.0, wait)

    def _size_in(self, answer: "requests.Response") -> int | None:
        """Bytes of the whole file, where the answer says so."""
        whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if answer.status_code == 200:
            whole = answer.headers.get("Content-Length", "")
        return int(whole) if whole.isdecimal() else None

    def _refuse_web_page(self, answer: "requests.Response", head: bytes) -> None:
        """Servers that want a login or a click answer 200 with a page; saved as an archive it would be a riddle."""
        declared = answer.headers.get("Content-Type", "").startswith("text/html")
        if (declared or WEB_PAGE.match(head)) and not self.file.name.lower().endswith((".html", ".htm")):
            title = TITLE.search(head)
            shown = f" ({' '.join(title[1].decode('utf-8', 'replace').split())!r})" if title else ""
            raise DownloadError(f"the server sent a web page{shown}, not the file; open the address in a browser")

    def _remember(self, answer: "requests.Response") -> None:
        """Note which version of the file the bytes belong to, so that another is not appended to it."""
        etag = answer.headers.get("ETag", "")
        version = answer.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag
        write_text(self.state, json.dumps({"url": self.url, "version": version}))

    def _remembered(self) -> dict:
        """What `_remember` noted; a note that was damaged is none, and the bytes count as of an unknown origin."""
        try:
            state = json.loads(self.state.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}
