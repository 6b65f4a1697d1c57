"""The identity of a value: a hash of all that decides what a computation makes of it.

Numbers, texts, arrays, tensors, modules with their weights, objects with their attributes, and functions with their
code: those of lib by name (their definitions are hashed by `lib.base.definitions`, so that a comment changes nothing),
those of a notebook or a script by bytecode, with what they have in their closures and read from their globals.
"""

import dis
import functools
import hashlib
import inspect
import os
import re
import sys
import sysconfig
import time
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import nn

from lib.base import definitions

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
INSTALLED = tuple({sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), sysconfig.get_path("stdlib")})
PASSING = {"training"}  # attributes of modules that the training loop sets by itself


STARTED = time.time()


class NoIdentity(TypeError):
    """A value that no hash can stand for: an open file, a lock, a generator."""


class CodeChanged(RuntimeError):
    """The source of lib is no longer what this process has imported."""


def identity(*values: Any) -> str:
    """Return the hash (64 hexadecimal digits) of the values and of the code that they bring with them.

    Equal in every process, whatever its hash seed. What is shared between the values (tied weights) counts as shared.

    Raises:
        NoIdentity: a value that cannot be hashed; the message says where it was met.
        CodeChanged: a file with code that counts was written after this process had begun.
    """
    walk = _Walk()
    for value in values:
        walk.add(value, type(value).__name__)
    for name, code in sorted(definitions.reached(walk.code).items()):
        if not name.startswith("lib.base."):  # how things are kept does not decide what they are
            _check_unchanged(name)
            walk.write("code", name, code)
    return walk.digest.hexdigest()


def _check_unchanged(definition: str) -> None:
    module = sys.modules.get(definition.rpartition(".")[0])
    file = getattr(module, "__file__", None)
    # A time still to come is that of a clock that was set back since, and no change.
    if file is not None and STARTED < os.stat(file).st_mtime <= time.time():
        raise CodeChanged(f"{file} was changed after this process had begun")


