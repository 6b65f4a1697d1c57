"""Sentences that rows carry: each condition by its definition, and every recorded claim against its recorded rows."""

import json
from pathlib import Path

import pytest

from lib.base.files import ROOT
from lib.report.claims import Claims, above, below, between, holds, ordered, read_condition, undecided
from lib.report.rows import row, write_metrics

RESULTS = sorted((ROOT / "results").glob("*/*.json"))


def measured(method, mean, interval=None, metric="rsum", setting="test"):
    return row(method, "openmoji", setting, metric, [mean], interval)


ROWS = [
    measured("a - b", 3.0, (1.0, 5.0)),
    measured("b - a", -3.0, (-5.0, -1.0)),
    measured("a - c", 1.0, (-1.0, 3.0)),
    measured("a", 103.0),
    measured("b", 100.0),
    measured("twice", 1.0, setting="test; 10 % annotated"),
    measured("twice", 2.0, setting="test; 25 % annotated"),
]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (above("a - b", "rsum"), True),
        (above("a - b", "rsum", 1.5), False),
        (above("a - c", "rsum"), False),
        (below("b - a", "rsum"), True),
        (below("a - c", "rsum", 3.5), True),
        (below("a - c", "rsum"), False),
        (undecided("a - c", "rsum"), True),
        (undecided("a - b", "rsum"), False),
        (between("a", "rsum", 100, 105), True),
        (between("a", "rsum", 100, 102), False),
        (ordered(["a", "b"], "rsum"), True),
        (ordered(["b", "a"], "rsum"), False),
        (ordered(["a", "a"], "rsum"), False),
        (between("twice", "rsum", 2, 2, "25 %"), True),
    ],
    ids=str,
)
def test_conditions(condition, expected):
    assert holds(condition, ROWS) is expected
    assert read_condition(json.loads(json.dumps(condition.__dict__))) == condition


def test_what_does_not_hold_is_said_with_its_numbers(tmp_path):
    claims = Claims(ROWS)
    assert claims.say("a is better.", above("a - b", "rsum"), ordered(["a", "b"], "rsum"))
    assert not claims.say("c is worse.", above("a - c", "rsum"))
    assert claims._repr_markdown_() == (
        "- a is better. (RSUM +3.0 [1.0, 5.0]; RSUM 103.0 > 100.0)\n"
        "- **Does not hold here:** *c is worse.* (RSUM +1.0 [-1.0, 3.0])"
    )
    write_metrics(tmp_path / "metrics.json", ROWS[:1], notebook="00", protocol="none", claims=claims)
    assert [claim["holds"] for claim in json.loads((tmp_path / "metrics.json").read_text())["claims"]] == [True, False]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (above("d - e", "rsum"), r"0 rows are 'd - e' with 'rsum'; with this metric there are \['a', 'a - b'"),
        (above("twice", "rsum"), r"2 rows are 'twice' .*, of the settings test; 10 % annotated; test; 25 % annotated"),
        (above("a", "rsum"), r"the row 'a', 'rsum' has no interval: ask for `between` or `ordered`"),
    ],
)
def test_a_claim_without_its_row_is_an_error(condition, message):
    with pytest.raises(ValueError, match=message):
        Claims(ROWS).say("Something.", condition)
    with pytest.raises(ValueError, match=r"'Something.' is bound to no row"):
        Claims(ROWS).say("Something.")


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"no kind of condition: 'best'; there are above"):
        read_condition({"kind": "best", "methods": ["a"], "metric": "rsum"})
    with pytest.raises(ValueError, match=r"no condition of a claim: \{'sort': 1\}"):
        read_condition({"sort": 1})


def turned(rows, condition):
    """The rows with those of a condition turned around, so that they show the contrary."""
    changed = []
    means = [r["mean"] for r in rows if r["method"] in condition.methods and r["metric"] == condition.metric]
    for one in rows:
        if one["method"] in condition.methods and one["metric"] == condition.metric:
            if condition.kind == "ordered":
                one = one | {"mean": min(means) + max(means) - one["mean"]}
            elif condition.kind == "between":
                one = one | {"mean": condition.bounds[1] + 1 + abs(one["mean"])}
            elif condition.kind == "undecided":
                one = one | {"interval": [condition.bounds[0] + 1, condition.bounds[0] + 2]}
            else:
                one = one | {"interval": [2 * condition.bounds[0] - end for end in reversed(one["interval"])]}
        changed.append(one)
    return changed


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recorded_claims_follow_from_recorded_rows(path: Path):
    """Each says what its rows show, holds where it has to, and would not hold if the rows were turned around."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for claim in content.get("claims", []):
        conditions = [read_condition(condition) for condition in claim["conditions"]]
        assert claim["holds"] == all(holds(condition, content["rows"]) for condition in conditions), claim["sentence"]
        if content["provenance"]["corpus"] in claim["on"]:
            assert claim["holds"], f"{claim['sentence']} {claim['numbers']}"
        for condition in conditions if claim["holds"] else ():
            assert not holds(condition, turned(content["rows"], condition)), claim["sentence"]
