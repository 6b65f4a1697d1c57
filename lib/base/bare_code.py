"""What of a piece of Python decides what it computes: its syntax tree without what only speaks to people.

Left out are comments, docstrings, blank lines and annotations; and, unless `spoken`, what a program says: arguments of
exceptions and warnings, messages of assertions, prints, texts of the command line. Serialised here and not by
`ast.dump`, whose text differs between versions of Python.
"""

import ast
import hashlib
from collections.abc import Iterator, Sequence

_NEVER = {"ctx", "kind", "returns", "simple", "type_comment", "type_ignores", "type_params"}
_TEXTS = {"description", "epilog", "help", "metavar"}  # keyword arguments that the command line shows
_SPEAKS = ("Error", "Exception", "Warning")  # a call whose name ends so makes a message
_MARKS = {"ClassVar", "InitVar", "KW_ONLY"}  # annotations that change what a dataclass does


def code_hash(nodes: Sequence[ast.AST], spoken: bool) -> str:
    """Return 16 hex digits that are equal where these nodes compute the same; with `spoken` say the same, too."""
    parts: list[str] = []
    _write(counted(list(nodes), spoken), parts, spoken)
    return hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def counted_fields(node: ast.AST, spoken: bool) -> Iterator[tuple[str, object]]:
    """Names and values of the fields of a node that count, sorted by name; empty ones count as absent."""
    for name in sorted(node._fields):
        value = getattr(node, name, None)
        if name in _NEVER or value is None or value == []:
            continue
        if name == "annotation":
            if isinstance(node, ast.arg):
                continue
            value = [mark for mark in _names(value) if mark in _MARKS]
        elif name == "msg" and isinstance(node, ast.Assert) and not spoken:
            continue
        elif isinstance(node, ast.Call) and not spoken:
            if name in ("args", "keywords") and _last_name(node.func).endswith(_SPEAKS):
                continue
            if name == "keywords":
                value = [keyword for keyword in value if keyword.arg not in _TEXTS]
        elif name == "exc" and isinstance(node, ast.Raise) and isinstance(value, ast.Call) and not spoken:
            value = value.func
        elif name == "values" and isinstance(node, ast.JoinedStr):
            value = _joined(value)
        if isinstance(value, list):
            value = counted(value, spoken)
        if value != []:
            yield name, value


def counted(items: list, spoken: bool) -> list:
    """Those of a list of nodes that count: no texts that stand alone, and without `spoken` no prints and warnings."""
    return [item for item in items if not (isinstance(item, ast.Expr) and _only_speaks(item.value, spoken))]


def _only_speaks(value: ast.expr, spoken: bool) -> bool:
    if isinstance(value, ast.Constant):
        return True
    if spoken or not isinstance(value, ast.Call):
        return False
    name = ast.unparse(value.func) if isinstance(value.func, ast.Name | ast.Attribute) else ""
    into_file = any(k.arg == "file" and _last_name(k.value) not in ("stderr", "stdout") for k in value.keywords)
    return name == "warnings.warn" or (name == "print" and not into_file)


def _write(value, parts: list[str], spoken: bool) -> None:
    if isinstance(value, ast.AST):
        parts.append(type(value).__name__)
        for name, field in counted_fields(value, spoken):
            parts.append(name)
            _write(field, parts, spoken)
        parts.append(")")
    elif isinstance(value, list):
        for item in value:
            _write(item, parts, spoken)
        parts.append("]")
    else:
        parts.append(repr(value))


def _joined(values: list[ast.expr]) -> list:
    """The parts of an f-string, texts side by side as one: Python 3.12 cuts them elsewhere than 3.11 does."""
    parts: list = []
    for value in values:
        if isinstance(value, ast.Constant) and parts and isinstance(parts[-1], str):
            parts[-1] += str(value.value)
        else:
            parts.append(value.value if isinstance(value, ast.Constant) else value)
    return [part for part in parts if part != ""]


def _names(node: ast.AST) -> list[str]:
    return [_last_name(part) for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)]


def _last_name(node: ast.AST) -> str:
    """The name that a function is called by: `d` of a.b.d, "" of what has none."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
