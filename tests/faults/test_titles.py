"""Titles with markup, formulas and control codes: they appear as they are, and pages stay valid."""

import html
import os
import re
import time
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmcore.report import plotting
from lmcore.report.execute import execute, require_not_edited
from lmcore.report.tables import Link, Number, Table
from lmcore.report.text import in_figure, in_markdown, visible
from lmcore.report.token_losses import token_loss_page
from lmcore.tokenizer.byte_bpe import Tokenizer

HOSTILE = {
    "dollars": "$5 and $6",
    "a formula": r"$\frac{1}{2}$",
    "a wrong formula": r"$\frac{$",
    "one dollar": "a $ b",
    "markup": "<script>alert(1)</script> &amp; </text>",
    "quotes": "\"'><b x='",
    "colours": "\x1b[31mred\x1b[0m",
    "controls": "a\0b\x07c\x08d\x7fe\x85f",
    "halves": "x\ud800y\udfffz",
    "no characters": "a\ufffeb\uffff",
    "turned": "abc\u202edef\u2066",
    "markdown": "a | b | [x](javascript:alert(1)) `c` | *d*",
    "line ends": "a\nb\r\nc\td",
    "blanks": "  a  ",
}
each = pytest.mark.parametrize("title", HOSTILE.values(), ids=HOSTILE)
INVALID_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def without_breaks(text):
    return re.sub(r"[\n\t]", "", text)


@each
@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_a_title_in_a_figure_is_drawn_as_it_is_in_a_valid_svg(title, tmp_path):
    fig, ax = plt.subplots()
    ax.set_title(in_figure(title))
    ax.set_yticks([0, 1], [plotting.shown(title), plotting.shown("cat")])
    plotting.name_line(ax, (0.0, 0.0), plotting.shown(title), plotting.OURS)
    with plt.rc_context({"svg.fonttype": "none"}):
        fig.savefig(tmp_path / "figure.svg", metadata=plotting.METADATA)
    plt.close(fig)
    content = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert not INVALID_XML.search(content)
    texts = [node.text or "" for node in ElementTree.fromstring(content).iter() if node.text]
    drawn = "".join(texts)
    for line in filter(str.strip, visible(title).replace("⏎", "\n").split("\n")):
        assert line.replace("␉", "\t").replace("␍", "␍").strip() in drawn.replace("␉", "\t")
    shown = visible(title).replace(" ", "␣")
    assert drawn.count(shown) >= 2


@each
def test_a_title_in_a_table_is_text_and_no_markup(title):
    table = Table(("title", "n"), ((title, Number("3", 3)), (Link(title, "runs/a", title), "x")))
    page = table._repr_html_()
    cells = re.findall(r"<td>(.*?)</td>", page, re.DOTALL)
    assert html.unescape(cells[0]).replace("\r", "␍") == in_page_of(title)
    assert not re.search(r"<(?!/?(table|thead|tbody|tr|th|td|a)\b)", page)
    assert not INVALID_XML.search(page)
    lines = table.markdown().split("\n")
    assert len(lines) == 4
    unescaped = re.sub(r"\\\|", "", lines[2])
    assert unescaped.count("|") == 3
    assert "<" not in lines[2]
    assert not re.search(r"(?<!\\)\$", lines[2])


def in_page_of(title):
    """Return what a page shows of a title: line breaks and tabs stay."""
    return "".join(c if c in "\n\t" else visible(c) for c in title)


@each
def test_a_page_of_losses_holds_the_text_and_its_title(title):
    tokenizer = Tokenizer.train(["the cat"], 256)
    text = title.encode(errors="replace").decode()
    ids = tokenizer.encode_array(text)
    page = token_loss_page(title, tokenizer, ids, np.ones(len(ids)))
    assert not INVALID_XML.search(page)
    assert f"<title>{html.escape(visible(title))}</title>" in page
    main = re.search(r"<main>(.*)</main>", page, re.DOTALL).group(1)
    inside = html.unescape(re.sub(r"<[^>]*>", "", main)).replace("↵\n", "\n")
    assert inside.replace("\r", "␍") == in_page_of(text)
    assert not re.search(r"<(?!/?span\b)", main)


@given(text=st.text(max_size=40))
def test_what_is_visible_hides_nothing_and_changes_no_other_character(text):
    found = visible(text)
    assert not INVALID_XML.search(found)
    assert "\n" not in found
    if text.isprintable() and not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", text):
        assert found == text
    assert "\n" not in in_markdown(text)


# Notebooks


@pytest.fixture
def notebook(tmp_path):
    """A notebook's .py with its .ipynb, made a while ago."""
    source = tmp_path / "00_test.py"
    source.write_text("# %%\n1 + 1\n")
    target = execute(source, "full", progress=False)
    return source, target


def edit(target, cell):
    edited = nbformat.read(target, as_version=4)
    edited.cells.append(nbformat.v4.new_code_cell(cell))
    nbformat.write(edited, target)


def older(path):
    """Make path older than all that is written now."""
    before = time.time() - 100
    os.utime(path, (before, before))


def test_an_edited_notebook_with_an_older_pair_is_not_overwritten(notebook):
    source, target = notebook
    older(source)
    edit(target, "'an afternoon of work'")
    edited = target.read_text()
    with pytest.raises(ValueError, match=r"\.ipynb was edited after 00_test\.py .*jupytext"):
        execute(source, "full", progress=False)
    assert target.read_text() == edited
    execute(source, "smoke", progress=False)  # writes elsewhere
    assert target.read_text() == edited


def test_a_notebook_whose_pair_is_newer_is_made_again(notebook):
    source, target = notebook
    edit(target, "'of an earlier source'")
    older(target)
    assert "earlier" not in execute(source, "full", progress=False).read_text()


def test_outputs_that_differ_are_no_edit(notebook):
    source, target = notebook
    older(source)
    changed = nbformat.read(target, as_version=4)
    changed.cells[0].outputs = []
    nbformat.write(changed, target)
    require_not_edited(source)
    assert "text/plain" in execute(source, "full", progress=False).read_text()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"cells": 3, "nbformat": 4}', "[" * 5_000])
def test_a_damaged_notebook_is_named_with_what_to_do(notebook, damage):
    source, target = notebook
    older(source)
    target.write_text(damage)
    with pytest.raises(ValueError, match=r"00_test\.ipynb is damaged: delete it"):
        require_not_edited(source)
