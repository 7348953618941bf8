"""What studies of headlines show of a model, beside what can be counted by hand."""

import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lmcore import headlines
from lmcore.compare import validation
from lmcore.model import GPT, ModelConfig
from lmcore.sample import next_probabilities


def test_a_frequency_model_costs_what_its_counts_say():
    counts, ids = np.array([2, 0, 5]), np.array([0, 1, 2])
    expected = -(math.log(3 / 10) + math.log(1 / 10) + math.log(6 / 10))
    assert headlines.unigram_nats(counts, ids) == pytest.approx(expected, rel=1e-12)


def test_the_guess_is_what_follows_the_first_eleven_validation_tokens(corpus):
    torch.manual_seed(0)
    model = GPT(ModelConfig(vocab_size=320, context_length=32, d_model=16, n_heads=2, d_ff=32))
    found = headlines.next_token(model, corpus)
    ids = [int(id) for id in corpus.validation.ids[:12]]
    expected = next_probabilities(model, ids[:-1])
    best = expected.sort(descending=True)
    assert found["input"] + found["target"] == corpus.tokenizer.decode(ids)
    assert found["target_probability"] == expected[ids[-1]]
    assert [e["probability"] for e in found["top"]] == best.values[:10].tolist()
    assert found["top"][0]["token"] == corpus.tokenizer.decode(best.indices[:1].tolist())


def test_bars_are_the_first_seed_s_and_marks_the_others_where_they_name_the_token(smoke_run):
    _, run = smoke_run
    found = run.outcome["probe"]["next_token"]
    other = {"top": [{"token": found["top"][1]["token"], "probability": 0.25}]}
    others = replace(run, outcome={"probe": {"next_token": other}})
    fig, ax = plt.subplots()
    headlines.draw_next_token(ax, [run, others], n=3)
    assert [bar.get_width() for bar in ax.patches] == [e["probability"] for e in found["top"][:3]]
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[0.25, 1]]]
    plt.close(fig)


def test_the_level_of_counting_is_in_the_unit_of_the_score(smoke_run):
    _, run = smoke_run
    nats = run.outcome["probe"]["frequency"]["unigram_nats"]
    assert headlines.unigram_level(run) * validation(run)["characters"] == pytest.approx(nats)
