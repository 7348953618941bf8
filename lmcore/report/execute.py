"""Build notebooks from their .py files and run them."""

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
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = cell.source.replace('SCALE = "full"', f'SCALE = "{scale}"')
    return copied


def execute(source: Path, scale: str, progress: bool = True) -> Path:
    """Run the notebook of source in its folder; return the .ipynb with the outputs.

    At full scale the .ipynb is next to source and is written only if it changed. At smoke scale
    it is below .smoke.

    Raises:
        ValueError: a cell failed; the message names it and its error.
    """
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
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            is_shown = "remove-cell" not in cell.metadata.get("tags", [])
            cell.outputs = [output for output in cell.outputs if is_shown and _is_saved(output)]
    target = source.with_suffix(".ipynb")
    if scale == "smoke":
        target = source.parents[1] / ".smoke/notebooks" / target.name
    text = nbformat.writes(notebook) + "\n"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        write_text(target, text)
    return target


def _is_saved(output: nbformat.NotebookNode) -> bool:
    """Return whether output is saved in a notebook; progress bars and warnings are not."""
    is_warning = output.output_type == "stream" and output.name == "stderr"
    return not is_warning and WIDGET not in output.get("data", {})
