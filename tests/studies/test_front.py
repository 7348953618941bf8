"""The front page and the boxes of studies: what they say is what committed results say."""

import pytest

from lmcore.studies import front
from lmcore.studies.front import between


@pytest.fixture(scope="module")
def pages(committed_runs):
    """The pages as they should read."""
    return front.pages({run.config: run for run in committed_runs})


def test_the_boxes_and_cards_of_the_pages_are_what_the_results_say(pages):
    assert {path.name for path in pages} >= {"index.md", "baseline.md"}
    assert [path.name for path, text in pages.items() if path.read_text("utf-8") != text] == []


def test_each_box_opens_its_page_with_the_question_and_leads_to_its_notebook(pages):
    for study in front.answered().values():
        (text,) = [text for path, text in pages.items() if path.name == front.page_of(study)]
        _, _, body = text.split("---\n", 2)
        assert body.lstrip().startswith("<!-- box")
        assert study.question in body
        assert f"(../notebooks/{front.notebook_of(study)})" in body


def test_what_is_written_replaces_what_was_between_the_comments_and_nothing_else():
    start, end = "<!-- x: written by `python -m lmcore readme` -->", "<!-- /x -->"
    text = f"before\n{start}\nold\n{end}\nafter"
    assert between(text, "x", "new") == f"before\n{start}\nnew\n{end}\nafter"
    assert between(between(text, "x", "new"), "x", "old") == text


def test_a_page_without_the_comments_is_an_error_that_names_them():
    with pytest.raises(ValueError, match="needs the comments <!-- x: written by"):
        between("before", "x", "new")
