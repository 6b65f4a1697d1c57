"""python -m lib: the list of commands, what each says to wrong arguments, and how the environment is made."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lib.__main__ import COMMANDS, function, listing, main
from lib.base import environment, files
from lib.base.environment import NotReady
from lib.base.files import cache_dir

ROOT = Path(__file__).resolve().parents[1]
BARE = ("lib/__init__.py", "lib/__main__.py", "lib/base/__init__.py", "lib/base/environment.py")


def bare(*arguments: str, python: str = sys.executable, **variables: str) -> subprocess.CompletedProcess:
    """`python -m lib` of this checkout with an interpreter that has nothing installed."""
    command = [python, "-S", "-m", "lib", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=60)


# ------------------------------------------------------------------------------------------------------- the commands
@pytest.fixture(params=COMMANDS)
def command(request) -> str:
    module = COMMANDS[request.param].function.partition(":")[0]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not written yet")
    return request.param


def test_a_bare_python_lists_all_commands():
    done = bare()
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^  (\w+) +\S", done.stdout, re.MULTILINE) == list(COMMANDS)
    assert done.stdout.strip() == listing()
    assert max(map(len, listing().splitlines())) <= 100


def test_help_says_in_a_sentence_what_the_command_does(command, capsys):
    with pytest.raises(SystemExit) as end:
        function(command)(["--help"])
    assert end.value.code == 0
    usage, sentence = capsys.readouterr().out.split("\n\n")[:2]
    assert usage.startswith(f"usage: python -m lib {command} ")
    assert sentence.strip().endswith(".")


def test_a_wrong_argument_is_one_sentence_and_exit_code_2(command, capsys):
    with pytest.raises(SystemExit) as end:
        function(command)(["--no-such-option"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith(f"python -m lib {command}: error: ")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("name", "arguments", "code", "says"),
    [
        ("train", ["--corpus", "flickr9k"], 2, "flickr9k"),
        ("search", ["--corpus", "flickr9k"], 2, "flickr9k"),
        ("search", ["--corpus", "folder", "--root", "no/such/folder"], 1, "no/such/folder"),
        ("features", ["no/such/folder"], 1, "no/such/folder"),
        ("sweep", ["--profiles", "openmojy", "--only", "04"], 2, "openmojy"),
        ("run", ["--profile", "openmojy"], 2, "openmojy"),
        ("data", ["get", "flickr9k"], 1, "flickr9k"),
    ],
)
def test_a_wrong_value_is_named(name, arguments, code, says, capsys):
    try:
        ended = function(name)([*COMMANDS[name].given, *arguments])
    except SystemExit as end:
        ended = end.code
    assert ended == code
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_an_unknown_command_names_the_nearest():
    done = bare("serch")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "there is no command 'serch'; search? python -m lib lists all\n"


def test_arguments_come_after_those_that_are_given_first(monkeypatch):
    called = []
    monkeypatch.setattr("lib.base.environment.enter", lambda arguments: None)
    monkeypatch.setattr("lib.run.__main__.main", called.append)
    assert main(["run", "--jobs", "1"]) == 0
    assert called == [["--profile", "openmoji", "--jobs", "2", "--resume", "--jobs", "1"]]


@pytest.mark.parametrize(
    ("error", "code", "says"), [(NotReady("no space"), 1, "no space"), (KeyboardInterrupt(), 130, "interrupted")]
)
def test_no_environment_and_control_c_end_without_a_traceback(error, code, says, monkeypatch, capsys):
    def fails(arguments):
        raise error

    monkeypatch.setattr("lib.base.environment.enter", fails)
    assert main(["lint"]) == code
    assert capsys.readouterr().err.strip() == says


def test_make_only_calls_the_commands():
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    make = {
        "run": "run --profile openmoji --jobs 2",
        "run ONLY='03 04' JOBS=1 PROFILE=smoke": "run --profile smoke --jobs 1 --only 03 04",
        "search CORPUS=folder": "search --corpus folder",
        "record PROFILE=smoke": "record runs/smoke",
        "test TESTS=tests/test_x.py": "test tests/test_x.py",
        "check": "check tests",
        "lint": "lint",
        "lab": "lab",
    }
    for target, expected in make.items():
        done = subprocess.run(f"make -n {target}", shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == ["python3", "-m", "lib", *expected.split()]


# ----------------------------------------------------------------------------------------------------- the environment
@pytest.mark.parametrize("name", BARE)
def test_the_first_call_needs_the_standard_library_alone(name):
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {m for m in modules if m.partition(".")[0] not in sys.stdlib_module_names} <= {"lib.base"}


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A folder with an empty .venv, whose interpreter this one passes for; the lock lists uv only."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / "requirements.txt").write_text("# tests\npytest==9.2.0   # tests\nother==1 ; python_version < '3'\n")
    (tmp_path / "requirements.lock").write_text("uv==0.13.9 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nx==1\n")
    monkeypatch.setattr(environment, "_is_running_in", lambda venv: venv == tmp_path / ".venv")
    return tmp_path


@pytest.fixture
def calls(checkout, monkeypatch) -> list[str]:
    """The commands of an installation, which are not run but succeed, except those with a word of `calls.fail`."""

    class Calls(list):
        fail = ()

    calls = Calls()

    def call(command, **options):
        calls.append(" ".join(command[1:]))
        if not calls.fail:
            assert (checkout / ".venv" / ".ready").read_text() == "unfinished"
        return int(any(word in command for word in calls.fail))

    monkeypatch.setattr(subprocess, "call", call)
    return calls


def test_the_stamp_holds_the_hash_of_the_lock(checkout, calls):
    stamp = checkout / ".venv" / ".ready"
    stamp.write_text("")  # of an environment that was made by an earlier version of this project
    environment.enter(["lint"], checkout)
    assert stamp.read_text() == environment.lock_hash(checkout)
    assert not any("reinstall" in call for call in calls)
    made = len(calls)
    environment.enter(["lint"], checkout)
    assert len(calls) == made
    with (checkout / "requirements.lock").open("a") as lock:
        lock.write("y==1\n")
    assert not environment.is_ready(checkout)
    environment.enter(["lint"], checkout)
    assert len(calls) == 2 * made
    assert environment.is_ready(checkout)


def test_an_environment_that_has_everything_is_used_as_it_is(checkout, calls):
    environment.enter(["lint"], checkout)
    assert not calls
    assert not (checkout / ".venv" / ".ready").exists()
    with (checkout / "requirements.txt").open("a") as pins:
        pins.write("no-such-package==1\n")
    assert environment.missing(checkout) == ["no-such-package"]
    environment.enter(["lint"], checkout)
    assert calls


def test_an_installed_copy_makes_no_environment(tmp_path, calls):
    environment.enter(["search"], tmp_path / "site-packages")
    assert not calls


def test_uv_installs_with_hashes_and_pip_is_the_fallback(checkout, calls):
    environment.install(checkout)
    _, bootstrap, with_uv, in_place = calls
    assert "pip --disable-pip-version-check install" in bootstrap
    assert with_uv.startswith("-m uv pip install --system-certs --python")
    assert "--no-build-isolation" in in_place
    assert all("--require-hashes" in call for call in (bootstrap, with_uv))
    assert (checkout / ".venv" / "uv.lock.txt").read_text().splitlines() == [
        "uv==0.13.9 \\",
        "    --hash=sha256:00 \\",
        "    --hash=sha256:11",
    ]
    for failing in ("uv", str(checkout / ".venv" / "uv.lock.txt")):  # it fails; it cannot be had
        calls.clear()
        calls.fail = (failing,)
        environment.install(checkout)
        assert environment.is_ready(checkout)
        (with_pip,) = [call for call in calls if call.endswith("requirements.lock") and "-m pip" in call]
        assert "--require-hashes" in with_pip


def test_what_was_interrupted_is_put_in_place_again(checkout, calls, monkeypatch):
    stamp = checkout / ".venv" / ".ready"
    calls.fail = ("install",)
    with pytest.raises(NotReady, match="network"):
        environment.install(checkout)
    assert stamp.read_text() == "unfinished"
    assert not environment.is_ready(checkout)
    calls.clear()
    calls.fail = ()
    environment.enter(["lint"], checkout)
    assert any("uv pip install" in call and "--reinstall" in call for call in calls)
    assert environment.is_ready(checkout)


def test_a_full_disk_is_named(checkout, calls, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**10, 10**10, 5 * 10**7))
    calls.fail = ("install",)
    with pytest.raises(NotReady, match=r"is full \(50 MB left\)"):
        environment.install(checkout)
    with pytest.raises(NotReady, match=r"0\.1 GB of free space, the environment needs 9"):
        environment.make(checkout / ".venv")


def test_no_ensurepip_is_named(checkout, calls):
    calls.fail = ("pip", "ensurepip")
    with pytest.raises(NotReady, match="apt install python3-venv"):
        environment.install(checkout)


def test_an_old_python_is_told_which_ones_will_do(checkout, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotReady, match=r"^\.venv has Python 3\.10, this project needs Python 3\.11, 3\.12 or 3\.13: "):
        environment.enter(["run"], checkout)
    monkeypatch.setattr(environment, "_is_running_in", lambda venv: False)
    with pytest.raises(NotReady, match=r"^this is Python 3\.10; install Python 3\.11, 3\.12 or 3\.13, then call it by"):
        environment.enter(["run"], checkout)


def test_only_some_pythons_are_supported():
    versions = [(2, 7), (3, 9), (3, 10), (3, 11), (3, 12), (3, 13), (3, 14), (4, 0)]
    assert [environment.is_supported(version) for version in versions] == [False] * 3 + [True] * 3 + [False] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="the interpreter is a shell script")
def test_another_python_on_path_makes_the_environment(tmp_path, monkeypatch):
    for name, code in (("python3.13", 1), ("python3.12", 0)):  # the first is a stub
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    assert environment._supported_python() == ["python3.12"]


def test_a_damaged_environment_is_not_entered_again_and_again(checkout, monkeypatch):
    monkeypatch.setenv("LIB_ENTERED", str(checkout / ".venv"))
    with pytest.raises(NotReady, match="damaged: delete this folder"):
        environment._go_on_in(checkout / ".venv", ["lint"])


def test_the_exit_code_comes_through_control_c():
    class Process:
        codes = iter((KeyboardInterrupt, 130))

        def wait(self):
            code = next(self.codes)
            if code is KeyboardInterrupt:
                raise KeyboardInterrupt
            return code

    assert environment.wait(Process()) == 130


# ------------------------------------------------------------------------------------------------------- other systems
ONLY_POSIX = {
    "os.set_blocking", "os.fork", "os.forkpty", "os.kill", "os.killpg", "os.setsid", "os.getuid", "os.mkfifo",
    "os.uname", "signal.SIGKILL", "signal.alarm", "signal.setitimer", "select.select", "select.poll",
}  # fmt: skip
ONLY_POSIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}


def not_portable(source: str) -> list[str]:
    """Calls and modules that Windows lacks, and text files whose encoding is left to the system."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ONLY_POSIX:
            found.append(ast.unparse(node))
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [name for name in names if name in ONLY_POSIX_MODULES]
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = {keyword.arg for keyword in node.keywords}
            texts = name in ("read_text", "write_text") and isinstance(node.func, ast.Attribute)
            if name == "open" and ast.unparse(node.func) not in OTHER_OPEN:
                mode = node.args[isinstance(node.func, ast.Name) :][:1] + [
                    k.value for k in node.keywords if k.arg == "mode"
                ]
                texts = not any("b" in ast.unparse(m) for m in mode)
            if texts and "encoding" not in given:
                found.append(f"{node.lineno}: {ast.unparse(node)[:60]}")
    return found


