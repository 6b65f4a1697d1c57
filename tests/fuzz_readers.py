"""Damage of every kind to the files of every reader; what a reader may answer, and what not.

A reader may give what it can read, or refuse with an error that names a file. It may not end in another exception,
hang, write anywhere, or need much memory; and a picture that was there is in the corpus or in its problems.

    python -m tests.fuzz_readers 2500        # so many inputs from seed 0 on, and what came of them
"""

import contextlib
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from lib.data import Corpus, load
from lib.data.corpora.reading import IMAGE_SUFFIXES
from lib.data.corpora.texts import readable
from lib.data.obtain.addresses import read_list
from lib.text.embedding import WordVectors
from tests.layouts import LAYOUTS, table
from tests.picture_files import write
from tests.tiny_corpora import TINY, Files

SECONDS = 20  # of the processor, for one input
MEGABYTES = 600  # by which the process may grow over all inputs; a first line of a million cells takes 400
TEXTS = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".caption", ".token", ".vec")


class TooSlow(BaseException):
    """Not an Exception: no reader may take it for one of its own."""


def address_lists() -> Files:
    rows = [(f"http://a.org/{i}.jpg", f"a dog, {i}", "sun, sea") for i in range(6)]
    records = [dict(zip(("url", "caption", "tags"), row, strict=True)) for row in rows]
    return {
        "list.csv": table(rows, header=("url", "caption", "tags")),
        "list.tsv": table(rows, "\t", ("url", "caption", "tags")),
        "list.jsonl": "\n".join(map(json.dumps, records)),
        "list.txt": "".join(f"{url} {text}\n" for url, text, _ in rows),
    }


def vector_files() -> Files:
    """Word vectors in every format."""
    words = ["the", "of", ". . .", "dog"]
    vectors = np.arange(12, dtype="<f4").reshape(4, 3)
    lines = [f"{word} {' '.join(map(str, vector))}\n" for word, vector in zip(words, vectors.tolist(), strict=True)]
    binary = b"".join(w.replace(" ", "_").encode() + b" " + v.tobytes() for w, v in zip(words, vectors, strict=True))
    return {
        "glove.txt": "".join(lines),
        "word2vec.txt": "4 3\n" + "".join(lines),
        "crawl.vec": "4 3\n" + "".join(lines),
        "news.bin": b"4 3\n" + binary,
    }


# Reader -> its files, and what reads one of them or the folder.
READERS: dict[str, tuple[Callable[[], Files], Callable[[Path, str], object]]] = {
    **{name: (layout.files, lambda root, _: load("folder", root)) for name, layout in LAYOUTS.items()},
    **{
        name: (tiny.files, lambda root, _, name=name, tiny=tiny: tiny.load(name, root))
        for name, tiny in TINY.items()
        if name != "openmoji"
    },
    "addresses": (address_lists, lambda root, file: read_list(root / file)),
    "vectors": (vector_files, lambda root, file: WordVectors.read(root / file)),
}


# ------------------------------------------------------------------------------------------------------------ mutations
def flip(raw: bytes, draw: random.Random) -> bytes:
    content = bytearray(raw)
    for _ in range(draw.choice((1, 3, 30))):
        if content:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def cut(raw: bytes, draw: random.Random) -> bytes:
    return raw[: draw.randrange(len(raw) + 1)] if draw.random() < 0.7 else raw[draw.randrange(len(raw) + 1) :]


MEANINGFUL = (
    *(bytes([byte]) for byte in b'",\t\n\r\0{]\\|#\x85'),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud83d", b"NaN", b"-1", b"1e999", b"../", b"9" * 5000),
    "\u2028\u202e\u0301".encode(),
)


def insert(raw: bytes, draw: random.Random) -> bytes:
    """Something that means something in one of the formats, at any place."""
    what = draw.choice(MEANINGFUL)
    place = draw.randrange(len(raw) + 1)
    return raw[:place] + what * draw.choice((1, 1, 3)) + raw[place:]


def encode(raw: bytes, draw: random.Random) -> bytes:
    text = raw.decode("utf-8", errors="replace")
    encoding = draw.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "gb18030", "utf-7", "shift_jis", "utf-8-sig"))
    return text.encode(encoding, errors="replace")


def lines(raw: bytes, draw: random.Random) -> bytes:
    parts = raw.split(b"\n")
    place = draw.randrange(len(parts))
    how = draw.randrange(4)
    if how == 0:
        parts.insert(place, parts[draw.randrange(len(parts))])
    elif how == 1:
        del parts[place]
    elif how == 2:
        draw.shuffle(parts)
    else:
        parts[place] = parts[place][: draw.randrange(len(parts[place]) + 1)]
    return b"\n".join(parts)


def giant(raw: bytes, draw: random.Random) -> bytes:
    """A cell of five megabytes."""
    place = draw.randrange(len(raw) + 1)
    return raw[:place] + draw.choice((b"a", b"a ", b'"', b",", b"\n", b"[")) * 5_000_000 + raw[place:]


def nest(raw: bytes, draw: random.Random) -> bytes:
    deep = b"[" * 200_000 if draw.random() < 0.5 else b'{"a":' * 100_000
    return deep if draw.random() < 0.5 else raw.replace(b": ", b": " + deep, 1)


