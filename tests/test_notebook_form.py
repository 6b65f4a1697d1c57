"""The form of the committed notebooks: what a reader and the runner may rely on. Nothing is executed here."""

import ast
import base64
import copy
import io
import re
import tokenize
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from lib.base.definitions import names_in, reached
from lib.run import notebook, stale

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PARAMETERS = {"corpus", "seeds", "device", "out_dir"}
CODE_CELLS, LINES, WORDS, BYTES, PIXELS = (25, 45), 40, (1_500, 3_000), 320_000, 1_000
SAME_NAME = 5  # helpers of one name in more than one notebook; what notebooks share is library
HEADER = {  # what the first cell must say, and the words by which it is recognised
    "the question": r"question",
    "what one will be able to do": r"able to",
    "minutes on a laptop": r"minutes?\b[^.\n]*\blaptop|laptop\b[^.\n]*\bminutes?",
    "minutes on a GPU": r"\bGPU\b",
    "what comes before": r"\bbefore\b|prerequisite",
}


def prose(nb) -> str:
    """The Markdown cells without code, formulas, links' addresses and HTML tags."""
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    for noise in (r"```.*?```", r"\$\$.*?\$\$", r"<[^>]+>", r"\]\([^)]*\)", r"[#*|`>-]+"):
        text = re.sub(noise, " ", text, flags=re.S)
    return text


def head_problems(nb) -> list[str]:
    first = nb.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        return ["the first cell is not Markdown with a title (`# ...`)"]
    return [
        f"the first cell does not say {what}"
        for what, said in HEADER.items()
        if not re.search(said, first.source, re.I)
    ]


def parameter_problems(nb) -> list[str]:
    try:
        found = notebook.parameters(nb, "notebook")
    except ValueError as error:
        return [str(error)]
    missing = PARAMETERS - set(found)
    problems = [f"the parameters cell lacks {sorted(missing)}"] if missing else []
    (cell,) = [c for c in notebook.code_cells(nb) if "parameters" in c.metadata.get("tags", [])]
    tokens = tokenize.generate_tokens(io.StringIO(cell.source).readline)
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    for node in ast.parse(cell.source).body:
        if not commented & set(range(node.lineno, node.end_lineno + 1)):
            problems.append(f"parameters cell: no comment on the line of `{ast.unparse(node)}`")
    return problems


def length_problems(nb) -> list[str]:
    problems, cells = [], notebook.code_cells(nb)
    if not CODE_CELLS[0] <= len(cells) <= CODE_CELLS[1]:
        problems.append(f"{len(cells)} code cells, not {CODE_CELLS[0]} to {CODE_CELLS[1]}")
    for number, cell in enumerate(cells, start=1):
        lines = cell.source.count("\n") + 1
        if lines > LINES or not cell.source.strip():
            problems.append(f"code cell {number} has {lines if cell.source.strip() else 'no'} lines, not 1 to {LINES}")
    words = len(re.findall(r"\w[\w'’-]*", prose(nb)))
    if not WORDS[0] <= words <= WORDS[1]:
        problems.append(f"{words} words of prose, not {WORDS[0]} to {WORDS[1]}")
    return problems


def end_problems(nb) -> list[str]:
    last = notebook.code_cells(nb)[-1].source if notebook.code_cells(nb) else ""
    problems = []
    if "write_metrics(" not in last or "metrics.json" not in last:
        problems.append("the last code cell does not write metrics.json with write_metrics")
    headings = [
        line for c in nb.cells if c.cell_type == "markdown" for line in c.source.splitlines() if line.startswith("#")
    ]
    for section in ("Key points", "Exercises"):
        if not any(section.lower() in heading.lower() for heading in headings):
            problems.append(f"no heading {section!r}")
    return problems