OTHER_OPEN = {
    "self.open", "Image.open", "tarfile.open", "gzip.open", "webbrowser.open", "os.open", "archive.open", "opener.open"
}  # fmt: skip
GUARDED = {"lib/search/__main__.py": ["resource"]}  # imported where the system is not Windows


def test_lib_is_written_for_windows_too():
    sources = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "lib").rglob("*.py"))}
    found = {path.relative_to(ROOT).as_posix(): not_portable(source) for path, source in sources.items()}
    assert {name: what for name, what in found.items() if what} == GUARDED


@pytest.mark.parametrize(
    "code", ["open(p)", "open(p, 'w')", "p.open()", "p.read_text()", "p.write_text(t)", "os.set_blocking(1, False)",
             "import fcntl", "from pwd import x"],
)  # fmt: skip
def test_the_check_for_windows_bites(code):
    assert not_portable(code)


def test_the_check_for_windows_lets_the_portable_ways_pass():
    code = "open(p, 'rb'); p.open('wb'); p.read_text(encoding='utf-8'); open(p, encoding='utf-8'); Image.open(p)"
    assert not_portable(code) == []


def test_a_file_that_windows_holds_is_replaced_when_it_is_let_go(tmp_path, monkeypatch):
    tries, pauses = [], []

    def held(source, target):
        tries.append(target)
        if len(tries) < 3:
            raise PermissionError(target)
        Path(source).rename(target)

    monkeypatch.setattr(files.sys, "platform", "win32")
    monkeypatch.setattr(files.os, "replace", held)
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    files.write_text(tmp_path / "a.txt", "ä")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "ä"
    assert len(tries) == 3
    monkeypatch.setattr(files.os, "replace", lambda source, target: (_ for _ in ()).throw(PermissionError(target)))
    with pytest.raises(PermissionError):
        files.write_text(tmp_path / "b.txt", "b")
    assert sum(pauses) < 5
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_table_is_printed_where_the_terminal_lacks_its_letters(tmp_path):
    (tmp_path / "ü🐶.txt").write_text("no picture", encoding="utf-8")
    (tmp_path / "dog.txt").write_text("a dog", encoding="utf-8")
    Image.new("RGB", (8, 8)).save(tmp_path / "dog.png")
    command = ["data", "check", "folder", "--root", str(tmp_path), "--out", str(tmp_path / "found.csv")]
    found = subprocess.run(
        [sys.executable, "-m", "lib", *command],
        cwd=ROOT,
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "cp1252"},
    )
    assert "ü?.txt".encode("cp1252") in found.stdout, found.stderr.decode("cp1252", "replace")


def test_a_cache_that_cannot_be_written_names_its_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"no folder for caches can be made at .*LIB_CACHE may name another place"):
        cache_dir("fits")
