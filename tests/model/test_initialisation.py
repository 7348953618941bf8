"""How weights are drawn."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from made import LLAMA, TINY, random_ids

from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT


@pytest.mark.parametrize("initialisation", ["flat", "gpt2", "zero_residual"])
def test_an_untrained_model_is_nearly_uniform(initialisation):
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=500, context_length=16, d_model=64, n_layers=2, n_heads=2,
        initialisation=initialisation,
    )  # fmt: skip
    ids = random_ids(8, 16, config)
    loss = F.cross_entropy(GPT(config).eval()(ids).flatten(0, 1), ids.roll(-1, 1).flatten())
    assert loss.item() == pytest.approx(math.log(500), abs=0.1)


def standard_deviations(**options):
    """Return each weight's standard deviation in a new wide model."""
    torch.manual_seed(0)
    config = ModelConfig(**{"vocab_size": 1_000, "d_model": 128, "n_layers": 2} | options)
    return {name: p.std(correction=0).item() for name, p in GPT(config).named_parameters()}


def test_norms_start_at_one_and_biases_at_zero():
    for name, p in GPT(TINY).named_parameters():
        if "norm" in name or name.endswith("bias"):
            assert (p == (1.0 if name.endswith("weight") else 0.0)).all(), name


def test_flat_weights_have_one_standard_deviation_and_positions_are_zero():
    for name, std in standard_deviations().items():
        is_matrix = "norm" not in name and not name.endswith("bias")
        expected = 0.02 if is_matrix and "position" not in name else 0.0
        assert std == pytest.approx(expected, rel=0.02), name


def test_gpt2s_residual_projections_are_smaller_by_the_root_of_their_number():
    actual = standard_deviations(initialisation="gpt2")
    for name in ("blocks.1.attention.out.weight", "blocks.0.mlp.down.weight"):
        assert actual[name] == pytest.approx(0.02 / math.sqrt(4), rel=0.02), name
    assert actual["position_embedding.weight"] == pytest.approx(0.02, rel=0.02)


def test_zero_residual_blocks_add_nothing_at_first():
    model = GPT(replace(TINY, initialisation="zero_residual", positions="none")).eval()
    x = model.token_embedding(random_ids(1, 8))
    assert torch.equal(model.hidden(random_ids(1, 8)), model.norm(x))


def test_the_initial_scale_multiplies_all_matrices_and_nothing_else():
    drawn = []
    for scale in (1.0, 3.0):
        torch.manual_seed(0)
        drawn.append(GPT(replace(TINY, initial_scale=scale)).state_dict())
    for name, value in drawn[0].items():
        factor = 3.0 if value.ndim > 1 else 1.0
        assert torch.equal(drawn[1][name], factor * value), name


# A normal distribution cut at 3 standard deviations keeps 0.9866 of its own.
CUT = 0.9866


def test_truncated_weights_follow_the_sizes_of_each_matrix():
    actual = standard_deviations(
        initialisation="truncated",
        tie_embeddings=False,
        activation="swiglu",
        n_kv_heads=2,
        d_ff=320,
    )
    assert actual["token_embedding.weight"] == pytest.approx(CUT, rel=0.02)
    assert actual["head.weight"] == pytest.approx(CUT * math.sqrt(2 / 1_128), rel=0.02)
    assert actual["blocks.0.mlp.up.weight"] == pytest.approx(CUT * math.sqrt(2 / 448), rel=0.02)
    q, k = 128 * 128, 128 * 32
    mean_square = (q * 2 / 256 + 2 * k * 2 / 160) / (q + 2 * k)
    assert actual["blocks.0.attention.qkv.weight"] == pytest.approx(
        CUT * mean_square**0.5, rel=0.02
    )


def test_truncated_weights_lie_within_three_standard_deviations():
    model = GPT(replace(LLAMA, initialisation="truncated"))
    assert model.token_embedding.weight.abs().max() <= 3
    assert model.head.weight.abs().max() <= 3 * math.sqrt(2 / 47)