def output_problems(nb) -> list[str]:
    problems, cells, pictures = [], notebook.code_cells(nb), 0
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        problems.append("execution counts are not 1 to n: the outputs are missing or not of one run")
    for number, cell in enumerate(cells, start=1):
        images = [o.data["image/png"].strip() for o in cell.outputs if "image/png" in o.get("data", {})]
        pictures += len(images)
        if any(output.output_type == "error" for output in cell.outputs):
            problems.append(f"code cell {number} ended in an error")
        if any("widget-view" in kind for output in cell.outputs for kind in output.get("data", {})):
            problems.append(f"code cell {number} stores a widget: it shows nothing without a kernel")
        if len(images) != len(set(images)):
            problems.append(f"code cell {number} stores a picture twice: end the line with a semicolon")
        widths = [Image.open(io.BytesIO(base64.b64decode(image))).width for image in images]
        if any(width > PIXELS for width in widths):
            problems.append(f"code cell {number} stores a picture of {max(widths)} pixels, more than {PIXELS}")
    return problems if pictures else [*problems, "no picture in the outputs"]


def trace_problems(nb) -> list[str]:
    """What papermill or a widget manager left behind."""
    problems = [f"metadata {key!r} of the notebook" for key in ("papermill", "widgets") if key in nb.metadata]
    for number, cell in enumerate(nb.cells, start=1):
        left = [key for key in ("papermill", "execution", "ExecuteTime") if key in cell.metadata]
        if left or notebook.INJECTED in cell.metadata.get("tags", []):
            problems.append(f"cell {number} carries traces of a run: {left or notebook.INJECTED}")
    return problems


def helpers(nb) -> set[str]:
    """Names of the functions, methods and classes that a notebook defines, special methods left out."""
    nodes = [node for cell in notebook.code_cells(nb) for node in ast.walk(ast.parse(cell.source))]
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in nodes if isinstance(node, kinds) and not node.name.startswith("__")}


def of_one_name(notebooks) -> list[str]:
    """Names that helpers of more than one notebook have."""
    counts = Counter(name for nb in notebooks for name in helpers(nb))
    return sorted(name for name, count in counts.items() if count > 1)


CHECKS = [head_problems, parameter_problems, length_problems, end_problems, output_problems, trace_problems]


