"""What a model costs, against models really made and a published account."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmcore.model import accounting
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.report.tables import model_costs

ROOT = Path(__file__).parents[2]
PUBLISHED = ModelConfig(
    vocab_size=50_257, context_length=1024, n_layers=48, d_model=1600, n_heads=25, d_ff=4288,
    positions="rope", norm="rms", activation="swiglu", bias=False, tie_embeddings=False,
)  # fmt: skip


def count(config):
    """Return the number of parameters of a model made without memory for them."""
    with torch.device("meta"):
        return sum(p.numel() for p in GPT(config).parameters())


def test_the_baseline_has_the_published_number_of_parameters():
    assert ModelConfig(vocab_size=16_000).n_parameters == 27_172_864


def test_a_large_model_has_the_published_number_of_parameters():
    assert PUBLISHED.n_parameters == 1_640_452_800


def test_a_large_model_has_the_published_forward_operations_at_full_context():
    per_token = sum(part.forward_flops for part in accounting.model_parts(PUBLISHED))
    assert 1024 * per_token == 3_516_769_894_400


def test_a_step_costs_three_times_its_forward_pass():
    per_token = sum(part.forward_flops for part in accounting.model_parts(PUBLISHED))
    assert PUBLISHED.flops_per_token == 3 * per_token


def test_shorter_sequences_save_on_scores_alone():
    full, half = (accounting.model_parts(PUBLISHED, seq) for seq in (1024, 512))
    saved = {f.name: f.forward_flops - h.forward_flops for f, h in zip(full, half, strict=True)}
    assert {name for name, flops in saved.items() if flops} == {"attention scores and values"}


@given(
    st.builds(
        dict,
        vocab_size=st.integers(1, 300),
        context_length=st.integers(1, 64),
        d_model=st.integers(1, 8).map(lambda n: 8 * n),
        n_heads=st.sampled_from([2, 4]),
        n_kv_heads=st.sampled_from([None, 1, 2]),
        head_size=st.sampled_from([None, 6]),
        n_layers=st.integers(1, 3),
        d_ff=st.integers(1, 64),
        activation=st.sampled_from(["gelu", "relu2", "swiglu"]),
        positions=st.sampled_from(["learned", "rope", "sinusoidal", "none"]),
        norm=st.sampled_from(["layer", "rms", "none"]),
        norm_at=st.sampled_from(["pre", "post"]),
        qk_norm=st.booleans(),
        layer_scale=st.sampled_from([None, 0.1]),
        bias=st.booleans(),
        tie_embeddings=st.booleans(),
    )
)
def test_the_number_of_parameters_follows_from_the_config(options):
    config = ModelConfig(**options)
    assert config.n_parameters == count(config)


def test_parallel_blocks_have_one_norm():
    config = ModelConfig(
        vocab_size=10, d_model=16, n_layers=2, n_heads=2, d_ff=8, parallel_residual=True
    )
    assert config.n_parameters == count(config)


def linear_operations(model, ids):
    """Return two operations for each product in the linear maps of a forward pass, counted."""
    counted = []
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(
                lambda m, _i, out: counted.append(2 * out.numel() * m.in_features)
            )
    model(ids)
    return sum(counted)


def test_the_operations_of_linear_maps_are_those_of_a_real_pass():
    config = ModelConfig(
        vocab_size=30, context_length=8, d_model=16, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=24,
        activation="swiglu", tie_embeddings=False,
    )  # fmt: skip
    parts = {part.name: part.forward_flops for part in accounting.model_parts(config)}
    real = linear_operations(GPT(config), torch.zeros(1, 8, dtype=torch.long))
    # the head is multiplied without its module, so that it can be tied
    assert 8 * (parts["attention projections"] + parts["MLP"]) == real


@pytest.mark.parametrize(("moments", "copies"), [(0, 2), (1, 3), (2, 4)])
def test_a_step_holds_weights_gradients_and_moments(moments, copies):
    held = accounting.training_memory(PUBLISHED, 1024, moments=moments)
    rest = held.activations + held.logits
    assert held.total - rest == copies * 4 * 1_640_452_800


def test_the_account_of_a_model_sums_its_parts():
    rows = {row[0]: row for row in model_costs(PUBLISHED, batch_size=1, moments=2).rows}
    assert rows["all"][1:] == ("1,640,452,800", "3.52e+03", "7.03e+03", "100.0%")


def test_the_account_of_a_model_tells_its_memory():
    rows = {row[0]: row[1] for row in model_costs(PUBLISHED, batch_size=1, moments=2).rows}
    assert (rows["weights, GB"], rows["optimizer, GB"]) == ("6.56", "13.1")


@pytest.mark.parametrize(("on_gpu", "rows"), [(False, 1000), (True, 5000)])
def test_logits_are_held_in_about_equal_parts(on_gpu, rows):
    n = 2 * rows
    assert accounting.logit_rows(n, 2**31 // 2 // 6000, 2, on_gpu) == rows
    assert accounting.logit_rows(1, 100, 2, on_gpu) == 1
    assert accounting.logit_rows(0, 100, 2, on_gpu) == 0


def test_the_estimated_memory_of_a_gpu_is_close_to_what_each_committed_run_needed(committed_runs):
    """Runs of three shapes and two optimizers."""
    shares = []
    for run in committed_runs:
        if "NVIDIA" not in run.environment["sessions"][0]["device"]:
            continue
        plan, model = run.config.train, run.config.model
        tokens = plan.batch_size * model.context_length
        memory = accounting.training_memory(
            model, tokens, moments=plan.optimizer.moments, activation_bytes=2, on_gpu=True
        )
        shares.append(memory.total / run.environment["peak_bytes"])
    assert len(shares) == 15
    assert 0.85 < min(shares) < max(shares) < 1
