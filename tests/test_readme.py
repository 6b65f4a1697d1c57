"""The tables of the README say what the notebooks and the recorded results say, and its example runs."""

import json
import re
import runpy
from pathlib import Path

import nbformat
import pytest
import torch

from lib.report.names import decimals, heading
from tests.picture_files import photos, write

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
FLICKR8K = sorted((ROOT / "results" / "flickr8k").glob("[0-9]*.json"))


def expected_row(path: Path) -> str:
    """The notebook's line of the table: link, question, minutes on a laptop, first recorded result."""
    header = nbformat.read(path, as_version=4).cells[0].source.replace("\n", " ")
    question = re.search(r"\*\*Question\.\*\* (.*?\?)", header).group(1)
    minutes = re.search(r"(\d+) minutes? on a laptop", header).group(1)
    reached = first_result(ROOT / "results" / "openmoji" / f"{path.stem}.json")
    return f"| [{path.stem}](notebooks/{path.name}) | {question} | {minutes} | {reached} |"


def expected_flickr8k_row(path: Path) -> str:
    """A line of the table of results on Flickr8k: link to the recorded file, its first result."""
    return f"| [{path.stem}](results/flickr8k/{path.name}) | {first_result(path)} |"


def first_result(path: Path) -> str:
    first = json.loads(path.read_text())["rows"][0]
    mean = f"{first['mean']:.{decimals(first['metric'])}f}"
    return f"{first['method']} ({first['setting']}): {heading(first['metric'])} {mean}"


TABLES = [(expected_row, path) for path in NOTEBOOKS] + [(expected_flickr8k_row, path) for path in FLICKR8K]


@pytest.mark.parametrize(("expected", "path"), TABLES, ids=[f"{path.parent.name}-{path.stem}" for _, path in TABLES])
def test_the_tables_are_up_to_date(expected, path):
    row = expected(path)
    assert row in (ROOT / "README.md").read_text(), f"README.md lacks this line:\n{row}"


def test_the_files_that_it_names_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    missing = [link for link in links if not (ROOT / link).exists()]
    assert links
    assert not missing


def own_pictures() -> str:
    """The Python block of the section about one's own pictures."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Your own pictures")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.S)
    return code


def test_own_pictures_become_a_trained_model(tmp_path, monkeypatch, capsys):
    code = own_pictures()
    assert len(code.strip().splitlines()) < 15
    names = [f"picture{i}" for i in range(40)]
    files = photos(".", [f"{name}.jpg" for name in names])
    write(tmp_path / "my_pictures", files | {f"{name}.txt": f"this is {name}" for name in names})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    namespace = runpy.run_path(str(tmp_path / "example.py"))
    assert "sum of recalls" in capsys.readouterr().out
    assert len(namespace["corpus"]) == len(names)
    saved = torch.load(tmp_path / "my_model.pt", weights_only=True)
    assert all(torch.equal(saved[name], weights.cpu()) for name, weights in namespace["model"].state_dict().items())
