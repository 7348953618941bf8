"""Generation: greedy, seeded, stopped, and with the frequencies of the probabilities."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made import TINY

from lmcore.model import GPT
from lmcore.sample import draw, generate, next_probabilities


@pytest.fixture(scope="module")
def model():
    """A model whose predictions are far from uniform and depend on what came before."""
    torch.manual_seed(0)
    model = GPT(TINY).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.4)
    return model


prompts = st.lists(st.integers(0, TINY.vocab_size - 1), min_size=1, max_size=20)


@given(ids=prompts)
def test_probabilities_sum_to_one(model, ids):
    assert next_probabilities(model, ids).sum().item() == pytest.approx(1, abs=1e-5)


@given(ids=prompts)
def test_probabilities_are_those_of_the_last_logits(model, ids):
    window = torch.tensor([ids[-TINY.context_length :]])
    expected = model(window)[0, -1].detach().softmax(-1)
    torch.testing.assert_close(next_probabilities(model, ids), expected)


@settings(max_examples=12)
@given(ids=prompts, seed=st.integers(0, 99))
def test_temperature_zero_takes_the_likeliest_each_time(model, ids, seed):
    expected = list(ids)
    for _ in range(10):
        expected.append(int(next_probabilities(model, expected).argmax()))
    assert generate(model, ids, 10, temperature=0.0, seed=seed) == expected[len(ids) :]


@settings(max_examples=12)
@given(ids=prompts, seed=st.integers(0, 99))
def test_a_seed_fixes_a_sample(model, ids, seed):
    assert generate(model, ids, 12, seed=seed) == generate(model, ids, 12, seed=seed)


def test_seeds_differ(model):
    assert len({tuple(generate(model, [1], 12, seed=seed)) for seed in range(5)}) == 5


def test_sampling_leaves_torchs_random_numbers_alone(model):
    before = torch.get_rng_state()
    generate(model, [1], 5)
    assert torch.equal(torch.get_rng_state(), before)


@settings(max_examples=12)
@given(ids=prompts, seed=st.integers(0, 20), stop=st.integers(0, TINY.vocab_size - 1))
def test_the_stop_id_ends_a_sample_and_is_not_part_of_it(model, ids, seed, stop):
    free = generate(model, ids, 15, seed=seed)
    until = free.index(stop) if stop in free else len(free)
    assert generate(model, ids, 15, seed=seed, stop_id=stop) == free[:until]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_probabilities_raised_to_one_over_the_temperature(temperature):
    n, probabilities = 4_000, torch.tensor([0.6, 0.25, 0.1, 0.05, 0.0])
    expected = probabilities ** (1 / temperature)
    expected /= expected.sum()
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([draw(probabilities, temperature, generator) for _ in range(n)])
    share = drawn.bincount(minlength=5) / n
    assert (share - expected).abs().max() < 4 * math.sqrt(0.25 / n)
    assert share[4] == 0


def test_text_beyond_the_context_is_forgotten_from_its_start(model):
    long = [i % TINY.vocab_size for i in range(3 * TINY.context_length)]
    kept = long[-TINY.context_length :]
    assert generate(model, long, 20, temperature=0.0) == generate(model, kept, 20, temperature=0.0)


def test_no_new_tokens_give_an_empty_sample(model):
    assert generate(model, [1], 0) == []


def test_nothing_to_go_on_from_is_an_error(model):
    with pytest.raises(ValueError, match="at least one id"):
        generate(model, [], 5)


def test_a_negative_temperature_is_an_error_that_says_it(model):
    with pytest.raises(ValueError, match=r"-0\.5"):
        generate(model, [1], 5, temperature=-0.5)


@pytest.mark.parametrize("training", [True, False])
def test_sampling_leaves_the_model_in_the_mode_it_was_in(training):
    model = GPT(TINY).train(training)
    generate(model, [1], 2)
    assert model.training is training
