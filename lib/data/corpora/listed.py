"""Pictures that a list names: captions.txt, metadata.csv, results.csv, COCO's and Karpathy's JSON, and others alike.

Nobody has to say which it is. A column whose cells name pictures is the picture's, and of the others the names tell, or
where they say nothing the longest texts. What was taken for what is noted, and a list that is not understood is noted
with its columns.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from lib.data.corpora.reading import IMAGE_SUFFIXES, Items
from lib.data.corpora.tables import SAMPLE, TABLE_SUFFIXES, Row, read_rows
from lib.data.corpora.texts import hashtags, parse_json, readable

NUMBER = r"s?(?:[ _.-]*\d+)?"
# In this order: what comes first is taken, the others are left. "raw" is what Karpathy's sentences are called.
CAPTION_COLUMNS = tuple(
    re.compile(rf"(?:{names}){NUMBER}", re.IGNORECASE)
    for names in (
        r"captions?|caption[ _]text|raw", r"text|sentence|comment|prompt|utterance|tweet", r"title|description",
        r"alt(?:[ _]?text)?|name",
    )
)  # fmt: skip
TAG_COLUMN = re.compile(r"(?:user_?)?(?:tag|keyword|hashtag)s?", re.IGNORECASE)
SPLIT_COLUMN = re.compile(r"split|set|subset|partition", re.IGNORECASE)
IMAGE_COLUMN = re.compile(
    r"(?:image|img|picture|photo|pic|file)s?(?:[ _]?(?:id|name|file|path|key))?s?|(?:file)?(?:path|name)s?|id|key",
    re.IGNORECASE,
)
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    "web": "web",
}
SPLIT_IN_NAME = re.compile(
    r"(?:^|(?<=[^a-z]))(training|train|validation|valid|val|dev|testing|test|web)(?=images?(?![a-z])|[^a-z]|$)"
)
# With #0 behind it in token files; a cell that holds a separator was not separated rightly.
PICTURE_NAME = re.compile(
    rf"(?!.*(?:[\t|;]|, )).*[^\s/\\](?:{'|'.join(map(re.escape, IMAGE_SUFFIXES))})(?:#\d+)?", re.IGNORECASE
)
NUMBERED = re.compile(r"\d+\s+(\S.*)", re.DOTALL)  # "4   A dog .": the mark between number and text is missing


def split_named(name: str) -> str | None:
    """The split that a folder or file is called after ("val2017", "Flickr_8k.devImages"), if it is."""
    found = {SPLIT_NAMES[word] for word in SPLIT_IN_NAME.findall(name.lower())}
    return found.pop() if len(found) == 1 else None


class Names:
    """Pictures by the names that lists have for them: whole, from another folder, another machine, without suffix."""

    def __init__(self, pictures: Iterable[str]):
        self.whole = dict.fromkeys(pictures)
        self.by_name: dict[str, list[str]] = {}
        self.by_stem: dict[str, list[str]] = {}
        for picture in self.whole:
            path = PurePosixPath(picture)
            self.by_name.setdefault(path.name.casefold(), []).append(picture)
            self.by_stem.setdefault(path.stem.casefold(), []).append(picture)

    def find(self, name: Any, file: str = "", stems: bool = False) -> str | None:
        """The one picture that fits best; None where there is none, or several. `file` is the list that names it."""
        if isinstance(name, int) and stems:
            name = str(name)
        if not isinstance(name, str) or len(name) > 1000:
            return None
        name = readable(name).strip().replace("\\", "/")
        near = file.rpartition("/")[0]
        for form in (name, name.rpartition("#")[0]):  # file.jpg#0, as in token files
            parts = [part for part in form.split("/") if part not in ("", ".", "..")]
            if not parts:
                continue
            for whole in ("/".join([near, *parts]) if near else "", "/".join(parts)):
                if whole in self.whole:
                    return whole
            candidates = self.by_name.get(parts[-1].casefold(), [])
            if not candidates and stems:
                candidates = self.by_stem.get(parts[-1].casefold(), [])
            best = _nearest(candidates, parts, near, PurePosixPath(file).stem)
            if best:
                return best
        return None

    def is_key(self, cell: Any) -> bool:
        """Whether a cell names a picture, be it there or not."""
        if isinstance(cell, list):
            return bool(cell) and all(map(self.is_key, cell))
        if not isinstance(cell, str) or len(cell) > 1000 or cell.lower().startswith(("http:", "https:")):
            return False
        return "." in cell and bool(PICTURE_NAME.fullmatch(cell.strip(" \r\n")))


def _nearest(candidates: list[str], parts: list[str], near: str, called: str) -> str | None:
    """The candidate that has most of the path in common, or lies below the list, or in a folder that its name has."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    ranks = {}
    for candidate in candidates:
        own = candidate.split("/")
        same = [a.casefold() == b.casefold() for a, b in zip(reversed(own), reversed(parts), strict=False)]
        length = same.index(False) if False in same else len(same)
        beside = bool(near) and candidate.startswith(f"{near}/")
        ranks[candidate] = (length, beside, any(folder in called for folder in own[:-1]))
    found = [candidate for candidate, rank in ranks.items() if rank == max(ranks.values())]
    return found[0] if len(found) == 1 else None