def test_there_are_notebooks():
    if not NOTEBOOKS:
        pytest.skip("notebooks/ holds no NN_name.ipynb yet")
    numbers = [path.stem[:2] for path in NOTEBOOKS]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removesuffix("_problems"))
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form(path, check):
    assert check(notebook.read(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_file_is_small_and_its_outputs_are_not_wrong(path):
    assert path.stat().st_size <= BYTES, "draw fewer or smaller pictures"
    file = ROOT / "results" / stale.DEFAULT_PROFILE / f"{path.stem}.json"
    state = stale.state(stale.DEFAULT_PROFILE, path.stem, path, file, {})
    assert state.level != "wrong", f"changed since the outputs were recorded: {state.changed}; make run, make record"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_name_of_lib_that_a_notebook_uses_exists(path):
    cells = notebook.code_cells(notebook.read(path))
    assert reached(names_in("\n".join(notebook.plain_python(cell.source) for cell in cells)))


def test_what_notebooks_share_is_library():
    shared = of_one_name([notebook.read(path) for path in NOTEBOOKS])
    assert len(shared) <= SAME_NAME, f"several notebooks define {shared}: move what is the same to lib"


# ------------------------------------------------------------------------------------------------ the checks bite
def picture(width: int = 20) -> dict:
    stored = io.BytesIO()
    Image.new("RGB", (width, 10)).save(stored, "png")
    data = {"image/png": base64.b64encode(stored.getvalue()).decode()}
    return nbformat.v4.new_output("display_data", data=data)


@pytest.fixture
def good():
    v4 = nbformat.v4
    header = (
        "# Losses\n**Question.** Why?\n\nYou will be able to see.\n\n3 minutes on a laptop, 1 on a GPU. Before: 03."
    )
    settings = (
        'corpus = "openmoji"  # which\nseeds = [0, 1, 2]  # runs\ndevice = "auto"  # or cpu\nout_dir = "."  # where'
    )
    nb = v4.new_notebook(
        cells=[
            v4.new_markdown_cell(header),
            v4.new_code_cell(settings, metadata={"tags": ["parameters"]}),
            *(v4.new_code_cell(f"x = {i}") for i in range(28)),
            v4.new_markdown_cell("## Key points\n" + "word " * 2_000),
            v4.new_markdown_cell("## Exercises"),
            v4.new_code_cell('metrics.write_metrics(f"{out_dir}/metrics.json", rows)'),
        ]
    )
    for number, cell in enumerate(notebook.code_cells(nb), start=1):
        cell.execution_count = number
    nb.cells[2].outputs = [picture()]
    return nb


def all_problems(nb) -> list[str]:
    return [problem for check in CHECKS for problem in check(nb)]


def test_a_good_notebook_has_no_problem(good):
    assert all_problems(good) == []


def spoil(nb, how: str) -> None:
    header, settings, first, points, exercises, last = (nb.cells[i] for i in (0, 1, 2, -3, -2, -1))
    error = nbformat.v4.new_output("error", ename="E", evalue="e", traceback=[])
    widget = nbformat.v4.new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}})
    changes = {
        "no title": lambda: header.update(source=header.source.replace("# Losses", "Losses")),
        "no question": lambda: header.update(source=header.source.replace("Question", "Idea")),
        "no minutes": lambda: header.update(source=header.source.replace("3 minutes", "quick")),
        "no GPU": lambda: header.update(source=header.source.replace("GPU", "card")),
        "nothing before": lambda: header.update(source=header.source.replace("Before: 03", "")),
        "no parameters": lambda: settings.metadata.update(tags=[]),
        "computed parameter": lambda: settings.update(source=settings.source + "\nn = 2 * 3  # six"),
        "silent parameter": lambda: settings.update(source=settings.source + "\nn = 6"),
        "no out_dir": lambda: settings.update(source=settings.source.replace("out_dir", "folder")),
        "few cells": lambda: nb.cells.__delitem__(slice(3, 20)),
        "long cell": lambda: first.update(source="x = 1\n" * 41),
        "empty cell": lambda: first.update(source=" "),
        "few words": lambda: points.update(source="## Key points"),
        "many words": lambda: points.update(source=points.source * 2),
        "no exercises": lambda: exercises.update(source="exercises"),
        "no metrics": lambda: last.update(source="print('metrics.json')"),
        "not executed": lambda: first.update(execution_count=None),
        "error": lambda: first.outputs.append(error),
        "widget": lambda: first.outputs.append(widget),
        "picture twice": lambda: first.outputs.append(copy.deepcopy(first.outputs[0])),
        "large picture": lambda: first.outputs.append(picture(1_200)),
        "no picture": lambda: first.update(outputs=[]),
        "papermill in a cell": lambda: first.metadata.update(papermill={}),
        "papermill": lambda: nb.metadata.update(papermill={}),
    }
    changes[how]()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no title", "title"),
        ("no question", "the question"),
        ("no minutes", "minutes on a laptop"),
        ("no GPU", "minutes on a GPU"),
        ("nothing before", "what comes before"),
        ("no parameters", "found 0"),
        ("computed parameter", "2 \\* 3"),
        ("silent parameter", "no comment on the line of `n = 6`"),
        ("no out_dir", "lacks .*out_dir"),
        ("few cells", "code cells, not 25 to 45"),
        ("long cell", "code cell 2 has 42 lines"),
        ("empty cell", "code cell 2 has no lines"),
        ("few words", "words of prose, not"),
        ("many words", "words of prose, not"),
        ("no exercises", "Exercises"),
        ("no metrics", "does not write metrics.json"),
        ("not executed", "execution counts"),
        ("error", "code cell 2 ended in an error"),
        ("widget", "stores a widget"),
        ("picture twice", "semicolon"),
        ("large picture", "1200 pixels"),
        ("no picture", "no picture"),
        ("papermill in a cell", "cell 3 carries traces"),
        ("papermill", "metadata 'papermill'"),
    ],
)
def test_the_checks_bite(good, how, message):
    spoil(good, how)
    problems = all_problems(good)
    assert any(re.search(message, problem) for problem in problems), problems


def test_helpers_of_one_name_are_found(good):
    other = copy.deepcopy(good)
    good.cells[2].source = "class Run:\n    def __init__(self): ...\n    def score(self): ...\n\ndef record(): ..."
    other.cells[2].source = "class Search:\n    def __init__(self): ...\n    def score(self): ...\n\nrecord = 3"
    assert of_one_name([good, other]) == ["score"]
    assert of_one_name([good, good]) == ["Run", "record", "score"]
