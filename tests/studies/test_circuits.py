"""What is found in models of modular arithmetic that were made by hand."""

import base64
import itertools
import json

import numpy as np
import pytest
import torch
from made import arithmetic_shape, randomised, table_of

from lmcore.model.gpt import GPT
from lmcore.studies.grokking import circuits

KEYS = [1, 3]
four = pytest.mark.parametrize("operation", list(circuits.SIGNS))


@torch.no_grad()
def model_of(of_a, of_b, always, down):
    """Return a model whose logits add up the rows of down, times ReLU of a neuron for each.

    What neurons read is given for each a, each b, and always. A head copies a to the last position,
    where the operation stands, and another one copies b.
    """
    n, p = down.shape
    shape = {"d_model": 4 * p + 4, "d_ff": n, "n_heads": 2, "head_size": p + 1, "head_scale": None}
    model, one = GPT(arithmetic_shape(p, **shape)).eval(), torch.eye(p)
    for weight in model.parameters():
        weight.zero_()
    block, answer = model.blocks[0], slice(3 * p + 4, None)
    model.token_embedding.weight[:, : p + 1] = torch.eye(p + 1)
    model.position_embedding.weight[:, p + 1 : p + 4] = torch.eye(3)
    q, k, v = block.attention.qkv.weight.unflatten(0, (3, 2, p + 1))
    out = block.attention.out.weight.unflatten(1, (2, p + 1))
    for head, read in enumerate((of_a, of_b)):
        slot = slice((head + 1) * p + 4, (head + 2) * p + 4)
        q[head, p, p] = k[head, p, p + 1 + head] = 100
        v[head, :p, :p], out[slot, head, :p] = one, one
        block.mlp.up.weight[:, slot] = torch.tensor(read).float()
    block.mlp.up.weight[:, p] = torch.tensor(always).float()
    block.mlp.down.weight[answer] = torch.tensor(down.T).float()
    model.head.weight[:p, answer] = one
    return model


def noise(p):
    return np.random.default_rng(0).normal(size=(p, p, p))


def by_heart(logits):
    """Return a model with a neuron for each pair, whose logits are these."""
    p = len(logits)
    a, b = np.divmod(np.arange(p * p), p)
    one = np.eye(p)
    return model_of(one[a], one[b], -np.ones(p * p), logits.reshape(p * p, p))


def made_of_waves(config):
    """Return a model whose logits are waves of KEYS in a ± b, or of their logarithms, and noise."""
    order, sign = circuits.order_of(config), circuits.SIGNS[config.operations[0]]
    n, p = len(order), config.p
    a, b, c = np.ogrid[:n, :n, :n]
    waves = sum(np.cos(2 * np.pi * k * (a + sign * b - c) / n) for k in KEYS)
    logits = np.full((p, p, p), -2.0)
    logits[np.ix_(order, order, order)] = waves
    return by_heart(logits + 0.1 * noise(p))


def memorised(data):
    """Return a model that knows the training pairs by heart and nothing else."""
    logits = 10 + noise(data.config.p)
    a, b, _, c = data.config.table[data.train].T
    logits[a, b, c] += 10
    return by_heart(logits)


# Tables


@four
def test_the_grid_asks_for_the_table_s_answers(operation):
    config = table_of(operation)
    known = {(a, b, token): c for a, b, token, c in config.table.tolist()}
    tokens, answers = circuits.grid(config)
    assert [known[tuple(asked)] for asked in tokens.tolist()] == answers.ravel().tolist()


@four
def test_the_trained_pairs_are_the_training_rows(operation):
    data = table_of(operation).prepare()
    order = circuits.order_of(data.config)
    seen = {(order[i], order[j]) for i, j in np.argwhere(circuits.trained_pairs(data))}
    rows = data.config.table[data.train, :2]
    assert seen == {tuple(row) for row in rows if np.isin(row, order).all()}


def test_the_table_of_logits_is_the_model_s_own_without_their_means():
    config = table_of("/", p=7)
    model = randomised(arithmetic_shape(7))
    result = circuits.logit_table(model, config)
    for i, j in itertools.product(range(6), repeat=2):
        a, b = circuits.order_of(config)[[i, j]]
        logits = model(torch.tensor([[a, b, 7]]))[0, -1, :7].detach().numpy()
        np.testing.assert_allclose(result[i, j], logits - logits.mean(), atol=1e-4)


