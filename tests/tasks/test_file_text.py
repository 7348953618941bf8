"""Any text file as an experiment's data: splits, shares, and bytes that every vocabulary scores."""

import pytest

from lmcore.data import grammar
from lmcore.tasks.file_text import (
    FileTextConfig,
    beginnings,
    first_share,
    prepare,
    split_by_place,
)
from lmcore.tasks.text_corpus import EOS


@pytest.fixture
def titles(tmp_path):
    """A file of forty documents of titles."""
    lines = grammar.titles(1_200, seed=3)
    documents = ["\n".join(lines[i : i + 30]) for i in range(0, len(lines), 30)]
    (tmp_path / "titles.txt").write_text("<|endoftext|>".join(documents))
    return tmp_path / "titles.txt"


def config_of(**fields):
    return FileTextConfig(**{"text": "titles.txt", "vocab_size": 300, "scored_bytes": 900} | fields)


def decoded(corpus, name):
    return corpus.tokenizer.decode(getattr(corpus, name).ids.tolist())


def test_vocabularies_are_scored_on_the_same_bytes(titles, tmp_path):
    small, large = (
        prepare(config_of(vocab_size=size), tmp_path / "cache", titles) for size in (280, 340)
    )
    for name in ("validation", "test"):
        assert decoded(small, name) == decoded(large, name)
        assert getattr(small, name).info.bytes == getattr(large, name).info.bytes


def test_no_document_is_in_two_splits(titles, tmp_path):
    corpus = prepare(config_of(scored_bytes=10**6), tmp_path / "cache", titles)
    splits = [set(decoded(corpus, name).split(EOS)) - {""} for name in ("train", "validation")]
    splits.append(set(decoded(corpus, "test").split(EOS)) - {""})
    assert sum(map(len, splits)) == len(set.union(*splits)) == 40


def test_experiments_of_one_text_and_vocabulary_share_files_whatever_share_they_use(
    titles, tmp_path
):
    for share in (1.0, 0.5, 0.1):
        prepare(config_of(share=share), tmp_path / "cache", titles)
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


def test_a_share_of_the_text_is_its_beginning(titles, tmp_path):
    tokens = prepare(config_of(), tmp_path / "cache", titles).train
    part = first_share(tokens, 0.25)
    assert len(part.ids) == round(0.25 * len(tokens.ids))
    assert (part.ids == tokens.ids[: len(part.ids)]).all()
    assert part.documents.max() < len(part.ids)


def test_a_text_of_few_documents_is_cut_at_line_breaks_without_loss():
    text = "".join(f"line {number}\n" for number in range(100))
    parts = split_by_place(text, 0.1)
    assert "".join(part for [part] in parts.values()) == text
    assert all(part.endswith("\n") for [part] in parts.values())


@pytest.mark.parametrize("n_bytes", [1, 7, 50, 1_000])
def test_beginnings_have_no_more_bytes_than_asked_and_no_broken_character(n_bytes):
    texts = ["äöü" * 40, "plain text " * 9, "日本語" * 11]
    parts = beginnings(texts, n_bytes)
    assert sum(len(part.encode()) for part in parts) <= n_bytes
    assert all(text.startswith(part) for text, part in zip(texts, parts, strict=False))


def test_a_vocabulary_that_the_text_lacks_is_an_error_with_the_size_it_has(titles, tmp_path):
    corpus = prepare(config_of(vocab_size=5_000), tmp_path / "cache", titles)
    reached = corpus.tokenizer.vocab_size
    with pytest.raises(ValueError, match=f"vocabulary of {reached:,}, not 5,000"):
        corpus.source(batch_size=2, context_length=8, order="shuffled", seed=0)


def test_a_text_that_nobody_gave_is_an_error_that_says_how_to_give_it(tmp_path, monkeypatch):
    monkeypatch.delenv("LMCORE_DATA", raising=False)
    with pytest.raises(ValueError, match=r"titles\.txt was not given: .*--data FILE.*LMCORE_DATA"):
        prepare(config_of(), tmp_path)


def test_another_file_than_the_experiment_names_is_an_error_with_both(titles, tmp_path):
    with pytest.raises(ValueError, match=r"on novels\.txt, but .*titles\.txt was given"):
        prepare(config_of(text="novels.txt"), tmp_path, titles)


@pytest.mark.parametrize("fields", [{"share": 0.0}, {"share": 1.2}, {"held_out": 0.5}])
def test_impossible_shares_are_errors_with_their_value(fields):
    [value] = fields.values()
    with pytest.raises(ValueError, match=f"not {value:g}"):
        config_of(**fields)
