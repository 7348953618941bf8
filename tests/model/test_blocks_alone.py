"""Blocks called alone, from plain numbers: leading dimensions, float64, RoPE, and their laws."""

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from made import KINDS, LLAMA, random_ids, randomised

import lmcore.model
from lmcore.model import MLP, Attention, Block, RMSNorm, RoPE, cross_entropy, document_mask, softmax

D = 12
BLOCKS = {
    "RMSNorm": lambda: RMSNorm(D),
    "MLP": lambda: MLP(D, 20),
    "MLP, SwiGLU": lambda: MLP(D, 20, activation="swiglu", bias=False),
    "attention": lambda: Attention(D, 2),
    "attention, grouped, RoPE, QK-norm": lambda: Attention(D, 6, 3, rope=RoPE(), qk_norm=True),
    "block": lambda: Block(D, 3),
    "block, Llama's": lambda: Block(
        D, 2, activation="swiglu", norm="rms", bias=False, rope=RoPE(base=500.0)
    ),
    "block, post-norm": lambda: Block(D, 2, 16, norm_at="post"),
    "block, parallel, LayerScale": lambda: Block(
        D, 2, 16, parallel_residual=True, layer_scale=0.1, activation="relu2"
    ),
}
each_block = pytest.mark.parametrize("build", BLOCKS.values(), ids=BLOCKS)


def in_float64(build, seed=0):
    """Return a block in evaluation mode and float64 whose every number is random."""
    generator = torch.Generator().manual_seed(seed)
    block = build().double().eval()
    with torch.no_grad():
        for p in block.parameters():
            p.normal_(std=0.5, generator=generator)
    return block


