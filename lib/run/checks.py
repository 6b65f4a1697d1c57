"""The checks of a checkout: style, types and tests."""

import argparse
import subprocess
import sys

from lib.base.files import ROOT

QUICK = "not slow and not notebooks and not benchmark"


def lint(arguments: list[str] | None = None) -> int:
    """Check the style and the types; returns 0 if all is well, else 1."""
    parser = argparse.ArgumentParser(prog="python -m lib lint", description="Checks the style and the types.")
    parser.add_argument("--fix", action="store_true", help="mend what can be mended, and format the files")
    parser.add_argument("--style", action="store_true", help="check the style only")
    options = parser.parse_args(arguments)
    fix = options.fix
    steps = [["ruff", "check", *(["--fix"] if fix else [])], ["ruff", "format", *([] if fix else ["--check"])]]
    codes = [_run(step) for step in [*steps, *([] if options.style else [["mypy"]])]]  # all, also after one has failed
    return int(any(codes))


def everything(arguments: list[str] | None = None) -> int:
    """Check the style and the types, then run all tests but `python -m tests.chaos`; returns the exit code."""
    tests = _tests("test", "Checks the style and the types, then runs all tests.", arguments)
    return lint([]) or _run(["pytest", *tests])


def quick(arguments: list[str] | None = None) -> int:
    """Check the style and the types, then run the tests that are quick; returns the exit code."""
    tests = _tests("check", "Checks the style and the types, then runs the tests that are quick.", arguments)
    types = subprocess.Popen([sys.executable, "-m", "mypy", "--no-error-summary"], cwd=ROOT)  # beside the tests
    try:
        style = lint(["--style"])
        return int(any([style, _run(["pytest", "-m", QUICK, *tests]), types.wait()]))
    finally:
        types.kill()


def _tests(command: str, text: str, arguments: list[str] | None) -> list[str]:
    parser = argparse.ArgumentParser(prog=f"python -m lib {command}", description=text)
    parser.add_argument(
        "tests",
        nargs="*",
        default=["tests", "--ignore=tests/chaos"],
        help="files of tests; after -- also options of pytest",
    )
    return parser.parse_args(arguments).tests


def _run(module: list[str]) -> int:
    return subprocess.call([sys.executable, "-m", *module], cwd=ROOT)