# Inside a model


@four
def test_waves_of_the_answer_are_found_needed_and_enough(operation):
    data = table_of(operation).prepare()
    result = circuits.claim(made_of_waves(data.config), data)
    assert sorted(result["keys"]) == KEYS
    assert result["waves"] > 0.9
    assert (result["whole"], result["only keys"]) == (1, 1)
    assert max(result["without keys"], result["only others"]) < 0.3


def test_the_claim_is_made_of_unseen_pairs_alone():
    data = table_of("-", p=11).prepare()
    model = memorised(data)
    unseen = [data.score(model, name) for name in ("validation", "test")]
    assert data.score(model, "train").accuracy == 1
    assert circuits.claim(model, data)["whole"] == pytest.approx(
        sum(score.n_correct for score in unseen) / sum(score.n for score in unseen)
    )


@torch.no_grad()
def test_a_model_whose_weights_have_all_decayed_has_no_keys_and_no_waves():
    data = table_of("/", p=11).prepare()
    model = GPT(arithmetic_shape(11))
    for weight in model.parameters():
        weight.zero_()
    result = circuits.claim(model, data)
    assert (result["keys"], result["waves"]) == ([], 0)
    assert json.dumps(result, allow_nan=False)


def test_neurons_that_know_one_pair_are_impure_and_those_that_never_fire_are_not_counted():
    # a pair stands evenly at 99 waves; a frequency has 8 of them. 21 pairs have a zero
    assert circuits.neuron_shares(by_heart(noise(11)), table_of("/", p=11)) == [100, *9 * [0]]


def test_every_neuron_of_one_frequency_is_counted_as_pure():
    config, n = table_of("+", p=13), 60
    frequency, phase = 1 + np.arange(n) % 6, np.arange(n)
    angles = 2 * np.pi * frequency[:, None] * np.arange(13) / 13
    waves = np.cos(angles + phase[:, None]), np.cos(angles - 2 * phase[:, None])
    model = model_of(*waves, np.full(n, 2.0), np.ones((n, 13)))
    assert circuits.neuron_shares(model, config) == [*9 * [0], n]


def test_heads_that_look_at_a_and_at_b_are_seen_to():
    result = circuits.attention(by_heart(noise(7)), table_of("/", p=7).prepare())
    np.testing.assert_allclose(result["mean"], [[1, 0, 0], [0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(result["std"], 0, atol=1e-6)


def test_attention_is_shared_out_whole():
    model = randomised(arithmetic_shape(7))
    result = circuits.attention(model, table_of("+", p=7).prepare())
    np.testing.assert_allclose(np.sum(result["mean"], axis=1), 1, rtol=1e-5)


def test_history_tells_how_the_table_fills_in_at_each_step_that_was_kept():
    data = table_of("/", p=13).prepare()
    models = {0: by_heart(noise(13)), 10: made_of_waves(data.config)}
    result = circuits.history(iter(models.items()), models[10], data)
    assert {name: len(values) for name, values in result.items()} == dict.fromkeys(result, 2)
    assert result["step"] == [0, 10]
    assert all(result[name][0] > result[name][1] for name in ("restricted", "train", "unseen"))
    answers = circuits.grid(data.config)[1]
    for bits, model in zip(result["right"], models.values(), strict=True):
        right = np.unpackbits(np.frombuffer(base64.b64decode(bits), np.uint8))[: 12 * 12]
        best = circuits.logit_table(model, data.config).argmax(-1)
        np.testing.assert_array_equal(right.reshape(12, 12), best == answers)


def test_what_was_known_by_heart_is_what_is_left_without_the_key_waves():
    data = table_of("+", p=11).prepare()
    model = made_of_waves(data.config)
    steps = iter([(1, memorised(data)), (2, model)])
    by_memory, by_waves = circuits.history(steps, model, data)["excluded"]
    assert by_memory < np.log(11) < by_waves