@dataclass
class Entry:
    """What lists say of one picture, and where it is listed first."""

    where: str
    captions: list = field(default_factory=list)
    tags: list = field(default_factory=list)
    split: str | None = None


class Roles(NamedTuple):
    """Which columns of a list are what."""

    images: list[str]
    captions: list[str]
    tags: list[str]
    split: str | None
    stems: bool


def read_lists(
    items: Items, files: Iterable[str], pictures: Iterable[str], read: Callable[[str], bytes], tags_from_text: bool
) -> tuple[dict[str, Entry], list[str]]:
    """What the lists among these files say of the pictures, and the files that are none."""
    names = Names(pictures)
    entries: dict[str, Entry] = {}
    rest = []
    for file in files:
        suffix = PurePosixPath(file).suffix.lower()
        where = items.at(items.root / file)
        before = len(items.problems)
        try:
            if suffix not in TABLE_SUFFIXES:
                raise ValueError("")
            rows = list(read_rows(read(file), suffix, names.is_key, _reporter(items, file)))
        except (ValueError, OSError) as error:
            del items.problems[before:]
            if str(error):
                (items.notes if suffix == ".json" else items.problems).append(f"{where}: {error}; not used")
            rest.append(file)
            continue
        roles = find_roles(rows, names, file)
        if _is_split_list(rows, roles, file):
            _take_splits(items, rows, names, file, entries)
        elif roles is None or not (roles.captions or roles.tags):
            del items.problems[before:]
            if rows and suffix != ".txt":
                columns = ", ".join(dict.fromkeys(map(str, (name for row in rows[:SAMPLE] for name in row.cells))))
                items.notes.append(f"{where}: no list of pictures with texts (columns: {columns[:300]}); not used")
            rest.append(file)
        else:
            _take_rows(items, rows, roles, names, file, entries, tags_from_text)
    return entries, rest


def _reporter(items: Items, file: str) -> Callable[[int, str], None]:
    return lambda row, what: items.report(items.at(items.root / file, row), what)


