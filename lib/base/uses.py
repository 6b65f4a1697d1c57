"""Which names a piece of Python uses that come from outside of it: imported ones and those of its own module."""

import ast
from dataclasses import dataclass, field

from lib.base.bare_code import counted, counted_fields

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_OWN_SCOPE = (*_FUNCTIONS, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_IMPORTS = (ast.Import, ast.ImportFrom)
Scope = dict[str, set[str]]  # name -> what was imported under it; empty for a variable


@dataclass
class Uses:
    """What occurs in a piece of code."""

    names: set[str] = field(default_factory=set)  # dotted, with attributes: "lib.report.plots.show"
    imports: set[str] = field(default_factory=set)  # what it imports itself, used or not
    known: set[str] = field(default_factory=set)  # names of the surrounding module
    texts: set[str] = field(default_factory=set)


def import_targets(node: ast.Import | ast.ImportFrom, package: str) -> list[tuple[str, str]]:
    """(name, dotted target) of what a statement in a module of `package` imports; name "*" for everything."""
    if isinstance(node, ast.Import):
        return [(a.asname, a.name) if a.asname else (a.name.split(".")[0],) * 2 for a in node.names]
    parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*parents, *([node.module] if node.module else [])])
    return [(a.asname or a.name, base if a.name == "*" else f"{base}.{a.name}") for a in node.names]


def imports_of(nodes: list[ast.stmt], package: str) -> Scope:
    """What statements import, without the functions and classes in them: name -> targets."""
    found: Scope = {}
    waiting: list[ast.AST] = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, _IMPORTS):
            for name, target in import_targets(node, package):
                found.setdefault(name, set()).add(target)
        elif isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case) and not isinstance(node, _OWN_SCOPE):
            waiting += ast.iter_child_nodes(node)
    return found


def uses(nodes: list[ast.stmt], known: Scope, package: str) -> Uses:
    """What the statements use; `known` are the names of the module around them and what they stand for."""
    walk = _Walk(known, package)
    walk.visit(counted(nodes, spoken=False), [])
    return walk.found


class _Walk:
    """Visits what counts of a tree, with the scopes of the functions around the present place, outermost first."""

    def __init__(self, known: Scope, package: str):
        self.known, self.package, self.found = known, package, Uses()

    def visit(self, value, scopes: list[Scope]) -> None:
        if isinstance(value, list):
            for item in value:
                self.visit(item, scopes)
        elif isinstance(value, ast.Name | ast.Attribute):
            self._name(value, scopes)
        elif isinstance(value, ast.Constant):
            if isinstance(value.value, str):
                self.found.texts.add(value.value)
        elif isinstance(value, _IMPORTS):
            self._import(value)
        elif isinstance(value, _FUNCTIONS):
            self.visit(getattr(value, "decorator_list", []), scopes)
            self.visit(value.args, scopes)
            body = value.body if isinstance(value.body, list) else [value.body]
            self.visit(counted(body, spoken=False), [*scopes, _local_names(value.args, body, self.package)])
        elif isinstance(value, _COMPREHENSIONS):
            self._comprehension(value, scopes)
        elif isinstance(value, ast.AST):
            if isinstance(value, ast.ClassDef):  # names of its body are not seen from its methods
                scopes = [*scopes, imports_of(value.body, self.package)]
            for _, part in counted_fields(value, spoken=False):
                if isinstance(value, ast.JoinedStr) and isinstance(part, list):
                    self.found.texts |= {p for p in part if isinstance(p, str)}
                self.visit(part, scopes)

    def _name(self, node: ast.expr, scopes: list[Scope]) -> None:
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            self.visit(node, scopes)
            return
        inner = next((scope for scope in reversed(scopes) if node.id in scope), None)
        if inner is None and node.id in self.known:
            self.found.known.add(node.id)
        targets = (self.known if inner is None else inner).get(node.id, ())
        self.found.names |= {".".join([target, *attributes]) for target in targets}

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, target in import_targets(node, self.package):
            self.found.imports.add(target)
            if name == "*":
                self.found.names.add(target)
        if isinstance(node, ast.Import):
            self.found.imports |= {alias.name for alias in node.names}

    def _comprehension(self, node, scopes: list[Scope]) -> None:
        inner = scopes
        for generator in node.generators:
            self.visit(generator.iter, inner)  # the first one is evaluated outside
            inner = [*inner, {name: set() for name in _stored([generator.target])}]
            self.visit(generator.ifs, inner)
        for part in ("key", "value", "elt"):
            self.visit(getattr(node, part, None), inner)


def _local_names(arguments: ast.arguments, body: list, package: str) -> Scope:
    """Names that belong to a function: its arguments and what its body assigns, defines or imports."""
    found = imports_of(body, package)
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    for name in [argument.arg for argument in every if argument] + _stored(body):
        found.setdefault(name, set())
    outer = {
        name for node in body for n in ast.walk(node) if isinstance(n, ast.Global | ast.Nonlocal) for name in n.names
    }
    return {name: targets for name, targets in found.items() if name not in outer}


def _stored(nodes: list) -> list[str]:
    """Names that are assigned or defined, without what functions, classes and comprehensions in there keep inside."""
    found, waiting = [], list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.append(node.id)
        elif not isinstance(node, (ast.Lambda, *_COMPREHENSIONS)):
            bound = getattr(node, "name", None) or getattr(node, "rest", None)  # except E as name, case [*name]
            found += [bound] if isinstance(bound, str) else []
            waiting += ast.iter_child_nodes(node)
    return found
