"""Which definitions reach which, and what of their code counts; on small libraries made for the purpose."""

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.base.definitions import names_in, reached, texts_in
from lib.base.files import ROOT

FILES = {
    "lib/__init__.py": '"""The library."""\n',
    "lib/room/__init__.py": "from lib.room.maths import area, Shape\nfrom lib.room import drawn\n",
    "lib/room/maths.py": """
from __future__ import annotations
import math
from lib.room.units import SCALE, convert as to_metres
from . import drawn
import lib.other.far

PI = 3.0
LOW, HIGH = 1, 2
LIMIT: int = 5

def area(r, factor=LIMIT):
    return PI * r * helper(factor)

def helper(x):
    return to_metres(x) * SCALE

def unrelated():
    return HIGH

def ping(n):
    return pong(n)

def pong(n):
    return ping(n)

class Shape:
    sides = 3
    def area(self):
        return area(1)

class Square(Shape):
    @drawn.framed
    def area(self):
        return 1

def late():
    from lib.other import far
    return far.away()

def dotted():
    return lib.other.far.away()

def by_name():
    from importlib import import_module
    return import_module("lib.other.kernels")

def shadowed(PI):
    helper = PI
    return [SCALE for SCALE in helper]

def comprehension(rows):
    return [PI for PI in rows] + [PI]

def nested():
    def inner():
        return LOW
    return lambda x, y=HIGH: inner()

def uses_module():
    return getattr(drawn, "line")()

def annotated(x: Shape) -> Square:
    return x

def speaks(x):
    if x < HIGH:
        raise ValueError(f"not below {helper(2)}")
    assert x, f"{PI}"
    print(PI)
    return x
""",
    "lib/room/units.py": "SCALE = 1\n\ndef convert(x):\n    return x * SCALE\n",
    "lib/room/drawn.py": "def line():\n    return 1\n\ndef framed(f):\n    return f\n",
    "lib/other/__init__.py": "",
    "lib/other/far.py": "def away():\n    return 1\n",
    "lib/other/kernels.py": "import os\nos.environ['X'] = '1'\n\ndef kernel():\n    return 1\n\nSECOND = 2\n",
    "lib/other/lazy.py": "import importlib\n\ndef get(n):\n    return importlib.import_module(f'lib.plugins.{n}')\n",
    "lib/plugins/__init__.py": "",
    "lib/plugins/one.py": "def run():\n    return 1\n",
    "lib/numbers.py": "from pathlib import Path\nPATH = Path('numbers.yaml')\n\ndef read():\n    return PATH\n",
    "lib/numbers.yaml": "a: 1\n",
    "lib/corpora.py": """
TABLE = {"red": "lib.adapters:red", "blue": "lib.adapters:blue"}

def load(name):
    return TABLE[name]

def load_red():
    return load("red")

def says_blue():
    return "blue", load_red()
""",
    "lib/adapters.py": "def red():\n    return paint()\n\ndef blue():\n    return paint(2)\n\ndef paint(n=1): ...\n",
}
MATHS = "lib.room.maths"
AREA = "maths.area maths.PI maths.helper maths.LIMIT units.convert units.SCALE"


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def short(found) -> set[str]:
    return {name.removeprefix("lib.").removeprefix("room.") for name in found}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("area", AREA),
        ("unrelated", "maths.unrelated maths.HIGH maths.LOW"),
        ("ping", "maths.ping maths.pong"),  # a circle
        ("Square", f"maths.Square maths.Shape drawn.framed {AREA}"),
        ("late", "maths.late other.far.away"),
        ("dotted", "maths.dotted other.far.away"),
        ("by_name", "maths.by_name other.kernels other.kernels.kernel other.kernels.SECOND"),
        ("shadowed", "maths.shadowed"),
        ("comprehension", "maths.comprehension maths.PI"),
        ("nested", "maths.nested maths.LOW maths.HIGH"),
        ("uses_module", "maths.uses_module drawn.line drawn.framed"),
        ("annotated", "maths.annotated"),
        ("speaks", "maths.speaks maths.HIGH maths.LOW"),
    ],
)  # fmt: skip
def test_what_a_definition_reaches(root, name, expected):
    assert short(reached([f"{MATHS}.{name}"], root)) == set(expected.split())


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from lib.room import area", ""),  # imported and not used
        ("from lib.room import drawn as d\nd.line()", "drawn.line"),
        ("import lib.room\nlib.room.drawn.line()", "drawn.line"),
        ("import lib.room.units as u\nprint(u.SCALE)", ""),  # a print decides nothing
        ("import lib.room.units as u\nx = u.SCALE", "units.SCALE"),
        ("from lib.room import units\nkeep = [units]", "units.SCALE units.convert"),
        ("def f():\n    from lib.room.units import SCALE\n    return SCALE", "units.SCALE"),
        ("def f(units):\n    return units.SCALE\nfrom lib.room import units", ""),
        ("from lib.room.units import *", "units.SCALE units.convert"),
        ("x = 'lib.room.units'", "units.SCALE units.convert"),
        ("x = 'see lib.room.units'", ""),
        ("import lib.other.kernels", "other.kernels"),  # its loose statement runs
        ("from lib.other import kernels", "other.kernels"),
        ("from lib.other.lazy import get\nget('one')", "other.lazy.get plugins.one.run"),
        ("from lib.numbers import read\nread()", "numbers.read numbers.PATH numbers.yaml"),
        ("import lib.room\nx = lib.room.__doc__", ""),
    ],
)
def test_what_a_piece_of_code_reaches(root, code, expected):
    assert short(reached(names_in(code, root), root)) == set(expected.split())


