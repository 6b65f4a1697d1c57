"""Examples in docstrings are executed, those that people start with must exist, and docstrings have one dialect."""

import ast
import doctest
import importlib
import inspect
import re
from importlib.util import find_spec

import pytest

import lib.losses
from tests.test_project import LIB

START = ["lib.data.load", "lib.vision.extract_features", "lib.training.fit", "lib.evaluation.evaluate"]
if find_spec("lib.systems.frozen"):
    START.append("lib.systems.frozen.frozen_pairs")
WITH_EXAMPLE = [*START, *(f"lib.losses.{name}" for name in lib.losses.__all__)]


def thing(path: str):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def examples(path: str) -> list[doctest.DocTest]:
    """The examples of a function or class, each with the names that are in its module's own sight."""
    found = doctest.DocTestFinder(recurse=False).find(thing(path), path, module=False, globs={})
    return [test for test in found if test.examples]


def run(test: doctest.DocTest) -> str:
    """What is wrong with an example, empty where nothing is."""
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    runner.run(test, out=said.append)
    return "".join(said)


@pytest.mark.parametrize("path", WITH_EXAMPLE)
def test_what_people_start_with_has_an_example_that_runs(path):
    found = examples(path)
    assert found, f"{path} has no example: add a few lines that begin with >>> to its docstring"
    for test in found:
        assert run(test) == ""


def test_an_example_that_lies_is_found():
    def wrong():
        """Add.

        >>> 1 + 1
        3
        """

    (test,) = doctest.DocTestFinder().find(wrong, "wrong", module=False, globs={})
    assert "Expected" in run(test)


@pytest.mark.parametrize("name", sorted(name for name in LIB if ">>> " in ast.unparse(LIB[name])))
def test_all_examples_of_a_file_run(name):
    """Also those that nobody asks for; what WITH_EXAMPLE has is not run twice."""
    module = importlib.import_module(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    done = {inspect.unwrap(thing(path)) for path in WITH_EXAMPLE}
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    for value in own:
        if callable(value) and inspect.unwrap(value) not in done:
            for test in doctest.DocTestFinder().find(value, module.__name__, module=False, globs={}):
                assert not test.examples or run(test) == ""


# ------------------------------------------------------------------------------------------------------- one dialect
SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Example|Examples):$")


def in_another_dialect(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """Lines outside of Args: that describe a parameter, or say in a sentence what is raised."""
    arguments = node.args if isinstance(node, ast.FunctionDef) else None
    names = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)} if arguments else set()
    inside, found = "", []
    for line in (ast.get_docstring(node) or "").splitlines():
        if line and not line.startswith(" "):
            section = SECTION.match(line)
            inside = section[1] if section else ""
            described = re.match(r"(\w+)(, \w+)*: ", line)
            in_a_sentence = re.match(r"Raises [A-Z]\w+|Args and errors", line)
            if in_a_sentence or (not inside and described and described[1] in names):
                found.append(line)
    return found


@pytest.mark.parametrize("room", ["losses", "models", "evaluation"])
def test_docstrings_have_sections(room):
    """Args:, Returns:, Raises: as in the Google style, each with an indented line for every entry."""
    found = [
        f"{name}:{node.lineno} {node.name}: {line}"
        for name, tree in LIB.items()
        if name.startswith(f"lib/{room}/")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        for line in in_another_dialect(node)
    ]
    assert found == []


def test_another_dialect_is_found():
    (tree,) = ast.parse(
        'def f(a, b):\n    """Do.\n\n    a: number. b: too.\n    Raises ValueError for it.\n    """'
    ).body
    assert in_another_dialect(tree) == ["a: number. b: too.", "Raises ValueError for it."]
