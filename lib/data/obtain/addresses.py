"""Lists of picture addresses with texts, in the forms that people keep them in."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lib.data.corpora.reading import clean, decode

ADDRESS = re.compile(r"https?://[^\s/]", re.IGNORECASE)  # and no file://, which a downloader might open


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

    The address is in column "url", or else in the first column that has one in the first row. `captions` defaults to
    "caption" and "captions", `tags` to "tags", as far as they are there; cells may be lists, and a text of tags is
    split at its commas, or at spaces where it has none. A table whose first row has an address has no header, and its
    columns are called 1, 2, ... A line of a .txt is an address and, after a space, its caption. The rows of one address
    are joined. Letters that may not stand in an address are escaped; texts that are no UTF-8 are read as corpus
    "folder" reads them.

    Raises ValueError for other files, and for columns that are not there, naming those that are.
    """
    from requests.utils import requote_uri

    found: dict[str, Listed] = {}
    unusable = []
    url = ""
    for row, cells in _rows(path):
        if cells is None:
            unusable.append(Unusable("", f"row {row} cannot be read"))
            continue
        if not url:
            url = _url_column(cells)
            captions = captions or [name for name in ("caption", "captions") if name in cells]
            tags = tags or ("tags" if "tags" in cells else None)
            lacking = [name for name in (*captions, *filter(None, [tags])) if name not in cells]
            if lacking or not (captions or tags) or not url:
                what = ", ".join(lacking) or ("captions or tags" if url else "addresses")
                raise ValueError(f"{path} has no column of {what}; it has: {', '.join(cells)}")
        address = str(cells.get(url) or "").strip()
        if not ADDRESS.match(address):
            unusable.append(Unusable(address, f"row {row} has no http address"))
            continue
        texts = found.setdefault(requote_uri(address), Listed([], []))
        texts.captions.extend(text for name in captions for text in _texts(cells.get(name)))
        if tags:
            texts.tags.extend(_tags(cells.get(tags)))
    if not found:
        raise ValueError(f"{path} has no row with an http address")
    unique = {url: Listed(*(list(dict.fromkeys(texts)) for texts in listed)) for url, listed in found.items()}
    return unique, unusable


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Row (from 1) and cells by column; None where a row is damaged."""
    kind = path.suffix.lower()
    if kind == ".parquet":
        import pyarrow.parquet as pq

        batches = pq.ParquetFile(path).iter_batches()
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
    elif kind in (".jsonl", ".ndjson", ".txt"):
        parse = _line if kind == ".txt" else _json
        with path.open("rb") as file:
            yield from ((row, parse(decode(raw)[0].strip())) for row, raw in enumerate(file, 1) if raw.strip())
    elif kind in (".csv", ".tsv"):
        yield from _table_rows(path, {} if kind == ".csv" else {"delimiter": "\t", "quoting": csv.QUOTE_NONE})
    else:
        raise ValueError(f"{path}: a list of addresses ends in .csv, .tsv, .parquet, .jsonl, .ndjson or .txt")


def _line(line: str) -> dict[str, str]:
    url, *caption = line.split(maxsplit=1)
    return {"url": url, "caption": " ".join(caption)}


def _json(line: str) -> dict | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _table_rows(path: Path, dialect: dict) -> Iterator[tuple[int, dict[str, str]]]:
    with path.open("rb") as file:
        reader = csv.reader((decode(raw)[0] for raw in file), **dialect)
        header: Sequence[str] = ()
        try:
            for row, cells in enumerate(filter(None, reader), 1):
                if not header and not any(map(ADDRESS.match, cells)):
                    header = cells
                else:
                    header = header or [str(i) for i in range(1, len(cells) + 1)]
                    yield row, dict(zip(header, cells, strict=False))
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error


def _url_column(cells: dict[str, Any]) -> str:
    return "url" if "url" in cells else next((name for name in cells if ADDRESS.match(str(cells[name]).strip())), "")


def _texts(cell: Any) -> list[str]:
    cells = cell if isinstance(cell, list) else [cell]
    return [text for text in (clean(str(cell)) for cell in cells if cell is not None) if text]


def _tags(cell: Any) -> list[str]:
    return _texts(cell.split("," if "," in cell else None) if isinstance(cell, str) else cell)
