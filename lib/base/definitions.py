"""Which definitions of lib reach which others, read from the source without running it.

    reached(["lib.losses.info_nce"])  # {"lib.losses.contrastive.info_nce": "5f0c...", "lib.losses.ranking...}

A definition is a top-level function, class or assigned name of a module. Statements that are none of these count with
every definition of their module, under the module's own name. A table of texts like "lib.data.corpora.coco:load" is
taken for what it is, a choice by name: its entry `TABLE[key]` counts where a text `key` chooses it.

Names are followed through imports (also in functions, also through the `__init__` of a package) and attributes of
modules. A module that is used as a value, or that a text names, counts whole. What is not followed: attributes of
objects, because a class that is reached made the object, and names that are put together while running.
"""

import ast
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lib.base.bare_code import code_hash
from lib.base.files import ROOT
from lib.base.modules import ENTRY, Definition, Module, parse
from lib.base.uses import imports_of, uses

_MODULE = re.compile(r"lib(?:\.\w+)+\.?")
Place = tuple[str, str]  # module and the name in it; name "" for the statements that define nothing


def names_in(source: str | ast.Module, root: Path = ROOT) -> set[str]:
    """Dotted names of lib that a piece of code uses, as `reached` takes them.

    "lib.losses.info_nce" is a definition or a module that counts whole, "lib.losses." one that is only imported.
    """
    tree = ast.parse(source) if isinstance(source, str) else source
    found = uses(tree.body, imports_of(tree.body, ""), "")
    library = _Library(root)
    named = {text for text in found.texts if _MODULE.fullmatch(text) and library.module(text.rstrip("."))}
    imported = {f"{name}." for name in found.imports}
    return {name for name in found.names | imported | named if name.split(".")[0] == "lib"}


def texts_in(source: str | ast.Module) -> set[str]:
    """The texts in a piece of code; one of them may choose an entry of a table."""
    tree = ast.parse(source) if isinstance(source, str) else source
    return uses(tree.body, {}, "").texts


def reached(
    names: Iterable[str],
    root: Path = ROOT,
    chosen: Iterable[str] = (),
    follow: Callable[[str], bool] = lambda definition: True,
    spoken: bool = False,
    strict: bool = True,
) -> dict[str, str]:
    """Return definition -> hash of its bare code (see `lib.base.bare_code`) for all that `names` reach in `root`/lib.

    Args:
        names: dotted names of definitions or modules, or what `names_in` returned.
        chosen: texts that choose entries of tables.
        follow: whether a definition counts; what only others reach does not.
        spoken: whether the hashes cover messages and prints.
        strict: whether a name that lib does not have is an error; else all of the module counts that should have it.

    Raises:
        ValueError: a name is not in lib.
    """
    library = _Library(root)
    found: dict[str, str] = {}
    waiting = [place for name in sorted(set(names)) for place in library.places(name, strict)]
    seen, chosen = set(), set(chosen)
    while waiting:
        place = waiting.pop()
        name = ".".join(filter(None, place))
        if place in seen or not follow(name):
            continue
        seen.add(place)
        found |= library.hashes(place, spoken)
        waiting += library.next(place, chosen)
    return dict(sorted(found.items()))


