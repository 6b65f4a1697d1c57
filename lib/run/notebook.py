"""What a notebook file says about itself: title, parameters, and a hash of everything its outputs depend on."""

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterator
from pathlib import Path

import nbformat

from lib.base.files import ROOT

INJECTED = "injected-parameters"  # papermill's tag for the cell it adds


def read(path) -> nbformat.NotebookNode:
    """The notebook at `path` in the current format; ValueError if it is not one."""
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise ValueError(f"{path} is not a Jupyter notebook: {error}") from error


def title(nb: nbformat.NotebookNode, default: str) -> str:
    """The first Markdown heading."""
    for cell in nb.cells:
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else ():
            if line.startswith("#"):
                return line.lstrip("#").strip()
    return default


def code_cells(nb: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code cells the author wrote, that is without the parameters that papermill injected."""
    return [cell for cell in nb.cells if is_code(cell)]


def is_code(cell: nbformat.NotebookNode) -> bool:
    """Whether the author wrote this cell and it is code."""
    return cell.cell_type == "code" and INJECTED not in cell.metadata.get("tags", [])


def parameters(nb: nbformat.NotebookNode, name: str) -> dict[str, object]:
    """Names and default values of the one cell tagged `parameters`; ValueError unless it holds literals only."""
    cells = [cell for cell in code_cells(nb) if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{name}: expected one code cell tagged 'parameters', found {len(cells)}")
    found = {}
    for statement in _parse(cells[0].source, f"{name}, parameters cell").body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        try:
            if len(targets) != 1 or not isinstance(targets[0], ast.Name):
                raise ValueError("not an assignment to one name")
            found[targets[0].id] = ast.literal_eval(statement.value)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{name}: the parameters cell may hold only `name = literal`, not `{ast.unparse(statement)}` ({error})"
            ) from error
    return found


def source_hash(path, root: Path = ROOT) -> str:
    """Hash of the code cells of a notebook and of the modules under `root`/lib that they import, directly or not.

    Comments, docstrings and blank lines do not count, and Markdown cells do not: no output depends on them.
    A YAML file with the name of an imported module (published.py, published.yaml) counts with it.
    """
    path = Path(path)
    cells = [_plain_python(cell.source) for cell in code_cells(read(path))]
    digest = hashlib.sha256(json.dumps([_bare(cell, path.name) for cell in cells]).encode())
    for file in _imported_files([(_parse(cell, path.name), "") for cell in cells], root):
        text = file.read_text(encoding="utf-8")
        text = _bare(text, str(file)) if file.suffix == ".py" else text
        digest.update(json.dumps([file.relative_to(root).as_posix(), text]).encode())
    return digest.hexdigest()[:16]


def _parse(source: str, where: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"{where}: line {error.lineno} is not Python: {error.msg}") from error


def _plain_python(source: str) -> str:
    """A cell with its IPython magics (%time, !ls) written as the function calls they stand for."""
    try:
        ast.parse(source)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

        return TransformerManager().transform_cell(source)
    return source


def _bare(source: str, where: str) -> str:
    """Source without comments, docstrings and blank lines."""
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            lines[line - 1] = lines[line - 1][:column]
    for node in ast.walk(_parse(source, where)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = node.body[0] if node.body and ast.get_docstring(node, clean=False) is not None else None
            if text and not lines[text.lineno - 1].encode()[: text.col_offset].strip():
                first = text.end_lineno - 1
                lines[first] = lines[first].encode()[text.end_col_offset :].decode()
                lines[text.lineno - 1 : first] = [""] * (first - text.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _imported_files(trees: list[tuple[ast.Module, str]], root: Path) -> list[Path]:
    """Files under `root`/lib that the (tree, package it lies in) import, sorted."""
    files, waiting = set(), [name for tree, package in trees for name in _imports(tree, package, root)]
    while waiting:
        parts = waiting.pop().split(".")
        if parts[0] != "lib":
            continue
        for depth in range(1, len(parts) + 1):  # importing lib.data.corpus also runs lib and lib.data
            stem = root.joinpath(*parts[:depth])
            for file in (stem / "__init__.py", stem.with_suffix(".py"), stem.with_suffix(".yaml")):
                if file.is_file() and file not in files:
                    files.add(file)
                    package = file.parent.relative_to(root).as_posix().replace("/", ".")
                    if file.suffix == ".py":
                        waiting += _imports(_parse(file.read_text(encoding="utf-8"), str(file)), package, root)
    return sorted(files)


def _imports(tree: ast.Module, package: str, root: Path) -> Iterator[str]:
    """Names of what a module imports anywhere in it; of `from a import b` both a and a.b, as b may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            # a module chosen by name while running: it may be any in this package
            folder = root.joinpath(*package.split("."))
            yield from (f"{package}.{file.stem}" for file in sorted(folder.glob("*.py")) if package)
