"""lmcore evaluate, called as the command line calls it, and the page of losses."""

import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tyro
from made import PLAIN, TINY, randomised

import lmcore
from lmcore.cli import evaluate
from lmcore.data import grammar
from lmcore.data.sources import Reading, documents
from lmcore.experiments.text_config import text_run
from lmcore.experiments.text_run import train_text
from lmcore.report.token_losses import token_loss_page
from lmcore.tasks.prepared_text import PrepareConfig, prepare
from lmcore.tokenizer.byte_bpe import Tokenizer

DOCUMENTS = ["the cat <b>sat</b> & wrote 日本\non the mat.", "été\x01\x7f"]
TEXT = "<eos>".join(DOCUMENTS) + "\r\n"


@pytest.fixture(scope="module")
def lm():
    tokenizer = Tokenizer.train(["the cat sat on the mat. "] * 9, 270, ["<eos>"])
    model = randomised(replace(TINY, vocab_size=tokenizer.vocab_size))
    return lmcore.LanguageModel(model, tokenizer)


@pytest.fixture
def paths(lm, tmp_path):
    lmcore.save(tmp_path / "model", lm.model, lm.tokenizer)
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    return [str(tmp_path / "model"), str(tmp_path / "text.txt"), "--device", "cpu"]


@pytest.mark.parametrize("stride", [None, 3])
def test_both_scores_are_printed_with_full_coverage(lm, paths, capsys, stride):
    tyro.cli(evaluate.run, args=[*paths, *([] if stride is None else ["--stride", str(stride)])])
    lines = capsys.readouterr().out.splitlines()
    stride = TINY.context_length // 2 if stride is None else stride
    scores = [lm.score(DOCUMENTS), lm.score(DOCUMENTS, stride)]
    for line, score in zip(lines[-2:], scores, strict=True):
        numbers = [f"{score.loss:.4f}", f"{score.nats_per_character:.4f}", f"{score.bpb:.4f}"]
        assert line.split()[-5:] == [*numbers, f"{score.perplexity:,.2f}", "100.0%"]