def rows(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@each_block
def test_gradients_in_float64_equal_finite_differences(build):
    block, x = in_float64(build), rows(2, 3, D).requires_grad_()
    assert block(x).dtype == torch.float64
    weights = dict(block.named_parameters())

    def function(x, *values):
        return torch.func.functional_call(block, dict(zip(weights, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(function, (x, *weights.values()), fast_mode=True)


@each_block
@pytest.mark.parametrize("leading", [(), (1,), (2, 3), (2, 1, 3)], ids=str)
def test_leading_dimensions_are_a_batch(build, leading):
    block, x = in_float64(build), rows(*leading, 4, D)
    expected = block(x.reshape(-1, 4, D)).reshape(x.shape)
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


@each_block
def test_evaluation_without_gradients_gives_the_same_numbers(build):
    block, x = in_float64(build), rows(2, 4, D)
    with torch.no_grad():
        fused = block(x)
    torch.testing.assert_close(fused, block(x).detach(), rtol=1e-10, atol=1e-10)


@each_block
def test_the_future_does_not_change_the_past(build):
    block, x = in_float64(build), rows(5, D)
    other = torch.cat([x[:3], rows(2, D, seed=2)])
    torch.testing.assert_close(block(other)[:3], block(x)[:3], rtol=1e-12, atol=1e-12)


def turning(module, **options):
    return in_float64(lambda: module(D, 3, rope=RoPE(**options)))


@pytest.mark.parametrize("module", [Attention, Block])
@given(shift=st.integers(1, 500))
def test_rope_depends_on_distance_only(module, shift):
    block, x, positions = turning(module), rows(2, 5, D), torch.arange(5)
    moved = block(x, positions=positions + shift)
    # the table is in float32, which holds an angle of 500 radians to 3e-5
    torch.testing.assert_close(moved, block(x), rtol=0, atol=1e-3)


@pytest.mark.parametrize("module", [Attention, Block])
def test_rope_notices_other_distances(module):
    block, x = turning(module), rows(2, 5, D)
    assert (block(x, positions=2 * torch.arange(5)) - block(x)).abs().max() > 0.01


@pytest.mark.parametrize("module", [Attention, Block])
def test_without_positions_rope_counts_from_zero(module):
    block, x = turning(module), rows(2, 5, D)
    assert torch.equal(block(x), block(x, positions=torch.arange(5)))


@pytest.mark.parametrize("module", [Attention, Block])
def test_a_block_with_rope_turns_and_another_base_turns_otherwise(module):
    turned, x = turning(module), rows(2, 5, D)
    for other in (in_float64(lambda: module(D, 3)), turning(module, base=100.0)):
        other.load_state_dict(turned.state_dict())
        assert (other(x) - turned(x)).abs().max() > 1e-3


def test_positions_may_differ_between_rows_of_a_batch():
    block, x = turning(Block), rows(2, 3, D)
    positions = torch.tensor([[0, 1, 2], [7, 9, 30]])
    alone = [block(row, positions=p) for row, p in zip(x, positions, strict=True)]
    torch.testing.assert_close(block(x, positions=positions), torch.stack(alone))


def test_a_mask_hides_what_it_says():
    block, x = in_float64(lambda: Block(D, 3)), rows(1, 5, D)
    packed = block(x, mask=document_mask(torch.tensor([[0, 0, 1, 1, 1]])))
    torch.testing.assert_close(packed, torch.cat([block(x[:, :2]), block(x[:, 2:])], dim=1))


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_blocks_called_one_after_the_other_are_the_whole_model(config):
    model, ids = randomised(config), random_ids(2, 8, config)
    x = model.embed(ids, torch.arange(8))
    for block in model.blocks:
        x = block(x)
    assert torch.equal(model.normalise(x), model.hidden(ids))


def test_a_block_from_plain_numbers_takes_a_models_weights():
    model = randomised(LLAMA)
    block = Block(16, 4, 32, 2, activation="swiglu", norm="rms", bias=False, rope=RoPE())
    block.load_state_dict(model.blocks[1].state_dict())
    x = rows(2, 5, 16).float()
    assert torch.equal(block(x), model.blocks[1](x))


def test_left_to_itself_the_mlp_is_four_times_as_wide_or_swiglus_size():
    assert MLP(96).up.weight.shape == (384, 96)
    assert MLP(96, activation="swiglu").down.weight.shape == (96, 256)


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)], ids=str)
def test_cross_entropy_is_the_mean_over_all_leading_dimensions(leading):
    logits, targets = rows(*leading, 7), torch.randint(7, leading)
    nats = -logits.log_softmax(-1).gather(-1, targets[..., None]).mean()
    torch.testing.assert_close(cross_entropy(logits, targets), nats)


def test_softmax_and_cross_entropy_stay_finite_for_enormous_logits():
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]])
    assert softmax(logits, dim=-1).tolist() == [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
    assert cross_entropy(logits, torch.tensor([1, 0])).item() == pytest.approx(
        2e4 + math.log(2) / 2
    )


def test_torchs_own_are_behind_the_names_that_it_has():
    assert lmcore.model.Linear is torch.nn.Linear
    assert lmcore.model.Embedding is torch.nn.Embedding
    assert (lmcore.model.silu, lmcore.model.softmax) == (F.silu, F.softmax)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Attention(10, 4), "d_model 10 does not split into 4 heads"),
        (lambda: Attention(12, 4, 3), "4 heads of 3 features cannot share 3 key/value heads"),
        (lambda: Attention(12, 4, rope=RoPE()), "RoPE turns pairs of features: d_head 3 is odd"),
        (lambda: RoPE(base=0.0), r"RoPE's base must be above 0, not 0\.0"),
        (
            lambda: Block(12, 4, norm_at="post", parallel_residual=True),
            "parallel_residual needs norm_at 'pre', not 'post'",
        ),
    ],
)
def test_numbers_that_do_not_fit_are_an_error_with_their_values(build, message):
    with pytest.raises(ValueError, match=message):
        build()


UNKNOWN = """
from lmcore.model import MLP, Block
for build in (
    lambda: MLP(8, activation="tanh"),
    lambda: Block(8, 2, norm="batch"),
    lambda: Block(8, 2, norm_at="before"),
):
    try:
        build()
    except ValueError as error:
        print(error)
"""


def test_an_unknown_option_is_an_error_with_what_is_known():
    """In a process of its own, where no type checker answers first."""
    done = subprocess.run([sys.executable, "-c", UNKNOWN], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "activation must be one of gelu, gelu_tanh, silu, relu, relu2, swiglu, not 'tanh'",
        "norm must be one of layer, rms, none, not 'batch'",
        "norm_at must be one of pre, post, not 'before'",
    ]
