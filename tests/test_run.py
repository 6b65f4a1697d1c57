"""The runner, on toy notebooks: what counts as done, what is refused, and that nothing is left running."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lib.report import rows as metrics
from lib.run import ProfileError, notebook, page, read_result, result, run_notebooks, runner, surroundings, task
from lib.run.profile import misfit, parameters_for

ROOT = Path(__file__).resolve().parents[1]
WRITE = """
from lib.report import rows as metrics
rows = [metrics.row("toy", "none", "test", "epochs", [epochs, epochs + 2], note=sys.executable)]
metrics.write_metrics(f"{out_dir}/metrics.json", rows, notebook="toy", protocol="none", device="cpu")
"""
INCOMPLETE = 'import json; json.dump({"complete": False}, open(f"{out_dir}/metrics.json", "w"))'
LEAVES = """import subprocess
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
open(f"{out_dir}/left", "w").write(str(left.pid))"""
TOYS = {
    "01_passes": ["assert os.path.samefile('.', notebooks)", "os.write(1, b'{\"failure\": 1}\\n');", WRITE],
    "02_raises": [WRITE, "def fail():\n    raise RuntimeError('no <such> thing')", "fail()"],
    "03_killed": [WRITE, "os.kill(os.getpid(), 9)"],
    "04_times_out": [WRITE, "time.sleep(600)"],
    "05_exits": [WRITE, "sys.exit(0)", "print('not reached')"],
    "06_missing": ["print('no numbers')"],
    "07_incomplete": [INCOMPLETE],
    "09_prints_much": ["for _ in range(300): print('x' * 100_000)", WRITE],
    "10_leaves_processes": [LEAVES, WRITE],
    "08_reads_others": ["assert os.listdir(f'{runs_dir}/01_passes')", WRITE],
}


def write_toy(folder: Path, name: str, cells: list[str], parameters: str = "epochs = 3  # passes\nrate = 0.1") -> Path:
    """A notebook: heading, imports, parameters, then `cells`."""
    more = "\nruns_dir = '.'" if "runs_dir" in "".join(cells) else ""
    nb = new_notebook(
        cells=[
            new_markdown_cell(f"# Toy {name}"),
            new_code_cell("import os, sys, time"),
            new_code_cell(f"{parameters}\nnotebooks = '.'\nout_dir = '.'{more}", metadata={"tags": ["parameters"]}),
            *[new_code_cell(cell) for cell in cells],
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(nb, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def write_profile(folder: Path, text: str, name: str = "toy") -> None:
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles" / f"{name}.yaml").write_text(text)


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """All toy notebooks run once, by a user who has a broken kernel of the same name installed."""
    folder = tmp_path_factory.mktemp("notebooks")
    for name, cells in TOYS.items():
        write_toy(folder, name, cells)
    write_profile(folder, f"all:\n  epochs: 4\n  notebooks: {folder}\n'01':\n  epochs: 5\n")
    broken = folder / "user" / "kernels" / "python3"
    broken.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "broken", "language": "python"}
    (broken / "kernel.json").write_text(json.dumps(spec))
    out = folder / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder / "user"))
        patch.setenv("JUPYTER_DATA_DIR", str(folder / "user"))
        results = run_notebooks("toy", out=out, jobs=2, notebooks=folder, cell_timeout=10)
    return {result.notebook: result for result in results}, out


@pytest.mark.notebooks
def test_a_notebook_that_passes(toys):
    results, out = toys
    assert [name for name, result in results.items() if result.passed] == [
        "01_passes", "09_prints_much", "10_leaves_processes", "08_reads_others"
    ]  # fmt: skip
    (row,) = metrics.read_metrics(out / "01_passes" / "metrics.json")["rows"]
    assert row["values"] == [5, 7]  # the value of the profile, not the literal 3
    assert row["note"] == sys.executable
    assert {path.name for path in (out / "01_passes").iterdir()} == {*result.FILES, result.STATE, "log.txt"}
    assert "Toy 01_passes" in (out / "01_passes" / "notebook.html").read_text()


@pytest.mark.notebooks
@pytest.mark.parametrize(
    ("name", "cell", "message"),
    [
        ("02_raises", 5, "RuntimeError: no <such> thing"),
        ("03_killed", 4, "the kernel died"),
        ("04_times_out", 4, "timed out: the cell ran for more than 10 seconds"),
        ("05_exits", 4, "SystemExit: 0"),
        ("06_missing", 3, "metrics.json does not exist"),
        ("07_incomplete", 3, "metrics.json is not complete"),
    ],
)
def test_a_notebook_that_fails(toys, name, cell, message):
    results, out = toys
    result = results[name]
    assert not result.passed
    assert result.failure["cell"] == cell
    assert message in result.failure["message"]
    assert not (out / name / "metrics.json").exists()  # also where it had been written before the failure
    assert (out / name / "notebook.html").is_file()
    if name == "02_raises":
        assert result.failure["source"] == "fail()"
        assert "in fail()" in result.failure["traceback"]


@pytest.mark.notebooks
def test_outputs_without_an_end_are_cut_and_this_is_said(toys):
    results, out = toys
    result = results["09_prints_much"]
    assert result.notes == ["outputs beyond 20 MB were cut (code cell 3)"]
    executed = out / "09_prints_much" / "notebook.ipynb"
    assert 10e6 < executed.stat().st_size < 40e6
    assert "outputs beyond 20 MB were cut" in (out / "index.html").read_text()


@pytest.mark.notebooks
def test_no_process_outlives_its_run(toys):
    _, out = toys
    assert not alive(int((out / "10_leaves_processes" / "left").read_text()))


@pytest.mark.notebooks
def test_overview_names_every_notebook_and_shows_numbers_and_failures(toys):
    _, out = toys
    page = (out / "index.html").read_text()
    assert "4 of 10 notebooks passed" in page
    for name in TOYS:
        assert f'<a href="{name}/notebook.html">Toy {name}</a>' in page
    assert "6 ± 1.4" in page
    assert "no &lt;such&gt; thing" in page
    assert "<such>" not in page


@pytest.fixture
def ends_with_test():
    """Process ids put in here are killed should the test fail to end them."""
    pids = []
    yield pids
    for pid in filter(alive, pids):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.notebooks
def test_killed_or_interrupted_runs_leave_nothing_running_and_are_resumed(tmp_path, ends_with_test):
    ready = tmp_path / "ready"
    write_toy(tmp_path, "01_quick", [WRITE])
    write_toy(
        tmp_path,
        "02_waits",
        [
            f"open({str(tmp_path / 'pid')!r}, 'w').write(f'{{os.getpid()}}\\n')\n"
            f"while not os.path.exists({str(ready)!r}): time.sleep(0.1)",
            WRITE,
        ],
    )
    write_profile(tmp_path, "")
    command = [sys.executable, "-m", "lib.run", "--profile", "toy", "--notebooks", tmp_path, "--resume"]
    for end in (signal.SIGKILL, signal.SIGINT):
        (tmp_path / "pid").unlink(missing_ok=True)
        runner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ends_with_test.append(runner.pid)
        wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text().endswith("\n"), 60)
        kernel = int((tmp_path / "pid").read_text())
        ends_with_test += [psutil.Process(kernel).ppid(), kernel]
        runner.send_signal(end)
        said = runner.communicate(timeout=120)[0]
        assert runner.returncode == (130 if end == signal.SIGINT else -signal.SIGKILL), said
        wait_for(lambda kernel=kernel: not alive(kernel), 10)
        assert read_result(tmp_path.parent / "runs" / "toy" / "02_waits") is None
    ready.touch()
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "01_quick: skipped" in first.stdout
    assert "02_waits: passed" in first.stdout
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "0 passed, 2 skipped, 0 failed" in second.stdout
    assert second.stdout.rstrip().endswith(str(tmp_path.parent / "runs" / "toy" / "index.html"))


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_notebook_that_reads_the_others_is_outdated_when_their_numbers_change(tmp_path):
    path = write_toy(tmp_path, "02_report", ["print(runs_dir)"])
    other = tmp_path / "out" / "01_toy" / "metrics.json"
    other.parent.mkdir(parents=True)
    hashes = set()
    for value in (1, 1, 2):
        rows = [metrics.row("toy", "none", "test", "r1", [value])]
        metrics.write_metrics(other, rows, notebook="01_toy", protocol="none", device="cpu")
        one = task.Task(path, "toy", {}, tmp_path / "out", reads_others=True)
        hashes.add(one.inputs(one.made()))
    assert len(hashes) == 2


@pytest.mark.notebooks
def test_plain_papermill_takes_parameters(tmp_path):
    path = write_toy(tmp_path, "01_plain", ["assert epochs == 5"])
    command = ["-m", "papermill", str(path), str(tmp_path / "out.ipynb"), "-y", "{epochs: 5, not_in_this_notebook: 1}"]
    subprocess.run([sys.executable, *command], cwd=tmp_path, check=True, timeout=60, capture_output=True)
    assert notebook.read(tmp_path / "out.ipynb").cells[-1].execution_count == 4


def test_a_run_of_uncommitted_code_is_made_again_once_it_is_committed(tmp_path, monkeypatch):
    path = write_toy(tmp_path, "01_toy", [WRITE])
    one = task.Task(path, "toy", {}, tmp_path / "out", reads_others=False)
    one.folder.mkdir(parents=True)
    (one.folder / "notebook.ipynb").touch()
    made = one.made()
    hashes = {"inputs": one.inputs(made), "numbers_hash": made.numbers, "outputs_hash": made.outputs}
    for of_run, now, skipped in [("a-dirty", "a-dirty", True), ("a-dirty", "b", False), ("a", "b", True)]:
        monkeypatch.setattr(metrics, "commit", lambda of_run=of_run: of_run)
        monkeypatch.setattr(task, "commit", lambda now=now: now)
        rows = [metrics.row("toy", "none", "test", "r1", [1])]
        metrics.write_metrics(one.folder / "metrics.json", rows, notebook="01_toy", protocol="none", device="cpu")
        files = result.file_hashes(one.folder)
        ended = result.Result("01_toy", "Toy", "toy", "passed", 1.0, {}, **hashes, files=files)
        result.write_result(one.folder, ended)
        assert (one.earlier() is not None) is skipped


@pytest.mark.parametrize(
    ("fits", "said"),
    [
        ({"taken": 12, "resumed": 0, "trained": 3}, "12 fits taken, 3 trained"),
        ({"taken": 0, "resumed": 1, "trained": 0}, "1 fit resumed"),
        ({"taken": 0, "resumed": 0, "trained": 0}, ""),
        (None, ""),
    ],
)
def test_page_and_log_say_how_many_fits_were_taken(tmp_path, monkeypatch, fits, said):
    assert page.fits_said(fits) == said
    ended = result.Result("01_toy", "Toy", "toy", "passed", 33.0, {}, "", "", "", fits)
    assert runner._verdict(ended, tmp_path) == "01_toy: passed in 33 s" + (f" ({said})" if said else "")
    (tmp_path / "01_toy").mkdir()
    (tmp_path / "01_toy" / "notebook.ipynb").touch()
    monkeypatch.setattr(metrics, "fits", lambda: fits)
    rows = [metrics.row("toy", "none", "test", "r1", [1])]
    metrics.write_metrics(tmp_path / "01_toy" / "metrics.json", rows, notebook="01_toy", protocol="p", device="cpu")
    ended.files = result.file_hashes(tmp_path / "01_toy")
    result.write_result(tmp_path / "01_toy", ended)
    page.write_index(tmp_path, "toy", ["01_toy"])
    assert f"passed{f'<br><small>{said}</small>' if said else '<td'}" in (tmp_path / "index.html").read_text()


def test_a_process_that_gives_no_sign_is_ended(tmp_path, monkeypatch):
    write_toy(tmp_path, "01_silent", [WRITE])
    write_profile(tmp_path, "")
    monkeypatch.setattr(task, "SILENT", -0.9)
    (result,) = run_notebooks("toy", out=tmp_path / "out", notebooks=tmp_path, cell_timeout=1)
    assert "gave no sign" in result.failure["message"]


def test_a_process_that_cannot_start_shows_its_log(tmp_path, monkeypatch):
    write_toy(tmp_path, "01_broken", [WRITE])
    write_profile(tmp_path, "")
    monkeypatch.setattr(task, "_environment", lambda jobs: {**os.environ, "PYTHONHOME": str(tmp_path)})
    (result,) = run_notebooks("toy", out=tmp_path / "out", notebooks=tmp_path)
    assert "the process ended with exit code 1" in result.failure["message"]
    assert "encodings" in result.failure["traceback"]
    assert "not run" not in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("epochs: 5", "'epochs' is no section; write parameters under `all:`"),
        ("6: {}", 'write "06" in quotes'),
        ("all: {epocs: 5}", "toy.yaml, section 'all': no notebook has the parameter 'epocs'; did you mean 'epochs'?"),
        (
            "all: {zzz: 5}",
            "no notebook has the parameter 'zzz'; there are: epochs, notebooks, only_here, out_dir, rate",
        ),
        ("'01': {epocs: 5}", "section '01': 01_toy.ipynb has not the parameter 'epocs'; did you mean 'epochs'?"),
        ("'01': {only_here: 5}", "01_toy.ipynb has not the parameter 'only_here'; 02 has"),
        ("'03': {epochs: 5}", "section '03': no such notebook; there are: 01, 02"),
        ("'01': 5", "section '01': expected a mapping"),
        ("all: {epochs: five}", "section 'all', epochs = 'five': expected int, got str (01_toy.ipynb)"),
        ("'02': {epochs: true}", "section '02', epochs = True: expected int, got bool (02_toy.ipynb)"),
        ("all: {rate: 1e-3}", "write 1.0e-3"),
        ("all: {out_dir: here}", "out_dir is set by the runner"),
        ("- epochs", "must be a mapping"),
        ("all: [", "is not YAML"),
        ("all: {epochs: 5, rate: 1.0, epochs: 6}", "'epochs' stands twice, first in line 1"),
    ],
)
def test_a_profile_that_does_not_fit_is_refused_before_anything_runs(tmp_path, profile, message):
    write_toy(tmp_path, "01_toy", [WRITE])
    write_toy(tmp_path, "02_toy", [WRITE], "epochs = 3\nrate = 0.1\nonly_here = 1")
    write_profile(tmp_path, profile)
    with pytest.raises(ProfileError) as refused:
        run_notebooks("toy", out=tmp_path / "out", notebooks=tmp_path)
    assert message in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_section_comes_before_all_and_a_change_before_both():
    declared = {Path(f"{n}_toy.ipynb"): {"epochs": 3, "rate": 0.1, "out_dir": "."} for n in ("01", "02")}
    profile = {"all": {"epochs": 4, "rate": 0.2}, "02": {"epochs": 5}}
    assert [*parameters_for(profile, declared).values()] == [{"epochs": 4, "rate": 0.2}, {"epochs": 5, "rate": 0.2}]
    assert {given["epochs"] for given in parameters_for(profile, declared, {"epochs": 6}).values()} == {6}
    with pytest.raises(ProfileError, match=r"section 'changes'.*'epoch'.*did you mean 'epochs'"):
        parameters_for(profile, declared, {"epoch": 6})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "absent"}, "there are: openmoji, toy"),
        ({"profile": "openmojo"}, "did you mean 'openmoji'"),
        ({"only": ["01", "07"]}, "--only 07 matches none of: 01_toy"),
        ({"jobs": 0}, "must be positive"),
    ],
)
def test_a_command_that_does_not_fit_is_refused(tmp_path, options, message):
    write_toy(tmp_path, "01_toy", [WRITE])
    write_profile(tmp_path, "")
    write_profile(tmp_path, "", "openmoji")
    with pytest.raises(ProfileError, match=message):
        run_notebooks(**{"profile": "toy", "out": tmp_path / "out", "notebooks": tmp_path, **options})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("epochs = len([1])", "only `name = literal`, not `epochs = len"),
        ("a = b = 1", "one name"),
        ("if", "not Python"),
    ],
)
def test_a_parameters_cell_holds_literals_only(tmp_path, parameters, message):
    write_toy(tmp_path, "01_toy", [WRITE], parameters)
    write_profile(tmp_path, "")
    with pytest.raises(ProfileError, match=message):
        run_notebooks("toy", out=tmp_path / "out", notebooks=tmp_path)


def test_a_notebook_has_one_parameters_cell(tmp_path):
    path = write_toy(tmp_path, "01_toy", [WRITE])
    write_profile(tmp_path, "")
    nb = notebook.read(path)
    nb.cells[2].metadata.tags = []
    nbformat.write(nb, path)
    with pytest.raises(ProfileError, match=r"expected one code cell tagged 'parameters', found 0"):
        run_notebooks("toy", out=tmp_path / "out", notebooks=tmp_path)


def test_the_command_exits_with_2_when_it_refuses(tmp_path):
    command = [sys.executable, "-m", "lib.run", "--profile", "toy", "--notebooks", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "nothing was run: no notebooks" in done.stderr


@pytest.mark.parametrize(
    ("value", "default", "fits"),
    [
        (1, 2, True),
        (1, 2.0, True),
        (1.5, 2, False),
        (True, 2, False),
        (1, True, False),
        ("a", "b", True),
        (None, "b", False),
        ([0], [0, 1, 2], True),
        (["0"], [0, 1, 2], False),
        ([1, 2], (1, 2), True),
        ({"a": 1}, None, True),
        (object(), None, False),
    ],
)
def test_which_values_may_replace_a_literal(value, default, fits):
    assert (misfit(value, default) is None) == fits


def done(tmp_path, monkeypatch, name: str = "01_toy") -> task.Task:
    """A Task whose run has passed, as it were."""
    write_toy(tmp_path, name, [WRITE])
    one = task.Task(tmp_path / f"{name}.ipynb", "toy", {}, tmp_path / "out", reads_others=False)
    one.folder.mkdir(parents=True)
    monkeypatch.setattr(metrics, "commit", lambda: "a")
    monkeypatch.setattr(task, "commit", lambda: "a")
    one.started_made = one.made()
    one.started_inputs = one.inputs(one.started_made)
    rows = [metrics.row("toy", "none", "test", "r1", [1])]
    (one.folder / "notebook.ipynb").write_bytes((tmp_path / f"{name}.ipynb").read_bytes())
    monkeypatch.setenv(metrics.RUN, one.run)
    metrics.write_metrics(one.folder / "metrics.json", rows, notebook=name, protocol="none", device="cpu")
    assert one._close(1.0, None, None).passed
    assert one.earlier() is not None
    return one


def test_what_decides_a_run_makes_it_run_again(tmp_path, monkeypatch):
    one = done(tmp_path, monkeypatch)
    before = surroundings.described()
    for key, value in (("device", "another"), ("runner", "0"), ("versions", before["versions"] | {"pillow": "0"})):
        with monkeypatch.context() as patch:
            patch.setattr(surroundings, "described", lambda key=key, value=value: before | {key: value})
            assert one.earlier() is None, key
    with monkeypatch.context() as patch:
        patch.setenv("DATA", str(tmp_path / "elsewhere"))
        assert one.earlier() is None
    assert one.earlier() is not None
    assert {"torch", "pillow", "tornado", "jupyter-client"} <= before["versions"].keys()


def test_changed_data_make_it_run_again(tmp_path, monkeypatch):
    data = tmp_path / "data"
    for name in ("toy", "other"):
        (data / name).mkdir(parents=True)
        (data / name / "1.jpg").write_bytes(b"one")
    monkeypatch.setenv("DATA", str(data))
    path = write_toy(tmp_path, "01_toy", ["load('toy')"])
    stamps = [surroundings.data_stamp(path, {})]
    (data / "other" / "2.jpg").write_bytes(b"two")
    assert surroundings.data_stamp(path, {}) == stamps[0]  # it names no such corpus
    assert surroundings.data_stamp(path, {"corpus": "other"}) != stamps[0]
    (data / "toy" / "1.jpg").write_bytes(b"two!")
    assert surroundings.data_stamp(path, {}) != stamps[0]


@pytest.mark.parametrize("name", ["metrics.json", "notebook.ipynb", "run.json"])
@pytest.mark.parametrize("damage", ["edited", "cut", "gone", "empty"])
def test_an_edited_or_damaged_file_of_a_run_makes_it_run_again(tmp_path, monkeypatch, name, damage):
    one = done(tmp_path, monkeypatch)
    path = one.folder / name
    content = path.read_text()
    changed = {"edited": content.replace("1.0", "2.0").replace("toy", "boy"), "cut": content[:-20], "empty": ""}
    if damage == "gone":
        path.unlink()
    else:
        path.write_text(changed[damage])
    assert one.earlier() is None
    page.write_index(tmp_path / "out", "toy", ["01_toy"])  # and the overview says the same
    assert "0 of 1 notebooks passed" in (tmp_path / "out" / "index.html").read_text()


def test_numbers_of_another_run_are_not_taken(tmp_path, monkeypatch):
    one = done(tmp_path, monkeypatch)
    one.process = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    one.process.wait()
    one.run, one.began, one.part = "another", time.monotonic(), one.folder / "none"
    ended = one.finish()
    assert "metrics.json is of another run" in ended.failure["message"]
    assert not (one.folder / "metrics.json").exists()


@pytest.mark.parametrize(
    "error", [RuntimeError("no <such> template"), RecursionError(), MemoryError(), OSError(28, "full")]
)
def test_a_page_that_cannot_be_made_undoes_nothing(tmp_path, monkeypatch, error):
    one = done(tmp_path, monkeypatch)
    one.part = one.folder / ".notebook.part.ipynb"
    (one.folder / "notebook.ipynb").rename(one.part)

    def fails(*_):
        raise error

    monkeypatch.setattr(task, "export_html", fails)
    assert one._keep_notebook() is None
    ended = one._close(1.0, None, None)
    assert ended.passed
    assert (one.folder / "notebook.ipynb").is_file()
    assert ended.notes[0].startswith(f"there is no page of it: {type(error).__name__}")
    assert one.earlier() is not None
    page.write_index(tmp_path / "out", "toy", ["01_toy"])
    assert "there is no page of it" in (tmp_path / "out" / "index.html").read_text()


def test_a_full_disk_is_a_failure_with_its_reason(tmp_path, monkeypatch):
    one = done(tmp_path, monkeypatch)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(task, "write_result", full)
    ended = one._close(1.0, None, None)
    assert not ended.passed
    assert "its result could not be written: [Errno 28] No space left on device" in ended.failure["message"]


def test_a_notebook_that_cannot_be_started_stops_no_other(tmp_path, monkeypatch):
    write_toy(tmp_path, "01_toy", [WRITE])
    write_profile(tmp_path, "")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "01_toy").write_text("a file where the folder of the run should be")
    (ended,) = run_notebooks("toy", out=tmp_path / "out", notebooks=tmp_path)
    assert "could not be started" in ended.failure["message"]


def test_a_folder_that_cannot_hold_a_run_is_refused(tmp_path):
    write_toy(tmp_path, "01_toy", [WRITE])
    write_profile(tmp_path, "")
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        with pytest.raises(ProfileError, match="cannot hold a run"):
            run_notebooks("toy", out=out, notebooks=tmp_path)


def test_one_run_a_folder(tmp_path):
    write_toy(tmp_path, "01_toy", [WRITE])
    write_profile(tmp_path, "")
    code = f"""
import sys
from pathlib import Path
from lib.run.runner import _alone
with _alone(Path({str(tmp_path / "out")!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ProfileError, match=f"is in use by process {other.pid} on "):
            run_notebooks("toy", out=tmp_path / "out", notebooks=tmp_path)
        other.kill()
    with runner._alone(tmp_path / "out"):  # of a process that was killed nothing is left
        assert json.loads((tmp_path / "out" / ".lock.json").read_text())["process"] == os.getpid()


def test_a_clock_that_was_set_back_loses_no_numbers(tmp_path):
    rows = [metrics.row("toy", "none", "test", "r1", [1])]
    about = {"notebook": "01_toy", "protocol": "none", "device": "cpu"}
    metrics.write_metrics(tmp_path / "metrics.json", rows, started=time.time() + 3600, **about)
    assert metrics.read_metrics(tmp_path / "metrics.json")["provenance"]["seconds"] is None
