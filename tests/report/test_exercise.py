"""Exercises of the notebooks: what they would run is valid, and one of them runs."""

import ast
import re
from pathlib import Path

import jupytext
import pytest

from lmcore.experiments.study import Study
from lmcore.report.exercise import small_pair, try_change
from lmcore.studies import all_studies
from lmcore.studies.baseline import STUDY, experiments

ROOT = Path(__file__).parents[2]
PACKAGES = {"01_baseline": "baseline", "02_adamw_swap": "adamw_swap",
            "03_rope_and_vocab": "rope_and_vocab"}  # fmt: skip


def exercises(notebook: str) -> list[str]:
    """Return the code of a notebook's exercises."""
    cells = jupytext.read(ROOT / "notebooks" / f"{notebook}.py").cells
    (start,) = [i for i, cell in enumerate(cells) if cell.source.startswith("## Exercises")]
    text = "\n".join(cell.source for cell in cells[start:] if cell.cell_type == "markdown")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def arguments(code: str, study: Study, module: object) -> list[object]:
    """Return what the last line of code would call with, after the lines before it."""
    *before, last = ast.parse(code).body
    names = {"STUDY": study, "experiments": module}
    exec(compile(ast.Module(before, []), "exercise", "exec"), names)
    assert isinstance(last, ast.Expr)
    assert isinstance(last.value, ast.Call)
    assert ast.unparse(last.value.func) == "exercise.try_change"
    return [eval(ast.unparse(argument), names) for argument in last.value.args]


@pytest.mark.parametrize("notebook", PACKAGES)
def test_a_notebook_ends_with_three_exercises_that_each_change_something(notebook):
    name = PACKAGES[notebook]
    module = __import__(f"lmcore.studies.{name}.experiments", fromlist=["experiments"])
    codes = exercises(notebook)
    assert len(codes) == 3
    for code in codes:
        pair = small_pair(*arguments(code, all_studies()[name], module))
        assert pair["as it is"].name != pair["changed"].name
        assert {one.scale for one in pair.values()} == {"smoke"}


def test_the_same_change_is_the_same_run_and_another_is_another():
    first, same, other = (
        small_pair(STUDY, experiments.BASELINE, {"train.optimizer.lr": lr})["changed"].name
        for lr in (0.1, 0.1, 0.2)
    )
    assert first == same != other


def test_a_change_that_is_not_a_field_is_an_error():
    with pytest.raises(ValueError, match="lernrate"):
        small_pair(STUDY, experiments.BASELINE, {"train.lernrate": 1.0})


def test_a_change_is_tried_on_small_runs_that_share_all_else(tmp_path, monkeypatch):
    (tmp_path / "myst.yml").touch()
    monkeypatch.chdir(tmp_path)
    short = {"train.epochs": None, "train.steps": 2}
    table = try_change(STUDY, experiments.BASELINE, short)
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.header == ("after the last step", "as it is", "changed")
    assert rows["parameters"][0] == rows["parameters"][1]
    assert rows["validation, bits/byte"][0].value < rows["validation, bits/byte"][1].value
