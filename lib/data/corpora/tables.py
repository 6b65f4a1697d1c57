"""Lists in the forms that people keep them in: separated by commas, tabs, semicolons or bars, JSON, Parquet.

A list is read with what its reader knows a key by (a picture that is there, an address): by it the separator is found,
a header is told from a first row, and a quotation mark that nobody closed from a text of several lines.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lib.data.corpora.texts import BYTE_ORDER_MARKS, decode, parse_json

SEPARATORS = (",", "\t", ";", "|")
SAMPLE = 50  # lines that a list is judged by
LONGEST = 200  # lines that one quoted text may go over, and the same in letters:
LARGEST = 1_000_000
COLUMNS, WIDEST = 100, 4000  # columns, and letters of a cell, in which a key is looked for
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".txt", ".token", ".list")

Report = Callable[[int, str], None]  # row, what is wrong
IsKey = Callable[[Any], bool]


class Row(NamedTuple):
    """A row of a list, from 1 (of a text file: its first line), and its cells by column."""

    number: int
    cells: dict[str, Any]


def read_rows(source: Path | bytes, suffix: str, is_key: IsKey, report: Report) -> Iterator[Row]:
    """The rows of a list; `report` gets the row and the reason of what cannot be read as it stands.

    A table without a header has columns called 1, 2, ...

    Raises:
        ValueError: the file as a whole is none of its kind, or the package that reads it is not there.
    """
    if suffix == ".parquet":
        yield from _parquet_rows(source)
        return
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        if suffix in (".jsonl", ".ndjson"):
            yield from _json_lines(stream, report)
        elif suffix == ".json":
            yield from _json_rows(stream, report)
        else:
            yield from _separated_rows(text_lines(stream, report), suffix, is_key, report)


def text_lines(stream: BinaryIO, report: Report) -> Iterator[tuple[int, str]]:
    """Line number and text without its end; repairs are reported."""
    head = stream.read(4)
    stream.seek(0)
    wide = head.startswith(tuple(BYTE_ORDER_MARKS)) and not head.startswith(b"\xef\xbb\xbf")
    if wide or (len(head) == 4 and 0 in head):
        text, repair = decode(stream.read())
        if repair:
            report(1, repair)
        yield from enumerate(re.split("\r\n|\r|\n", text), 1)
        return
    lines: Iterable[bytes] = stream
    if b"\n" not in (start := stream.read(1 << 16)) and b"\r" in start:  # as Macs once wrote
        stream.seek(0)
        lines = stream.read().split(b"\r")
    stream.seek(0)
    for number, raw in enumerate(lines, 1):
        text, repair = decode(raw)
        if repair:
            report(number, repair)
        yield number, text.rstrip("\r\n")


# ----------------------------------------------------------------------------------------------------- JSON and Parquet
def _parquet_rows(source: Path | bytes) -> Iterator[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ValueError(f"reading .parquet needs the package pyarrow ({error}): pip install pyarrow") from error
    try:
        file = pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source)
        rows = (row for batch in file.iter_batches(1024) for row in batch.to_pylist())
        yield from (Row(number, row) for number, row in enumerate(rows, 1))
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError(f"no Parquet, or damaged ({str(error)[:200]})") from error


def _json_lines(stream: BinaryIO, report: Report) -> Iterator[Row]:
    for number, line in text_lines(stream, report):
        if line.strip():
            try:
                content = parse_json(line)
            except ValueError as error:
                report(number, f"cannot be read: no JSON ({str(error)[:80]}); left out")
                continue
            if isinstance(content, dict):
                yield Row(number, content)
            else:
                report(number, f"cannot be read: no JSON object but {type(content).__name__}; left out")


def _json_rows(stream: BinaryIO, report: Report) -> Iterator[Row]:
    text, repair = decode(stream.read())
    if repair:
        report(1, repair)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ValueError(f"no JSON ({str(error)[:80]})") from error
    for number, record in enumerate(json_records(content, report), 1):
        if isinstance(record, dict):
            yield Row(number, record)
        else:
            report(number, f"no record but {type(record).__name__}; left out")


def json_records(content: Any, report: Report) -> list:
    """The records of the JSON files that come with pictures, each as cells by column.

    Karpathy's ({"images": [{"filename", "sentences": [{"raw"}]}]}), COCO's ({"images", "annotations"}), a list of
    records, a mapping with one such list, or a mapping from pictures to their texts or records.
    """
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        return []
    images, annotations = content.get("images"), content.get("annotations")
    if isinstance(images, list) and isinstance(annotations, list):
        return _coco_records(images, annotations, report)
    if isinstance(images, list) and any(isinstance(record, dict) and "sentences" in record for record in images):
        return [_karpathy_record(record) for record in images]
    lists = [value for value in content.values() if isinstance(value, list) and any(isinstance(r, dict) for r in value)]
    if len(lists) == 1:
        return lists[0]
    return [{"image": key, **value} if isinstance(value, dict) else {"image": key, "captions": value}
            for key, value in content.items()]  # fmt: skip


def _karpathy_record(record: Any) -> Any:
    if not isinstance(record, dict) or not isinstance(record.get("filename"), str):
        return record
    sentences = record.get("sentences")
    sentences = sentences if isinstance(sentences, list) else []
    captions = [sentence.get("raw") if isinstance(sentence, dict) else sentence for sentence in sentences]
    folder = record.get("filepath")
    name = f"{folder}/{record['filename']}" if isinstance(folder, str) and folder else record["filename"]
    split = {"restval": "train"}.get(str(record.get("split")), record.get("split"))
    return {"image": name, "captions": captions, "split": split}


def _coco_records(images: list, annotations: list, report: Report) -> list:
    """One record an image, with its captions in the order of the annotations; instances have none."""
    captions_of: dict[str, list] = {}
    for number, annotation in enumerate(annotations, 1):
        if isinstance(annotation, dict) and "image_id" in annotation and "caption" in annotation:
            captions_of.setdefault(str(annotation["image_id"]), []).append(annotation["caption"])
        elif not isinstance(annotation, dict) or not {"segmentation", "bbox", "keypoints"} & annotation.keys():
            report(number, "annotation without image_id or caption; left out")
    records = []
    for image in images:
        if isinstance(image, dict) and "file_name" in image and "id" in image:
            captions = captions_of.pop(str(image["id"]), [])
            records.append({"image": image["file_name"], "captions": captions})
        else:
            records.append({"image": None, "captions": []} if isinstance(image, dict) else image)
    for image_id, captions in captions_of.items():
        report(len(images), f"{len(captions)} captions of image {image_id}, which is not listed; left out")
    return records


# ------------------------------------------------------------------------------------------------------ separated cells
def cells_of(line: str, separator: str) -> list[str] | None:
    """The cells of a record; None where a quotation mark at the beginning of a cell is not closed."""
    if '"' not in line:
        return line.split(separator)
    cells, start = [], 0
    while start <= len(line):
        quote = start
        while line[quote : quote + 1] == " ":
            quote += 1
        end = -2
        if line[quote : quote + 1] == '"':
            closed, escaped = _closing(line, quote + 1)
            if closed < 0:
                return None
            end = line.find(separator, closed)
            text = line[quote + 1 : closed].replace('\\"' if escaped else '""', '"')
            if line[closed + 1 : len(line) if end < 0 else end].strip():
                end = -2  # more follows: the mark is a part of the text
        if end == -2:
            end = line.find(separator, start)
            text = line[start : len(line) if end < 0 else end]
        end = len(line) if end < 0 else end
        cells.append(text)
        start = end + 1
    return cells


def _closing(line: str, place: int) -> tuple[int, bool]:
    """Where the quotation ends that began before `place`, -1 where it does not; and whether marks in it are escaped.

    Mostly marks inside are doubled.
    """
    escaped = False
    while (mark := line.find('"', place)) >= 0:
        if line[mark + 1 : mark + 2] == '"':
            place = mark + 2
        elif line[mark - 1] == "\\" and mark > place:
            place, escaped = mark + 1, True
        else:
            return mark, escaped
    return -1, escaped


def _records(lines: Iterable[tuple[int, str]], separator: str, is_key: IsKey, report: Report):
    """Line number and cells of each record, which may go over several lines where it is quoted."""
    lines = iter(lines)
    waiting: list[tuple[int, str]] = []
    while waiting or (waiting := list(islice(lines, 1))):
        number, line = waiting.pop(0)
        if not line.strip():
            continue
        cells = cells_of(line, separator)
        taken: list[tuple[int, str]] = []
        text = line
        while cells is None:  # quoted over several lines, unless one of them is a row of its own
            following = waiting.pop(0) if waiting else next(lines, None)
            if following is not None:
                taken.append(following)
            begins = following is not None and any(map(is_key, following[1].split(separator)[:1]))
            if following is None or begins or len(taken) > LONGEST or len(text) > LARGEST:
                report(number, "a quotation mark that is not closed; taken as a part of the text")
                cells, waiting = line.split(separator), taken + waiting
                break
            text = f"{text}\n{following[1]}"
            cells = cells_of(text, separator)
        yield number, cells


def _separated_rows(lines: Iterator[tuple[int, str]], suffix: str, key_of: IsKey, report: Report) -> Iterator[Row]:
    def is_key(cell: str) -> bool:
        return len(cell) <= WIDEST and key_of(cell.strip(" "))

    head = list(islice(lines, SAMPLE))
    said = head[0][1].strip().lower() if head else ""
    told = said[4:5] if said.startswith("sep=") else ""  # as Excel writes it
    head = head[1:] if told else head
    order = ("\t", ",", ";", "|") if suffix in (".tsv", ".token") else SEPARATORS
    separator = told or max(order, key=lambda mark: _fits(head, mark, is_key))
    if not told and not _fits(head, separator, is_key):  # no key that is known as one
        if suffix not in (".csv", ".tsv"):
            yield from _spaced_rows(chain(head, lines), is_key)
            return
        separator = max(order, key=lambda mark: sum(mark in line for _, line in head))
    columns: list[str] = []
    for number, cells in _records(chain(head, lines), separator, is_key, report):
        if not columns:
            header = not any(map(is_key, cells[:COLUMNS]))
            columns = _names(cells) if header else [str(i) for i in range(1, len(cells) + 1)]
            if header:
                continue
        cells = _fitted(cells, len(columns), separator, is_key, lambda what: report(number, what))  # noqa: B023
        yield Row(number, {column: cell.strip() for column, cell in zip(columns, cells, strict=False)})


def _fits(head: list[tuple[int, str]], separator: str, is_key: IsKey) -> int:
    """How many of these lines have a key and another cell with this separator."""
    records = list(_records(head, separator, is_key, lambda *_: None))
    return sum(len(cells) > 1 and any(map(is_key, cells[:COLUMNS])) for _, cells in records)


def _names(cells: list[str]) -> list[str]:
    names: dict[str, None] = {}  # in order; a damaged first line may have a million cells
    for place, cell in enumerate(cells, 1):
        name = cell.strip() or str(place)
        while name in names:
            name = f"{name} {place}"
        names[name] = None
    return list(names)


def _fitted(cells: list[str], columns: int, separator: str, is_key: IsKey, report: Callable[[str], None]) -> list[str]:
    """As many cells as columns: a text with separators in it that nobody quoted is put together again."""
    surplus = len(cells) - columns
    if surplus <= 0:
        return cells
    if not any(cell.strip() for cell in cells[columns:]):
        report(f"{surplus} empty cells more than the {columns} columns; left out")
        return cells[:columns]
    report(f"{len(cells)} cells for {columns} columns: read as a text that has {separator!r} in it")
    if not any(map(is_key, cells[:columns])) and any(map(is_key, cells[surplus:])):  # the text stands before the key
        return [separator.join(cells[: surplus + 1]), *cells[surplus + 1 :]]
    return [*cells[: columns - 1], separator.join(cells[columns - 1 :])]


def spaced_rows(path: Path, report: Report) -> Iterator[Row]:
    """Column 1 is the first word of each line of a file, column 2 the rest."""
    with path.open("rb") as stream:
        yield from _spaced_rows(text_lines(stream, report), bool)


def _spaced_rows(lines: Iterable[tuple[int, str]], is_key: IsKey) -> Iterator[Row]:
    """Lines `key caption`, or keys alone."""
    for number, line in lines:
        words = line.split()
        place = next((i for i in range(1, min(len(words), 9) + 1) if is_key(" ".join(words[:i]))), 1)  # "my dog.jpg"
        if words:
            yield Row(number, {"1": " ".join(words[:place]), "2": " ".join(words[place:])})
