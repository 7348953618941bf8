"""Titles from any source end as fixed splits of known tokens; what is missing is named."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lmcore.tasks.titles import (
    SPLITS,
    TitlesConfig,
    hub_titles,
    joined,
    local_file,
    prepare,
    read_titles,
    split_titles,
    titles_of,
    tokenizer_class,
)
from lmcore.tokenizer.unigram import UnigramTokenizer

SMALL = TitlesConfig(n_titles=40, n_test_titles=8, vocab_size=270)
TITLES = [f"Title número {i}" for i in range(60)]


@pytest.fixture
def headlines(tmp_path):
    """A local file of more titles than SMALL takes."""
    path = tmp_path / "headlines.txt"
    path.write_text("\n".join(TITLES), encoding="utf-8")
    return path


@pytest.fixture
def no_setting(monkeypatch):
    monkeypatch.delenv("LMCORE_DATA", raising=False)


def test_the_shuffle_is_the_one_of_the_datasets_library():
    datasets = pytest.importorskip("datasets")
    titles = [f"title {i}" for i in range(1_000)]
    shuffled = datasets.Dataset.from_dict({"title": titles}).shuffle(seed=1337)["title"]
    config = TitlesConfig(n_titles=900, n_test_titles=100)
    splits = split_titles(titles, config)
    assert [title for name in SPLITS for title in splits[name]] == list(shuffled)


def test_no_position_stands_in_two_splits():
    splits = split_titles(TITLES, SMALL)
    chosen = [title for name in SPLITS for title in splits[name]]
    assert len(chosen) == len(set(chosen))


@pytest.mark.parametrize(
    ("config", "sizes"), [(SMALL, [36, 4, 8]), (TitlesConfig(), [90_000, 10_000, 10_000])]
)
def test_splits_have_the_promised_sizes(config, sizes):
    titles = [str(i) for i in range(config.n_titles + config.n_test_titles + 5)]
    assert [len(part) for part in split_titles(titles, config).values()] == sizes


def test_test_titles_come_from_beyond_the_first_n_titles_of_the_shuffle():
    order = np.random.default_rng(1337).permutation(len(TITLES))
    beyond = [TITLES[i] for i in order[SMALL.n_titles : SMALL.n_titles + SMALL.n_test_titles]]
    assert split_titles(TITLES, SMALL)["test"] == beyond


def test_more_test_titles_leave_train_and_validation_as_they_are():
    more = TitlesConfig(n_titles=40, n_test_titles=20, vocab_size=270)
    few, many = split_titles(TITLES, SMALL), split_titles(TITLES, more)
    assert [few[name] for name in SPLITS[:2]] == [many[name] for name in SPLITS[:2]]


def test_another_seed_shuffles_otherwise():
    other = TitlesConfig(n_titles=40, n_test_titles=8, vocab_size=270, seed=1)
    assert split_titles(TITLES, other) != split_titles(TITLES, SMALL)


def test_too_few_titles_are_an_error_with_the_numbers():
    with pytest.raises(ValueError, match=r"47 titles are too few.* 40 and 8"):
        split_titles(TITLES[:47], SMALL)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"source": "novels"}, "'novels'"),
        ({"tokenizer": "wordpiece"}, "'wordpiece'"),
        ({"tokenizer_text": "test"}, "'test'"),
        ({"validation_fraction": 1.0}, r"1\.0"),
        ({"validation_fraction": 0.0}, r"0\.0"),
        ({"n_titles": 1}, "n_titles 1 "),
        ({"n_test_titles": 0}, "without a title"),
    ],
)
def test_a_config_that_cannot_be_is_an_error_with_its_value(wrong, says):
    with pytest.raises((ValueError, TypeError), match=says):  # types are checked in tests alone
        TitlesConfig(**wrong)


def test_titles_are_the_stripped_lines_that_are_not_blank(tmp_path):
    path = tmp_path / "titles.txt"
    path.write_bytes("  one \r\n\r\n\ntwo\twords \n   \nthrée".encode())
    assert read_titles(path) == ["one", "two\twords", "thrée"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist"),
        (b"", "empty"),
        (b" \n\n \t\n", "empty"),
        (b"caf\xe9\n", "byte 3 is 0xe9"),
    ],
)
def test_a_file_without_titles_is_one_line_that_names_it(tmp_path, content, says):
    path = tmp_path / "titles.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=says) as caught:
        read_titles(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        read_titles(tmp_path)


@pytest.mark.parametrize("name", ["", "headlines.txt"])
def test_the_variable_may_name_the_file_or_its_folder(headlines, monkeypatch, name):
    monkeypatch.setenv("LMCORE_DATA", str(headlines.parent / name))
    assert titles_of(SMALL, None)[0] == TITLES


def test_the_argument_goes_before_the_variable(headlines, monkeypatch):
    monkeypatch.setenv("LMCORE_DATA", "/not/there")
    assert local_file(headlines) == headlines


@pytest.mark.usefixtures("no_setting")
def test_without_a_setting_there_is_no_local_file():
    assert local_file(None) is None


def ways_out(message):
    """Return whether message is one line that names the local file and the network."""
    return all(word in message for word in ("--data", "LMCORE_DATA", "internet")) and (
        "\n" not in message
    )


def test_without_the_library_the_error_names_both_ways_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"lmcore\[data\]") as caught:
        hub_titles()
    assert ways_out(str(caught.value))


def test_without_the_network_the_error_names_both_ways_out(tmp_path):
    pytest.importorskip("datasets")
    script = (
        "from lmcore.tasks.titles import hub_titles\n"
        "try: hub_titles()\nexcept ValueError as e: print(e)"
    )
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=offline, capture_output=True, text=True, check=True
    )
    assert ways_out(done.stdout.strip()), done.stdout


def test_every_title_is_closed_and_counted_with_its_five_characters(headlines, tmp_path):
    titles = split_titles(TITLES, SMALL)["validation"]
    info = prepare(SMALL, tmp_path / "cache", headlines).validation.info
    assert info.characters == sum(len(title) + 5 for title in titles)
    assert info.bytes == sum(len(title.encode()) + 5 for title in titles)


@pytest.mark.parametrize("name", SPLITS)
def test_tokens_decode_to_the_titles_with_a_blank_before_each(headlines, tmp_path, name):
    corpus = prepare(SMALL, tmp_path / "cache", headlines)
    text = corpus.tokenizer.decode(getattr(corpus, name).ids.tolist())
    assert text == joined([f" {title}" for title in split_titles(TITLES, SMALL)[name]])


def test_each_token_file_knows_its_tokenizer(corpus):
    makers = {getattr(corpus, name).info.tokenizer for name in SPLITS}
    assert makers == {corpus.tokenizer.fingerprint}


def test_the_tokenizer_learns_nothing_from_the_test_titles(tmp_path):
    titles = split_titles(TITLES, SMALL)
    strange = [t if t not in titles["test"] else f"{t} zqzqzqzqzq" for t in TITLES]
    files = {}
    for name, lines in {"as it is": TITLES, "strange": strange}.items():
        files[name] = tmp_path / f"{name}.txt"
        files[name].write_text("\n".join(lines), encoding="utf-8")
    first, second = (prepare(SMALL, tmp_path / "cache", file) for file in files.values())
    assert first.tokenizer.fingerprint == second.tokenizer.fingerprint


@pytest.mark.parametrize(
    ("tokenizer_text", "is_same"), [("train", True), ("train+validation", False)]
)
def test_a_tokenizer_learns_from_validation_titles_only_if_it_is_trained_on_them(
    tmp_path, tokenizer_text, is_same
):
    validation = split_titles(TITLES, SMALL)["validation"]
    strange = [t if t not in validation else f"{t} zqzqzqzqzq zqzqzqzqzq" for t in TITLES]
    fingerprints = set()
    for name, lines in {"original": TITLES, "strange": strange}.items():
        path = tmp_path / f"{name}.txt"
        path.write_text("\n".join(lines), encoding="utf-8")
        config = replace(SMALL, tokenizer_text=tokenizer_text)
        fingerprints.add(prepare(config, tmp_path / "cache", path).tokenizer.fingerprint)
    assert (len(fingerprints) == 1) == is_same


@pytest.mark.parametrize(
    "changes", [{"tokenizer": "unigram", "vocab_size": 290}, {"tokenizer_text": "train"}]
)
def test_a_tokenizer_of_another_kind_or_text_has_its_own_folder(headlines, tmp_path, changes):
    prepare(SMALL, tmp_path / "cache", headlines)
    prepare(replace(SMALL, **changes), tmp_path / "cache", headlines)
    assert len(list((tmp_path / "cache").glob("headlines-*"))) == 2


def test_a_corpus_read_again_has_a_tokenizer_of_the_same_kind(headlines, tmp_path):
    config = replace(SMALL, tokenizer="unigram", vocab_size=300)
    first, second = (prepare(config, tmp_path / "cache", headlines) for _ in range(2))
    assert {type(corpus.tokenizer) for corpus in (first, second)} == {UnigramTokenizer}
    assert np.array_equal(first.validation.ids, second.validation.ids)


def test_without_the_library_of_unigram_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "lmcore.tokenizer.unigram", raising=False)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"'unigram' needs .*lmcore\[unigram\]"):
        tokenizer_class("unigram")


def test_the_small_version_keeps_the_tokenizer_and_its_text():
    small, *_ = TitlesConfig(tokenizer="unigram", tokenizer_text="train").small()
    assert (small.tokenizer, small.tokenizer_text) == ("unigram", "train")


def times(folder):
    """Return when each file below folder was last written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_second_call_writes_nothing(headlines, tmp_path):
    prepare(SMALL, tmp_path / "cache", headlines)
    before = times(tmp_path / "cache")
    prepare(SMALL, tmp_path / "cache", headlines)
    assert times(tmp_path / "cache") == before


