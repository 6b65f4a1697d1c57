"""What the outputs of a notebook are made by, and whether recorded ones are still those of the present code.

A recorded result is *wrong* when the notebook's cells, its parameters or a definition that its numbers come from have
changed, *older* when only something else behind it has: a figure, a message, the runner.
"""

import ast
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

from lib.base.bare_code import code_hash
from lib.base.definitions import names_in, reached, texts_in
from lib.base.files import ROOT
from lib.run import notebook
from lib.run.profile import ProfileError, load_profile, parameters_for

DEFAULT_PROFILE = "openmoji"  # the literals in the notebooks are this profile; its outputs are committed with them
# Where numbers come from; all other rooms store, show or run. Names may be rooms, files or definitions of lib.
NUMBERS = (
    "base.device", "data", "text", "vision", "models", "losses", "evaluation", "training", "systems", "search",
    "report.rows", "report.published",
)  # fmt: skip
NO_NUMBERS = ("data.obtain", "search.server", "search.__main__")
SHOWN = 6  # changes that a line of the table names


class Made(NamedTuple):
    """What outputs are made by: a hash of each code cell, the parameters that differ from the cell's, definitions.

    A definition that numbers come from has 16 digits, 8 of what it computes and 8 of that and what it says; others
    have the last 8 alone.
    """

    cells: list[str]
    parameters: dict[str, object]
    definitions: dict[str, str]

    @property
    def numbers(self) -> str:
        """Hash of everything that decides the numbers."""
        computed = {name: digits[:8] for name, digits in self.definitions.items() if len(digits) == 16}
        return _digest([self.cells, self.parameters, computed])

    @property
    def outputs(self) -> str:
        """Hash of everything behind the outputs."""
        return _digest([self.cells, self.parameters, self.definitions])


class State(NamedTuple):
    """Whether a recorded result is "right", "older", "wrong" or "unknown", and which changes say so."""

    profile: str
    notebook: str
    level: str
    changed: list[str]
    commit: str  # of the code that made it
    written: str  # day
    since: str = ""  # first commit that changed something of it, and its day


def makes_numbers(definition: str) -> bool:
    """Whether numbers come from a definition of lib, by the room or file that it lies in."""

    def lies_in(places: tuple[str, ...]) -> bool:
        return any(f"{definition}.".startswith(f"lib.{place}.") for place in places)

    return lies_in(NUMBERS) and not lies_in(NO_NUMBERS)


def made(path, given: dict | None = None, root: Path = ROOT) -> Made:
    """What the outputs of the notebook at `path` are made by, run with the parameters `given`."""
    path = Path(path)
    nb = notebook.read(path)
    literals = notebook.parameters(nb, path.name)
    parameters = {name: value for name, value in (given or {}).items() if literals[name] != value}
    parameters = json.loads(json.dumps(parameters))  # as it will be read from a file
    sources = [notebook.plain_python(cell.source) for cell in notebook.code_cells(nb)]
    trees = [notebook.parse(source, path.name) for source in sources]
    cells = [_cell_hash(tree, source) for tree, source in zip(trees, sources, strict=True)]
    for cell, tree in zip(notebook.code_cells(nb), trees, strict=True):
        if "parameters" in cell.metadata.get("tags", []):
            tree.body = [_replaced(statement, parameters) for statement in tree.body]
    code = ast.Module([statement for tree in trees for statement in tree.body], [])
    # a name that lib does not have is an error of the notebook, which its run reports
    names, texts = names_in(code, root), texts_in(code)
    definitions = {name: digits[:8] for name, digits in reached(names, root, texts, spoken=True, strict=False).items()}
    for name, digits in reached(names, root, texts, makes_numbers, strict=False).items():
        definitions[name] = digits[:8] + definitions[name]
    return Made(cells, parameters, definitions)


def _cell_hash(tree: ast.Module, source: str) -> str:
    hides = source.rstrip().endswith(";")  # a semicolon at the end of a cell hides its value
    return code_hash(tree.body, spoken=True)[:8] + ";" * hides


def _replaced(statement: ast.stmt, parameters: dict) -> ast.stmt:
    """`name = literal` with the value of the profile: a corpus that another one takes the place of is not read."""
    target: Any = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
    return ast.parse(f"{target.id} = {parameters[target.id]!r}").body[0] if target.id in parameters else statement


def differences(now: Made, then: Made) -> tuple[list[str], list[str]]:
    """What makes recorded outputs wrong, and what makes them older."""
    wrong: list[str] = []
    older: list[str] = []
    if len(now.cells) != len(then.cells):
        wrong.append(f"{len(now.cells)} code cells, not {len(then.cells)}")
    elif cells := [str(n) for n, pair in enumerate(zip(now.cells, then.cells, strict=True), 1) if len({*pair}) > 1]:
        wrong.append(f"code cell {', '.join(cells)}")
    keys = {*now.parameters, *then.parameters}
    wrong += [f"parameter {key}" for key in sorted(keys) if now.parameters.get(key) != then.parameters.get(key)]
    for name in sorted({*now.definitions, *then.definitions}):
        first, second = then.definitions.get(name, ""), now.definitions.get(name, "")
        computed = [digits[:8] if len(digits) == 16 else "" for digits in (first, second)]
        if first != second:
            how = f"{name} (new)" if not first else f"{name} (gone)" if not second else name
            (wrong if computed[0] != computed[1] else older).append(how)
    return wrong, older


