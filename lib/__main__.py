"""python -m lib COMMAND: everything this project does. The first call makes the environment in .venv."""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import NamedTuple

from lib.base import environment


class Command(NamedTuple):
    """A function `(arguments: list[str] | None) -> int | None`, what it does, and arguments that are given first."""

    function: str  # module:name
    text: str
    given: tuple[str, ...] = ()


COMMANDS = {
    "run": Command(
        "lib.run.__main__:main",
        "run the notebooks, skip what is done; overview in runs/openmoji/index.html",
        ("--profile", "openmoji", "--jobs", "2", "--resume"),
    ),
    "test": Command("lib.run.checks:everything", "check style and types, then run all tests (nearly half an hour)"),
    "check": Command("lib.run.checks:quick", "the same without the notebooks and the slow tests (about ten minutes)"),
    "lint": Command("lib.run.checks:lint", "check style and types only"),
    "lab": Command("lib.run.lab:main", "read and change the notebooks in JupyterLab"),
    "search": Command("lib.search.__main__:main", "a page in the browser that searches the pictures of a corpus"),
    "record": Command("lib.run.record:main", "take a finished run into results/ and notebooks/"),
    "data": Command("lib.data.__main__:main", "list, get, check and assemble corpora"),
    "fits": Command("lib.base.fit_store:main", "what is kept of finished trainings, and how to remove it"),
    "features": Command("lib.vision.extract_shards:main", "features of the pictures in WebDataset shards"),
    "train": Command("lib.run.train:main", "train a joint embedding on one process or several"),
    "sweep": Command("lib.run.sweep:main", "run notebooks once for each of several seeds"),
    "lock": Command("lib.run.lock:main", "write requirements.lock anew from requirements.txt"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the first of `arguments` names with the others; returns the exit code."""
    environment.print_anywhere()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(listing())
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        print(f"there is no command {name!r}{f'; {near[0]}?' if near else ''} python -m lib lists all", file=sys.stderr)
        return 2
    if {"-h", "--help"} & set(rest) and not environment.is_made():
        print(f"{COMMANDS[name].text}; what it takes is said after the first call, which makes the environment")
        return 0
    try:
        environment.enter(arguments)
        return function(name)([*COMMANDS[name].given, *rest]) or 0
    except environment.NotReady as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def listing() -> str:
    """Every command with what it does."""
    lines = [f"  {name:<9} {command.text}" for name, command in COMMANDS.items()]
    usage = "usage: python -m lib COMMAND ...        (python -m lib COMMAND --help says what the command takes)"
    return "\n".join([usage, "", *lines])


def function(name: str):
    """The function of a command, imported."""
    module, _, attribute = COMMANDS[name].function.partition(":")
    return getattr(importlib.import_module(module), attribute)


if __name__ == "__main__":
    sys.exit(main())
