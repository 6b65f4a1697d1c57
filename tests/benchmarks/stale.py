"""How many notebooks a changed line of lib makes wrong, by code line, without running anything.

    python -m tests.benchmarks.stale [--top 20]

Each code line of lib counts once (not comments, docstrings, blank lines), with the number of notebooks whose numbers
come from its definition. That is an upper bound: a line that only holds a message makes none wrong. Then typical
changes are made in a copy of lib, and what each of them makes wrong and older is counted.
"""

import argparse
import ast
import functools
import io
import shutil
import tempfile
import tokenize
from collections import Counter
from pathlib import Path

from lib.base.files import ROOT
from lib.run import stale

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
# what changes: file, text, replacement
CHANGES = {
    "a font size": ("lib/report/pictures.py", "DPI = ", "DPI = 1 + "),
    "a colour of a figure": ("lib/report/plots.py", "_LINE_STYLES = ", "_LINE_STYLES = None, "),
    "an error message of an adapter": ("lib/data/corpora/openmoji.py", 'ValueError(f"', 'ValueError(f"Sorry: '),
    "an error message of the loop": ("lib/training/loop.py", "give either a loss or", "give one: a loss or"),
    "a help text": ("lib/search/__main__.py", 'help="', 'help="Which: '),
    "a new corpus": ("lib/data/__init__.py", "CORPORA = {", 'CORPORA = {\n    "new": "lib.data.corpora.coco:load",'),
    "an adapter of another corpus": ("lib/data/corpora/nuswide.py", "def load(", "LIMIT = 3\n\n\ndef load("),
    "a docstring": ("lib/losses/contrastive.py", '"""Return', '"""The'),
    "an annotation": ("lib/losses/contrastive.py", "similarity: Tensor", "similarity: object"),
    "the runner": ("lib/run/runner.py", "time.sleep(0.1)", "time.sleep(0.2)"),
    "InfoNCE": ("lib/losses/contrastive.py", "    return mean_of_smallest(", "    return 2 * mean_of_smallest("),
    "a published number": ("lib/report/published.yaml", "papers:", "papers:\n  Z: another"),
}
PRESENT_ONLY = [name for name in CHANGES if name not in ("InfoNCE", "a published number")]


def code_lines(text: str) -> set[int]:
    """Numbers of the lines of a file that hold code."""
    docs = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docs |= set(range(node.lineno, node.end_lineno + 1))
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {n for t in tokens if t.type not in NO_CODE for n in range(t.start[0], t.end[0] + 1)} - docs


def weights(root: Path = ROOT) -> tuple[int, Counter[str], dict[str, int]]:
    """All code lines of lib, those of each definition, and the number of notebooks that each makes wrong."""
    notebooks = Counter()
    for path in NOTEBOOKS:
        notebooks.update(name for name, digits in stale.made(path, root=root).definitions.items() if len(digits) == 16)
    lines, total = Counter(), 0
    for file in sorted((root / "lib").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        code = code_lines(text)
        total += len(code)
        module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(text).body:
            first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
            names = [getattr(target, "id", getattr(target, "name", None)) for target in targets]
            for name in (f"{module}.{name}" if name else module for name in names[:1]):
                lines[name] += len(code & set(range(first, node.end_lineno + 1)))
    return total, lines, notebooks


def average(root: Path = ROOT) -> float:
    """Notebooks that a code line of lib makes wrong, on average."""
    total, lines, notebooks = weights(root)
    return sum(count * notebooks[name] for name, count in lines.items()) / total


@functools.cache
def _now(path: Path) -> stale.Made:
    return stale.made(path)


def effect(name: str, paths: list[Path] = NOTEBOOKS) -> tuple[int, int]:
    """How many notebooks a change makes wrong, and how many only older."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(ROOT / "lib", root / "lib", ignore=shutil.ignore_patterns("__pycache__"))
        file, old, new = CHANGES[name]
        text = (root / file).read_text(encoding="utf-8")
        if old not in text:
            raise ValueError(f"{name}: {file} no longer holds {old!r}; change CHANGES in {__file__}")
        (root / file).write_text(text.replace(old, new), encoding="utf-8")
        found = [stale.differences(stale.made(path, root=root), _now(path)) for path in paths]
    return sum(bool(wrong) for wrong, _ in found), sum(bool(older) and not wrong for wrong, older in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--top", type=int, default=20, metavar="N", help="definitions to name (default: 20)")
    options = parser.parse_args()
    total, lines, notebooks = weights()
    print(f"{total:,} code lines of lib make {average():.2f} of {len(NOTEBOOKS)} notebooks wrong on average; most by:")
    heaviest = sorted(lines, key=lambda name: lines[name] * notebooks[name], reverse=True)
    for name in heaviest[: options.top]:
        print(f"  {lines[name]:4} lines x {notebooks[name]:2} notebooks  {name}")
    print("\nchange                           wrong  older")
    for name in CHANGES:
        wrong, older = effect(name)
        print(f"{name:32} {wrong:5}  {older:5}", flush=True)


if __name__ == "__main__":
    main()
