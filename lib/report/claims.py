"""Conclusions that answer to the numbers: a sentence, and what measured rows must show for it to be said.

claims = Claims(rows)
claims.say("Stage II adds to stage I.", above("InfoNCE: stage II - InfoNCE: stage I", "rsum"))
claims.say("Its curriculum cannot be told from a random order.", undecided("curriculum - random order", "rsum"))
claims  # in a notebook: the sentences with their numbers; "Does not hold here" where the rows show something else
write_metrics(..., claims=claims)

What was said is kept beside the rows, so that anybody can check it later, and a test does for every recorded result.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lib.report.names import decimals, heading


@dataclass(frozen=True)
class Condition:
    """What rows must show. Made by `above`, `below`, `undecided`, `between` and `ordered`.

    Attributes:
        kind: the name of the function that made it.
        methods: of the rows it reads.
        metric: of these rows.
        setting: a part of their setting, where method and metric alone are not unique.
        bounds: numbers that the kind asks for.
    """

    kind: str
    methods: tuple[str, ...]
    metric: str
    setting: str = ""
    bounds: tuple[float, ...] = ()


def above(method: str, metric: str, value: float = 0.0, setting: str = "") -> Condition:
    """The whole interval of a row lies above `value`."""
    return Condition("above", (method,), metric, setting, (value,))


def below(method: str, metric: str, value: float = 0.0, setting: str = "") -> Condition:
    """The whole interval of a row lies below `value`."""
    return Condition("below", (method,), metric, setting, (value,))


def undecided(method: str, metric: str, value: float = 0.0, setting: str = "") -> Condition:
    """The interval of a row holds `value`: these pictures and seeds cannot tell."""
    return Condition("undecided", (method,), metric, setting, (value,))


def between(method: str, metric: str, low: float, high: float, setting: str = "") -> Condition:
    """The mean of a row lies from `low` to `high`."""
    return Condition("between", (method,), metric, setting, (low, high))


def ordered(methods: Sequence[str], metric: str, setting: str = "") -> Condition:
    """The means of rows fall from the first to the last; nothing is said of what other pictures would give."""
    return Condition("ordered", tuple(methods), metric, setting)


class Claims:
    """The conclusions of a notebook.

    Args:
        rows: the measured rows, as `lib.report.rows` makes them; those added to the list later count as well.

    Attributes:
        said: one mapping a claim with sentence, conditions, on, holds and numbers, as it stands in metrics.json.
    """

    def __init__(self, rows: list[dict]):
        self.rows = rows
        self.said: list[dict] = []

    def say(self, sentence: str, *conditions: Condition, on: Sequence[str] = ("openmoji",)) -> bool:
        """Keep a sentence that is true where all `conditions` hold, and return whether they do here.

        Args:
            sentence: for the reader, without numbers: they are added from the rows.
            conditions: at least one.
            on: the corpora on which it has to hold; a test reads the recorded results and says where it does not.

        Raises:
            ValueError: no condition; no row or several for one; a row without the interval that a condition asks for.
        """
        if not conditions:
            raise ValueError(f"{sentence!r} is bound to no row")
        verdicts = [holds(condition, self.rows) for condition in conditions]
        self.said.append(
            {
                "sentence": sentence,
                "conditions": [asdict(condition) for condition in conditions],
                "on": list(on),
                "holds": all(verdicts),
                "numbers": "; ".join(numbers(condition, self.rows) for condition in conditions),
            }
        )
        return all(verdicts)

    def _repr_markdown_(self) -> str:
        return "\n".join(
            f"- {claim['sentence']} ({claim['numbers']})"
            if claim["holds"]
            else f"- **Does not hold here:** *{claim['sentence']}* ({claim['numbers']})"
            for claim in self.said
        )


def read_condition(content: dict) -> Condition:
    """Return a condition from what metrics.json holds of it; ValueError where it is none."""
    try:
        parts: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in content.items()}
        made = Condition(**parts)
    except TypeError as error:
        raise ValueError(f"no condition of a claim: {content!r}: {error}") from None
    if made.kind not in KINDS:
        raise ValueError(f"no kind of condition: {made.kind!r}; there are {', '.join(KINDS)}")
    return made


def holds(condition: Condition, rows: Sequence[dict]) -> bool:
    """Return whether rows show what a condition says; errors as for `Claims.say`."""
    return KINDS[condition.kind](condition, [_row(condition, method, rows) for method in condition.methods])


def numbers(condition: Condition, rows: Sequence[dict]) -> str:
    """Return the numbers that a condition reads, as text: `RSUM +16.1 [8.6, 24.0]`."""
    found = [_row(condition, method, rows) for method in condition.methods]
    digits = decimals(condition.metric)
    if condition.kind == "ordered":
        return f"{heading(condition.metric)} " + " > ".join(f"{row['mean']:.{digits}f}" for row in found)
    (row,) = found
    if row["interval"] is None:
        return f"{heading(condition.metric)} {row['mean']:.{digits}f}"
    low, high = row["interval"]
    return f"{heading(condition.metric)} {row['mean']:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _row(condition: Condition, method: str, rows: Sequence[dict]) -> dict:
    found = [
        row
        for row in rows
        if (row["method"], row["metric"]) == (method, condition.metric) and condition.setting in row["setting"]
    ]
    if len(found) != 1:
        known = sorted({row["method"] for row in rows if row["metric"] == condition.metric})
        settings = "; ".join(row["setting"] for row in found)
        raise ValueError(
            f"{len(found)} rows are {method!r} with {condition.metric!r}"
            + (f" and {condition.setting!r} in their setting" if condition.setting else "")
            + (f", of the settings {settings}" if found else f"; with this metric there are {known}")
        )
    return found[0]


def _interval(row: dict) -> tuple[float, float]:
    if row["interval"] is None:
        raise ValueError(
            f"the row {row['method']!r}, {row['metric']!r} has no interval: ask for `between` or `ordered`"
        )
    return row["interval"]


def _falls(condition: Condition, rows: list[dict]) -> bool:
    means = [row["mean"] for row in rows]
    return all(map(operator.gt, means, means[1:]))


KINDS: dict[str, Callable[[Any, list[dict]], bool]] = {
    "above": lambda condition, rows: _interval(rows[0])[0] > condition.bounds[0],
    "below": lambda condition, rows: _interval(rows[0])[1] < condition.bounds[0],
    "undecided": lambda condition, rows: _interval(rows[0])[0] <= condition.bounds[0] <= _interval(rows[0])[1],
    "between": lambda condition, rows: condition.bounds[0] <= rows[0]["mean"] <= condition.bounds[1],
    "ordered": _falls,
}