class Page(HTMLParser):
    """The text of main, and every tag, of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if "main" in {tag for tag, _ in self.tags}:
            self.text += data


def shown(text):
    signs = {"\n": "↵\n", "\x7f": "␡", "\r": "␍", "\x01": "␁"}
    return "".join(signs.get(c, c) for c in text)


def test_the_page_holds_the_text_escaped_in_elements_of_its_own_only(paths, tmp_path):
    tyro.cli(evaluate.run, args=[*paths, "--html", str(tmp_path / "out" / "page.html")])
    page = Page((tmp_path / "out" / "page.html").read_text(encoding="utf-8"))
    assert page.text.strip("\n") == shown("<eos>".join([*DOCUMENTS, ""]))
    assert {tag for tag, _ in page.tags} == {
        "html", "meta", "title", "style", "h1", "p", "main", "span",
    }  # fmt: skip
    assert not {name for _, attributes in page.tags for name in attributes} & {"src", "href"}


def test_the_losses_of_a_character_s_tokens_add_up_to_those_of_the_text(lm):
    ids = lm.tokenizer.encode_array(TEXT)
    nats = np.arange(len(ids)) / 8
    _, main = token_loss_page("t", lm.tokenizer, ids, nats).split("<main>")
    tooltips = re.findall(r'title="([^"]+) nats"', main)
    losses = [float(loss) for tooltip in tooltips for loss in tooltip.split(" + ")]
    assert losses == [float(f"{loss:.2f}") for loss in nats]


def test_a_greater_loss_has_a_darker_shade_up_to_the_last_and_so_has_none_at_all(lm):
    ids = np.array(lm.tokenizer.encode("the cat sat"))[:3]
    nats = np.array([0.0, 4.0, 99.0])
    _, main = token_loss_page("t", lm.tokenizer, ids, nats).split("<main>")
    shades = [int(shade) for shade in re.findall(r'class="s(\d+)"', main)]
    assert shades[0] == 0 < shades[1] < shades[2] == 15
    _, main = token_loss_page("t", lm.tokenizer, ids[:1], np.array([np.nan])).split("<main>")
    assert 'class="s15"' in main


def test_bytes_that_are_no_text_are_shown_as_a_replacement(lm):
    ids = np.array([lm.tokenizer.encode("日")[0], *lm.tokenizer.encode("a")])
    page = token_loss_page("t", lm.tokenizer, ids, np.zeros(2))
    assert "�a</span>" in page
    assert "�</span>" in token_loss_page("t", lm.tokenizer, ids[:1], np.zeros(1))


def test_a_long_text_is_cut_and_the_page_says_so(lm):
    ids = lm.tokenizer.encode_array(TEXT)
    page = token_loss_page("<t>", lm.tokenizer, ids, np.zeros(len(ids)), max_tokens=4)
    assert f"4 tokens (the first of {len(ids)})" in page
    assert "<title>&lt;t&gt;</title>" in page
    assert page.split("<main>")[1].count("<span") == 4


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "is empty"), (b"ab\xff", "is not UTF-8"), (b"a\0b", "looks binary")]
)
def test_a_text_that_cannot_be_scored_is_an_error_that_names_it(paths, content, says):
    Path(paths[1]).write_bytes(content)
    with pytest.raises(ValueError, match=rf"text.txt {says}"):
        tyro.cli(evaluate.run, args=paths)


def test_a_text_that_is_not_there_is_an_error_that_names_it(paths, tmp_path):
    with pytest.raises(ValueError, match=r"nothing.txt does not exist"):
        tyro.cli(evaluate.run, args=[paths[0], str(tmp_path / "nothing.txt")])


def test_folders_json_lines_and_compressed_files_are_scored_as_their_documents(
    lm, paths, tmp_path, capsys
):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("the cat\nsat")
    with gzip.open(folder / "b.jsonl.gz", "wt") as file:
        file.write(json.dumps({"body": "on the mat"}) + "\n" + json.dumps({"body": "été"}))
    arguments = [paths[0], str(folder), "--device", "cpu", "--one-document-per", "line"]
    tyro.cli(evaluate.run, args=[*arguments, "--field", "body"])
    out = capsys.readouterr().out
    score = lm.score(["the cat", "sat", "on the mat", "été"])
    assert f"{score.n_tokens} tokens in 4 documents, {score.bytes} bytes" in out
    assert f"{score.loss:.4f}" in out


def test_a_run_s_validation_text_has_the_validation_loss_of_the_run(tmp_path):
    titles = grammar.titles(300, seed=0)
    (tmp_path / "train.txt").write_text("\n".join(titles[:250]))
    (tmp_path / "held out.txt").write_text("\n".join(titles[250:]))
    lines = Reading(one_document_per="line")
    prepared = prepare(
        tmp_path / "train.txt", tmp_path / "data", PrepareConfig(vocab_size=280, reading=lines),
        validation=[tmp_path / "held out.txt"],
    )  # fmt: skip
    shape = {"context_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2, "batch_size": 4}
    config = text_run(prepared, "tiny", **shape, steps=3)
    expected = train_text(prepared, tmp_path / "run", config, runtime=PLAIN).outcome["validation"]
    held_out = list(documents([tmp_path / "held out.txt"], lines))
    score = lmcore.load(tmp_path / "run").score(held_out)
    assert score.nats == pytest.approx(expected.nats, rel=1e-5)
    assert replace(score, nats=0.0) == replace(expected, nats=0.0)


def test_a_stride_beyond_the_context_is_an_error_with_both(paths):
    with pytest.raises(ValueError, match="stride 9 is not from 1 to the model's context of 8"):
        tyro.cli(evaluate.run, args=[*paths, "--stride", "9"])
