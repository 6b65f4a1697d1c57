"""Settings say which of their fields is wrong, and what it should be."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from lib.base.checked import check_fields


@dataclass(frozen=True)
class Inner:
    size: int = 1


@dataclass(frozen=True)
class Settings:
    epochs: int = 3
    rate: float = 0.1
    seed: int = 0
    patience: int | None = None
    share: "float | None" = None
    name: str = "x"
    quick: bool = False
    inner: Inner = field(default_factory=Inner)
    names: list[str] = field(default_factory=list)
    schedule: Callable[[int], float] | None = None

    def __post_init__(self):
        check_fields(self, positive=("epochs", "rate", "patience"), not_negative=["seed"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rate": 1},
        {"patience": 4, "share": -1.0},
        {"names": ["a"], "schedule": float, "quick": True, "inner": Inner(2)},
        {"rate": np.float64(0.5)},
    ],
)
def test_what_fits_passes(changes):
    Settings(**changes)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"seed": "0"}, TypeError, "Settings: seed must be int, got '0'"),
        ({"epochs": 2.5}, TypeError, "Settings: epochs must be int, got 2.5"),
        ({"epochs": True}, TypeError, "Settings: epochs must be int, got True"),
        ({"rate": True}, TypeError, "Settings: rate must be float, got True"),
        ({"rate": None}, TypeError, "Settings: rate must be float, got None"),
        ({"patience": 1.0}, TypeError, "Settings: patience must be int or None, got 1.0"),
        ({"share": "0.5"}, TypeError, "Settings: share must be float or None, got '0.5'"),
        ({"quick": 1}, TypeError, "Settings: quick must be bool, got 1"),
        ({"name": 3}, TypeError, "Settings: name must be str, got 3"),
        ({"inner": 3}, TypeError, "Settings: inner must be Inner, got 3"),
        ({"epochs": 0}, ValueError, "Settings: epochs must be positive, got 0"),
        ({"epochs": -1}, ValueError, "Settings: epochs must be positive, got -1"),
        ({"patience": 0}, ValueError, "Settings: patience must be positive, got 0"),
        ({"seed": -1}, ValueError, "Settings: seed must be 0 or more, got -1"),
        ({"rate": math.nan}, ValueError, "Settings: rate must be a finite number, got nan"),
        ({"share": math.inf}, ValueError, "Settings: share must be a finite number, got inf"),
    ],
)
def test_what_does_not_fit_is_named(changes, error, message):
    with pytest.raises(error) as caught:
        Settings(**changes)
    assert str(caught.value) == message


def test_a_range_of_an_unknown_field_is_an_error():
    with pytest.raises(ValueError, match="Inner has no field sise"):
        check_fields(Inner(), positive=["sise"])
