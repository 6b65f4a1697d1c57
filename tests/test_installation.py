"""requirements.lock goes with requirements.txt and refuses changed files; a copy that was installed works by itself."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lib.base import environment
from lib.run.lock import requirements_hash

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
ENTRY = re.compile(
    r"^(?P<pin>[^#\s][^\\\n]*) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def locked() -> dict[str, list[Requirement]]:
    """Entries of the lock by name; some packages have several, each for some systems or Pythons."""
    found = {}
    for entry in ENTRY.finditer(LOCK):
        requirement = Requirement(entry["pin"])
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def pins() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(pin) for line in lines if (pin := line.partition("#")[0].strip())]


def test_the_lock_was_made_from_these_requirements():
    recorded = re.search("^# SHA-256 of requirements.txt: ([0-9a-f]{64})$", LOCK, re.MULTILINE)[1]
    assert recorded == requirements_hash(), "requirements.txt has changed since: python -m lib lock"


def test_every_pin_is_in_the_lock_at_its_version():
    entries = locked()
    for pin in pins():
        assert [str(entry.specifier) for entry in entries[canonicalize_name(pin.name)]] == [str(pin.specifier)], pin


def test_everything_in_the_lock_has_one_version_and_hashes_and_nothing_else_is_there():
    rest = ENTRY.sub("", LOCK).splitlines()
    assert [line for line in rest if not line.startswith("#")] == []
    for requirements in locked().values():
        for requirement in requirements:
            assert re.fullmatch(r"==[0-9][0-9a-z.]*(post\d+)?", str(requirement.specifier)), (
                requirement
            )  # no +local build
            assert requirement.url is None


def test_the_installation_finds_in_the_lock_what_it_needs_itself():
    assert {"uv", "setuptools"} <= set(locked())
    assert environment.lock_entry(LOCK, "uv").count("--hash=") > 5
    assert Requirement(environment.lock_entry(LOCK, "setuptools").split("\\")[0]).marker is None


def test_the_lock_names_no_address_and_no_folder():
    assert not re.search(r"://|^-|file:|index|find-links|/[a-z]+/", LOCK, re.MULTILINE)


@pytest.fixture
def wheel(tmp_path) -> Path:
    """The smallest wheel that can be installed."""
    path = tmp_path / "tiny-1-py3-none-any.whl"
    files = {
        "tiny.py": "",
        "tiny-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n",
        "tiny-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files["tiny-1.dist-info/RECORD"] = "".join(f"{name},,\n" for name in [*files, "tiny-1.dist-info/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_a_changed_byte_is_refused(tool, wheel, tmp_path):
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    lock, target = tmp_path / "requirements.lock", tmp_path / "target"
    lock.write_text(f"tiny==1 \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    command = {"uv": environment.uv_command, "pip": environment.pip_command}[tool](lock)
    command += ["--no-index", "--find-links", str(tmp_path), "--target", str(target)]
    variables = os.environ | {"UV_CACHE_DIR": str(tmp_path / "cache"), "PIP_NO_CACHE_DIR": "1"}

    def install() -> subprocess.CompletedProcess:
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)

    done = install()
    assert done.returncode == 0, done.stderr
    assert (target / "tiny.py").is_file()
    shutil.rmtree(target)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.comment = b"!"
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    done = install()
    assert done.returncode != 0
    assert re.search("hash", done.stdout + done.stderr, re.IGNORECASE)
    assert not (target / "tiny.py").exists()


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what `pip install .` puts into site-packages, made from the wheel."""
    for tool in ("uv", "setuptools"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"{tool} is not installed: it builds the wheel")
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"  # building leaves files behind
    source.mkdir()
    shutil.copytree(ROOT / "lib", source / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    uv = [sys.executable, "-m", "uv", "build", "--wheel", "--offline", "--no-build-isolation"]
    command = [*uv, "--python", sys.executable, "--out-dir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_an_installed_copy_finds_its_files_and_keeps_caches_with_the_user(installed, tmp_path):
    code = """
from pathlib import Path
import lib, lib.search
from lib.base.files import cache_dir, data_dir
from lib.data.obtain.registry import read_registry
from lib.report.published import load_published
print(Path(lib.__file__).parent, len(read_registry()), len(load_published()), sep="\\n")
print(cache_dir("features"), data_dir(), sep="\\n")
print(len((Path(lib.search.__file__).parent / "page.html").read_text(encoding="utf-8")))
"""
    variables = {name: value for name, value in os.environ.items() if name not in ("LIB_CACHE", "DATA")}
    variables |= {"PYTHONPATH": str(installed), "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    variables |= {"XDG_CACHE_HOME": str(tmp_path / "xdg"), "XDG_DATA_HOME": str(tmp_path / "xdg-data")}

    def run(**more: str) -> list[str]:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=variables | more, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    lib, corpora, numbers, cache, data, page = run()
    assert Path(lib) == installed / "lib"
    assert int(corpora) > 10
    assert int(numbers) > 10
    assert int(page) > 1000
    assert Path(cache).is_dir()
    if sys.platform == "linux":
        assert Path(cache) == tmp_path / "xdg" / "webly-retrieval" / "features"
        assert Path(data) == tmp_path / "xdg-data" / "webly-retrieval"
    assert str(installed) not in cache + data
    named = run(LIB_CACHE=str(tmp_path / "mine"), DATA="corpora")
    assert [Path(name) for name in named[3:5]] == [tmp_path / "mine" / "features", tmp_path / "corpora"]


def test_an_installed_copy_lists_the_commands(installed, tmp_path):
    command = [sys.executable, "-m", "lib"]
    variables = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "search" in done.stdout