class _Library:
    """The modules under `root`/lib as they are now."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self.modules: dict[str, Module | None] = {}
        self.yaml: dict[str, str | None] = {}
        self.direct: dict[Place, list[Place]] = {}

    def module(self, name: str) -> Module | None:
        """The module of that name, None if there is no such file."""
        if name not in self.modules:
            stem = self.root.joinpath(*name.split("."))
            inside, beside = stem / "__init__.py", stem.with_suffix(".py")
            file = inside if inside.is_file() else beside
            package = name if file is inside else name.rpartition(".")[0]
            text = file.read_text(encoding="utf-8") if file.is_file() else None
            self.modules[name] = None if text is None else parse(text, name, package, str(file))
        return self.modules[name]

    def beside(self, name: str) -> str | None:
        """Hash of the YAML file with the name of a module, None if there is none."""
        if name not in self.yaml:
            file = self.root.joinpath(*name.split(".")).with_suffix(".yaml")
            text = file.read_text(encoding="utf-8") if file.is_file() else None
            self.yaml[name] = None if text is None else hashlib.sha256(text.encode()).hexdigest()[:16]
        return self.yaml[name]

    def _there(self, name: str) -> Module:
        module = self.module(name)
        if module is None:
            raise ValueError(f"{name} is not a module of lib in {self.root}")
        return module

    def places(self, dotted: str, strict: bool = False, seen: frozenset = frozenset()) -> Iterator[Place]:
        """The definitions that a dotted name stands for; none for what is not in lib, ValueError if `strict`."""
        at, *rest = dotted.removesuffix(".").split(".")
        if at != "lib" or dotted in seen or self.module(at) is None:
            if strict:
                raise ValueError(f"{dotted} is not a name of lib in {self.root}")
            return
        while rest:
            module, name = self._there(at), rest.pop(0)
            if dotted.endswith(".") and (not rest and self.module(f"{at}.{name}") is None):
                break  # `from at import name`: only the statements of `at` run
            imported = module.imports.get(name, set()) - {f"{at}.{name}"}  # a package may import its own modules
            inner = self.module(f"{at}.{name}")
            shadows = inner is not None and bool(rest) and self._has(inner, rest[0])  # a.b.b: module a.b, not a's b
            own = name in module.definitions or imported or (inner is None and name.startswith("__"))
            if own and not shadows:
                for target in sorted(imported) if not dotted.endswith(".") else ():
                    yield from self.places(".".join([target, *rest]), seen=seen | {dotted})
                yield (at, name if name in module.definitions else "")
                return
            if inner is None:
                if strict:
                    raise ValueError(f"{dotted}: {at} has no {name!r}")
                yield from self.whole(at, seen | {dotted})  # perhaps made while running
                return
            at = f"{at}.{name}"
        yield from [(at, "")] if dotted.endswith(".") else self.whole(at, seen | {dotted})

    def _has(self, module: Module, name: str) -> bool:
        known = name in module.definitions or name in module.imports
        return known or self.module(f"{module.name}.{name}") is not None

    def whole(self, name: str, seen: frozenset = frozenset()) -> Iterator[Place]:
        """Everything that a module defines or imports from lib."""
        module = self._there(name)
        yield from ((name, key) for key in module.definitions)
        for target in sorted(target for targets in module.imports.values() for target in targets):
            yield from self.places(target, seen=seen)

    def next(self, place: Place, chosen: set[str]) -> list[Place]:
        """The definitions that one uses directly."""
        module, key = self._there(place[0]), place[1]
        if "[" in key:  # an entry of a table
            table, _, entry = key[:-1].partition("[")
            return list(self.places(module.tables[table][entry]))
        above = [".".join(place[0].split(".")[:depth]) for depth in range(1, place[0].count(".") + 1)]
        found = [(package, "") for package in above] + [(place[0], "")]
        if key == "":
            imported = sorted(target for targets in module.imports.values() for target in targets)
            found += [p for target in imported for p in self.places(f"{target}.")]
        if key in module.tables:
            return found + [(place[0], f"{key}[{entry}]") for entry in module.tables[key] if entry in chosen]
        used = module.definitions[key].uses
        direct = self._direct(place)
        found += direct + [p for name in sorted(used.imports) for p in self.places(f"{name}.")]
        for text in used.texts:
            found += self._named(text)
        near = {*direct, *(far for p in direct if "[" not in p[1] for far in self._direct(p))}
        for of, table in sorted(near):
            entries = self._there(of).tables.get(table, ())
            found += [(of, f"{table}[{entry}]") for entry in entries if entry in used.texts]
        return found

    def _direct(self, place: Place) -> list[Place]:
        """What the names in a definition stand for."""
        if place not in self.direct:
            definition = self._there(place[0]).definitions[place[1]]
            is_table = place[1] in definition.module.tables
            names = [] if is_table else sorted(definition.uses.names)
            self.direct[place] = [p for name in names for p in self.places(name)]
        return self.direct[place]

    def _named(self, text: str) -> list[Place]:
        """What a text names: a definition "lib.a:b", a module "lib.a", or with "lib.a." any module in that package."""
        if match := ENTRY.fullmatch(text):
            return list(self.places(".".join(match.groups())))
        name = text.rstrip(".")
        if not _MODULE.fullmatch(text) or self.module(name) is None:
            return []
        if text == name:
            return list(self.whole(name))
        files = sorted(self.root.joinpath(*name.split(".")).rglob("*.py"))
        stems = [file.relative_to(self.root).with_suffix("").parts for file in files]
        return [p for stem in stems for p in self.whole(".".join(stem).removesuffix(".__init__"))]

    def hashes(self, place: Place, spoken: bool) -> dict[str, str]:
        """Name and hash of a definition, and of the table in a YAML file beside its module; {} for no statements."""
        module, key = self._there(place[0]), place[1]
        found = {}
        if digits := self.beside(place[0]):
            found[f"{place[0]}.yaml"] = digits
        if "[" in key:
            name, _, entry = key[:-1].partition("[")
            found[".".join(place)] = hashlib.sha256(module.tables[name][entry].encode()).hexdigest()[:16]
        elif module.definitions[key].nodes and key not in module.tables:
            found[".".join(filter(None, place))] = self._hash(module.definitions[key], spoken)
        return found

    def _hash(self, definition: Definition, spoken: bool) -> str:
        """Of the code, and of what the names of its module in it stand for: `from a import f` may become `from b`."""
        means = []
        for name in sorted(definition.uses.known):
            for target in sorted(definition.module.imports.get(name, ())):
                places = [] if self.module(target) else sorted(".".join(p) for p in self.places(target))
                means.append(f"{name} {places or target}")
        key = spoken, tuple(means)
        if key not in definition.hashes:
            text = "\n".join([code_hash(definition.nodes, spoken), *means])
            definition.hashes[key] = hashlib.sha256(text.encode()).hexdigest()[:16]
        return definition.hashes[key]
