"""registry.yaml read and checked: where each corpus comes from, what it weighs, and what may be done with it."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from lib.base.files import data_dir
from lib.base.strict_yaml import read_yaml
from lib.data.corpus import SPLITS, Corpus

REGISTRY = Path(__file__).with_name("registry.yaml")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".gz", ".deb")
SHA256 = re.compile(r"[0-9a-f]{64}")
MD5 = re.compile(r"[0-9a-f]{32}")  # where nobody states a better checksum: it finds accidents, not intent


@dataclass(frozen=True)
class RemoteFile:
    """One file of a corpus: its name, its mirrors in the order they are tried, and what it is recognised by.

    `folder` is where it belongs in the folder of the corpus; with `unpack` its content belongs there, and the patterns
    `gives` tell whether it is there. Without urls it is a file that the user has to put into the folder.
    """

    name: str
    urls: tuple = ()
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    unpack: bool = False
    folder: str = "."
    gives: tuple = ()


@dataclass(frozen=True)
class Entry:
    """What the registry says about one corpus; the comment at the top of registry.yaml explains the fields."""

    name: str
    title: str
    source: str
    size: str
    licence: str
    attribution: str
    obtain: str
    form: bool
    sha256: dict
    files: tuple = ()
    layout: tuple = ()
    counts: dict | None = None  # of the loaded corpus
    taken_down: str = ""

    def root(self, root: str | Path | None = None) -> Path:
        """The folder it lies in: `root`, or the folder of its name in `data_dir()`."""
        return data_dir() / self.name if root is None else Path(root)

    def missing(self, root: Path) -> list[str]:
        """What of the expected layout is not in this folder; a line "a | b" of the layout is fulfilled by either."""
        return [line for line in self.layout if not there(root, line)]


def there(root: Path, pattern: str) -> bool:
    """Whether a folder has a file that fits a pattern, or one side of a pattern "a | b"."""
    return any(next(root.glob(choice.strip()), None) is not None for choice in pattern.split("|"))


def read_registry(path: Path = REGISTRY) -> dict[str, Entry]:
    """All entries by name. Raises ValueError that names the entry and the field where one has not the right form."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: no mapping of corpus names to entries")
    return {name: _entry(name, values, f"{path}, {name}") for name, values in content.items()}


def read_entry(name: str, path: Path = REGISTRY) -> Entry:
    """The entry of one corpus; ValueError naming the known ones where there is none."""
    registry = read_registry(path)
    if name not in registry:
        raise ValueError(f"no corpus {name!r} in {path}; it has: {', '.join(sorted(registry))}")
    return registry[name]


def wrong_counts(entry: Entry, corpus: Corpus) -> list[str]:
    """Where a corpus has not the numbers of its entry."""
    has = {"images": len(corpus), "captions": sum(map(len, corpus.captions)), "labels": len(corpus.label_names)}
    has |= {split: int((corpus.split == split).sum()) for split in SPLITS}
    return [
        f"{has[what]:,} {what}, not the {number:,} of the registry"
        for what, number in (entry.counts or {}).items()
        if has[what] != number
    ]


def _entry(name: str, values: Any, where: str) -> Entry:
    values = _fields(Entry, {**_mapping(values, where), "name": name}, where)
    for row, digest in values["sha256"].items():
        _check(SHA256.fullmatch(str(digest)), f"{where}: sha256 of {row} is no 64 hexadecimal digits: {digest!r}")
    for field in ("title", "source", "size", "licence", "attribution", "obtain"):
        _check(values[field].strip(), f"{where}: {field} is empty")
    files = [_file(file, f"{where}, files, row {row}") for row, file in enumerate(values.get("files", ()), 1)]
    _check(len({file.name for file in files}) == len(files), f"{where}: files names one file twice")
    layout = _patterns(values.get("layout", ()), f"{where}: layout")
    unknown = (values.get("counts") or {}).keys() - {"images", "captions", "labels", "train", "val", "test", "web"}
    _check(not unknown, f"{where}: counts has unknown {', '.join(sorted(map(str, unknown)))}")
    return Entry(**{**values, "obtain": " ".join(values["obtain"].split()), "files": tuple(files), "layout": layout})


def _file(values: Any, where: str) -> RemoteFile:
    values = _fields(RemoteFile, _mapping(values, where), where)
    gives = _patterns(values.get("gives", ()), f"{where}: gives")
    file = RemoteFile(**{**values, "urls": tuple(values.get("urls", ())), "gives": gives})
    for url in file.urls:
        _check(re.match(r"https?://", str(url)), f"{where}: {url!r} is no http address")
    _check(file.name and PurePosixPath(file.name).name == file.name, f"{where}: {file.name!r} is no plain file name")
    _check(_inside(file.folder), f"{where}: folder {file.folder!r} lies outside the corpus")
    _check(bool(file.gives) == file.unpack, f"{where}: gives belongs to files that are unpacked, and they need it")
    _check(file.sha256 is None or SHA256.fullmatch(file.sha256), f"{where}: sha256 is no 64 hexadecimal digits")
    _check(file.md5 is None or MD5.fullmatch(file.md5), f"{where}: md5 is no 32 hexadecimal digits")
    _check(file.bytes is None or file.bytes > 0, f"{where}: bytes is {file.bytes}")
    _check(
        not file.unpack or file.name.lower().endswith(ARCHIVES),
        f"{where}: {file.name} cannot be unpacked, its name ends in none of {', '.join(ARCHIVES)}",
    )
    return file


def _patterns(values: list | tuple, where: str) -> tuple:
    for pattern in values:
        _check(isinstance(pattern, str), f"{where} has {pattern!r}, which is no text")
        for choice in pattern.split("|"):
            _check(choice.strip() and _inside(choice.strip()), f"{where} {choice!r} is no path inside the corpus")
    return tuple(values)


def _fields(kind: type, values: Mapping, where: str) -> dict:
    """The values of a dataclass, after a look at their names and types."""
    known = {field.name: field for field in fields(kind)}
    unknown, lacking = values.keys() - known.keys(), known.keys() - values.keys()
    _check(not unknown, f"{where}: unknown {', '.join(sorted(map(str, unknown)))}; known: {', '.join(known)}")
    needed = sorted(name for name in lacking if known[name].default is MISSING)
    _check(not needed, f"{where}: lacks {', '.join(needed)}")
    for name, value in values.items():
        wanted: Any = list if known[name].type is tuple else known[name].type
        right = isinstance(value, wanted) and not (isinstance(value, bool) and wanted is not bool)
        _check(right, f"{where}: {name} is {value!r}, not {getattr(wanted, '__name__', wanted)}")
    return dict(values)


def _mapping(values: Any, where: str) -> Mapping:
    _check(isinstance(values, dict), f"{where}: is {values!r}, no mapping of fields")
    return values


def _inside(path: str) -> bool:
    """Whether a path with forward slashes stays in the folder it starts from."""
    return not (path.startswith("/") or "\\" in path or ".." in PurePosixPath(path).parts or path[1:2] == ":")


def _check(right: Any, message: str) -> None:
    if not right:
        raise ValueError(message)
