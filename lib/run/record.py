"""Takes the numbers and, for the default profile, the outputs of complete runs into the repository.

    python -m lib record runs/openmoji     # writes results/openmoji/*.json and the outputs in notebooks/
    python -m lib record --check           # lists what is older or wrong, of every profile; exit code 1 if wrong

Only what a clean commit made is recorded. The outputs are normalised, so that recording the same run twice changes
nothing. When a result is wrong and when it is older, `lib.run.stale` says.
"""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat

from lib.base.files import ROOT, atomic_path, write_text
from lib.report import provenance
from lib.report.rows import read_metrics
from lib.run import notebook, read_result, stale
from lib.run.result import changed_since
from lib.run.stale import DEFAULT_PROFILE

LIMIT = 320_000  # bytes of a recorded notebook
WIDGET = "application/vnd.jupyter.widget-view+json"
ABSOLUTE = re.compile(r"(?<![\w.~:/-])/(?:home|root|Users|tmp|private|var|mnt|opt|usr|work|data|content)/\S*")
FOREIGN_IMAGE = re.compile(r"data:image/(?!png)[\w+.-]+")


def record(folder, notebooks: Path = ROOT / "notebooks", results: Path = ROOT / "results") -> dict[str, str | None]:
    """For each notebook: None if it was recorded from the run in `folder`, else why not ("not run" if it was not)."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; run the notebooks first: make run")
    if reason := provenance.unclean(provenance.commit()):
        raise ValueError(f"nothing is recorded from a tree that {reason}")
    outcome = {}
    for path in sorted(notebooks.glob("[0-9]*.ipynb")):
        try:
            outcome[path.stem] = _record_one(path, folder / path.stem, results)
        except (ValueError, FileNotFoundError) as error:
            outcome[path.stem] = str(error)
    return outcome


def _record_one(path: Path, run: Path, results: Path) -> str | None:
    if not run.is_dir():
        return "not run"
    result = read_result(run)
    if result is None or not result.passed:
        raise ValueError(f"its run in {run} {'failed' if result else 'was interrupted'}; run it again")
    if changed := changed_since(run, result):
        raise ValueError(f"{changed}; run it again")
    made = stale.made(path, result.parameters)
    if made.outputs != result.outputs_hash:
        raise ValueError(f"the notebook or what it uses of lib changed since its run in {run}; run it again")
    metrics = read_metrics(run / "metrics.json")
    metrics.pop("run", None)  # another one each time, and no fact about the numbers
    about = metrics["provenance"]
    if reason := provenance.unclean(about["commit"]):
        raise ValueError(f"its run in {run} is of code that {reason}; run it again: make run")
    metrics["made"] = stale.as_json(made, result.profile, about["device"], about["commit"])
    recorded = None
    if result.profile == DEFAULT_PROFILE:
        recorded = _with_outputs(path, run, result, metrics["made"])
    target = results / result.profile / f"{path.stem}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, json.dumps(metrics, indent=1, ensure_ascii=False) + "\n")
    if recorded is not None:
        if (picture := run / "picture.png").exists():  # of the default profile alone: its pictures may be shown
            with atomic_path(target.with_suffix(".png")) as temporary:
                shutil.copyfile(picture, temporary)
        write_text(path, recorded)
    return None


def _with_outputs(path: Path, run: Path, result, made: dict) -> str:
    """The notebook at `path` with the outputs of its run, as the text of a file; ValueError if it may not be kept."""
    nb, executed = notebook.read(path), notebook.read(run / "notebook.ipynb")
    literals = notebook.parameters(nb, path.name)
    changed = [name for name, value in result.parameters.items() if literals[name] != value]
    if changed:
        raise ValueError(f"the profile changes {changed}, so the outputs would not fit the values a reader sees")
    problems = []
    pairs = list(zip(notebook.code_cells(nb), notebook.code_cells(executed), strict=True))
    for number, (cell, ran) in enumerate(pairs, start=1):
        cell.outputs = normalise(
            ran.outputs, number, {str(run.resolve()): "run", str(ROOT): ".", str(Path.home()): "~"}
        )
        cell.execution_count = number
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        problems += [f"code cell {number} {problem}" for problem in _problems(cell.outputs)]
    nb.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "made": {key: value for key, value in made.items() if key not in ("cells", "definitions")},
        }
    )
    text = nbformat.writes(nb) + "\n"
    if len(text.encode()) > LIMIT:
        sizes = sorted(
            ((len(json.dumps(cell.outputs)), number) for number, (cell, _) in enumerate(pairs, 1)), reverse=True
        )
        largest = ", ".join(f"code cell {number} {size / 1000:.0f} KB" for size, number in sizes[:3])
        problems.append(f"has {len(text.encode()) / 1000:.0f} KB, over {LIMIT / 1000:.0f}; largest outputs: {largest}")
    if problems:
        raise ValueError("; ".join(problems))
    return text


def normalise(outputs: list, number: int, paths: dict[str, str]) -> list:
    """Outputs of code cell `number` without what differs from run to run or from machine to machine.

    Left out: standard error (progress bars, warnings), widgets, metadata, and the plain text beside HTML or a picture,
    which no front end shows and which may hold a memory address. Text printed over by a carriage return keeps its
    last state, adjoining prints are joined, and each of `paths` is written as its replacement.
    """
    kept: list[Any] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
                continue
            kept.append(nbformat.v4.new_output("stream", name="stdout", text=output.text))
        elif WIDGET not in output.get("data", {}):
            extra = {"execution_count": number} if output.output_type == "execute_result" else {}
            kept.append(nbformat.v4.new_output(output.output_type, data=output.data, **extra))
    for output in kept:
        if output.output_type == "stream":
            output.text = "\n".join(_last_state(line) for line in output.text.split("\n"))
            output.text = _shorten(output.text, paths)
        else:
            rich = any(kind in output.data for kind in ("text/html", "text/markdown", "image/png"))
            kinds = [kind for kind in output.data if not (rich and kind == "text/plain")]
            output.data = {kind: _shorten(output.data[kind], paths) for kind in kinds}
    return kept


def _last_state(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]


def _shorten(value, paths: dict[str, str]):
    if isinstance(value, str):
        for path in sorted(paths, key=len, reverse=True):
            value = re.sub(re.escape(path) + r"(?![\w-])", paths[path], value)
    return value


def _problems(outputs: list) -> list[str]:
    """Why outputs may not be committed."""
    found = []
    for output in outputs:
        data = output.get("data", {"text/plain": output.get("text", "")})
        found += [f"shows an image that is not PNG ({k})" for k in data if k.startswith("image/") and k != "image/png"]
        for kind, value in data.items():
            if not isinstance(value, str) or kind.startswith("image/"):
                continue
            if match := ABSOLUTE.search(value):
                found.append(f"prints the absolute path {match[0][:80]}")
            if match := FOREIGN_IMAGE.search(value):
                found.append(f"shows an image that is not PNG ({match[0]})")
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib record", description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("run", nargs="?", type=Path, help="folder of a run, e.g. runs/openmoji")
    what.add_argument("--check", action="store_true", help="list what is older or wrong of every profile")
    options = parser.parse_args(arguments)
    if options.check:
        states = stale.states(ROOT / "notebooks", ROOT / "results")
        print(stale.table(states))
        return 1 if any(state.level == "wrong" for state in states) else 0
    try:
        outcome = record(options.run)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    for name, reason in outcome.items():
        print(f"{name}: {'recorded' if reason is None else reason}")
    return 0 if all(reason in (None, "not run") for reason in outcome.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
