"""Where files are kept, and how they are written so that an interruption never leaves half a file."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def cache_dir(*parts: str) -> Path:
    """Return the folder `<repository>/data/cache/<parts>`, created; the variable LIB_CACHE moves `data/cache`."""
    root = Path(os.environ.get("LIB_CACHE") or ROOT / "data" / "cache")
    folder = root.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def data_dir() -> Path:
    """Return the folder that holds the corpora: `<repository>/data/raw`, or the variable DATA.

    A relative DATA counts from the repository, because notebooks run in folders of their own.
    """
    return (ROOT / (os.environ.get("DATA") or Path("data", "raw"))).resolve()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`, renamed to `path` when the block succeeds and removed when it fails.

    Two processes that write the same file each have a name of their own; the last to finish wins.
    """
    path = Path(path)
    # The suffix is kept: image writers choose their format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file so that no reader ever sees half of it."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")
