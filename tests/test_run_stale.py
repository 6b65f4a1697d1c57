"""When recorded results are wrong, older or right: on a small library and notebook made for the purpose."""

import json
import subprocess

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lib.run import notebook, stale

FILES = {
    "lib/__init__.py": "",
    "lib/base/__init__.py": "",
    "lib/base/files.py": "def keep():\n    return 1\n",
    "lib/data/__init__.py": 'CORPORA = {"red": "lib.data.red:load", "blue": "lib.data.blue:load"}\n\n'
    "def load(name):\n    return CORPORA[name]\n",
    "lib/data/red.py": "def load():\n    return 1\n",
    "lib/data/blue.py": "def load():\n    return 2\n",
    "lib/losses/__init__.py": "from lib.losses.ranking import hinge\n",
    "lib/losses/ranking.py": "from lib.base.files import keep\n\nMARGIN = 0.2\n\n"
    "def hinge(x):\n    if x < 0:\n        raise ValueError('negative')\n    keep()\n    return x + MARGIN\n\n"
    "def unused():\n    return 1\n",
    "lib/report/__init__.py": "",
    "lib/report/plots.py": "FONT = 10\n\ndef show():\n    return FONT\n",
    "lib/report/published.py": "def table():\n    return 1\n",
    "lib/report/published.yaml": "a: 1\n",
}
CELLS = [
    "from lib.data import load\nfrom lib.losses import hinge\nfrom lib.report import plots, published",
    'corpus = "red"  # which\nepochs = 3  # passes\nout_dir = "."  # where',
    "x = load(corpus)\nhinge(x)\nplots.show()\npublished.table()",
]


