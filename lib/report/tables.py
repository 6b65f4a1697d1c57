"""Tables of measured numbers: mean and spread over seeds, leaderboards, measured beside published."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from lib.report.names import decimals, heading, higher_is_better
from lib.report.rows import check_row

KEYS = ["method", "corpus", "setting"]
_CSS = [
    {"selector": "", "props": "border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.95em"},
    {"selector": "th, td", "props": "padding: 0.3em 0.8em; border: none; text-align: right; background: none"},
    {"selector": "thead th", "props": "border-bottom: 1.5px solid #888; font-weight: 600; vertical-align: bottom"},
    {"selector": "tbody tr", "props": "border-bottom: 1px solid #8884; background: none"},
    {"selector": "td.left", "props": "text-align: left"},
    {"selector": "caption", "props": "caption-side: top; text-align: left; font-weight: 600; padding: 0.3em 0.8em"},
]


def rows_to_frame(rows: Sequence[dict]) -> pd.DataFrame:
    """Metric rows (`lib.report.rows.row`) as a table, one line a row.

    Columns: method, corpus, setting, metric, mean, std, low, high (the interval), seeds (how many values), values.
    Units as measured (recalls in percent, ranks in ranks, mAP as a fraction). Raises ValueError naming a bad row.
    """
    for index, row in enumerate(rows):
        check_row(row, f"row {index}")
    lines = []
    for row in rows:
        low, high = row["interval"] or (None, None)
        line = {key: row[key] for key in (*KEYS, "metric", "mean", "std")}
        lines.append(line | {"low": low, "high": high, "seeds": len(row["values"]), "values": row["values"]})
    columns = [*KEYS, "metric", "mean", "std", "low", "high", "seeds", "values"]
    frame = pd.DataFrame(lines, columns=columns)
    return frame.astype(dict.fromkeys(("mean", "std", "low", "high"), float))


def leaderboard(
    frame: pd.DataFrame, metrics: Sequence[str] | None = None, sort: str | None = None, caption: str = ""
) -> Styler:
    """Methods as lines, metrics as columns, `mean ± std` over seeds (or `mean [low, high]`), the best in bold.

    frame: from `rows_to_frame`. metrics: which columns, in order; default: all. sort: the metric that orders the
    lines, best first; default: the order of the frame. Corpus and setting become columns where they differ, and are
    named in the caption otherwise; the best is found within a corpus and setting. Raises ValueError for an unknown
    metric or when a method has two rows for one.
    """
    metrics = list(metrics) if metrics is not None else list(dict.fromkeys(frame["metric"]))
    unknown = [m for m in [*metrics, *([sort] if sort else [])] if m not in set(frame["metric"])]
    if unknown:
        raise ValueError(f"no rows for the metrics {unknown}; there are {sorted(set(frame['metric']))}")
    frame = frame[frame["metric"].isin([*metrics, *([sort] if sort else [])])]
    double = frame[frame.duplicated([*KEYS, "metric"])]
    if len(double):
        raise ValueError(f"two rows for {double.iloc[0][[*KEYS, 'metric']].tolist()}")
    means = frame.pivot(index=KEYS, columns="metric", values="mean")
    order = pd.MultiIndex.from_frame(frame[KEYS].drop_duplicates())
    means = means.reindex(order)
    if sort:
        means = means.sort_values(sort, ascending=not higher_is_better(sort), kind="stable")
    texts = frame.assign(text=frame.apply(_cell, axis=1)).pivot(index=KEYS, columns="metric", values="text")
    texts = texts.reindex(means.index)[metrics].fillna("–").reset_index()
    same = [key for key in ("corpus", "setting") if texts[key].nunique() == 1]
    seeds = sorted(set(frame["seeds"]))
    about = [str(texts[key].iloc[0]) for key in same]
    about.append(f"{seeds[0]} seed{'s' if seeds[0] > 1 else ''}" if len(seeds) == 1 else "number of seeds differs")
    bold = _bold(means, texts, metrics)
    shown = texts.drop(columns=same).rename(columns={m: heading(m) for m in metrics})
    bold = bold.drop(columns=same).rename(columns={m: heading(m) for m in metrics})
    return _styled(shown, bold, f"{caption}{': ' if caption else ''}{', '.join(about)}")


def _bold(means: pd.DataFrame, texts: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The style of each cell of `texts`: bold where its mean, as printed, is the best of its corpus and setting."""
    bold = pd.DataFrame("", index=texts.index, columns=texts.columns)
    for group in means.reset_index().groupby(["corpus", "setting"], sort=False).groups.values():
        for metric in metrics:
            rounded = means[metric].iloc[list(group)].round(decimals(metric))
            best = rounded.max() if higher_is_better(metric) else rounded.min()
            bold.loc[[i for i, v in zip(group, rounded, strict=True) if v == best], metric] = "font-weight: bold"
    return bold


