"""The file every notebook ends with: measured numbers and where they come from.

started = time.time()
...
scores = [validate(model, pairs["test"]) for model in models]  # a model a seed
rows = metrics.rows("InfoNCE", "openmoji", "test, 500 pictures", scores, ("rsum", "i2t_r10"))
rows.append(metrics.row("chance", "openmoji", "test, 500 pictures", "i2t_r10", [2.0]))
metrics.write_metrics(f"{out_dir}/metrics.json", rows, notebook="04_joint_embedding",
                      protocol=str(scores.protocol), corpus=corpus, started=started, device=device)
"""

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lib.base.files import write_text
from lib.report.provenance import commit, device_name, fits, versions

if TYPE_CHECKING:  # reading and writing results needs no torch
    from lib.evaluation import Scores

TEXT_KEYS = ("method", "corpus", "setting", "metric")
ROW_KEYS = (*TEXT_KEYS, "values", "mean", "std", "interval")


def row(
    method: str,
    corpus: str,
    setting: str,
    metric: str,
    values: Sequence[float],
    interval: tuple[float, float] | None = None,
    note: str | None = None,
) -> dict:
    """One measured number: `values` has one entry per seed; mean and sample standard deviation are added.

    `std` is None for a single value; `interval` is (low, high) of the mean in the unit of the values.
    Raises ValueError, naming row and key, for an empty text or a number that is not finite.
    """
    name = f"row ({method!r}, {corpus!r}, {setting!r}, {metric!r})"
    values = [_number(value, f"{name}, values") for value in values]
    if not values:
        raise ValueError(f"{name}: 'values' is empty; give one value per seed")
    result = {
        "method": method,
        "corpus": corpus,
        "setting": setting,
        "metric": metric,
        "values": values,
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "interval": None if interval is None else [_number(end, f"{name}, interval") for end in interval],
    }
    if note is not None:
        result["note"] = note
    check_row(result, name)
    return result


def rows(
    method: str,
    corpus: str,
    setting: str,
    scores_of_seeds: Sequence["Scores | Mapping[str, float]"],
    metrics: Sequence[str],
    note: str | None = None,
) -> list[dict]:
    """The rows of one method, a row a metric with one value a seed.

    `scores_of_seeds` has one entry per seed: `Scores`, or a mapping from metric to value. Raises ValueError, naming the
    metric and those that are known, where an entry lacks one.
    """
    values = [scores if isinstance(scores, Mapping) else scores.as_dict() for scores in scores_of_seeds]
    for number, known in enumerate(values):
        if missing := [metric for metric in metrics if metric not in known]:
            raise ValueError(f"{method!r}, entry {number}: no metric {missing[0]!r}, but {', '.join(known)}")
    per_metric = {metric: [of_seed[metric] for of_seed in values] for metric in metrics}
    return [row(method, corpus, setting, metric, found, note=note) for metric, found in per_metric.items()]


def check_row(row: dict, name: str) -> None:
    """Raises ValueError, naming the row and the key, unless `row` is what `row()` makes."""
    if not isinstance(row, dict):
        raise ValueError(f"{name}: expected a mapping made by row(), got {type(row).__name__}")
    missing = [key for key in ROW_KEYS if key not in row]
    unknown = sorted(set(row) - {*ROW_KEYS, "note"})
    if missing or unknown:
        raise ValueError(f"{name}: missing keys {missing}, unknown keys {unknown}")
    for key in (*TEXT_KEYS, *(["note"] if "note" in row else [])):
        if not isinstance(row[key], str) or not row[key].strip():
            raise ValueError(f"{name}: {key!r} must be a text that is not empty, got {row[key]!r}")
    if not isinstance(row["values"], list) or not row["values"]:
        raise ValueError(f"{name}: 'values' must be a list with one number per seed, got {row['values']!r}")
    values = [_number(value, f"{name}, values") for value in row["values"]]
    if not math.isclose(_number(row["mean"], f"{name}, mean"), statistics.fmean(values), abs_tol=1e-9):
        raise ValueError(f"{name}: 'mean' {row['mean']} is not the mean of {values}")
    std = statistics.stdev(values) if len(values) > 1 else None
    if (std is None) != (row["std"] is None):
        raise ValueError(f"{name}: 'std' is {row['std']}, but there are {len(values)} values")
    if std is not None and not math.isclose(_number(row["std"], f"{name}, std"), std, rel_tol=1e-6, abs_tol=1e-9):
        raise ValueError(f"{name}: 'std' {row['std']} is not the sample standard deviation of {values}")
    if row["interval"] is not None:
        ends = [_number(end, f"{name}, interval") for end in row["interval"]]
        if len(ends) != 2 or ends[0] > ends[1]:
            raise ValueError(f"{name}: 'interval' must be (low, high), got {row['interval']}")


def _number(value, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool | str) or not math.isfinite(number):
        raise ValueError(f"{where}: expected a finite number, got {value!r}")
    return number


def _check_rows(rows, where: str) -> None:
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{where}: 'rows' must be a list with at least one row, got {rows!r}")
    seen: dict[tuple, int] = {}
    for index, entry in enumerate(rows):
        check_row(entry, f"{where}: row {index}")
        key = tuple(entry[text] for text in TEXT_KEYS)
        if key in seen:
            raise ValueError(f"{where}: row {index} repeats row {seen[key]}: {key}")
        seen[key] = index


def write_metrics(
    path,
    rows: list[dict],
    *,
    notebook: str,
    protocol: str,
    corpus=None,
    started: float | None = None,
    device=None,
    claims=None,
) -> None:
    """Writes rows and provenance to `path` as JSON, atomically.

    `protocol` says in words how the numbers were measured, `corpus` is the Corpus they were measured on,
    `started` the `time.time()` at which the notebook began, `device` the torch device that was used, `claims` the
    conclusions that the notebook draws (`lib.report.claims.Claims`).
    The first rows are the headline numbers of the run's overview page.
    """
    path = Path(path)
    _check_rows(rows, path.name)
    for key, value in (("notebook", notebook), ("protocol", protocol)):
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{path.name}: {key!r} must be a text that is not empty, got {value!r}")
    seconds = None if started is None else time.time() - started
    if seconds is not None and not 0 <= seconds < 1e9:
        raise ValueError(f"{path.name}: 'started' must come from time.time(), got {started!r}")
    content = {
        "complete": True,
        "notebook": notebook,
        "rows": rows,
        "claims": [] if claims is None else claims.said,
        "provenance": {
            "commit": commit(),
            "versions": versions(),
            "device": device_name(device),
            "fits": fits(),
            "corpus": None if corpus is None else corpus.name,
            "data_hash": None if corpus is None else corpus.fingerprint(),
            "protocol": protocol,
            "seconds": seconds,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    }
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_metrics(path) -> dict:
    """Reads what `write_metrics` wrote; FileNotFoundError if absent, ValueError if it is not whole or not valid."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: the notebook has not (or not to its end) been run")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("complete") is not True:
        raise ValueError(f"{path} is not complete: it was not written by lib.report.rows.write_metrics")
    missing = [key for key in ("notebook", "rows", "provenance") if key not in content]
    if missing:
        raise ValueError(f"{path} is not complete: it lacks {missing}")
    _check_rows(content["rows"], str(path))
    return content