def _digest(content) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def as_json(what: Made, profile: str, device: str, commit: str) -> dict:
    """The part `made` of a results file."""
    about = {"profile": profile, "device": device, "commit": commit, "numbers": what.numbers, "outputs": what.outputs}
    return about | what._asdict()


def states(notebooks: Path, results: Path, root: Path = ROOT) -> list[State]:
    """The state of every recorded result, and of the notebooks that were never recorded in the default profile."""
    paths = {path.stem: path for path in sorted(notebooks.glob("[0-9]*.ipynb"))}
    declared = {path: notebook.parameters(notebook.read(path), path.name) for path in paths.values()}
    found = []
    recorded = {folder.name for folder in results.iterdir() if folder.is_dir()} if results.is_dir() else set()
    for profile in sorted({DEFAULT_PROFILE} | recorded):
        names = {file.stem for file in (results / profile).glob("[0-9]*.json")}
        names |= set(paths) if profile == DEFAULT_PROFILE else set()
        try:
            given = parameters_for(load_profile(notebooks / "profiles", profile), declared)
        except ProfileError as error:
            found += [State(profile, name, "unknown", [str(error).splitlines()[0]], "", "") for name in sorted(names)]
            continue
        for name in sorted(names):
            path, file = paths.get(name), results / profile / f"{name}.json"
            found.append(state(profile, name, path, file, given.get(path, {}) if path else {}, root))
    return found


def state(profile: str, name: str, path: Path | None, file: Path, given: dict, root: Path = ROOT) -> State:
    """The state of the results in `file`, made by the notebook at `path`, and of its outputs in the default profile."""
    default = profile == DEFAULT_PROFILE
    if not file.is_file():
        return State(profile, name, "wrong", ["never recorded"], "", "")
    content = json.loads(file.read_text(encoding="utf-8"))
    commit, written = content["provenance"]["commit"], content["provenance"]["written"][:10]
    if path is None:
        return State(profile, name, "wrong", ["there is no such notebook"], commit, written)
    if "made" not in content:
        level = "wrong" if default else "unknown"
        what = ["made before hashes were kept", *_other_cells(commit, path, root)]
        return State(profile, name, level, what, commit, written)
    then = Made(*(content["made"][key] for key in Made._fields))
    shown = notebook.read(path).metadata.get("made", {}) if default else content["made"]
    wrong, older = differences(made(path, given, root), then)
    if shown.get("outputs") != then.outputs:
        wrong.insert(0, "the outputs in the notebook are of another run")
    level = "wrong" if wrong else "older" if older else "right"
    return State(profile, name, level, wrong or older, commit, written, _since(commit, path, wrong or older, root))


def _since(commit: str, path: Path, changed: list[str], root: Path) -> str:
    """The first commit after `commit` that touched a file of what has changed; "" if git does not know."""
    if not changed:
        return ""
    files = [] if all(change.startswith("lib.") for change in changed) else [os.path.relpath(path, root)]
    for name in (change.split()[0] for change in changed if change.startswith("lib.")):
        at = name.removesuffix(".yaml").replace(".", "/")
        above = [at.rpartition("/")[0], at]  # what holds a definition, or the module itself
        files += [f"{stem}{end}" for stem in above for end in (".py", "/__init__.py", ".yaml")]
    said = _git(root, "log", "--reverse", "--format=%h %cs", f"{commit}..HEAD", "--", *files)
    return "" if said is None else (said.splitlines() or ["not committed"])[0]


def _other_cells(commit: str, path: Path, root: Path) -> list[str]:
    """What git knows of code cells that changed since `commit`, nothing where it does not know the notebook then."""
    said = _git(root, "show", f"{commit}:./{Path(os.path.relpath(path, root)).as_posix()}")
    if said is None:
        return []
    then, now = (notebook.code_cells(nb) for nb in (nbformat.reads(said, as_version=4), notebook.read(path)))
    sources = {cell.source for cell in then}
    other = sum(cell.source not in sources for cell in now)
    return [f"{other} of {len(now)} code cells are others now"] if other else []


def _git(root: Path, *arguments: str) -> str | None:
    """What git says, None where there is no git or it does not know."""
    try:
        said = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        return None
    return None if said.returncode else said.stdout


def table(found: list[State]) -> str:
    """The states as lines of text, those that are right in one line a profile."""
    lines = []
    for profile in dict.fromkeys(entry.profile for entry in found):
        entries = [entry for entry in found if entry.profile == profile]
        counts = {level: sum(e.level == level for e in entries) for level in ("right", "older", "wrong", "unknown")}
        lines.append(f"{profile}: " + ", ".join(f"{count} {level}" for level, count in counts.items() if count))
        for entry in entries:
            if entry.level != "right":
                lines.append(f"  {entry.level:8}{entry.notebook:25}{_line(entry)}")
    return "\n".join(lines)


def _line(entry: State) -> str:
    dirty = "-dirty" if entry.commit.endswith("-dirty") else ""
    made_by = f"made {entry.written} by {entry.commit[:8]}{dirty}: " if entry.commit else ""
    more = [f"{len(entry.changed) - SHOWN} more"] if len(entry.changed) > SHOWN else []
    since = f", since {entry.since}" if entry.since else ""
    return made_by + "; ".join(entry.changed[:SHOWN] + more) + since
