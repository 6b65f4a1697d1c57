"""The published numbers of `published.yaml` as one long table, each number with its source."""

from pathlib import Path

import pandas as pd

from lib.base.strict_yaml import read_yaml

PATH = Path(__file__).with_name("published.yaml")
COLUMNS = ["paper", "method", "corpus", "setting", "metric", "value", "bound", "source"]
_CONSTANTS = {"paper", "method", "corpus", "setting", "source"}
_OPTIONAL = {"title", "source_of", "bound"}
_PERCENT = [f"{d}_{m}" for d in ("i2t", "t2i") for m in ("r1", "r5", "r10", "pmrp", "mapr")]
_RANGES = (
    dict.fromkeys(_PERCENT, (0, 100))
    | dict.fromkeys(("i2t_medr", "t2i_medr", "i2t_meanr", "t2i_meanr"), (1, float("inf")))
    | dict.fromkeys(("map_i2t", "map_t2i", "map_avg", "p5_all", "p5_simple", "p5_complex"), (0, 1))
    | {"rsum": (0, 600)}
)


def load_published(corpus: str | None = None, metric: str | None = None, path: Path = PATH) -> pd.DataFrame:
    """The published numbers, a line each: paper, method, corpus, setting, metric, value, bound, source.

    Recalls in percent, ranks in ranks, mAP and precision as fractions. bound is ">" where the source only says "more
    than", else "". source is a tag explained by `sources()`; "MEM" is unchecked memory. Numbers the source leaves out
    are absent. corpus, metric: only these; ValueError listing the known ones if there is none.
    """
    content = _read(path)
    lines = []
    for table in content["tables"]:
        lines.extend(_expand(table, content["papers"], content["sources"]))
    frame = pd.DataFrame(lines, columns=COLUMNS)
    key = ["paper", "method", "corpus", "setting", "metric"]
    double = frame[frame.duplicated(key)]
    if len(double):
        raise ValueError(f"{path.name}: the same number twice: {double.iloc[0][key].tolist()}")
    for column, wanted in (("corpus", corpus), ("metric", metric)):
        if wanted is not None and wanted not in set(frame[column]):
            raise ValueError(f"no published number with {column} {wanted!r}; there are {sorted(set(frame[column]))}")
        if wanted is not None:
            frame = frame[frame[column] == wanted]
    return frame.dropna(subset="value").reset_index(drop=True)


def papers(path: Path = PATH) -> dict[str, str]:
    """What the letters in column `paper` stand for: letter -> reference."""
    return _read(path)["papers"]


def sources(path: Path = PATH) -> dict[str, str]:
    """What the tags in column `source` stand for: tag -> where the number was read."""
    return _read(path)["sources"]


def _read(path: Path) -> dict:
    content = read_yaml(path)
    if not isinstance(content, dict) or set(content) != {"papers", "sources", "tables"}:
        raise ValueError(f"{path.name}: the top level must be papers, sources, tables")
    return content


def _expand(table: dict, papers: dict, sources: dict) -> list[dict]:
    """One table of the file as lines; ValueError naming table and row for anything that does not fit."""
    name = f"published table {table.get('title')!r}"
    fields = table.get("fields", [])
    unknown = set(table) - _CONSTANTS - _OPTIONAL - {"fields", "rows"}
    metrics = [field for field in fields if field not in _CONSTANTS]
    unknown |= {metric for metric in metrics if metric.partition(" @ ")[0] not in _RANGES}
    constants = [key for key in _CONSTANTS if (key in table) + (key in fields) != 1]
    if unknown or constants or not metrics or not table.get("rows"):
        raise ValueError(f"{name}: unknown {sorted(unknown)}, given never or twice {sorted(constants)}, or no rows")
    if table.get("bound", ">") != ">" or not set(table.get("source_of", {})) <= set(metrics):
        raise ValueError(f"{name}: bound must be '>' and source_of may only name metrics of the table")
    lines = []
    for number, row in enumerate(table["rows"], start=1):
        where = f"{name}, row {number} ({row[0] if isinstance(row, list) and row else row!r})"
        if not isinstance(row, list) or len(row) != len(fields):
            raise ValueError(f"{where}: {len(fields)} entries expected ({', '.join(fields)}), got {row}")
        given = dict(zip(fields, row, strict=True))
        texts = {key: given.get(key, table.get(key)) for key in _CONSTANTS}
        for metric in metrics:
            lines.append(_line(where, texts, table, metric, given[metric]))
            if lines[-1]["source"] not in sources or texts["paper"] not in papers:
                raise ValueError(f"{where}: unknown source {lines[-1]['source']!r} or paper {texts['paper']!r}")
    return lines


def _line(where: str, texts: dict, table: dict, field: str, value: float | None) -> dict:
    empty = [key for key, text in texts.items() if not isinstance(text, str) or not text.strip()]
    if empty:
        raise ValueError(f"{where}: {sorted(empty)} must be a text that is not empty")
    metric, _, detail = field.partition(" @ ")
    low, high = _RANGES[metric]
    if value is not None and (isinstance(value, bool | str) or not low <= value <= high):
        raise ValueError(f"{where}: {metric} must be null or a number in {low}..{high}, got {value!r}")
    setting = f"{texts['setting']}, {detail}" if detail else texts["setting"]
    source = table.get("source_of", {}).get(field, texts["source"])
    return texts | {
        "setting": setting,
        "metric": metric,
        "value": None if value is None else float(value),
        "bound": table.get("bound", ""),
        "source": source,
    }
