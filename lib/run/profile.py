"""Profiles: parameters by notebook in a YAML file, checked against the notebooks before anything runs.

all:                 # for every notebook that has the parameter
  corpus: flickr8k
"06":                # for one notebook; comes before `all`
  passes: 10
"""

import difflib
from collections.abc import Iterable
from pathlib import Path

from lib.base.strict_yaml import read_yaml

ALL = "all"
SET_BY_RUNNER = ("out_dir", "runs_dir")
_HOW = """write parameters under `all:` (for every notebook that has them) or under the number of one:
"06":
  passes: 3"""
Sections = dict[str, dict[str, object]]  # "all" or the number of a notebook -> parameter -> value


class ProfileError(ValueError):
    """Profile, notebooks and command do not fit together; nothing has been run."""


def load_profile(folder: Path, name: str) -> Sections:
    """The sections of `folder`/`name`.yaml; an empty file has none."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        raise ProfileError(f"no profile {name!r} in {folder}{_nearest(name, known)}")
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise ProfileError(str(error)) from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ProfileError(f"{path} must be a mapping of sections, not {type(content).__name__}; {_HOW}")
    for key, section in content.items():
        if not isinstance(key, str) or not (key == ALL or key.isdigit()):
            quotes = f'write "{key:02d}" in quotes' if isinstance(key, int) else _HOW
            raise ProfileError(f"{path}: {key!r} is no section; {quotes}")
        if not isinstance(section, dict) or not all(isinstance(name, str) for name in section):
            raise ProfileError(f"{path}, section {key!r}: expected a mapping `parameter: value`, got {section!r}")
    return content


def given_to(profile: Sections, notebook: str, known: Iterable[str]) -> dict[str, object]:
    """What a profile gives to one notebook ("06" or "06_name") that has the parameters `known`."""
    known = set(known)
    every = {name: value for name, value in profile.get(ALL, {}).items() if name in known}
    return every | profile.get(notebook.split("_")[0], {})


def parameters_for(
    profile: Sections, declared: dict[Path, dict], changes: dict | None = None, name: str = "profile"
) -> dict[Path, dict]:
    """For each notebook (path -> names and default values) what the profile gives it, and before it the `changes`.

    Raises ProfileError that lists every misfit; `name` is that of the profile's file.
    """
    problems = [
        f"{path.name}: the parameters cell has no out_dir" for path in declared if "out_dir" not in declared[path]
    ]
    numbers = {path.stem.split("_")[0]: path for path in declared}
    for section, values in {**profile, "changes": changes or {}}.items():
        paths = list(declared) if section in (ALL, "changes") else [numbers[section]] if section in numbers else []
        if not paths:
            problems.append(f"{name}, section {section!r}: no such notebook{_nearest(section, numbers)}")
            continue
        of_section = {path: declared[path] for path in paths}
        for key, value in values.items():
            problems += [f"{name}, section {section!r}{p}" for p in _misfits(key, value, of_section, declared)]
    if problems:
        raise ProfileError("\n".join(problems))
    return {
        path: given_to(profile, path.stem, names) | {k: v for k, v in (changes or {}).items() if k in names}
        for path, names in declared.items()
    }


def _misfits(key: str, value, of_section: dict[Path, dict], declared: dict[Path, dict]) -> list[str]:
    """What is wrong with one parameter of a section whose notebooks have these names and default values."""
    if key in SET_BY_RUNNER:
        return [f": {key} is set by the runner and may not be in a profile"]
    users = [path for path, names in of_section.items() if key in names]
    if not users:
        who = "no notebook has" if len(of_section) == len(declared) else f"{next(iter(of_section)).name} has not"
        others = ", ".join(path.stem[:2] for path, names in declared.items() if key in names)
        hint = f"; {others} has" if others else _nearest(key, {n for names in of_section.values() for n in names})
        return [f": {who} the parameter {key!r}{hint}"]
    reasons = {path.name: misfit(value, of_section[path][key]) for path in users}
    return [f", {key} = {value!r}: {why} ({name})" for name, why in reasons.items() if why]


def _nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like a wrong one, and all of them if none is."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; there are: {', '.join(known) or 'none'}"


def misfit(value, default) -> str | None:
    """Why `value` cannot replace the literal `default`, None if it can: int passes as float, nothing else changes."""
    if default is None:
        known = value is None or isinstance(value, bool | int | float | str | list | dict)
        return None if known else f"{type(value).__name__} is not a type that can be passed"
    wanted = list if isinstance(default, tuple) else type(default)
    if type(value) is not wanted and not (wanted is float and type(value) is int):
        hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if wanted is float and isinstance(value, str) else ""
        return f"expected {wanted.__name__}, got {type(value).__name__}{hint}"
    if isinstance(value, list) and default:
        return next((f"in the list, {reason}" for item in value if (reason := misfit(item, default[0]))), None)
    return None
