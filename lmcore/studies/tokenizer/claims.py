"""What the text says about surveys and costs, as assertions."""

from collections.abc import Sequence

import numpy as np

from lmcore.experiments.run_folder import Run
from lmcore.studies.tokenizer.costs import exponent, lengths_and_sizes, median_s, setting_of
from lmcore.studies.tokenizer.experiments import ENGLISH
from lmcore.studies.tokenizer.measures import (
    PUBLISHED_SWEEP,
    corrected_sweep,
    coverage,
    excess,
    per_token,
    tokens_of,
)
from lmcore.studies.tokenizer.surveys import Row


def check_claims(runs: Sequence[Run]) -> None:
    """Assert what the text says about compression, samples, kinds of text and alphabets."""
    surveys = {run.config.name: run for run in runs}
    check_compression(surveys["compression"])
    check_sample(surveys["sample"])
    check_domains(surveys["domains"])
    check_alphabets(surveys["alphabets"])
    check_evaluator(surveys["evaluator"])
    assert 0 in [row["count"] for row in surveys["longest"].records]


def check_compression(run: Run) -> None:
    """Assert what the text says about bytes per token by vocabulary size."""
    for text in ENGLISH:
        rows = [row for row in run.records if row["text"] == text]
        sizes = [row["vocab_size"] for row in rows]
        gains = np.diff([per_token(row["held_out"]) for row in rows])
        assert min(gains) > 0
        doubled = [g for g, a, b in zip(gains, sizes, sizes[1:], strict=False) if b == 2 * a]
        assert doubled[-1] < max(doubled) / 2
        fits = [per_token(row["learned"]) / per_token(row["held_out"]) for row in rows]
        assert fits[5] > 1.08 if text == "shakespeare" else max(fits) < 1.03


def check_evaluator(run: Run) -> None:
    """Assert what the text says about the evaluator's coverage and the public sweep."""
    tokens = list(tokens_of(run).values())
    small = [coverage(n, 64, 128) for n in tokens]
    assert 0.93 < min(small) < 0.95
    assert 0.97 < max(small) < 0.99
    assert min(coverage(n, 256, 256) for n in tokens) < 0.51
    reported, corrected = list(PUBLISHED_SWEEP.values()), list(corrected_sweep(run).values())
    assert max(reported) / min(reported) > 1.03
    assert max(corrected) / min(corrected) < 1.01
    assert corrected == sorted(corrected)
    assert min(PUBLISHED_SWEEP, key=PUBLISHED_SWEEP.__getitem__) == 10_240


def check_sample(run: Run) -> None:
    """Assert that half of a text teaches its merges nearly as well as all of it."""
    survey = run.config
    for text, size in np.ndindex(2, 2):
        key = {"text": survey.texts[text], "vocab_size": survey.vocab_sizes[size]}
        rows = [row for row in run.records if row | key == row]
        assert rows[-3]["held_out"]["tokens"] / rows[-1]["held_out"]["tokens"] < 1.03


def check_domains(run: Run) -> None:
    """Assert what the text says about tokenizers of other texts."""
    more = excess(run)
    assert 0.12 < min(more[more > 0]) < max(more[more > 0]) < 0.7


def check_alphabets(run: Run) -> None:
    """Assert what the text says about BPE over bytes and over characters."""
    for row in run.records:
        beside = row["character_tokens"] / row["byte_tokens"] - 1
        unknown = row["unknown"] / row["characters"]
        if row["vocab_size"] >= 4_096:
            assert abs(beside) < 0.03
            assert unknown < 0.002
            continue
        assert beside > 0
        if row["vocab_size"] == 1_024:
            assert beside > (0.15 if row["text"] in ("ja", "zh") else 0)
            assert unknown > (0.005 if row["text"] in ("ja", "zh") else 0)


def check_costs(training: Sequence[Row], encoding: Sequence[Row], scaling: Sequence[Row]) -> None:
    """Assert what the text says about time and memory."""
    for rows in (training, encoding):
        novels = [row for row in rows if row["text"] == "novels.txt"]
        for setting in dict.fromkeys(map(setting_of, novels)):
            some = [row for row in novels if setting_of(row) == setting]
            assert min(some, key=median_s)["contender"] == "lmcore"
            heaviest = max(some, key=lambda row: row["peak_bytes"])["contender"]
            assert (heaviest == "lmcore") == (rows is training)
        stories = [row for row in rows if row["text"] == "stories.txt"]
        assert min(stories, key=median_s)["contender"] != "lmcore"
        lightest = min(stories, key=lambda row: row["peak_bytes"])["contender"]
        assert lightest == ("rustbpe" if rows is training else "tiktoken")
    for setting in dict.fromkeys(map(setting_of, encoding)):
        assert len({row["ids"] for row in encoding if setting_of(row) == setting}) == 1
    assert all(r["peak_bytes"] < 300e6 for r in encoding if r["contender"] == "lmcore")
    by_text, by_size = lengths_and_sizes(scaling)
    longer = [row for row in by_text if row["bytes"] > 4e6]
    assert exponent([r["bytes"] for r in longer], [median_s(r) for r in longer]) < 1.05
    assert exponent([r["size"] for r in by_size], [median_s(r) for r in by_size]) < 0.5
    copies = [r["peak_bytes"] for r in by_text if r["bytes"] >= by_size[0]["bytes"]]
    assert max(copies) / min(copies) < 1.15