def find_roles(rows: list[Row], names: Names, file: str) -> Roles | None:
    """Which columns of a list are what; None where none names pictures."""
    sample = rows[:: max(1, len(rows) // SAMPLE)]
    columns = list(dict.fromkeys(name for row in sample for name in row.cells))
    cells = {name: [row.cells[name] for row in sample if row.cells.get(name) not in (None, "")] for name in columns}
    images = [name for name in columns if cells[name] and 2 * sum(map(names.is_key, cells[name])) >= len(cells[name])]
    stems = False
    if not images:
        stems = True
        images = [
            name for name in columns
            if IMAGE_COLUMN.fullmatch(name)
            and 2 * sum(names.find(c, file, stems=True) is not None for c in cells[name]) > len(cells[name])
        ][:1]  # fmt: skip
    if not images:
        return None
    others = [name for name in columns if name not in images]
    tags = [name for name in others if TAG_COLUMN.fullmatch(name)]
    split = next((name for name in others if SPLIT_COLUMN.fullmatch(name)), None)
    captions: list[str] = next(
        (found for form in CAPTION_COLUMNS if (found := [name for name in others if form.fullmatch(name)])), []
    )
    if not captions:
        lengths = {
            name: sum(len(c.split()) for c in cells[name] if isinstance(c, str)) / max(1, len(cells[name]))
            for name in others if name not in (*tags, split)
            and not any(str(c).startswith(("http:", "https:")) for c in cells[name])
        }  # fmt: skip
        longest = max(lengths.values(), default=0)
        captions = [name for name, length in lengths.items() if length == longest and length > 0][:1]
        if all(str(c).replace(".", "", 1).isdecimal() for name in captions for c in cells[name]):
            captions = []
    return Roles(images, captions, tags, split, stems)


def _is_split_list(rows: list[Row], roles: Roles | None, file: str) -> bool:
    """Whether a file has names of pictures and nothing else, and is called after a split."""
    texts = (cell for row in rows for name, cell in row.cells.items() if roles and name not in roles.images)
    return roles is not None and split_named(PurePosixPath(file).stem) is not None and not any(texts)


def _take_splits(items: Items, rows: list[Row], names: Names, file: str, entries: dict[str, Entry]) -> None:
    split = split_named(PurePosixPath(file).stem)
    for row in rows:
        where = items.at(items.root / file, row.number)
        picture = names.find(next(iter(row.cells.values()), None), stems=True)
        if picture is None:
            items.report(where, f"image {next(iter(row.cells.values()), '')!r} is not there; ignored")
        elif entries.setdefault(picture, Entry(where)).split not in (None, split):
            items.report(where, f"image {picture!r} is in split {entries[picture].split} already; ignored")
        else:
            entries[picture].split = split
    items.notes.append(f"split {split}: {items.at(items.root / file)}")


def _take_rows(
    items: Items, rows: list[Row], roles: Roles, names: Names, file: str, entries: dict[str, Entry], from_text: bool
) -> None:
    path = PurePosixPath(file)
    of_file = split_named(path.stem) or next(filter(None, map(split_named, reversed(path.parent.parts))), None)
    before = {picture: Counter(map(repr, entry.captions)) for picture, entry in entries.items()}
    missing: dict[str, None] = {}
    for row in rows:
        where = items.at(items.root / file, row.number)
        captions = _captions(items, row, roles, where)
        tags = [tag for name in roles.tags for tag in _listed_tags(row.cells.get(name))]
        named = [name for column in roles.images for name in _as_list(row.cells.get(column))]
        if not named:
            items.report(where, f"no name of a picture in {' or '.join(roles.images)}; left out")
        for name in named:
            picture = names.find(name, file, roles.stems)
            if picture is None:
                shown = str(name)[:200]
                if shown not in missing:
                    items.report(where, f"image {shown!r} has no file, or several that fit; left out with its texts")
                missing[shown] = None
                continue
            entry = entries.setdefault(picture, Entry(where))
            # A second list may say the same again; that one list says it twice is its own matter.
            entry.captions += [text for text in captions if not before.get(picture, Counter())[repr(text)]]
            entry.tags += tags + [t for text in captions if from_text and isinstance(text, str) for t in hashtags(text)]
            split = _split_of(items, row.cells.get(roles.split) if roles.split else None, where) or of_file
            if entry.split and split and entry.split != split:
                items.report(where, f"image {picture!r} is in split {entry.split} already, and not in {split}")
            entry.split = entry.split or split
    used = {"image": roles.images, "captions": roles.captions, "tags": roles.tags, "split": [roles.split or ""]}
    shown = "; ".join(f"{what}: {', '.join(columns)}" for what, columns in used.items() if any(columns))
    items.notes.append(f"layout: list {items.at(items.root / file)} (columns {shown})")


def _captions(items: Items, row: Row, roles: Roles, where: str) -> list:
    found = [text for name in roles.captions for text in _as_list(row.cells.get(name))]
    if not found:  # Flickr30k's results.csv has a row whose second bar is missing
        for cell in row.cells.values():
            numbered = NUMBERED.fullmatch(cell) if isinstance(cell, str) else None
            if numbered and roles.captions and roles.captions[0] not in row.cells:
                items.report(where, f"a separator is missing; read as {numbered[1][:60]!r}")
                return [numbered[1]]
        items.report(where, "no text or an empty one; left out")
    return found


def _as_list(cell: Any) -> list:
    """The values of a cell: a list, JSON in a text, or one; none of an empty one."""
    if cell is None or cell == "":
        return []
    if isinstance(cell, str) and cell[:1] == "[" and cell.rstrip()[-1:] == "]":
        try:
            parsed = parse_json(cell)
        except ValueError:
            return [cell]
        return parsed if isinstance(parsed, list) else [cell]
    if isinstance(cell, list | tuple):
        return [
            value.get("raw", value.get("caption", value)) if isinstance(value, dict) else value
            for value in cell if value not in (None, "")
        ]  # fmt: skip
    return [cell]


def _listed_tags(cell: Any) -> list:
    if isinstance(cell, str) and cell[:1] != "[":
        mark = next((mark for mark in ",;|" if mark in cell), None)
        return [tag.strip().lstrip("#") for tag in cell.split(mark) if tag.strip()]
    return _as_list(cell)


def _split_of(items: Items, cell: Any, where: str) -> str | None:
    if cell is None or cell == "":
        return None
    split = SPLIT_NAMES.get(str(cell).strip().lower()) or split_named(str(cell).strip())
    if split is None:
        items.report(where, f"unknown split {str(cell)[:40]!r}; taken as if it were not there")
    return split
