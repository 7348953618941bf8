"""The tokenizer study: what it counts is what it says, and what it reckons is what was measured."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmcore.experiments.run_folder import Run
from lmcore.studies.tokenizer import costs, experiments, measures, runner, surveys, tables, texts
from lmcore.tokenizer.bpe import train_bpe
from lmcore.tokenizer.encoder import Encoder

words = st.text(alphabet="abc é猫\n", min_size=1, max_size=60)


@given(text=words, held_out=st.floats(0, 1))
def test_what_is_held_out_and_what_is_learned_make_up_the_text_at_a_line_s_end(text, held_out):
    train, test = texts.split(text, held_out)
    assert train + test == text
    assert not test or train == "" or train.endswith("\n")


@given(text=words, few=st.integers(0, 10))
def test_a_smaller_vocabulary_has_the_first_merges_of_a_larger_one(text, few):
    merges = surveys.merges_of(text, 280)
    assert surveys.merges_of(text, 256 + few) == merges[:few]


@given(text=words)
def test_without_merges_a_known_character_is_a_token_and_another_one_its_bytes(text):
    known = frozenset("ab猫\n")
    size = sum(1 if character in known else len(character.encode()) for character in text)
    assert surveys.character_cost(text, known, []) == size


@given(text=st.text(alphabet="abc d", min_size=1, max_size=60))
def test_over_characters_of_one_byte_bpe_is_bpe_over_bytes(text):
    merges = surveys.character_merges(text, frozenset(text), 20)
    assert merges == train_bpe([text], 276)[1]
    assert surveys.character_cost(text, frozenset(text), merges) == len(
        Encoder(merges).encode(text)
    )


@given(text=words)
def test_no_merge_reaches_across_an_unknown_character(text):
    merges = surveys.character_merges(text, frozenset("abc "), 20)
    assert all(set((left + right).decode()) <= set("abc ") for left, right in merges)


def test_the_known_characters_are_the_most_frequent_that_cover_what_they_should():
    text = "a" * 900 + "b" * 99 + "c"
    assert surveys.common_characters(text, 10, coverage=0.99) == {"a", "b"}
    assert surveys.common_characters(text, 1) == {"a"}
    assert surveys.common_characters(text, 10) == {"a", "b", "c"}


def test_a_text_s_own_tokenizer_is_what_others_are_held_against(tmp_path):
    rows = [
        {"learned": learned, "encoded": encoded, "tokens": tokens}
        for learned, encoded, tokens in [
            ("a", "a", 100), ("a", "b", 300), ("b", "a", 150), ("b", "b", 200),
        ]
    ]  # fmt: skip
    run = Run(tmp_path, experiments.Survey(name="domains", texts=("a", "b")), rows, {}, {})
    assert measures.excess(run).tolist() == [[0, 0.5], [0.5, 0]]


def test_manual_pages_lose_the_formatter_s_orders_and_stand_once(tmp_path):
    (tmp_path / "man1").mkdir()
    for name, text in {
        "a": ".TH A\n\\fBbold\\fR and \\-x\n'br\n",
        "b": "猫\n",
        "c": "猫\n",
    }.items():
        (tmp_path / "man1" / f"{name}.1.gz").write_bytes(gzip.compress(text.encode()))
    assert sorted(texts.manual_lines(tmp_path)) == ["bold and -x", "猫"]


def test_lines_count_as_a_script_s_own_by_most_of_their_letters():
    lines = {"ファイルを open する": True, "open(2) を": False, "12": False, "файл a": True}
    assert {line: texts.is_beyond_ascii(line) for line in lines} == lines


def test_a_missing_text_is_an_error_that_says_how_to_name_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    survey = experiments.all_experiments()[0]
    with pytest.raises(ValueError, match=r"headlines\.txt is missing.*--data"):
        runner.run_or_load(survey, tmp_path, progress=False)


def made_costs(seconds, memory, grown):
    """Return rows of training that cost what is given, on texts that grew so, and copies."""
    lengths = [(row["bytes"], 1, row["distinct_bytes"]) for row in grown]
    lengths += [(n * grown[-1]["bytes"], n, grown[-1]["distinct_bytes"]) for n in (4, 16)]
    return [
        {
            "kind": "training",
            "size": 10_000,
            "bytes": n_bytes,
            "copies": copies,
            "seconds": [seconds[0] + seconds[1] * n_bytes + seconds[2] * distinct],
            "peak_bytes": memory[0] + memory[1] * distinct,
        }
        for n_bytes, copies, distinct in lengths
    ]


def test_costs_that_follow_text_and_distinct_words_are_found_again():
    grown = [{"bytes": 10**6 * 2**i, "distinct_bytes": int(10**5 * 1.5**i)} for i in range(7)]
    seconds, memory = (0.4, 2e-8, 3e-6), (1e8, 50.0)
    result = costs.fit_costs(made_costs(seconds, memory, grown), grown)
    assert result.seconds == pytest.approx(seconds, rel=1e-4)
    assert result.memory == pytest.approx(memory, rel=1e-4)


def test_what_noise_makes_negative_is_left_out_of_a_fit():
    x = np.arange(1.0, 6.0)
    weights = costs.least_squares([np.ones(5), x, x**2], [2.0, 2.0, 2.0, 2.0, 1.9])
    assert weights[1:] == (0.0, 0.0)
    assert weights[0] == pytest.approx(1.98)


def test_a_plan_goes_on_with_the_growth_that_was_measured(tmp_path):
    grown = [
        {"text": "novels", "bytes": 10**6 * 4**i, "distinct": 10**4 * 2**i,
         "distinct_bytes": 10**5 * 2**i}
        for i in range(4)
    ]  # fmt: skip
    run = Run(tmp_path, experiments.Survey(name="growth", texts=("novels",)), grown, {}, {})
    table = tables.plan_table(run, made_costs((0, 6e-8, 0), (0, 1e4), grown))
    by_text = {row[0]: row[1:] for row in table.rows}
    # 64 MB have 80,000 distinct words; 10 GB are 156.25 times as long, so have 12.5 times as many
    assert by_text["10 GB like novels"] == ("0.50", "1.0 million", "100.0", "10.0")


@pytest.mark.parametrize("survey", experiments.all_experiments(), ids=lambda survey: survey.name)
def test_a_small_survey_measures_and_is_then_loaded(tmp_path, monkeypatch, survey):
    (tmp_path / "myst.yml").touch()
    monkeypatch.chdir(tmp_path)
    small = experiments.smoke(survey)
    [run] = runner.run_all([small], progress=False)
    assert run.config == small
    assert {row.get("text", row.get("learned")) for row in run.records} == set(small.texts)
    [again] = runner.run_all([small], progress=False)
    assert json.dumps(list(again.records)) == json.dumps(list(run.records))
    with pytest.raises(ValueError, match="another config"):
        runner.run_all([replace(small, held_out=0.2)], progress=False)


def test_the_exponent_of_a_power_law_is_found():
    x = [1.0, 10.0, 100.0]
    assert costs.exponent(x, [3 * value**0.7 for value in x]) == pytest.approx(0.7)


def test_the_survey_covers_what_the_baseline_s_runs_scored(committed_runs):
    [survey] = [run for run in committed_runs if run.config.name == "evaluator"]
    tokens = measures.tokens_of(survey)[16_000]
    scored = [run.records[-1]["challenge"] for run in committed_runs if run.config.name == "sgd"]
    assert {score.of_tokens for score in scored} == {tokens}
    assert {score.coverage for score in scored} == {measures.coverage(tokens, 64, 128)}
