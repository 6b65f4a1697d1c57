"""Open every picture of a corpus and report all that is wrong, not only the first."""

import csv
import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm.auto import tqdm

from lib.base.files import atomic_path
from lib.data.corpus import Corpus
from lib.data.obtain.download import WEB_PAGE

BATCH = 512  # pictures in flight: bounds memory for corpora of millions
BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
KINDS = {
    "missing": "there is no such file",
    "empty": "the file has no bytes",
    "web page": "the file is HTML under the name of a picture",
    "huge": "so many pixels that decoding is refused",
    "corrupt": "the decoder gives up",
    "unreadable": "the file cannot be read",
    "duplicate": "the same bytes as an earlier picture",
    "texts": "what the adapter found wrong in the published files",
}


class Finding(NamedTuple):
    """One thing that is wrong: which of KINDS, with which picture (its id and, if it has one, its file), and how."""

    kind: str
    item: str
    file: str
    detail: str


def check(corpus: Corpus, threads: int = 4, progress: bool = True) -> list[Finding]:
    """All that is wrong with a corpus, in its order: each picture is read whole, decoded whole and hashed.

    Duplicates are found by SHA-256, so only equal files count; `lib.data.leaks` finds pictures that look alike.
    What the adapter noted in `corpus.problems` comes last.
    """
    findings: list[Finding] = []
    first_with: dict[str, int] = {}  # digest -> picture
    bar = tqdm(total=len(corpus), unit="picture", desc=f"check {corpus.name}", disable=not progress)
    # Above its limit for decompression bombs PIL only warns, up to twice the limit.
    with bar, warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for i, (digest, wrong) in enumerate(_inspect_all(corpus, pool)):
            item, file = corpus.image_ids[i], _file(corpus, i)
            if wrong is not None:
                findings.append(Finding(wrong[0], item, file, wrong[1]))
            if digest:
                first = first_with.setdefault(digest, i)
                if first != i:
                    findings.append(Finding("duplicate", item, file, f"equal to {corpus.image_ids[first]}"))
            bar.update()
    return findings + [Finding("texts", "", "", problem) for problem in corpus.problems]


def write_findings(path: Path, findings: list[Finding]) -> None:
    """Write findings as CSV with the columns of Finding, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(Finding._fields)
        table.writerows(findings)


def format_findings(findings: list[Finding], shown: int = 10) -> str:
    """A table of how many there are of each kind, and the first few of each."""
    counts = Counter(finding.kind for finding in findings)
    lines = [f"{counts[kind]:>9,}  {kind:<11}{meaning}" for kind, meaning in KINDS.items() if counts[kind]]
    for kind in (kind for kind in KINDS if counts[kind]):
        lines += ["", f"{kind}:"]
        of_kind = [finding for finding in findings if finding.kind == kind]
        lines += [f"  {' | '.join(filter(None, finding[1:]))}" for finding in of_kind[:shown]]
        lines += [f"  and {len(of_kind) - shown:,} more"] * (len(of_kind) > shown)
    return "\n".join(lines)


def _inspect_all(corpus: Corpus, pool: ThreadPoolExecutor) -> Iterator[tuple[str, tuple[str, str] | None]]:
    for start in range(0, len(corpus), BATCH):
        rows = range(start, min(start + BATCH, len(corpus)))
        yield from pool.map(lambda i: _inspect(corpus, i), rows)


def _file(corpus: Corpus, i: int) -> str:
    return str(corpus.images.paths[i]) if hasattr(corpus.images, "paths") else ""


def _inspect(corpus: Corpus, i: int) -> tuple[str, tuple[str, str] | None]:
    """SHA-256 of a picture (empty where there is nothing to hash) and what is wrong with it (None: nothing)."""
    try:
        if _file(corpus, i) and Path(_file(corpus, i)).is_file():
            content = Path(_file(corpus, i)).read_bytes()
            return (hashlib.sha256(content).hexdigest() if content else ""), _decode(content)
        corpus.images[i]  # no file of its own, as in a shard: the adapter opens it, or says why it cannot
        return corpus.images.fingerprint(i), None
    except FileNotFoundError as error:
        return "", ("missing", str(error))
    except BOMB as error:
        return "", ("huge", str(error))
    except Exception as error:  # whatever an adapter raises is a finding about this picture, and the next one follows
        return "", ("unreadable", f"{type(error).__name__}: {error}")


def _decode(content: bytes) -> tuple[str, str] | None:
    if not content:
        return "empty", "0 bytes"
    if WEB_PAGE.match(content):
        return "web page", f"{len(content):,} bytes, begins with {content[:40].decode('utf-8', 'replace')!r}"
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except BOMB as error:
        return "huge", str(error)
    except Exception as error:  # decoders raise all kinds: OSError, SyntaxError, struct.error, OverflowError, ...
        return "corrupt", f"{len(content):,} bytes, {type(error).__name__}: {error}"
    return None
