"""Code shown in a notebook: the lines as they are in the package."""

import html
import importlib
import re
from pathlib import Path

import nbformat
import pytest

from lmcore.model import block, rope
from lmcore.report.source import source
from lmcore.studies.adamw_swap import experiments

ROOT = Path(__file__).parents[2]


def test_a_function_is_shown_without_its_docstring():
    shown = source(rope, "rotate")
    assert shown.code.startswith("def rotate(")
    assert '"""' not in shown.code
    assert "return " in shown.code


def test_constants_decorated_classes_and_methods_are_shown_whole():
    assert source(experiments, "TUNED").code.startswith("TUNED: dict[str, float] = {")
    assert source(experiments, "Contender").code.startswith("@dataclass(frozen=True")
    first, second, *_ = source(block, "Block.forward").code.splitlines()
    assert first.startswith("def forward(")
    assert second.startswith("    ")


def test_only_the_lines_that_were_asked_for_are_shown():
    shown = source(experiments, "OPTIMIZERS", first='"AdamW"', last="weight_decay")
    assert [line.strip()[:7] for line in shown.code.splitlines()] == [
        '"AdamW"',
        "rates=(",
        "changes",
    ]


@pytest.mark.parametrize(("name", "first"), [("turn", ""), ("rotate", "no such line")])
def test_what_is_not_there_is_named(name, first):
    with pytest.raises(ValueError, match=first or f"lmcore.model.rope defines no {name}"):
        source(rope, name, first)


def test_code_is_escaped_and_links_to_its_file():
    drawn = source(experiments, "compared")._repr_html_()
    assert "-&gt; list[Experiment]" in drawn
    assert "/blob/main/lmcore/studies/adamw_swap/experiments.py" in drawn


SHOWN = re.compile(
    r'<pre class="source"><code>(.*?)</code></pre>.*?<code>(\S+), (\S+)</code>', re.S
)


def shown_in_notebooks():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                drawn = "".join(output.get("data", {}).get("text/html", ""))
                for code, file, name in SHOWN.findall(drawn):
                    yield path.stem, html.unescape(code), file, name


def test_what_notebooks_show_is_what_the_package_holds():
    found = list(shown_in_notebooks())
    assert {stem for stem, *_ in found} >= {"00_tokenizer", "01_baseline", "02_adamw_swap"}
    for stem, code, file, name in found:
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        now = re.sub(r"^ +", "", source(module, name).code, flags=re.MULTILINE)
        assert re.sub(r"^ +", "", code, flags=re.MULTILINE) in now, (stem, name)
