"""The table of the README says what the notebooks and the recorded results say."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from lib.report.names import decimals, heading

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def expected_row(path: Path) -> str:
    """The notebook's line of the table: link, question, minutes on a laptop, first recorded result."""
    header = nbformat.read(path, as_version=4).cells[0].source.replace("\n", " ")
    question = re.search(r"\*\*Question\.\*\* (.*?\?)", header).group(1)
    minutes = re.search(r"(\d+) minutes? on a laptop", header).group(1)
    first = json.loads((ROOT / "results" / "openmoji" / f"{path.stem}.json").read_text())["rows"][0]
    mean = f"{first['mean']:.{decimals(first['metric'])}f}"
    reached = f"{first['method']} ({first['setting']}): {heading(first['metric'])} {mean}"
    return f"| [{path.stem}](notebooks/{path.name}) | {question} | {minutes} | {reached} |"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_table_is_up_to_date(path):
    row = expected_row(path)
    assert row in (ROOT / "README.md").read_text(), f"README.md lacks this line:\n{row}"


def test_the_files_that_it_names_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    missing = [link for link in links if not (ROOT / link).exists()]
    assert links
    assert not missing
