"""What a notebook file says about itself: title, parameters, code."""

import ast
from typing import Any

import nbformat

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
    for statement in parse(cells[0].source, f"{name}, parameters cell").body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        try:
            if len(targets) != 1 or not isinstance(targets[0], ast.Name):
                raise ValueError("not an assignment to one name")
            value: Any = getattr(statement, "value", None)
            found[targets[0].id] = ast.literal_eval(value)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{name}: the parameters cell may hold only `name = literal`, not `{ast.unparse(statement)}` ({error})"
            ) from error
    return found


def parse(source: str, where: str) -> ast.Module:
    """The syntax tree of a cell; ValueError naming the line if it is not Python."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"{where}: line {error.lineno} is not Python: {error.msg}") from error


def plain_python(source: str) -> str:
    """A cell with its IPython magics (%time, !ls) written as the function calls they stand for."""
    try:
        ast.parse(source)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

        return TransformerManager().transform_cell(source)
    return source
