"""The notebooks: pairs that agree, one setup cell, kept outputs, and running at both scales."""

import functools
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import nbformat
import pytest
import yaml

from lmcore.report.execute import execute, pair, tags
from lmcore.report.notebook import drive, source_hash, text_file

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
LABEL = re.compile(r"^#\| label: (\S+)", re.MULTILINE)

each_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def built(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def setup_cell(source: Path) -> str:
    return next(cell.source for cell in pair(source).cells if cell.cell_type == "code")


def labels(source: Path) -> list[str]:
    return [name for cell in pair(source).cells for name in LABEL.findall(cell.source)]


@each_notebook
def test_the_py_and_the_ipynb_hold_the_same_cells(source):
    told = [(cell.cell_type, cell.source) for cell in pair(source).cells]
    assert told == [(cell.cell_type, cell.source) for cell in built(source).cells]


@each_notebook
def test_every_code_cell_was_executed_in_order(source):
    counts = [cell.execution_count for cell in built(source).cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_no_output_is_an_error_or_comes_from_a_progress_bar(source):
    outputs = [o for cell in built(source).cells for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type in ("error", "stream")]


@each_notebook
def test_the_ipynb_stays_below_one_megabyte(source):
    assert source.with_suffix(".ipynb").stat().st_size < 1_000_000


@each_notebook
def test_no_cell_is_longer_than_fifteen_lines(source):
    assert not [c.source for c in pair(source).cells if len(c.source.splitlines()) > 15]


@each_notebook
def test_nothing_is_defined_in_a_notebook(source):
    code = "\n".join(cell.source for cell in pair(source).cells if cell.cell_type == "code")
    assert not re.findall(r"^\s*(?:def|class) \w+", code, re.MULTILINE)


def test_a_notebook_s_title_in_the_menu_is_its_page_s_and_short():
    toc = yaml.safe_load((ROOT / "myst.yml").read_text(encoding="utf-8"))["project"]["toc"]
    pages = [page for part in toc for page in part.get("children", []) if "children" in page]
    assert pages
    for page in pages:
        (entry,) = page["children"]
        head = (ROOT / page["file"]).read_text(encoding="utf-8").split("---")[1]
        title = f"{yaml.safe_load(head)['title']}: the notebook"
        cells = pair((ROOT / entry["file"]).with_suffix(".py")).cells
        assert cells[0].source.splitlines()[0] == f"# {title}"
        assert len(title) < 50


def test_all_notebooks_share_one_setup_cell():
    assert len({setup_cell(source) for source in SOURCES}) == 1


def test_labels_are_unique_over_all_notebooks():
    found = [label for source in SOURCES for label in labels(source)]
    assert sorted(found) == sorted(set(found))


@each_notebook
def test_each_labelled_figure_has_its_image_and_its_entry_in_the_manifest(source):
    manifest = json.loads((ROOT / "figures/manifest.json").read_text())
    figures = {label for label in labels(source) if label.startswith("fig-")}
    assert figures <= set(manifest)
    assert all((ROOT / "figures" / f"{label}.svg").stat().st_size > 0 for label in figures)


def test_the_manifest_names_no_figure_that_no_notebook_makes():
    made = {label for source in SOURCES for label in labels(source)}
    manifest = json.loads((ROOT / "figures/manifest.json").read_text())
    assert set(manifest) <= made
    assert {path.stem for path in (ROOT / "figures").glob("*.svg")} == set(manifest)


@each_notebook
def test_the_stamp_holds_the_hash_of_the_source_as_it_is(source):
    assert source_hash(source.stem) in json.dumps(built(source).cells[-1].outputs)


@each_notebook
def test_a_notebook_runs_at_smoke_scale_from_nothing(source, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "myst.yml").touch()
    copied = shutil.copy(source, tmp_path / "notebooks" / source.name)
    made = execute(Path(copied), "smoke", progress=False)
    assert made == tmp_path / ".smoke/notebooks" / f"{source.stem}.ipynb"
    drawn = {path.stem for path in (tmp_path / ".smoke/figures").glob("*.svg")}
    assert drawn == {label for label in labels(source) if label.startswith("fig-")}
    assert not (tmp_path / "results").exists()


def test_a_cell_that_fails_is_named_in_one_line_and_no_notebook_is_written(tmp_path):
    source = tmp_path / "notebooks" / "09_broken.py"
    source.parent.mkdir()
    source.write_text("# %%\n1 / 0\n")
    with pytest.raises(ValueError, match=r"^09_broken.py failed: ZeroDivisionError: .*$"):
        execute(source, "full", progress=False)
    assert not source.with_suffix(".ipynb").exists()


LIVE_TEXT = """# %% tags=["live"]
import time
time.perf_counter_ns()
# %%
1 + 1
"""


@pytest.fixture
def live_notebook(tmp_path):
    """A notebook whose live cell gives another output each time it runs."""
    source = tmp_path / "notebooks" / "09_live.py"
    source.parent.mkdir()
    source.write_text(LIVE_TEXT)
    return source


def test_running_a_notebook_again_changes_no_byte_though_its_live_cells_give_other_numbers(
    live_notebook,
):
    first = execute(live_notebook, "full", progress=False).read_bytes()
    assert execute(live_notebook, "full", progress=False).read_bytes() == first


def test_a_live_cell_that_was_edited_gets_its_new_output(live_notebook):
    execute(live_notebook, "full", progress=False)
    live_notebook.write_text(LIVE_TEXT.replace("time.perf_counter_ns()", "'edited'"))
    cell, _ = nbformat.read(execute(live_notebook, "full", progress=False), as_version=4).cells
    assert cell.outputs[0].data["text/plain"] == "'edited'"


def test_a_cell_that_is_not_live_always_gets_its_new_output(live_notebook):
    target = execute(live_notebook, "full", progress=False)
    notebook = nbformat.read(target, as_version=4)
    notebook.cells[1].outputs[0].data["text/plain"] = "3"
    nbformat.write(notebook, target)
    execute(live_notebook, "full", progress=False)
    assert nbformat.read(target, as_version=4).cells[1].outputs[0].data["text/plain"] == "2"


@each_notebook
def test_every_cell_that_trains_now_or_asks_such_a_model_is_tagged_live(source):
    cells = [cell for cell in pair(source).cells if cell.cell_type == "code"]
    live = re.compile(r"\blive\.|\bnotebook\.follow\b|\btrain\(")
    assert [c.source for c in cells if live.search(c.source) and "live" not in tags(c)] == []


class Shell:
    """Records the commands that the setup cell would run."""

    def __init__(self):
        self.commands: list[list[str]] = []

    def run(self, command, check):
        assert check
        self.commands.append(command)


def run_setup(
    monkeypatch, *, colab: bool, installed: bool = False, cloned: bool = False
) -> tuple[list[list[str]], list[str]]:
    """Run the setup cell's first part as on a machine with or without Colab, lmcore and a clone."""
    shell, moved = Shell(), []
    monkeypatch.setattr(subprocess, "run", shell.run)
    monkeypatch.setattr("os.chdir", moved.append)
    monkeypatch.setattr("os.path.isdir", lambda folder: cloned)
    found = importlib.util.find_spec("lmcore") if installed else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    if colab:
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    else:
        monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    exec(setup_cell(SOURCES[0]).split("from lmcore import")[0].split("from lmcore.")[0], {})
    return shell.commands, moved


def test_on_colab_the_setup_cell_installs_the_package_and_leaves_torch_alone(monkeypatch):
    (clone, install), moved = run_setup(monkeypatch, colab=True)
    assert install[1:4] == ["-m", "pip", "install"]
    assert not {"torch", "-U", "--upgrade", "--force-reinstall"} & set(install)
    assert install[-1] == clone[-1]
    assert moved == [f"{clone[-1]}/notebooks"]


@each_notebook
def test_on_colab_the_setup_cell_takes_the_branch_or_tag_that_the_badges_open(monkeypatch, source):
    (clone, _), _ = run_setup(monkeypatch, colab=True)
    ref, title = clone[clone.index("-b") + 1], pair(source).cells[0].source
    assert f"colab.research.google.com/github/lmcore/lmcore/blob/{ref}/notebooks/" in title
    assert f"mybinder.org/v2/gh/lmcore/lmcore/{ref}?labpath=notebooks/{source.stem}" in title


def test_after_a_restart_on_colab_the_setup_cell_goes_back_to_the_results(monkeypatch):
    commands, (moved,) = run_setup(monkeypatch, colab=True, installed=True, cloned=True)
    assert (commands, moved) == ([], "/content/lmcore/notebooks")


@pytest.mark.parametrize("installed", [True, False])
def test_anywhere_else_the_setup_cell_installs_nothing(monkeypatch, installed):
    commands, moved = run_setup(monkeypatch, colab=False, installed=installed)
    assert (commands, moved) == ([], [])


@pytest.mark.parametrize("newer", [".py", ".ipynb"])
def test_jupytext_finds_nothing_to_change_in_a_fresh_clone(tmp_path, newer):
    copied = [
        shutil.copy(path, tmp_path)
        for path in (SOURCES[1], SOURCES[1].with_suffix(".ipynb"), ROOT / "notebooks/jupytext.toml")
    ]
    before = [Path(path).read_bytes() for path in copied]
    (touched,) = [path for path in copied[:2] if path.endswith(newer)]
    os.utime(touched, (time.time() + 60, time.time() + 60))
    command = [sys.executable, "-m", "jupytext", "--sync", copied[1]]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert [Path(path).read_bytes() for path in copied] == before


def test_a_text_comes_from_a_path_an_address_or_an_upload_on_colab(tmp_path, monkeypatch):
    (tmp_path / "novel.txt").write_text("Call me Ishmael.")
    assert text_file(tmp_path / "novel.txt", tmp_path) == tmp_path / "novel.txt"
    handler = functools.partial(QuietHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        loaded = text_file(f"{address}/novel.txt?raw=1", tmp_path / "loaded")
        with pytest.raises(ValueError, match=r"none\.txt cannot be read \(HTTP Error 404"):
            text_file(f"{address}/none.txt", tmp_path)
        server.shutdown()
    assert (loaded, loaded.read_text()) == (tmp_path / "loaded/novel.txt", "Call me Ishmael.")
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    with pytest.raises(ValueError, match="on Colab only"):
        text_file("upload", tmp_path)
    files = types.SimpleNamespace(upload=lambda: {"mine.txt": b"mine"})
    monkeypatch.setitem(sys.modules, "google.colab", types.SimpleNamespace(files=files))
    assert text_file("upload", tmp_path).read_text() == "mine"


@pytest.mark.parametrize("source", ["none.txt", "http://127.0.0.1:9/a.txt", "http://127.0.0.1:9/"])
def test_a_text_that_is_not_there_is_one_line(tmp_path, source):
    with pytest.raises(ValueError, match=r"give a file, a folder|check it and the network"):
        text_file(source, tmp_path)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *arguments):
        pass


def test_drive_is_mounted_on_request_and_only_on_colab(monkeypatch):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    with pytest.raises(ValueError, match="Colab only"):
        drive()
    mounted: list[str] = []
    colab = types.SimpleNamespace(drive=types.SimpleNamespace(mount=mounted.append))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    assert drive("runs").parts[-2:] == ("MyDrive", "runs")
    assert mounted == ["/content/drive"]