def test_a_second_call_gives_the_same_tokens(headlines, tmp_path):
    first, second = (prepare(SMALL, tmp_path / "cache", headlines) for _ in range(2))
    for name in SPLITS:
        assert np.array_equal(getattr(first, name).ids, getattr(second, name).ids)


def test_another_text_is_prepared_anew(headlines, tmp_path):
    first = prepare(SMALL, tmp_path / "cache", headlines)
    headlines.write_text("\n".join(TITLES[::-1]), encoding="utf-8")
    second = prepare(SMALL, tmp_path / "cache", headlines)
    assert first.origin["text_sha256"] != second.origin["text_sha256"]


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "corpus.json", "train.npy", "train.json", "test.npy"]
)
def test_a_deleted_file_is_made_again_as_the_error_about_a_damaged_one_says(
    headlines, tmp_path, name
):
    first = prepare(SMALL, tmp_path / "cache", headlines)
    next((tmp_path / "cache").rglob(name)).unlink()
    second = prepare(SMALL, tmp_path / "cache", headlines)
    assert np.array_equal(first.train.ids, second.train.ids)


def test_an_origin_says_in_words_and_numbers_where_titles_came_from(headlines, tmp_path):
    corpus = prepare(SMALL, tmp_path / "cache", headlines)
    assert corpus.origin["titles"] == "local file headlines.txt"
    assert corpus.origin["test_tokens"] == len(corpus.test.ids)


def test_generated_titles_do_not_ask_for_a_file(monkeypatch):
    monkeypatch.setenv("LMCORE_DATA", "/not/there")
    config = TitlesConfig(source="generated", n_titles=20, n_test_titles=2)
    assert len(titles_of(config, None)[0]) == 22
