"""What is taken from a run into the repository, and what is refused."""

import base64
import json
import re
from dataclasses import replace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lib.report import provenance
from lib.report import rows as metrics
from lib.run import Result, notebook, stale
from lib.run import record as module
from lib.run.record import LIMIT, WIDGET, main, normalise, record
from lib.run.result import file_hashes, write_result

PNG = base64.b64encode(b"a picture").decode()


CLEAN = "c" * 40


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A notebook that was never recorded, and a complete run of it by a clean commit."""
    monkeypatch.setattr(provenance, "commit", lambda: CLEAN)
    monkeypatch.setattr(metrics, "commit", lambda: CLEAN)
    notebooks, run = tmp_path / "notebooks", tmp_path / "runs" / "openmoji" / "01_toy"
    notebooks.mkdir()
    run.mkdir(parents=True)
    cells = [
        new_markdown_cell("# Toy"),
        new_code_cell("epochs = 3\nout_dir = '.'", metadata={"tags": ["parameters"]}),
        new_code_cell("print(1)"),
        new_code_cell("figure"),
    ]
    nbformat.write(new_notebook(cells=cells), notebooks / "01_toy.ipynb")
    write_profiles(notebooks)
    write_run(run, notebooks / "01_toy.ipynb", [new_output("stream", text="1\n")])
    return notebooks, run, tmp_path / "results"


def write_profiles(notebooks):
    (notebooks / "profiles").mkdir(exist_ok=True)
    for name in ("openmoji", "smoke"):
        (notebooks / "profiles" / f"{name}.yaml").write_text("{}")


def write_run(run, path, outputs, **changes):
    """What the runner leaves, with `outputs` in the third code cell of the executed notebook."""
    nb = notebook.read(path)
    nb.metadata.papermill = {"start_time": "now", "output_path": str(run)}
    for count, cell in enumerate(notebook.code_cells(nb), start=2):
        cell.execution_count = count
        cell.metadata.papermill = {"duration": 0.1}
    nb.cells[-1].outputs = outputs
    nb.cells.insert(2, new_code_cell(f"out_dir = '{run}'", metadata={"tags": ["injected-parameters"]}))
    nbformat.write(nb, run / "notebook.ipynb")
    rows = [metrics.row("toy", "toy", "test", "i2t_r1", [1.0])]
    metrics.write_metrics(run / "metrics.json", rows, notebook="01_toy", protocol="full", device="cpu")
    made = stale.made(path, changes.get("parameters"))
    result = Result(
        notebook="01_toy",
        title="Toy",
        profile="openmoji",
        status="passed",
        seconds=1.0,
        parameters={},
        inputs="0",
        numbers_hash=made.numbers,
        outputs_hash=made.outputs,
        files=file_hashes(run),
    )
    write_result(run, replace(result, **changes))


def test_recording_writes_numbers_and_normalised_outputs_and_is_repeatable(folders):
    notebooks, run, results = folders
    path = notebooks / "01_toy.ipynb"
    assert levels(notebooks, results) == ["wrong"]
    assert record(run.parent, notebooks, results) == {"01_toy": None}
    assert levels(notebooks, results) == ["right"]
    recorded = json.loads((results / "openmoji" / "01_toy.json").read_text())
    made = recorded.pop("made")
    measured = metrics.read_metrics(run / "metrics.json")
    assert measured.pop("run") is None  # it differs each time, and is no fact about the numbers
    assert recorded == measured
    assert (made["profile"], made["parameters"], made["commit"]) == ("openmoji", {}, CLEAN)
    first = path.read_text()
    nb = notebook.read(path)
    assert [cell.execution_count for cell in nb.cells if cell.cell_type == "code"] == [1, 2, 3]
    assert nb.cells[-1].outputs[0].text == "1\n"
    assert "papermill" not in first
    assert "injected" not in first
    assert str(run) not in first
    assert nb.cells[1].metadata == {"tags": ["parameters"]}
    record(run.parent, notebooks, results)
    assert path.read_text() == first
    nb.cells[2].source = "print(2)"
    nbformat.write(nb, path)
    assert levels(notebooks, results) == ["wrong"]
    nb.cells[2].source = "print(1)  # the same"
    nbformat.write(nb, path)
    assert levels(notebooks, results) == ["right"]


def levels(notebooks, results):
    return [state.level for state in stale.states(notebooks, results)]


@pytest.mark.parametrize("commit", [f"{CLEAN}-dirty", "unknown: git is not installed"])
def test_only_what_a_clean_commit_made_is_recorded(folders, monkeypatch, commit):
    notebooks, run, results = folders
    path = run / "metrics.json"
    path.write_text(path.read_text().replace(CLEAN, commit))
    assert_refused(record(run.parent, notebooks, results), "commit.*run it again")
    monkeypatch.setattr(provenance, "commit", lambda: commit)
    with pytest.raises(ValueError, match="nothing is recorded from a tree that"):
        record(run.parent, notebooks, results)
    assert main([str(run.parent)]) == 2
    assert not results.exists()


def test_other_profiles_leave_the_notebooks_alone(folders):
    notebooks, run, results = folders
    before = (notebooks / "01_toy.ipynb").read_text()
    write_run(run, notebooks / "01_toy.ipynb", [], profile="smoke")
    assert record(run.parent, notebooks, results) == {"01_toy": None}
    assert (results / "smoke" / "01_toy.json").is_file()
    assert (notebooks / "01_toy.ipynb").read_text() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "failed"}, "failed; run it again"),
        ({"outputs_hash": "other"}, "changed since its run"),
        ({"parameters": {"epochs": 5}}, r"the profile changes \['epochs'\]"),
    ],
)
def test_runs_that_do_not_fit_are_refused(folders, changes, message):
    notebooks, run, results = folders
    before = (notebooks / "01_toy.ipynb").read_text()
    write_run(run, notebooks / "01_toy.ipynb", [], **changes)
    assert_refused(record(run.parent, notebooks, results), message)
    assert not results.exists()
    assert (notebooks / "01_toy.ipynb").read_text() == before


def assert_refused(outcome, message):
    assert re.search(message, outcome["01_toy"])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (new_output("display_data", data={"image/svg+xml": "<svg/>"}), r"code cell 3 shows an image that is not PNG"),
        (new_output("display_data", data={"text/html": "<img src='data:image/jpeg;base64,AA'>"}), "not PNG"),
        (new_output("stream", text="wrote /home/someone/x.txt"), "prints the absolute path /home/someone/x.txt"),
        (new_output("stream", text="x" * LIMIT), r"largest outputs: code cell 3 320 KB"),
    ],
)
def test_outputs_that_may_not_be_committed_are_named(folders, output, message):
    notebooks, run, results = folders
    write_run(run, notebooks / "01_toy.ipynb", [output])
    assert_refused(record(run.parent, notebooks, results), message)
    assert not results.exists()


def test_interrupted_and_absent_runs(folders):
    notebooks, run, results = folders
    (run / "run.json").unlink()
    assert_refused(record(run.parent, notebooks, results), "was interrupted")
    assert record(run, notebooks, results) == {"01_toy": "not run"}
    with pytest.raises(FileNotFoundError, match="make run"):
        record(run / "absent", notebooks, results)


def test_normalising_keeps_what_a_reader_needs():
    outputs = [
        new_output("stream", name="stderr", text="50%|#####"),
        new_output("stream", text=" 1 of 2\r 2 of 2\r\nin /repo/runs"),
        new_output("stream", text="/x and /repository\n"),
        new_output("display_data", data={WIDGET: {"model_id": "1"}, "text/plain": "0%"}),
        new_output("display_data", data={"image/png": PNG, "text/plain": "<Figure>"}, metadata={"needs": "light"}),
        new_output("execute_result", data={"text/plain": "'/repo/a'"}, execution_count=12),
    ]
    kept = normalise(outputs, 7, {"/repo": ".", "/repo/runs": "run"})
    assert kept == [
        new_output("stream", text=" 2 of 2\nin run/x and /repository\n"),
        new_output("display_data", data={"image/png": PNG}),
        new_output("execute_result", data={"text/plain": "'./a'"}, execution_count=7),
    ]


def test_plain_text_beside_html_is_left_out():
    table = new_output("display_data", data={"text/html": "<table/>", "text/plain": "<Styler at 0x7f01>"})
    plain = new_output("display_data", data={"text/plain": "42"})
    assert [output.data for output in normalise([table, plain], 1, {})] == [
        {"text/html": "<table/>"},
        {"text/plain": "42"},
    ]


def test_the_command_lists_what_is_wrong(folders, monkeypatch, capsys):
    notebooks, run, results = folders
    monkeypatch.setattr(module, "ROOT", notebooks.parent)
    assert main(["--check"]) == 1
    assert "wrong   01_toy" in capsys.readouterr().out
    record(run.parent, notebooks, results)
    assert main(["--check"]) == 0
    assert "openmoji: 1 right" in capsys.readouterr().out
