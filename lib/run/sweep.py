"""Runs notebooks over profiles and seeds, each combination by itself, on several processes or machines.

    python -m lib sweep --profiles smoke --seeds 0 1 2 --only 04 --workers 2

Each is a run of its own in <out>/<profile>/<notebook>/seed-<s>; at the end the numbers of all seeds are put together in
<out>/<profile>/<notebook>/metrics.json. The same command again continues what was interrupted. Needs Ray.
"""

import argparse
import json
import sys
from pathlib import Path

from lib.base.files import ROOT, write_text
from lib.base.workers import on_workers
from lib.report.rows import TEXT_KEYS, read_metrics, row
from lib.run import notebook
from lib.run.profile import ProfileError, load_profile
from lib.run.runner import PATTERN, run_notebooks, select


def sweep(
    profiles: list[str],
    seeds: list[int],
    only: list[str] | None = None,
    out: Path | None = None,
    workers: int = 2,
    notebooks: Path | None = None,
    cell_timeout: float = 1800,
) -> list[list]:
    """Runs every chosen notebook that has a parameter `seeds` with each profile and each seed, `workers` at a time.

    Returns [profile, notebook, seed, passed] of each run, and puts the numbers of all seeds together where all
    passed. Notebooks that read the others' numbers are left out. Arguments as in `run_notebooks`.
    """
    folder = Path(notebooks or ROOT / "notebooks").resolve()
    out = Path(out or folder.parent / "runs" / "sweep").resolve()
    names = _names(folder, only)
    for profile in profiles:  # what is wrong with one is better said here than by the processes
        load_profile(folder / "profiles", profile)
    pieces = [
        [profile, name, seed, str(out / profile / name / f"seed-{seed}"), str(folder), cell_timeout]
        for profile in profiles
        for name in names
        for seed in seeds
    ]
    results = []
    for result in on_workers(run_one, pieces, workers):
        results.append(result)
        profile, name, seed, passed = result
        verdict = "passed" if passed else f"FAILED, see {out / profile / name / f'seed-{seed}'}"
        print(f"{len(results)} of {len(pieces)}: {profile}, {name}, seed {seed}: {verdict}", flush=True)
    for profile in profiles:
        for name in names:
            if all(passed for p, n, _, passed in results if (p, n) == (profile, name)):
                runs = [out / profile / name / f"seed-{seed}" / name / "metrics.json" for seed in seeds]
                target = out / profile / name / "metrics.json"
                write_text(target, json.dumps(together([read_metrics(run) for run in runs]), indent=1) + "\n")
    return results


def run_one(piece: list) -> list:
    """Runs one notebook with one profile and one seed, in a process of the runner, unless that has been done."""
    profile, name, seed, out, folder, cell_timeout = piece
    options = {"out": Path(out), "notebooks": Path(folder), "cell_timeout": cell_timeout, "resume": True}
    (result,) = run_notebooks(profile, [name], **options, changes={"seeds": [seed]})
    return [profile, name, seed, result.passed]


def together(runs: list[dict]) -> dict:
    """What `read_metrics` gave for one seed each as the content of one file: values side by side, seconds summed.

    A row that only some seeds have keeps the values of those; intervals belong to one run each and are dropped.
    """
    values: dict[tuple, list[float]] = {}
    notes: dict[tuple, str | None] = {}
    for run in runs:
        for measured in run["rows"]:
            key = tuple(measured[text] for text in TEXT_KEYS)
            values.setdefault(key, []).extend(measured["values"])
            notes.setdefault(key, measured.get("note"))
    rows = []
    for key, of_seeds in values.items():
        method, corpus, setting, metric = key
        rows.append(row(method, corpus, setting, metric, of_seeds, note=notes[key]))
    seconds = [run["provenance"]["seconds"] for run in runs]
    provenance = runs[0]["provenance"] | {"seconds": None if None in seconds else sum(seconds)}
    return runs[0] | {"rows": rows, "provenance": provenance}


def _names(folder: Path, only: list[str] | None) -> list[str]:
    chosen = []
    for path in select(sorted(folder.glob(PATTERN)), only):
        declared = notebook.parameters(notebook.read(path), path.name)
        if "runs_dir" not in declared:
            if "seeds" not in declared:
                raise ProfileError(f"{path.name} has no parameter 'seeds' to sweep over")
            chosen.append(path.stem)
    return chosen


def main(arguments: list[str] | None = None) -> int:
    """The command line; exit code 0 if all passed, 1 if one failed, 2 if nothing could be run."""
    parser = argparse.ArgumentParser(prog="python -m lib sweep", description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", nargs="+", required=True, metavar="NAME", help="files in notebooks/profiles")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="S", help="default: 0 1 2")
    parser.add_argument("--only", nargs="+", metavar="NN", help="numbers or names of notebooks")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/sweep")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="notebooks at the same time (default: 2)")
    parser.add_argument("--notebooks", type=Path, metavar="DIR", help="folder of the notebooks (default: notebooks)")
    parser.add_argument("--cell-timeout", type=float, default=1800, metavar="S", help="seconds (default: 1800)")
    try:
        results = sweep(**vars(parser.parse_args(arguments)))
    except ProfileError as error:
        print(f"nothing was run: {error}", file=sys.stderr)
        return 2
    return 0 if all(passed for *_, passed in results) else 1


if __name__ == "__main__":
    sys.exit(main())