def retype(raw: bytes, draw: random.Random) -> bytes:
    """Another type somewhere in a JSON; of other texts, a word becomes something else."""
    strange = draw.choice(
        (
            None,
            3,
            -1.5,
            True,
            [],
            {},
            "",
            [[]],
            {"a": {}},
            "\ud83d",
            10**400,
            float("nan"),
            ["x", 3],
            "<!doctype html><html>",
        )
    )
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        words = raw.split(b" ")
        words[draw.randrange(len(words))] = json.dumps(strange if strange != 10**400 else 0).encode()
        return b" ".join(words)
    places = list(_places(content))
    holder, key = draw.choice(places) if places else (None, None)
    if holder is None:
        content = strange
    elif draw.random() < 0.3 and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = strange
    with contextlib.suppress(ValueError):
        return json.dumps(content).encode()
    return b"1" * 5000


def _places(content) -> Iterator[tuple]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items):
        yield content, key
        yield from _places(value)


def noise(raw: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice((0, 1, 50, 5000)))


def page(_raw: bytes, _draw: random.Random) -> bytes:
    return b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>gone</body></html>"


MUTATIONS = (
    flip,
    flip,
    cut,
    cut,
    insert,
    insert,
    insert,
    encode,
    lines,
    lines,
    giant,
    nest,
    retype,
    retype,
    retype,
    noise,
    page,
)


def deface(root: Path, files: Files, draw: random.Random) -> None:
    """What is wrong with a folder and not with what is in a file."""
    name = draw.choice(sorted(files))
    path = root / name
    how = draw.randrange(6)
    if how in (0, 1):
        path.unlink()
        if how == 1:
            path.mkdir()
    elif how == 2:
        path.unlink()
        path.symlink_to(draw.choice((path.name, "..", "/nowhere", ".")))
    elif how == 3:
        os.rename(os.fsencode(path), os.fsencode(path.with_name("caf")) + b"\xe9" + path.suffix.encode())
    elif how == 4:
        (path.parent / "round").symlink_to(root, target_is_directory=True)
    else:
        path.rename(path.with_name(path.name.upper()))


# ------------------------------------------------------------------------------------------------------------ one input
def run(seed: int, folder: Path) -> str:
    """Make, damage and read the input of a seed below a folder; says what came, AssertionError if that may not be."""
    draw = random.Random(seed)
    reader = draw.choice(sorted(READERS))
    make, read = READERS[reader]
    root = write(folder / "input", make())
    files = make()
    texts = [name for name in sorted(files) if not name.lower().endswith(IMAGE_SUFFIXES)]
    chosen = draw.choice(texts or sorted(files))
    if draw.random() < 0.15:
        deface(root, files, draw)
    else:
        for _ in range(draw.choice((1, 1, 2))):
            target = chosen if draw.random() < 0.9 else draw.choice(sorted(files))
            content = (root / target).read_bytes()
            (root / target).write_bytes(draw.choice(MUTATIONS)(content, draw))
    before = snapshot(folder)
    what = f"seed {seed}, {reader}"

    def stop(*_):
        raise TooSlow(what)

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read(root, chosen)
            outcome = "read"
            if isinstance(found, Corpus):
                check(found, root, what)
                outcome = "read with problems" if found.problems else "read"
    except (ValueError, OSError) as error:
        message = str(error)
        names = {root.name, str(root), *(PurePosixPath(name).name for name in files)}
        if not any(name in message for name in names):
            raise AssertionError(f"{what}: no file is named: {type(error).__name__}: {message[:300]}") from error
        outcome = "refused"
    except TooSlow:
        raise AssertionError(f"{what}: not done after {SECONDS} seconds") from None
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {str(error)[:300]}") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    assert snapshot(folder) == before, f"{what}: something was written"
    return outcome


def check(corpus: Corpus, root: Path, what: str) -> None:
    """A corpus can be hashed, and every picture of a folder is in it or in its problems or counted in its notes."""
    corpus.fingerprint()
    assert not any(str(root) in problem for problem in corpus.problems), f"{what}: a path of this machine in a problem"
    for text in (*corpus.problems, *corpus.notes):
        text.encode()
    if corpus.name != "folder" or not hasattr(corpus.images, "paths"):
        return
    taken = {str(path) for path in corpus.images.paths}
    said = "\n".join(corpus.problems)
    for path in root.rglob("*"):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and str(path) not in taken:
            shown = readable(path.relative_to(root).as_posix())
            assert PurePosixPath(shown).stem in said, f"{what}: {shown} is neither taken nor reported"


def snapshot(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_size) for path in folder.rglob("*") if not path.is_dir())


def grown() -> float:
    """The largest size of this process so far in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def many(count: int, first: int = 0, stop_at: int = 1) -> tuple[Counter, list[str], float]:
    """What came of so many inputs, what may not have come (at most `stop_at`), and by how much the process grew."""
    outcomes: Counter = Counter()
    wrong: list[str] = []
    start = grown()
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcomes[run(seed, Path(folder))] += 1
            except AssertionError as error:
                wrong.append(str(error))
                if len(wrong) >= stop_at:
                    break
    return outcomes, wrong, grown() - start


if __name__ == "__main__":
    outcomes, wrong, growth = many(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, stop_at=10**9)
    stream = io.StringIO()
    print(dict(outcomes), f"{len(wrong)} wrong", f"grown by {growth:.0f} MB", sep="; ")
    print("\n".join(wrong))
