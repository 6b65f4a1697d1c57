"""YAML that people write: what is read, and what is refused with file, line and key."""

import pytest

from lib.base.files import ROOT
from lib.base.strict_yaml import read_yaml


def write(folder, text):
    (folder / "a.yaml").write_text(text, encoding="utf-8")
    return folder / "a.yaml"


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("", None),
        ("a: [1, 2.0, x, true, null]", {"a": [1, 2.0, "x", True, None]}),
        ("a: &name [1, 2]\nb: *name\nc: [*name, *name]", {"a": [1, 2], "b": [1, 2], "c": [[1, 2], [1, 2]]}),
        ("a: &name {x: 1, y: 2}\nb:\n  <<: *name\n  y: 3", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        ("1: a\n'1': b", {1: "a", "1": "b"}),
    ],
)
def test_what_is_read(tmp_path, text, content):
    assert read_yaml(write(tmp_path, text)) == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "'a' stands twice, first in line 1"),
        ("x:\n  - a: 1\n    a: 1", "'a' stands twice, first in line 2"),
        ("a: [", "a.yaml is not YAML"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", r"alias \*a stands in a value that has a name"),
        ("a: &a [*a]", r"alias \*a stands in a value that has a name"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: 1\n--- \nb: 1", "expected a single document"),
    ],
)
def test_what_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_yaml(write(tmp_path, text))


def test_every_file_of_the_repository_is_read():
    files = [*ROOT.glob("lib/**/*.yaml"), *ROOT.glob("notebooks/profiles/*.yaml"), ROOT / "environment.yml"]
    assert len(files) > 8
    for file in files:
        read_yaml(file)
