"""Lists of picture addresses with texts, in the forms that people keep them in."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lib.data.corpora.tables import Report, Row, read_rows, spaced_rows
from lib.data.corpora.texts import clean, not_a_text

ADDRESS = re.compile(r"https?://[^\s/]", re.IGNORECASE)  # and no file://, which a downloader might open
WHOLE_ADDRESS = re.compile(r"https?://[^\s/]\S*", re.IGNORECASE)
SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".txt")


class Listed(NamedTuple):
    """The texts of one address."""

    captions: list[str]
    tags: list[str]


class Unusable(NamedTuple):
    """A row without an address: what stands there instead, and which row it is."""

    url: str
    message: str


def read_list(
    path: Path, captions: Sequence[str] = (), tags: str | None = None
) -> tuple[dict[str, Listed], list[Unusable]]:
    """Texts by address out of a .csv, .tsv, .parquet, .jsonl or .txt file, and the rows that cannot be used.

    The address is in column "url", or else in the first column that has one. `captions` defaults to "caption" and
    "captions", `tags` to "tags", as far as they are there, in whichever row they begin; cells may be lists, and a text
    of tags is split at its commas, or at spaces where it has none. A table whose first row has an address has no
    header, and its columns are called 1, 2, ... A line of a .txt is an address and, after a space, its caption. The
    rows of one address are joined. Letters that may not stand in an address are escaped. What was read by a guess or
    only in part (another encoding, a cell that is no text) is said in one warning with the rows.

    Raises ValueError for other files, and for columns that are not there, naming those that are.
    """
    from requests.utils import requote_uri

    found: dict[str, Listed] = {}
    unusable: list[Unusable] = []
    doubts: list[str] = []

    def report(row: int, what: str) -> None:
        if what.startswith("cannot be read"):
            unusable.append(Unusable("", f"row {row} cannot be read"))
        else:
            doubts.append(f"row {row}: {what}")

    columns: dict[str, None] = {}
    url = ""
    for row, cells in _rows(path, report):
        columns |= dict.fromkeys(cells)
        url = url or _url_column(cells)
        address = str(cells.get(url) or "").strip()
        if not ADDRESS.match(address):
            unusable.append(Unusable(address, f"row {row} has no http address"))
            continue
        texts = found.setdefault(requote_uri(address), Listed([], []))
        for name in captions or ("caption", "captions"):
            texts.captions.extend(_texts(cells.get(name), row, report))
        texts.tags.extend(_tags(cells.get(tags or "tags"), row, report))
    if columns and path.suffix.lower() != ".txt":
        _check_columns(path, columns, url, captions, tags)
    if not found:
        raise ValueError(f"{path} has no row with an http address")
    if doubts:
        more = f" and {len(doubts) - 5:,} more" if len(doubts) > 5 else ""
        warnings.warn(f"{path}: {'; '.join(doubts[:5])}{more}", stacklevel=2)
    unique = {url: Listed(*(list(dict.fromkeys(texts)) for texts in listed)) for url, listed in found.items()}
    return unique, unusable


def _check_columns(path: Path, columns: dict[str, None], url: str, captions: Sequence[str], tags: str | None) -> None:
    lacking = [name for name in (*captions, *filter(None, [tags])) if name not in columns]
    there = captions or tags or columns.keys() & {"caption", "captions", "tags"}
    if lacking or not there or not url:
        what = ", ".join(lacking) or ("captions or tags" if url else "addresses")
        raise ValueError(f"{path} has no column of {what}; it has: {', '.join(columns)}")


def _rows(path: Path, report: Report):
    """Rows of a list by its suffix; a line of a .txt is an address and its caption."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: a list of addresses ends in .csv, .tsv, .parquet, .jsonl, .ndjson or .txt")
    try:
        if suffix == ".txt":
            for row, cells in spaced_rows(path, report):
                yield Row(row, {"url": cells["1"], "caption": cells["2"]})
        else:
            yield from read_rows(path, suffix, lambda cell: bool(WHOLE_ADDRESS.fullmatch(str(cell).strip())), report)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _url_column(cells: dict[str, Any]) -> str:
    return "url" if "url" in cells else next((name for name in cells if ADDRESS.match(str(cells[name]).strip())), "")


def _texts(cell: Any, row: int, report: Report) -> list[str]:
    texts = []
    for text in cell if isinstance(cell, list) else [cell]:
        why = "" if text is None else not_a_text(text)
        if why:
            report(row, f"a cell {why}; left out")
        elif text:
            texts.append(clean(text))
    return [text for text in texts if text]


def _tags(cell: Any, row: int, report: Report) -> list[str]:
    return _texts(cell.split("," if "," in cell else None) if isinstance(cell, str) else cell, row, report)
