"""Open every picture of a corpus and report all that is wrong, not only the first."""

import csv
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from lib.base.files import atomic_path, file_sha256
from lib.data.copies import MOST, find_copies, is_flat
from lib.data.corpus import Corpus
from lib.data.decoder import UnreadableImage

BATCH = 512  # pictures in flight: bounds memory for corpora of millions
KINDS = {
    "missing": "there is no such file",
    "empty": "the file has no bytes",
    "web page": "the file is HTML under the name of a picture",
    "huge": "so many pixels that decoding is refused",
    "strip": "so long and narrow that no crop shows what is on it",
    "format": "a format that needs another package",
    "corrupt": "the decoder gives up",
    "unreadable": "the file cannot be read",
    "one colour": "nothing is to be seen on it, once it is decoded",
    "duplicate": "the same bytes as an earlier picture",
    "copy": "an earlier picture again: resized, recompressed, mirrored or cropped by up to 5 %",
    "texts": "what the adapter found wrong in the published files",
}


class Finding(NamedTuple):
    """One thing that is wrong: which of KINDS, with which picture (its id and, if it has one, its file), and how."""

    kind: str
    item: str
    file: str
    detail: str


def check(corpus: Corpus, threads: int = 4, progress: bool = True) -> list[Finding]:
    """All that is wrong with a corpus: each picture is read whole, decoded as everywhere else, and hashed.

    Findings about single pictures come in the order of the corpus, then those that look like an earlier one (equal
    files are named before and only once), then what the adapter noted in `corpus.problems`.
    """
    findings: list[Finding] = []
    first_with: dict[str, int] = {}  # digest -> picture
    good: list[int] = []
    bar = tqdm(total=len(corpus), unit="picture", desc=f"check {corpus.name}", disable=not progress)
    with bar, ThreadPoolExecutor(threads) as pool:
        for i, (digest, wrong) in enumerate(_inspect_all(corpus, pool)):
            item, file = corpus.image_ids[i], _file(corpus, i)
            if wrong is not None:
                findings.append(Finding(wrong[0], item, file, wrong[1]))
            first = first_with.setdefault(digest, i) if digest else i
            if first != i:
                findings.append(Finding("duplicate", item, file, f"equal to {corpus.image_ids[first]}"))
            elif wrong is None:
                good.append(i)
            bar.update()
    findings += _copies(corpus.take(good), threads, progress)
    return findings + [Finding("texts", "", "", problem) for problem in corpus.problems]


def _copies(corpus: Corpus, threads: int, progress: bool) -> list[Finding]:
    if len(corpus) > MOST:
        print(f"copies are not looked for: {len(corpus):,} pictures, at most {MOST:,}")
        return []
    return [
        Finding(
            "copy", corpus.image_ids[copy.row], _file(corpus, copy.row),
            f"{corpus.image_ids[copy.of]} again{', mirrored' if copy.mirrored else ''}",
        )
        for copy in find_copies(corpus.images, threads, progress)
    ]  # fmt: skip


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
    digest, file = "", Path(_file(corpus, i))
    try:
        # A file as it is now, whatever a manifest says; empty ones are no duplicates of each other.
        if not file.is_file():
            digest = corpus.images.fingerprint(i)
        elif file.stat().st_size:
            digest = file_sha256(file)
        flat = is_flat(corpus.images[i].convert("RGB"))
    except FileNotFoundError as error:
        return "", ("missing", str(error))
    except UnreadableImage as error:
        return digest, (error.kind, error.why)
    except Exception as error:  # whatever an adapter raises is a finding about this picture, and the next one follows
        return digest, ("unreadable", f"{type(error).__name__}: {error}")
    return digest, ("one colour", "") if flat else None