def test_re_exports_are_followed_and_not_listed(root):
    assert reached(["lib.room.area"], root) == reached([f"{MATHS}.area"], root)


def test_a_function_with_the_name_of_its_module(root):
    (root / "lib/room/__init__.py").write_text("from lib.room.units import units\n")
    (root / "lib/room/units.py").write_text("def units():\n    return SCALE\n\nSCALE = 1\n")
    for code in ("from lib.room import units\nunits()", "from lib.room.units import units\nunits()"):
        assert short(reached(names_in(code, root), root)) == {"units.units", "units.SCALE"}


def test_an_unknown_name_is_named(root):
    with pytest.raises(ValueError, match=r"lib\.room\.maths has no 'volume'"):
        reached([f"{MATHS}.volume"], root)
    with pytest.raises(ValueError, match=r"torch\.nn is not a name of lib"):
        reached(["torch.nn"], root)
    assert short(reached(["lib.room.units.gone", "lib.gone.x", "torch.nn"], root, strict=False)) == {
        "units.SCALE",
        "units.convert",
    }


def test_only_what_is_followed_counts(root):
    found = reached([f"{MATHS}.area"], root, follow=lambda name: name != f"{MATHS}.helper")
    assert short(found) == {"maths.area", "maths.PI", "maths.LIMIT"}


# ------------------------------------------------------------------------------------------------- tables of names
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("corpora.load(name)", ""),
        ("corpora.load('red')", "red"),
        ("name = 'blue'\ncorpora.load(name)", "blue"),
        ("corpora.load_red()", "red"),  # the library chooses
        ("corpora.says_blue()", "red"),  # a text of a function that chooses nothing
        ("corpora.TABLE['blue']", "blue"),
    ],
)
def test_an_entry_of_a_table_counts_where_a_text_chooses_it(root, code, expected):
    code = f"from lib import corpora\n{code}"
    found = short(reached(names_in(code, root), root, chosen=texts_in(code)))
    assert {name for name in ("red", "blue") if f"adapters.{name}" in found} == set(expected.split())
    assert ("adapters.paint" in found) is bool(expected)