def beside_published(ours: pd.DataFrame, published: pd.DataFrame, metrics: Sequence[str] | None = None) -> Styler:
    """Our rows above the published rows of the same corpora, and under each of ours the difference to the first one.

    ours: from `rows_to_frame`. published: rows of `lib.report.published.load_published`, already chosen (one line a
    method and setting is shown; the first is the reference). A difference is ours minus published, in the metric's
    unit, and only where both have the number. Metrics that neither has are left out. Raises ValueError when no
    metric is in both.
    """
    both = [m for m in dict.fromkeys(ours["metric"]) if m in set(published["metric"])]
    metrics = both if metrics is None else list(metrics)
    if not set(metrics) & set(both):
        known = f"ours {sorted(set(ours['metric']))}, published {sorted(set(published['metric']))}"
        raise ValueError(f"no metric is in both: {known}")
    lines: list[dict] = []
    reference: Any = None
    for (method, corpus, setting), group in published.groupby(KEYS, sort=False):
        values = group.set_index("metric")["value"].to_dict()
        reference = values if reference is None else reference
        bounds = group.set_index("metric")["bound"].to_dict()
        texts = {m: f"{bounds.get(m, '')} {_number(values.get(m), m)}".strip() for m in metrics}
        source = f"paper {group['paper'].iloc[0]} [{', '.join(group['source'].unique())}]"
        lines.append({"method": method, "corpus": corpus, "setting": setting, "from": source} | texts)
    measured = []
    for (method, corpus, setting), group in ours.groupby(KEYS, sort=False):
        rows = {row["metric"]: row for _, row in group.iterrows()}
        texts = {m: _cell(rows[m]) if m in rows else "–" for m in metrics}
        measured.append({"method": method, "corpus": corpus, "setting": setting, "from": "measured here"} | texts)
        gaps = {m: rows[m]["mean"] - reference[m] for m in metrics if m in rows and pd.notna(reference.get(m))}
        texts = {m: f"{gaps[m]:+.{decimals(m)}f}" if m in gaps else "–" for m in metrics}
        measured.append({"method": f"… minus {lines[0]['method']}", "corpus": "", "setting": "", "from": ""} | texts)
    shown = pd.DataFrame(measured + lines).rename(columns={m: heading(m) for m in metrics})
    look = pd.DataFrame("", index=shown.index, columns=shown.columns)
    look[shown["from"] == "measured here"] = "font-weight: bold"
    look[shown["from"] == ""] = "font-style: italic; color: #7a7a7a"
    return _styled(shown, look, "Measured beside published; differences are ours minus the first published row")


def _number(value: float | None, metric: str) -> str:
    return "–" if pd.isna(value) else f"{value:.{decimals(metric)}f}"


def _cell(row: Mapping) -> str:
    """`mean ± std` over seeds; `mean [low, high]` where one seed has an interval; the mean alone otherwise."""
    digits = decimals(row["metric"])
    text = f"{row['mean']:.{digits}f}"
    if pd.notna(row["std"]):
        return f"{text} ± {row['std']:.{digits}f}"
    return f"{text} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]" if pd.notna(row["low"]) else text


def _styled(shown: pd.DataFrame, look: pd.DataFrame, caption: str) -> Styler:
    """The house table. Its id comes from its content: the same HTML every time, and two tables never share a style."""
    left = pd.DataFrame("", index=shown.index, columns=shown.columns)
    words = [c for c in shown.columns if c in (*KEYS, "from")]
    left[words] = "left"
    name = hashlib.sha256((caption + shown.to_csv() + look.to_csv()).encode()).hexdigest()[:10]
    styler = (
        Styler(shown, uuid=name, cell_ids=False, caption=caption, escape="html")
        .hide(axis="index")
        .set_table_styles(_CSS)
    )
    styler = styler.apply(lambda _: look, axis=None).set_td_classes(left)
    return styler.apply_index(lambda names: ["text-align: left" if n in words else "" for n in names], axis="columns")
