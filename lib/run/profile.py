"""Profiles: one flat YAML mapping of parameter names to values, checked against the notebooks before anything runs."""

from pathlib import Path

import yaml

SET_BY_RUNNER = ("out_dir", "runs_dir")


class ProfileError(ValueError):
    """Profile, notebooks and command do not fit together; nothing has been run."""


def load_profile(folder: Path, name: str) -> dict:
    """The mapping in `folder`/`name`.yaml; an empty file is an empty mapping."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or "none"
        raise ProfileError(f"no profile {name!r} in {folder}; there are: {known}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ProfileError(f"{path} is not YAML: {error}") from error
    content = {} if content is None else content
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ProfileError(f"{path} must be a mapping `parameter: value`, not {type(content).__name__}")
    return content


def parameters_for(profile: dict, declared: dict[Path, dict]) -> dict[Path, dict]:
    """For each notebook (path -> names and default values) the part of the profile it knows; lists every misfit."""
    problems = [
        f"{path.name}: the parameters cell has no out_dir" for path in declared if "out_dir" not in declared[path]
    ]
    for key, value in profile.items():
        users = [path for path in declared if key in declared[path]]
        if key in SET_BY_RUNNER:
            problems.append(f"{key} is set by the runner and may not be in a profile")
        elif not users:
            known = sorted({name for names in declared.values() for name in names})
            problems.append(f"no notebook has a parameter {key!r}; there are: {', '.join(known)}")
        for path in users:
            if reason := misfit(value, declared[path][key]):
                problems.append(f"{path.name}: {key} = {value!r}: {reason}")
    if problems:
        raise ProfileError("\n".join(problems))
    return {path: {k: v for k, v in profile.items() if k in names} for path, names in declared.items()}


def misfit(value, default) -> str | None:
    """Why `value` cannot replace the literal `default`, None if it can: int passes as float, nothing else changes."""
    if default is None:
        known = value is None or isinstance(value, bool | int | float | str | list | dict)
        return None if known else f"{type(value).__name__} is not a type that can be passed"
    wanted = list if isinstance(default, tuple) else type(default)
    if type(value) is not wanted and not (wanted is float and type(value) is int):
        hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if wanted is float and isinstance(value, str) else ""
        return f"expected {wanted.__name__}, got {type(value).__name__}{hint}"
    if wanted is list and default:
        return next((f"in the list, {reason}" for item in value if (reason := misfit(item, default[0]))), None)
    return None