class _Walk:
    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.code: set[str] = set()  # names of definitions in lib
        self.seen: dict[int, int] = {}
        self.alive: list = []  # ids in `seen` stay those of living objects

    def write(self, *parts: str | bytes) -> None:
        for part in parts:
            data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            self.digest.update(len(data).to_bytes(8, "little") + data)

    def add(self, value: Any, where: str) -> None:
        if isinstance(value, PLAIN):
            self.write(type(value).__name__, repr(value))
        elif isinstance(value, torch.dtype | torch.device | PurePath | np.dtype | np.generic | slice | range):
            self.write(type(value).__name__, str(value))
        elif isinstance(value, Enum):
            self.write("enum", str(value))
        elif id(value) in self.seen:
            self.write("as before", str(self.seen[id(value)]))
        else:
            self.seen[id(value)] = len(self.seen)
            self.alive.append(value)
            self._add_object(value, where)

    def _add_object(self, value: Any, where: str) -> None:
        if isinstance(value, torch.Tensor):
            self._tensor(value)
        elif isinstance(value, np.ndarray):
            self._array(value, where)
        elif isinstance(value, list | tuple):
            self.write(type(value).__name__, str(len(value)))
            for item in value:
                self.add(item, where)
        elif isinstance(value, set | frozenset):
            self.write("set", *sorted(map(repr, value)))
        elif isinstance(value, Mapping):
            self.write("mapping", str(len(value)))
            for key, item in value.items():
                self.add(key, where)
                self.add(item, f"{where}[{key!r}]")
        elif isinstance(value, torch.Generator):
            self._tensor(value.get_state())
        elif isinstance(value, np.random.Generator):
            self.add(value.bit_generator.state, where)
        elif isinstance(value, re.Pattern):
            self.write("pattern", str(value.pattern), str(value.flags))
        elif isinstance(value, types.ModuleType):
            self._module(value)
        elif isinstance(value, type):
            self._class(value, where)
        elif isinstance(value, functools.partial):
            self.add((value.func, value.args, value.keywords), where)
        elif isinstance(value, types.MethodType):
            self.add((value.__func__, value.__self__), where)
        elif isinstance(value, types.FunctionType):
            self._function(value, where)
        elif isinstance(value, types.BuiltinFunctionType | types.MethodDescriptorType | types.WrapperDescriptorType):
            self.write("builtin", str(value.__module__ or ""), value.__qualname__)
        elif isinstance(value, staticmethod | classmethod):
            self.add(value.__func__, where)
        elif isinstance(value, property):
            self.add((value.fget, value.fset), where)
        elif isinstance(value, functools.cached_property):
            self.add(value.func, where)
        elif isinstance(value, torch.optim.Optimizer):
            self.write("optimiser", type(value).__qualname__)
            self.add(value.state_dict(), where)
        else:
            self._instance(value, where)

    def _tensor(self, value: torch.Tensor) -> None:
        plain = value.detach().cpu().contiguous()
        self.write("tensor", str(value.dtype), str(tuple(value.shape)), str(value.requires_grad))
        self.digest.update(plain.flatten().view(torch.uint8).numpy().data)

    def _array(self, value: np.ndarray, where: str) -> None:
        self.write("array", value.dtype.str, str(value.shape))
        if value.dtype.hasobject:
            for item in value.flat:
                self.add(item, where)
        else:
            for block in value if value.ndim > 1 and value.nbytes > 2**26 else [value]:  # a memory map block by block
                self.digest.update(np.ascontiguousarray(block).view(np.uint8).data)

    def _module(self, value: types.ModuleType) -> None:
        if _in_lib(value.__name__):
            self.code.add(value.__name__)
        self.write("module", value.__name__)

    def _class(self, value: type, where: str) -> None:
        self.write("class", value.__module__, value.__qualname__)
        if _in_lib(value.__module__):
            self._of_lib(value)
        elif not _installed(value):
            for base in value.__bases__:
                self.add(base, where)
            passing = ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__firstlineno__")
            for name in sorted(set(vars(value)) - set(passing)):
                self.add(vars(value)[name], f"{value.__qualname__}.{name}")

    def _of_lib(self, value: type | types.FunctionType) -> None:
        outermost = value.__qualname__.split(".")[0]
        self.code.add(value.__module__ if outermost == "<lambda>" else f"{value.__module__}.{outermost}")

    def _function(self, value: types.FunctionType, where: str) -> None:
        if _in_lib(value.__module__) and "<locals>" not in value.__qualname__:
            self._of_lib(value)
            self.write("function", value.__module__, value.__qualname__)
        elif _installed(value):
            self.write("function", str(value.__module__), value.__qualname__)
        else:
            where = f"{where}: {value.__qualname__}"
            if _in_lib(value.__module__):  # made by a function of lib, such as a factory of losses
                self._of_lib(value)
                self.write("made", value.__module__, value.__qualname__)
            else:
                self._bytecode(value.__code__, value.__doc__)
                for name, item in sorted(_globals_read(value), key=lambda pair: pair[0]):
                    self.write("global", name)
                    self.add(item, f"{where} reads {name}")
            self.add((value.__defaults__, value.__kwdefaults__), where)
            for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
                self.write("closure", name)
                self.add(cell.cell_contents, f"{where} holds {name}")

    def _bytecode(self, code: types.CodeType, doc: str | None) -> None:
        self.write("code", code.co_code, " ".join(code.co_names), " ".join(code.co_varnames[: code.co_argcount]))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._bytecode(constant, None)
            elif isinstance(constant, frozenset):
                self.write("set", *sorted(map(repr, constant)))
            elif constant is None or constant != doc:
                self.write(repr(constant))

    def _instance(self, value: Any, where: str) -> None:
        if any(_compiled(base) for base in type(value).__mro__[:-1]):
            raise NoIdentity(f"{where}: a {type(value).__qualname__} keeps its state out of sight, it has no identity")
        self.write("object")
        self.add(type(value), where)
        found = dict(getattr(value, "__dict__", {}))
        slots = [name for base in type(value).__mro__ for name in getattr(base, "__slots__", ())]
        found |= {name: getattr(value, name) for name in slots if hasattr(value, name) and not name.startswith("__")}
        if isinstance(value, nn.Module):
            found = {k: v for k, v in found.items() if k not in PASSING and not (k.endswith("_hooks") and not v)}
        # what a cached property holds follows from the rest
        lazy = {name for name in found if isinstance(getattr(type(value), name, None), functools.cached_property)}
        for name in sorted(set(found) - lazy):
            self.write(name)
            self.add(found[name], f"{where}.{name}")


def _in_lib(module: str | None) -> bool:
    return module is not None and (module == "lib" or module.startswith("lib."))


def _installed(value: Any) -> bool:
    """Whether a class or function comes with Python or an installed package: its version is known by other means."""
    module = sys.modules.get(value.__module__)
    if value.__module__ == "builtins" or value.__module__.split(".")[0] in sys.stdlib_module_names - {"__main__"}:
        return True
    file = getattr(module, "__file__", None)
    return file is not None and file.startswith(INSTALLED)


def _compiled(kind: type) -> bool:
    """Whether a class is written in C, where attributes do not tell the whole state."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    return kind.__module__ in sys.builtin_module_names or file.endswith((".so", ".pyd"))


def _globals_read(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Names and values of the globals that a function reads; of a module, only the attribute that is taken."""
    waiting, found = [function.__code__], {}
    while waiting:
        code = waiting.pop()
        waiting += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        steps = list(dis.get_instructions(code))
        for place, step in enumerate(steps):
            if step.opname not in ("LOAD_GLOBAL", "LOAD_NAME") or step.argval not in function.__globals__:
                continue
            name, value = step.argval, function.__globals__[step.argval]
            for following in steps[place + 1 :]:
                if not inspect.ismodule(value) or following.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                    break
                name, value = f"{name}.{following.argval}", getattr(value, following.argval)
            found[name] = value
    return iter(found.items())
