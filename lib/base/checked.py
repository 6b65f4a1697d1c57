"""Settings that check themselves: a frozen dataclass calls `check_fields` in its `__post_init__`."""

import dataclasses
import math
import types
from collections.abc import Iterable
from typing import Any, Union, get_args, get_origin, get_type_hints


def check_fields(settings: Any, positive: Iterable[str] = (), not_negative: Iterable[str] = ()) -> None:
    """Check the types of a dataclass's fields by their annotations, and the ranges of some.

    A whole number will do for a float; True and False are no numbers; no number may be NaN or infinite. Annotations of
    other kinds than plain classes and unions of them (lists of something, callables) are not looked into.

    Args:
        settings: the dataclass.
        positive, not_negative: names of fields with numbers; a field that is None has no range.

    Raises:
        TypeError: a field has another type; the message names the class, the field, its value and what is wanted.
        ValueError: a number is not finite or outside its range; the message names the same.

    Example:
        >>> import dataclasses
        >>> from lib.base.checked import check_fields
        >>> @dataclasses.dataclass(frozen=True)
        ... class Walk:
        ...     steps: int = 10
        ...     def __post_init__(self):
        ...         check_fields(self, positive=["steps"])
        >>> Walk(steps=2.5)
        Traceback (most recent call last):
        TypeError: Walk: steps must be int, got 2.5
    """
    hints = get_type_hints(type(settings))
    positive, not_negative = set(positive), set(not_negative)
    unknown = (positive | not_negative) - {field.name for field in dataclasses.fields(settings)}
    if unknown:
        raise ValueError(f"{type(settings).__name__} has no field {', '.join(sorted(unknown))}")
    for field in dataclasses.fields(settings):
        name, value = field.name, getattr(settings, field.name)
        wanted = _kinds(hints[name])
        where = f"{type(settings).__name__}: {name} must be"
        if wanted and not any(_fits(value, kind) for kind in wanted):
            raise TypeError(f"{where} {' or '.join(map(_name, wanted))}, got {value!r}")
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        if not math.isfinite(value):
            raise ValueError(f"{where} a finite number, got {value!r}")
        if name in positive and value <= 0:
            raise ValueError(f"{where} positive, got {value!r}")
        if name in not_negative and value < 0:
            raise ValueError(f"{where} 0 or more, got {value!r}")


def _kinds(hint: Any) -> list[type]:
    """The classes of an annotation; empty where it is one that this module does not look into."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return list(parts) if all(isinstance(part, type) and get_origin(part) is None for part in parts) else []


def _fits(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind in (bool, object)
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _name(kind: type) -> str:
    return "None" if kind is types.NoneType else kind.__name__
