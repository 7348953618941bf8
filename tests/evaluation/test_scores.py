"""Scores on cases small enough to be computed by hand or by a plain loop."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made import TINY, as_tokens

from lmcore.data.batches import scoring_windows
from lmcore.evaluation.scores import challenge_score, score, token_nats, token_scores
from lmcore.model.gpt import GPT

END = 1
LOG_V = math.log(TINY.vocab_size)


@pytest.fixture(scope="module")
def model():
    """A model whose predictions are far from uniform."""
    torch.manual_seed(0)
    model = GPT(TINY)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.5)
    return model.eval()


@pytest.fixture(scope="module")
def uniform():
    """A model that gives every token the same probability."""
    model = GPT(TINY)
    torch.nn.init.zeros_(model.token_embedding.weight)
    return model


def some_ids(n, seed=0):
    return np.random.default_rng(seed).integers(0, TINY.vocab_size, n).astype(np.uint16)


@torch.no_grad()
def nats_after(model, before, target):
    """Return the cross-entropy of target after the ids before it, all by themselves."""
    return -model(torch.tensor([before]))[0, -1].double().log_softmax(-1)[target].item()


@given(n=st.integers(1, 60))
def test_a_uniform_model_scores_the_log_of_the_vocabulary_in_bits_per_token(uniform, n):
    bits = score(uniform, as_tokens(some_ids(n)), END).loss / math.log(2)
    assert bits == pytest.approx(math.log2(TINY.vocab_size), rel=1e-6)


def test_rates_of_a_text_with_long_characters_follow_from_its_size_by_hand(uniform):
    text = "é日<eos>"  # 2 + 5 characters, 2 + 3 + 5 bytes
    found = score(uniform, as_tokens([5, 6, 7, END], len(text), len(text.encode())), END)
    assert found.nats_per_character == pytest.approx(4 * LOG_V / 7, rel=1e-6)
    assert found.bpb == pytest.approx(4 * math.log2(TINY.vocab_size) / 10, rel=1e-6)


@given(n=st.integers(1, 200))
def test_the_house_score_covers_every_token(uniform, n):
    assert score(uniform, as_tokens(some_ids(n)), END).coverage == 1.0


def test_the_house_score_is_a_plain_loop_over_tokens_in_windows_that_do_not_overlap(model):
    ids = some_ids(43).tolist()
    context, nats = TINY.context_length, 0.0
    for place, target in enumerate(ids):
        start = place // context * context
        nats += nats_after(model, [END, *ids][start : place + 1], target)
    assert score(model, as_tokens(ids), END).nats == pytest.approx(nats, rel=1e-5)


@pytest.mark.parametrize("n", [33, 34, 65, 66, 67, 98, 99, 140])
def test_the_challenge_score_drops_the_tail_and_the_first_token_of_each_span(model, n):
    batch, context = 4, TINY.context_length
    ids = some_ids(n).tolist()
    nats, scored, start = 0.0, 0, 0
    while start + batch * context + 1 <= n:
        for row in range(batch):
            first = start + row * context
            for place in range(first + 1, first + context + 1):
                nats += nats_after(model, ids[first:place], ids[place])
                scored += 1
        start += batch * context + 1
    found = challenge_score(model, as_tokens(ids, characters=200), END, batch)
    assert found.n_tokens == scored
    assert found.nats == pytest.approx(nats, rel=1e-5)


def test_the_challenge_score_divides_by_all_characters_and_says_its_coverage(uniform):
    found = challenge_score(uniform, as_tokens(some_ids(50), characters=100), END, 4)
    assert found.nats_per_character == pytest.approx(32 * LOG_V / 100, rel=1e-6)
    assert found.coverage == 32 / 50


def test_a_text_too_short_for_the_challenge_is_an_error_with_the_sizes(model):
    with pytest.raises(ValueError, match="32 tokens do not fill one span of 33"):
        challenge_score(model, as_tokens(some_ids(32)), END, 4)


def test_a_text_without_tokens_is_an_error(model):
    with pytest.raises(ValueError, match="no tokens"):
        score(model, as_tokens(np.empty(0, np.uint16), characters=1), END)


def test_predictions_and_hits_are_counted(model):
    ids = some_ids(40)
    windows = list(scoring_windows(ids, TINY.context_length, 64, END))
    best = torch.cat([model(x).argmax(-1).flatten() for x, _ in windows]).numpy()
    found = score(model, as_tokens(ids), END)
    assert found.n_correct == (best == ids).sum()
    assert (found.n_end_predicted, found.n_end) == ((best == END).sum(), (ids == END).sum())


@given(rows=st.integers(1, 50))
def test_the_number_of_rows_held_at_once_changes_nothing(model, rows):
    windows = list(scoring_windows(some_ids(43), TINY.context_length, 64, END))
    nats, _ = token_nats(model, windows, rows)
    torch.testing.assert_close(nats, token_nats(model, windows)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_the_model_in_the_mode_it_was_in(training):
    model = GPT(TINY).train(training)
    score(model, as_tokens(some_ids(10)), END)
    assert model.training is training


def test_scoring_draws_no_random_number(model):
    before = torch.get_rng_state()
    score(model, as_tokens(some_ids(30)), END)
    assert torch.equal(torch.get_rng_state(), before)


# Within documents


def some_titles(lengths, seed=0):
    """Return tokens of titles of these lengths, each with its <eos>."""
    drawn = np.random.default_rng(seed).integers(2, TINY.vocab_size, sum(lengths))
    drawn[np.cumsum(lengths) - 1] = END
    return as_tokens(drawn.astype(np.uint16))


def test_within_documents_a_title_costs_what_it_costs_alone(model):
    tokens = some_titles([3, 5, 1, 7, 4, 4])  # none is cut by windows of 8
    nats, _ = token_scores(model, tokens, END, within_documents=True)
    for title, own in zip(
        np.split(tokens.ids, tokens.documents[1:]),
        nats.tensor_split(tokens.documents[1:].tolist()),
        strict=True,
    ):
        alone = [
            nats_after(model, [END, *title[:i].tolist()], int(target))
            for i, target in enumerate(title)
        ]
        np.testing.assert_allclose(own, alone, rtol=1e-5)


def test_across_documents_a_title_does_not_cost_what_it_costs_alone(model):
    tokens = some_titles([3, 5])
    nats, _ = token_scores(model, tokens, END)
    alone, _ = token_scores(model, as_tokens(tokens.ids[3:]), END)
    assert (nats[3:] - alone).abs().min() > 1e-3


@given(seed=st.integers(0, 50))
def test_within_documents_no_other_title_changes_a_score(model, seed):
    lengths, rng = [6, 11, 3, 20, 5, 9, 12, 4], np.random.default_rng(seed)
    tokens = some_titles(lengths, seed)
    of_token, own = np.repeat(np.arange(8), lengths), rng.integers(8)
    others = np.where((of_token != own) & (tokens.ids != END), 2, tokens.ids).astype(np.uint16)
    nats, _ = token_scores(model, tokens, END, within_documents=True)
    again, _ = token_scores(model, as_tokens(others), END, within_documents=True)
    mine = torch.from_numpy(of_token == own)
    torch.testing.assert_close(again[mine], nats[mine])
    assert not torch.allclose(again[~mine], nats[~mine])


def test_the_challenge_score_within_documents_sees_of_a_title_what_its_window_holds(model):
    tokens = some_titles([6, 11, 3, 20, 5, 9, 12, 10])  # two spans of 33, and a tail
    begins, found = tokens.documents, challenge_score(model, tokens, END, 4, within_documents=True)
    nats = 0.0
    for span in (0, 33):
        for place in range(span + 1, span + 33):
            window = span + (place - 1 - span) // 8 * 8
            title = begins[begins <= place].max()
            before = tokens.ids[max(window, title - 1) : place]
            nats += nats_after(model, before.tolist(), int(tokens.ids[place]))
    assert found.nats == pytest.approx(nats, rel=1e-5)
