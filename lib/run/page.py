"""The pages of a run: each executed notebook as HTML, and one overview table that links them."""

import html
import logging
from dataclasses import asdict
from pathlib import Path

from lib.base.files import write_text
from lib.report.rows import read_metrics
from lib.run.notebook import code_cells, read
from lib.run.result import changed_since, read_result

HEADLINES = 4  # rows of metrics.json shown in the table; the others unfold

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.45 system-ui, sans-serif; color: #1b1f24; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .5rem .8rem .5rem 0; border-bottom: 1px solid #d8dee4; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
td table td, td table th {{ padding: .1rem .8rem .1rem 0; border: 0; font-size: .85rem; }}
.passed {{ color: #1a7f37; }} .failed {{ color: #b42318; font-weight: 600; }} .open {{ color: #6a737d; }}
pre {{ background: #f6f8fa; padding: .6rem; overflow-x: auto; font-size: .8rem; }}
dl {{ display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; font-size: .85rem; color: #57606a; }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
summary {{ cursor: pointer; font-size: .85rem; color: #57606a; }}
</style></head><body>
<h1>{title}</h1>
<p>{summary}</p>
<table>
<thead><tr><th>Notebook<th>Status<th>Seconds<th>Method, corpus, setting, metric: mean ± deviation of seeds</tr></thead>
<tbody>
{rows}
</tbody></table>
<h2>Where the numbers come from</h2>
<dl>{facts}</dl>
</body></html>
"""


def export_html(path: Path, target: Path, title: str) -> None:
    """Writes the executed notebook at `path` as one HTML file with its pictures in it."""
    from nbconvert import HTMLExporter

    nb = read(path)
    for output in (output for cell in code_cells(nb) for output in cell.outputs):
        if "text/html" in output.get("data", {}):  # a $ in a caption is text: formulas are in Markdown alone
            output.data["text/html"] = f'<div class="tex2jax_ignore">{"".join(output.data["text/html"])}</div>'
    logging.getLogger("traitlets").setLevel(logging.ERROR)  # it warns of every picture without alternative text
    body, _ = HTMLExporter(embed_images=True).from_notebook_node(nb, resources={"metadata": {"name": title}})
    write_text(target, body)


def write_index(out: Path, profile: str, notebooks: list[str]) -> None:
    """Writes `out`/index.html from the run.json and metrics.json in the folders of these notebooks under `out`."""
    runs = {name: run for name in notebooks if (run := _run(out / name)) is not None}
    metrics = {name: _metrics(out, run) for name, run in runs.items()}
    passed = sum(run["status"] == "passed" for run in runs.values())
    seconds = sum(run["seconds"] for run in runs.values())
    rows = {name: _row(run, metrics[name], out) for name, run in runs.items()}
    rows |= {
        name: f'<tr><td>{html.escape(name)}<td class="open">not run<td><td></tr>'
        for name in notebooks
        if name not in runs
    }
    page = PAGE.format(
        title=f"Results of profile {html.escape(profile)}",
        summary=f"{passed} of {len(notebooks)} notebooks passed, {seconds / 60:.1f} minutes together.",
        rows="\n".join(rows[name] for name in notebooks),
        facts=_facts(profile, [content["provenance"] for content in metrics.values() if content]),
    )
    write_text(out / "index.html", page)


def _run(folder: Path) -> dict | None:
    """What is kept of a run, None where there is none; one that is damaged, or changed since, has failed."""
    broken = {"notebook": folder.name, "title": folder.name, "status": "failed", "seconds": 0, "notes": []}
    try:
        result = read_result(folder)
        if result is None:
            return None
        reason = changed_since(folder, result) if result.passed else None
    except ValueError as error:
        return broken | {"failure": {"cell": 0, "message": str(error), "traceback": ""}}
    run = asdict(result)
    return run | {"status": "failed", "failure": {"cell": 0, "message": reason, "traceback": ""}} if reason else run


def _metrics(out: Path, run: dict) -> dict | None:
    """The numbers of a run that passed; a file that was damaged since makes it a failed one."""
    if run["status"] != "passed":
        return None
    try:
        return read_metrics(out / run["notebook"] / "metrics.json")
    except (FileNotFoundError, ValueError) as error:
        run.update(status="failed", failure={"cell": 0, "message": str(error), "traceback": ""})
        return None


def _row(run: dict, metrics: dict | None, out: Path) -> str:
    name = html.escape(run["notebook"])
    title = html.escape(run["title"])
    if (out / run["notebook"] / "notebook.html").is_file():
        title = f'<a href="{name}/notebook.html">{title}</a>'
    numbers = _failure(run["failure"]) if metrics is None else _numbers(metrics["rows"])
    said = fits_said(metrics["provenance"].get("fits")) if metrics else ""
    fits = f"<br><small>{said}</small>" if said else ""
    fits += "".join(f"<br><small>{html.escape(note)}</small>" for note in run["notes"])
    return (
        f'<tr><td>{title}<br><small>{name}</small><td class="{run["status"]}">{run["status"]}{fits}'
        f'<td class="number">{run["seconds"]:.0f}<td>{numbers}</tr>'
    )


def fits_said(fits: dict[str, int] | None) -> str:
    """How many trainings a notebook took from the store and how many it made: "12 fits taken, 3 trained"."""
    counts = [(count, how) for how, count in (fits or {}).items() if count]
    said = [f"{count} {how}" for count, how in counts[1:]]
    return ", ".join([f"{counts[0][0]} fit{'s' * (counts[0][0] != 1)} {counts[0][1]}", *said]) if counts else ""


def _numbers(rows: list[dict]) -> str:
    lines = []
    for row in rows:
        value = f"{row['mean']:.4g}" + ("" if row["std"] is None else f" ± {row['std']:.2g}")
        cells = (html.escape(row[key]) for key in ("method", "corpus", "setting", "metric"))
        lines.append("<tr>" + "".join(f"<td>{cell}" for cell in cells) + f'<td class="number">{value}</tr>')
    head, rest = "".join(lines[:HEADLINES]), "".join(lines[HEADLINES:])
    more = f"<details><summary>{len(lines) - HEADLINES} more</summary><table>{rest}</table></details>" if rest else ""
    return f"<table>{head}</table>{more}"


def _failure(failure: dict) -> str:
    end = "\n".join(failure["traceback"].splitlines()[-12:])
    text = f"code cell {failure['cell']}: {html.escape(failure['message'])}"
    return text + (f"<pre>{html.escape(end)}</pre>" if end else "")


def _facts(profile: str, provenances: list[dict]) -> str:
    """Each fact once where all notebooks agree, else every value that occurs."""
    facts = {"profile": {profile}}
    for provenance in provenances:
        versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
        data = f"{provenance['corpus']} {provenance['data_hash']}" if provenance["data_hash"] else None
        shown = {"commit": provenance["commit"], "versions": versions, "device": provenance["device"], "data": data}
        for key, value in shown.items():
            if value:
                facts.setdefault(key, set()).add(value)
    escaped = {key: "<br>".join(html.escape(value) for value in sorted(values)) for key, values in facts.items()}
    return "".join(f"<dt>{key}<dd>{value}" for key, value in escaped.items())
