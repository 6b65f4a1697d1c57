"""What a file of lib defines and imports."""

import ast
import functools
import re
from dataclasses import dataclass, field

from lib.base.bare_code import counted
from lib.base.uses import Scope, Uses, imports_of, uses

ENTRY = re.compile(r"(lib(?:\.\w+)+):(\w+)")  # of a table of texts: module and name


@dataclass
class Definition:
    """The statements behind a name, what they use, and hashes of them that were asked for."""

    nodes: list[ast.stmt]
    module: "Module"
    hashes: dict = field(default_factory=dict)

    @functools.cached_property
    def uses(self) -> Uses:
        return uses(self.nodes, self.module.known, self.module.package)


@dataclass
class Module:
    """A file: what it imports, its definitions by name ("" for the statements that are none), its tables."""

    name: str
    package: str
    imports: Scope = field(default_factory=dict)
    definitions: dict[str, Definition] = field(default_factory=dict)
    tables: dict[str, dict[str, str]] = field(default_factory=dict)  # name -> key -> dotted name of the entry

    @functools.cached_property
    def known(self) -> Scope:
        own = {name: {f"{self.name}.{name}"} for name in self.definitions if name}
        return {name: own.get(name, set()) | self.imports.get(name, set()) for name in {*own, *self.imports}}


@functools.lru_cache(maxsize=1024)
def parse(text: str, name: str, package: str, file: str) -> Module:
    """A module from its text, so that a file is parsed once as long as it does not change."""
    try:
        body = ast.parse(text).body
    except SyntaxError as error:
        raise ValueError(f"{file}: line {error.lineno} is not Python: {error.msg}") from error
    module = Module(name, package, imports_of(body, package))
    loose = module.definitions[""] = Definition([], module)
    for node in counted(body, spoken=False):
        if isinstance(node, ast.Import | ast.ImportFrom) or _does_not_run(node):
            continue
        names = _defined(node)
        if names is None:
            loose.nodes.append(node)
            names = {
                n for part in ast.walk(node) for n in (_defined(part) if isinstance(part, ast.stmt) else None) or ()
            }
        for key in names - {"__all__"}:
            module.definitions.setdefault(key, Definition([], module)).nodes.append(node)
            if (table := _table(node)) is not None:
                module.tables[key] = table
    return module


def _defined(node: ast.stmt) -> set[str] | None:
    """The names that a statement defines, None if it is not a definition."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return None
    waiting, found = list(node.targets if isinstance(node, ast.Assign) else [node.target]), set()
    while waiting:
        target = waiting.pop()
        if isinstance(target, ast.Tuple | ast.List):
            waiting += target.elts
        elif isinstance(target, ast.Starred):
            waiting.append(target.value)
        elif isinstance(target, ast.Name):
            found.add(target.id)
        else:  # part of something else: `settings["x"] = 1`
            return None
    return found


def _does_not_run(node: ast.stmt) -> bool:
    """Whether an import skips the statement: a command line, imports for annotations."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith(("'__main__'", "TYPE_CHECKING"))


def _table(node: ast.stmt) -> dict[str, str] | None:
    """key -> dotted name, if the statement assigns a table of texts "lib.module:name"."""
    value = getattr(node, "value", None)
    if not isinstance(value, ast.Dict) or not value.keys:
        return None
    texts = [part.value if isinstance(part, ast.Constant) else None for part in [*value.keys, *value.values]]
    keys, entries = texts[: len(value.keys)], texts[len(value.keys) :]
    table = {key: entry for key, entry in zip(keys, entries, strict=True) if isinstance(key, str)}
    found = {key: entry for key, entry in table.items() if isinstance(entry, str) and ENTRY.fullmatch(entry)}
    if len(found) < len(keys):
        return None
    return {key: entry.replace(":", ".") for key, entry in found.items()}
