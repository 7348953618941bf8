"""Notebooks from the outside: make each .ipynb from its .py, run it, and save what changed.

Cells tagged `live` train now, so their outputs differ between processors. A saved notebook keeps
these outputs until the cell itself changes, so that another run leaves the checkout clean.
"""

import copy
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm.auto import tqdm

from lmcore.files import write_text

WIDGET = "application/vnd.jupyter.widget-view+json"


def pair(source: Path) -> nbformat.NotebookNode:
    """Return the notebook of source, a .py, without outputs.

    Cell ids are made of the notebook's name and the cell's number: a site needs unique ids.
    """
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{source.stem}-{number:02d}"
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "jupytext": {"formats": "ipynb,py:percent"},
    }
    return nbformat.from_dict(notebook)


def at_scale(notebook: nbformat.NotebookNode, scale: str) -> nbformat.NotebookNode:
    """Return a copy with SCALE set to scale in the cell tagged `parameters`."""
    copied = copy.deepcopy(notebook)
    for cell in copied.cells:
        if "parameters" in tags(cell):
            cell.source = cell.source.replace('SCALE = "full"', f'SCALE = "{scale}"')
    return copied


def execute(source: Path, scale: str, progress: bool = True) -> Path:
    """Run the notebook of source in its folder; return the .ipynb with the outputs.

    At full scale that is the one next to source, written only if something in it changed. At smoke
    scale it is one under .smoke.

    Raises:
        ValueError: a cell failed, or the .ipynb was edited since; the message names the notebook.
    """
    if scale == "full":
        require_not_edited(source)
    notebook = at_scale(pair(source), scale)
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(source.parent)}},
    )
    bar = tqdm(total=len(notebook.cells), desc=source.stem, unit="cell", disable=not progress)
    client.on_cell_complete = lambda **_: bar.update()
    try:
        with bar:
            client.execute()
    except CellExecutionError as error:
        raise ValueError(f"{source.name} failed: {error.ename}: {error.evalue}") from None
    remove_passing_outputs(notebook)
    target = source.with_suffix(".ipynb")
    if scale == "smoke":
        target = source.parents[1] / ".smoke/notebooks" / target.name
    elif target.exists():
        restore_live_outputs(notebook, nbformat.read(target, as_version=4))
    text = nbformat.writes(notebook) + "\n"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        write_text(target, text)
    return target


def require_not_edited(source: Path) -> None:
    """Raise ValueError if the .ipynb next to source has other cells and is newer.

    Its edits would be lost. Where source is newer, they are those that source had before.
    """
    target = source.with_suffix(".ipynb")
    if not target.exists() or target.stat().st_mtime <= source.stat().st_mtime:
        return
    try:
        cells = cells_of(nbformat.read(target, as_version=4))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise ValueError(f"{target} is damaged: delete it, it is made from {source.name}") from None
    if cells != cells_of(pair(source)):
        raise ValueError(
            f"{target.name} was edited after {source.name} and has other cells: take its edits "
            f"over with jupytext --to py:percent {target}, or delete it"
        )


def cells_of(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """Return kind and source of each cell."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def remove_passing_outputs(notebook: nbformat.NotebookNode) -> None:
    """Remove what a saved notebook does not show: hidden cells' outputs, bars, warnings, times."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            is_shown = "remove-cell" not in tags(cell)
            cell.outputs = [output for output in cell.outputs if is_shown and _is_saved(output)]


def restore_live_outputs(notebook: nbformat.NotebookNode, saved: nbformat.NotebookNode) -> None:
    """Give the live cells of notebook the outputs that the same cells have in saved."""
    outputs = {cell.source: cell.outputs for cell in saved.cells if "live" in tags(cell)}
    for cell in notebook.cells:
        if "live" in tags(cell):
            cell.outputs = outputs.get(cell.source, cell.outputs)


def tags(cell: nbformat.NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def _is_saved(output: nbformat.NotebookNode) -> bool:
    """Return whether output belongs in a saved notebook; progress bars and warnings do not."""
    is_warning = output.output_type == "stream" and output.name == "stderr"
    return not is_warning and WIDGET not in output.get("data", {})
