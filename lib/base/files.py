"""Where files are kept, and how they are written so that neither a kill nor a power cut leaves half a file."""

import errno
import functools
import hashlib
import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def cache_dir(*parts: str) -> Path:
    """Return the folder `<repository>/data/cache/<parts>`, created; the variable LIB_CACHE moves `data/cache`.

    A copy of lib that is installed outside of the repository keeps its caches in the user's cache folder. OSError,
    naming LIB_CACHE, where the folder cannot be made.
    """
    folder = Path(os.environ.get("LIB_CACHE") or _home("cache")).joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"no folder for caches can be made at {folder}: {error.strerror}; LIB_CACHE may name another place"
        raise type(error)(message) from error
    return folder


def data_dir() -> Path:
    """Return the folder that holds the corpora: `<repository>/data/raw`, or the variable DATA.

    A relative DATA counts from the repository, because notebooks run in folders of their own. For a copy of lib that is
    installed outside of the repository it is the user's data folder, and a relative DATA counts from where one is.
    """
    return ((ROOT if in_checkout() else Path()) / (os.environ.get("DATA") or _home("raw"))).resolve()


def in_checkout() -> bool:
    """Whether this lib lies in the repository, with the notebooks beside it, rather than in site-packages."""
    return (ROOT / "pyproject.toml").is_file() and (ROOT / "notebooks").is_dir()


def _home(kind: str) -> Path:
    """The folder of `kind`, cache or raw, where no variable names another."""
    if in_checkout():
        return ROOT / "data" / kind
    import platformdirs

    of_user = platformdirs.user_cache_path if kind == "cache" else platformdirs.user_data_path
    return of_user("webly-retrieval", appauthor=False)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`, renamed to `path` when the block succeeds and removed when it fails.

    The content is on the disk before the name is, and the name before the block ends: after a power cut there is the
    old file or the new one. Two processes that write the same file each have a name of their own; the last to finish
    wins. Raises OSError where the folder cannot be written to.
    """
    path = Path(path)
    # The suffix is kept: image writers choose their format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def publish(source: Path, target: Path) -> None:
    """Rename a file that is complete, in such an order that a power cut leaves the old target or all of the new one."""
    with open(source, "r+b") as file:
        os.fsync(file.fileno())
    _replace(source, target)
    if os.name == "nt":
        return  # knows no fsync of a folder; its file systems log renames
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such thing
            raise
    finally:
        os.close(folder)


def _replace(source: Path, target: Path) -> None:
    """Rename; on Windows, which refuses it while anybody has the target open, again for up to three seconds."""
    for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6) if sys.platform == "win32" else ():
        try:
            return os.replace(source, target)
        except PermissionError:
            time.sleep(pause)
    return os.replace(source, target)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file so that no reader ever sees half of it."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_sha256(path: str | Path) -> str:
    """SHA-256 (hexadecimal) of a file; within a process a file of the same size and time is read once."""
    state = Path(path).stat()
    return _sha256(str(path), state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _sha256(path: str, size: int, mtime: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(path: str | Path, sha256: str, remedy: str) -> Path:
    """The path of a file whose SHA-256 is known; RuntimeError with the remedy where the file is another one."""
    if not Path(path).is_file():
        raise RuntimeError(f"{path} is missing: {remedy}")
    found = file_sha256(path)
    if found != sha256:
        raise RuntimeError(f"{path} is damaged or another file (SHA-256 {found}, not {sha256}): {remedy}")
    return Path(path)
