"""Overlapping windows against a plain loop over tokens, and their laws."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made import LLAMA, TINY, as_tokens, randomised

from lmcore.evaluation.scores import score
from lmcore.evaluation.sliding_window import score_text, sliding_token_nats, sliding_windows
from lmcore.tokenizer.byte_bpe import Tokenizer

END, CONTEXT = 1, TINY.context_length


@pytest.fixture(scope="module")
def model():
    return randomised(TINY)


def some_ids(n, seed=0):
    return np.random.default_rng(seed).integers(0, TINY.vocab_size, n).astype(np.uint16)


lengths, strides = st.integers(1, 70), st.integers(1, CONTEXT)


@given(n=lengths, stride=strides)
def test_every_token_is_scored_exactly_once_and_in_order(n, stride):
    x, y = torch.arange(n), torch.arange(1, n + 1)
    targets = [t for _, y in sliding_windows(x, y, CONTEXT, stride) for t in y.flatten().tolist()]
    assert targets == list(range(1, n + 1))


@given(n=lengths, stride=strides)
def test_windows_end_with_the_targets_that_they_score(n, stride):
    x, y = torch.arange(n), torch.arange(1, n + 1)
    for inputs, targets in sliding_windows(x, y, CONTEXT, stride):
        assert inputs.shape[1] <= CONTEXT
        assert torch.equal(inputs[:, -targets.shape[1] :] + 1, targets)


@given(n=lengths, stride=strides)
def test_beyond_the_first_window_each_token_has_at_least_context_minus_stride_before_it(n, stride):
    x, y = torch.arange(n), torch.arange(1, n + 1)
    _, *further = sliding_windows(x, y, CONTEXT, stride)
    for inputs, targets in further:
        assert inputs.shape[1] - targets.shape[1] == CONTEXT - stride


@settings(max_examples=15)
@given(n=lengths, stride=strides)
@torch.no_grad()
def test_each_token_is_predicted_from_its_window_alone(model, n, stride):
    ids = some_ids(n).tolist()
    text, expected = [END, *ids], []
    for place, target in enumerate(ids):
        number = max(0, math.ceil((place + 1 - CONTEXT) / stride))
        before = torch.tensor([text[number * stride : place + 1]])
        expected.append(-model(before)[0, -1].double().log_softmax(-1)[target].item())
    found, _ = sliding_token_nats(model, np.array(ids), stride, END)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


@settings(max_examples=15)
@given(n=lengths)
def test_without_overlap_it_is_the_house_score(model, n):
    found, best = sliding_token_nats(model, some_ids(n), start_id=END)
    house = score(model, as_tokens(some_ids(n)), END)
    assert found.sum().item() == pytest.approx(house.nats, rel=1e-6)
    assert (best.numpy() == some_ids(n)).sum() == house.n_correct


@settings(max_examples=15)
@given(n=st.integers(2, 60), stride=strides)
def test_the_text_that_follows_changes_no_score(model, n, stride):
    whole, _ = sliding_token_nats(model, some_ids(70), stride, END)
    part, _ = sliding_token_nats(model, some_ids(70)[:n], stride, END)
    torch.testing.assert_close(part, whole[:n], rtol=0, atol=1e-5)


def test_without_a_start_the_first_token_costs_what_a_uniform_guess_does(model):
    ids = some_ids(30)
    found, best = sliding_token_nats(model, ids, 3)
    rest, _ = sliding_token_nats(model, ids[1:], 3, start_id=int(ids[0]))
    assert found[0].item() == pytest.approx(math.log(TINY.vocab_size))
    assert best[0] == -1
    assert torch.equal(found[1:], rest)


def test_one_token_without_a_start_is_scored_too(model):
    assert len(sliding_token_nats(model, some_ids(1))[0]) == 1


def test_grouped_heads_and_rotary_positions_are_scored_alike():
    model, ids = randomised(LLAMA), some_ids(40)
    found, _ = sliding_token_nats(model, ids, 1, END)
    with torch.no_grad():
        window = torch.from_numpy(ids[-CONTEXT - 1 : -1].astype(np.int64))[None]
        expected = -model(window)[0, -1].log_softmax(-1)[int(ids[-1])]
    assert found[-1].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["été, déjà vu, là-bas"] * 9, 270, ["<eos>"])


@pytest.mark.parametrize("stride", [None, 3])
def test_a_text_is_covered_and_measured_in_its_own_characters_and_bytes(tokenizer, stride):
    model, text = randomised(replace(TINY, vocab_size=tokenizer.vocab_size)), "déjà vu<eos>été"
    found, nats, ids = score_text(model, tokenizer, text, stride, tokenizer.special_id("<eos>"))
    assert found.coverage == 1.0
    assert (found.characters, found.bytes) == (15, 19)
    assert len(nats) == len(ids) == found.n_tokens
    assert found.n_end == 1
    assert found.perplexity == pytest.approx(math.exp(nats.mean().item()))
    assert found.bpb == pytest.approx(nats.sum().item() / math.log(2) / 19)


@pytest.mark.parametrize("stride", [0, CONTEXT + 1])
def test_a_stride_beyond_the_context_is_an_error_with_both(model, stride):
    with pytest.raises(ValueError, match=f"stride {stride} is not from 1 to .* {CONTEXT}"):
        sliding_token_nats(model, some_ids(9), stride)


def test_a_text_without_tokens_is_an_error(model):
    with pytest.raises(ValueError, match="no tokens"):
        sliding_token_nats(model, some_ids(0))