def test_a_new_entry_changes_nothing_for_the_others(root):
    before = reached(["lib.corpora.load"], root, chosen=["red"])
    edit(root, "lib/corpora.py", '"blue": ', '"green": "lib.adapters:paint", "blue": ')
    assert reached(["lib.corpora.load"], root, chosen=["red"]) == before
    edit(root, "lib/corpora.py", '"lib.adapters:red"', '"lib.adapters:paint"')
    assert reached(["lib.corpora.load"], root, chosen=["red"]) != before


# ------------------------------------------------------------------------------------------------ what changes a hash
def edit(root, name, old, new):
    text = (root / name).read_text(encoding="utf-8")
    assert old in text
    (root / name).write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("room/maths.py", "PI = 3.0", "PI = 3.1", "maths.PI"),
        ("room/maths.py", "PI = 3.0", "PI = 3", "maths.PI"),
        ("room/maths.py", "PI = 3.0", "PI = 3.0\n\n# why\n'text'\n", ""),
        ("room/maths.py", "sides = 3", "sides = 4", "maths.Shape"),
        ("room/maths.py", "return area(1)", "return area(2)", "maths.Shape"),
        ("room/maths.py", "return area(1)", "'''Area.'''\n        return area(1)  # of one", ""),
        ("room/maths.py", "def area(self):\n        return 1", "def area(self) -> float:\n        return 1", ""),
        ("room/maths.py", "@drawn.framed\n", "@drawn.line\n", "maths.Square drawn.line drawn.framed"),
        ("room/maths.py", "factor=LIMIT", "factor=LOW", "maths.area maths.LIMIT maths.LOW maths.HIGH"),
        ("room/maths.py", "def area(r,", "def area(r: float,", ""),
        ("room/maths.py", "LIMIT: int = 5", "LIMIT: float = 5", ""),
        ("room/maths.py", "def unrelated():\n    return HIGH", "def unrelated():\n    return LOW", ""),
        ("room/maths.py", "import math", "import os", ""),
        ("room/maths.py", "SCALE, convert as to_metres", "SCALE, SCALE as to_metres", "maths.helper units.convert"),
        ("room/maths.py", "import math\n", "import math\nmath.tau = 6\n", "maths"),  # counts with every definition
        ("room/units.py", "x * SCALE", "SCALE * x", "units.convert"),
        ("room/__init__.py", "import area", "import helper, area", ""),
        ("room/__init__.py", "from lib", "X = 1\nprint(X)\nfrom lib", ""),
        ("room/__init__.py", "from lib", "import os\nos.x = 1\nfrom lib", "room"),  # a package runs before its modules
        ("other/kernels.py", "'1'", "'2'", ""),
    ],
)
def test_which_changes_count(root, name, old, new, changed):
    before = reached([f"{MATHS}.Square"], root)
    edit(root, f"lib/{name}", old, new)
    after = reached([f"{MATHS}.Square"], root)
    assert short(key for key in {*before, *after} if before.get(key) != after.get(key)) == set(changed.split())


SPOKEN = [
    ("raise ValueError('a')", "raise ValueError('b', x)"),
    ("raise QueryError(message) from error", "raise QueryError(other) from error"),
    ("problems.append(ReadError('a'))", "problems.append(ReadError('b'))"),
    ("assert x, 'a'", "assert x"),
    ("print('a')", "print('b', 2)"),
    ("print('a', file=sys.stderr)", "pass"),
    ("warnings.warn('a')", "warnings.warn('b')"),
    ("parser.add_argument('--x', help='a', metavar='N')", "parser.add_argument('--x', help='b')"),
    ("p = ArgumentParser(description='a', epilog='b')", "p = ArgumentParser()"),
]
COUNTED = [
    ("raise ValueError('a')", "raise KeyError('a')"),
    ("raise ValueError('a')", "return ValueError('a')"),
    ("assert x", "assert y"),
    ("print('a', file=f)", "print('b', file=f)"),
    ("parser.add_argument('--x', default=1)", "parser.add_argument('--x', default=2)"),
    ("return 1", "return 1.0"),
    ("return 1", "return True"),
    ("return 'a'", "return b'a'"),
    ("return None", "return"),  # the same, and rare enough
    ("return f'{x}'", "return f'{x!r}'"),
    ("return f'{x:.1f}'", "return f'{x:.2f}'"),
    ("return {**x}", "return {x: None}"),
    ("return x[1:]", "return x[:1]"),
    ("x: int = 1", "x: int = 2"),
    ("x: ClassVar[int] = 1", "x: int = 1"),
]
SAME = [
    ("return 'a' 'b'", "return 'ab'"),
    ("return f'a{x}' 'b'", "return f'a{x}b'"),
    ("return (x)", "return x"),
    ("x: int = 1", "x: float = 1"),
    ("return u'a'", "return 'a'"),
    ("def g[T](x): pass", "def g(x): pass"),
]