@pytest.fixture
def project(tmp_path):
    """A library, a notebook that uses it, and results of two profiles made by both."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    write_notebook(tmp_path, CELLS)
    write_profile(tmp_path, "openmoji", "{}")
    write_profile(tmp_path, "bluer", 'all:\n  corpus: blue\n"01":\n  epochs: 5\n')
    write_results(tmp_path, "openmoji", {})
    write_results(tmp_path, "bluer", {"corpus": "blue", "epochs": 5})
    return tmp_path


def write_notebook(root, cells, **metadata):
    nb = new_notebook(cells=[new_markdown_cell("# Toy"), *map(new_code_cell, cells)], metadata=metadata)
    nb.cells[2].metadata.tags = ["parameters"]
    nbformat.write(nb, root / "notebooks" / "01_toy.ipynb")


def write_profile(root, name, text):
    (root / "notebooks" / "profiles" / f"{name}.yaml").write_text(text)


def write_results(root, profile, given, commit="c" * 40):
    made = stale.as_json(stale.made(root / "notebooks" / "01_toy.ipynb", given, root), profile, "cpu", commit)
    content = {"provenance": {"commit": commit, "written": "2026-11-22T10:00:00"}, "made": made}
    (root / "results" / profile).mkdir(exist_ok=True, parents=True)
    (root / "results" / profile / "01_toy.json").write_text(json.dumps(content))
    if profile == stale.DEFAULT_PROFILE:
        write_notebook(root, CELLS, made=made)


def states(root) -> dict[str, stale.State]:
    return {state.profile: state for state in stale.states(root / "notebooks", root / "results", root)}


@pytest.mark.parametrize(
    ("name", "old", "new", "levels", "what"),
    [
        ("losses/ranking.py", "MARGIN = 0.2", "MARGIN = 0.3", "wrong wrong", "lib.losses.ranking.MARGIN"),
        ("losses/ranking.py", "x + MARGIN", "x - MARGIN", "wrong wrong", "lib.losses.ranking.hinge"),
        ("losses/ranking.py", "return 1", "return 2", "right right", ""),  # unused() is not reached
        ("losses/ranking.py", "'negative'", "'less than 0'", "older older", "lib.losses.ranking.hinge"),
        ("losses/ranking.py", "MARGIN = 0.2", "MARGIN: float = 0.2  # why", "wrong wrong", "lib.losses.ranking.MARGIN"),
        ("losses/ranking.py", "def hinge(x)", "def hinge(x: float) -> float", "right right", ""),
        ("report/plots.py", "FONT = 10", "FONT = 12", "older older", "lib.report.plots.FONT"),
        ("base/files.py", "return 1", "return 2", "older older", "lib.base.files.keep"),
        ("report/published.yaml", "a: 1", "a: 2", "wrong wrong", "lib.report.published.yaml"),
        ("data/red.py", "return 1", "return 3", "right wrong", "lib.data.red.load"),
        ("data/blue.py", "return 2", "return 3", "wrong right", "lib.data.blue.load"),
        ("data/__init__.py", '{"red"', '{"green": "lib.data.red:load", "red"', "right right", ""),
    ],
)
def test_what_a_change_of_the_library_does(project, name, old, new, levels, what):
    path = project / "lib" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    found = states(project)
    assert [found[profile].level for profile in ("bluer", "openmoji")] == levels.split()
    assert {change for state in found.values() for change in state.changed} == set(filter(None, [what]))


@pytest.mark.parametrize(
    ("cell", "source", "changed"),
    [
        (2, CELLS[2] + "\nprint(x)", "code cell 3"),
        (2, CELLS[2] + ";", "code cell 3"),  # hides the value of the cell
        (2, "# why\n" + CELLS[2], ""),
        (1, CELLS[1].replace("3", "4"), "code cell 2"),
        (1, CELLS[1].replace("passes", "rounds"), ""),
    ],
)
def test_what_a_change_of_the_notebook_does(project, cell, source, changed):
    made = notebook.read(project / "notebooks" / "01_toy.ipynb").metadata.made
    write_notebook(project, [*CELLS[:cell], source, *CELLS[cell + 1 :]], made=made)
    found = states(project)["openmoji"]
    assert (found.level, found.changed) == (("wrong", [changed]) if changed else ("right", []))


def test_a_changed_value_of_a_profile_makes_its_results_wrong(project):
    write_profile(project, "bluer", 'all:\n  corpus: blue\n"01":\n  epochs: 6\n')
    found = states(project)
    assert (found["bluer"].level, found["bluer"].changed) == ("wrong", ["parameter epochs"])
    assert found["openmoji"].level == "right"
    write_profile(project, "bluer", 'all:\n  corpus: blue\n"01":\n  epochs: 5\n  out_dir: here\n')
    assert states(project)["bluer"].level == "unknown"  # the profile itself is wrong
    (project / "notebooks" / "profiles" / "bluer.yaml").unlink()
    assert "no profile 'bluer'" in states(project)["bluer"].changed[0]


def test_outputs_in_the_notebook_must_be_those_of_the_results(project):
    write_notebook(project, CELLS)
    assert states(project)["openmoji"].changed == ["the outputs in the notebook are of another run"]
    (project / "results" / "openmoji" / "01_toy.json").unlink()
    assert states(project)["openmoji"].changed == ["never recorded"]


def test_results_from_before_hashes_were_kept_are_named(project):
    for profile in ("openmoji", "bluer"):
        path = project / "results" / profile / "01_toy.json"
        content = json.loads(path.read_text())
        del content["made"]
        path.write_text(json.dumps(content))
    found = states(project)
    assert [found[profile].level for profile in ("bluer", "openmoji")] == ["unknown", "wrong"]
    assert found["bluer"].changed == ["made before hashes were kept"]
    assert "made 2026-11-22 by cccccccc: made before hashes were kept" in stale.table(list(found.values()))


@pytest.fixture
def git(project):
    def run(*arguments):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(project), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    run("init")
    run("add", ".")
    run("commit", "-m", "first")
    return run


def test_cells_that_changed_since_a_result_without_hashes_are_counted(project, git):
    for profile in ("openmoji", "bluer"):
        path = project / "results" / profile / "01_toy.json"
        path.write_text(json.dumps({"provenance": {"commit": git("rev-parse", "HEAD"), "written": "2026-11-22T10"}}))
    write_notebook(project, [*CELLS[:2], CELLS[2] + "\nhinge(2)"])
    assert states(project)["bluer"].changed[1:] == ["1 of 3 code cells are others now"]


def test_the_table_says_since_which_commit(project, git):
    def change(old, new):
        path = project / "lib" / "report" / "plots.py"
        path.write_text(path.read_text().replace(old, new))

    write_results(project, "openmoji", {}, commit=git("rev-parse", "HEAD"))
    change("10", "12")
    assert states(project)["openmoji"].since == "not committed"
    git("commit", "-am", "font")
    change("12", "14")
    git("commit", "-am", "larger font")
    assert states(project)["openmoji"].since == git("log", "-1", "--format=%h %cs", "HEAD~1")
    text = stale.table(list(states(project).values()))
    assert f"lib.report.plots.FONT, since {git('rev-parse', '--short', 'HEAD~1')}" in text


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("lib.losses.info_nce", True),
        ("lib.data", True),
        ("lib.data.obtain.get.main", False),
        ("lib.report.rows.row", True),
        ("lib.report.published.yaml", True),
        ("lib.report.plots.show", False),
        ("lib.search.server.answer", False),
        ("lib.search.index.Index", True),
        ("lib.base.files.ROOT", False),
        ("lib.run.stale.made", False),
        ("lib.database", False),
    ],
)
def test_which_rooms_make_numbers(definition, expected):
    assert stale.makes_numbers(definition) is expected