@pytest.mark.parametrize(("first", "second", "plain", "spoken"), [
    *[(*pair, True, False) for pair in SPOKEN], *[(*pair, False, False) for pair in COUNTED],
    *[(*pair, True, True) for pair in SAME],
])  # fmt: skip
def test_what_of_the_code_counts(tmp_path, first, second, plain, spoken):
    if sys.version_info < (3, 12) and "[T]" in first:
        pytest.skip("syntax of Python 3.12")
    found = []
    for code in (first, second):
        (tmp_path / "lib").mkdir(exist_ok=True)
        (tmp_path / "lib/__init__.py").write_text("class F:\n  def f():\n    " + code)
        found.append([reached(["lib.F"], tmp_path, spoken=said) for said in (False, True)])
    assert (found[0][0] == found[1][0]) is (plain if first != "print('a', file=sys.stderr)" else False)
    assert (found[0][1] == found[1][1]) is spoken


def test_hashes_are_those_of_every_python(root):
    """Recorded once: a hash depends on the code and not on the version of Python."""
    (root / "lib/syntax.py").write_text(SYNTAX)
    assert reached(["lib.syntax.everything"], root) == {"lib.syntax.everything": "265d2a09e59dcb4a"}


SYNTAX = '''
async def everything(a, /, b=1e-3, *args, c: int = 2j, **more):
    """Text."""
    global seen
    x: "dict[str, int]" = {**more, "é\\ud83d": b"1", 1: ...}
    with open(a) as f, open(b):
        f.write(f"{a!r:>{b}} {{}} {x=} " "and" f" {c:.2f}")
    try:
        y = [i async for i in a if i] or {k: v for k, v in x.items()}
    except (ValueError, KeyError) as error:
        raise RuntimeError("no") from error
    else:
        y[1:2, ::3] = y @ x if not a else -b // 2
    finally:
        del x
    match a:
        case [1, *rest] | {"k": 2, **rest} if rest:
            return (z := 10**20, lambda *p: p)
        case Shape(side=None) as shape:
            yield shape
    while 0 < b <= 1.5 != c is not None:
        await b
        continue
    nonlocal_ = None, True, 0.1, "it's", 'a"b'
    return
'''


def test_a_notebook_is_analysed_within_a_second():
    path = next((ROOT / "notebooks").glob("09*.ipynb"))
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    reached(names_in(code), chosen=texts_in(code), strict=False)  # every file is parsed once
    started = time.process_time()
    found = reached(names_in(code), chosen=texts_in(code), strict=False)
    assert time.process_time() - started < 1
    assert len(found) > 50


def test_every_file_of_the_library_is_understood():
    found = set()
    for path in sorted((ROOT / "lib").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found |= set(reached([name]))
    functions = [
        node.name
        for path in (ROOT / "lib").rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    assert {name.rpartition(".")[2] for name in found} >= set(functions)


def test_it_needs_the_standard_library_alone():
    code = "import sys; sys.path.insert(0, '.'); import lib.base.definitions; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    tops = {name.split(".")[0] for name in done.stdout.split()} - {"lib", "__main__"}
    assert tops <= set(sys.stdlib_module_names)
    assert Path(ROOT / "lib").is_dir()
