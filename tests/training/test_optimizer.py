"""Our optimizers against torch's own and the papers' formulas; who is stepped; clipping."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.training.adamw import AdamW
from lmcore.training.checkpoint import load_checkpoint, save_checkpoint
from lmcore.training.config import OptimizerConfig
from lmcore.training.gradients import amplify_slow_gradients, clip_gradient, orthogonalise_gradients
from lmcore.training.muon import Muon, newton_schulz
from lmcore.training.optimizer import ROLES, build_optimizer, parameter_groups
from lmcore.training.sgd import SGD

KINDS = ["sgd", "adamw", "muon"]


def surface():
    """Return where to start in float64 and a matrix that pulls back to the origin."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(7, generator=generator, dtype=torch.float64)
    return start, torch.randn(7, 7, generator=generator, dtype=torch.float64)


def falling(step):
    return 1e-2 / (1 + step / 100)


def walk(optimizer_kind, steps=1_000, **options):
    """Return where steps on the curved surface lead, the learning rate falling."""
    start, pull = surface()
    p = nn.Parameter(start)
    optimizer = optimizer_kind([p], lr=1e-2, **options)
    for step in range(steps):
        optimizer.zero_grad()
        ((pull @ p).square().sum() + p.sin().sum()).backward()
        optimizer.param_groups[0]["lr"] = falling(step)
        optimizer.step()
    return p.detach()


def gradient_at(p, pull):
    """Return the gradient of the surface that walk descends, by hand in NumPy."""
    return 2 * pull.T @ (pull @ p) + np.cos(p)


# SGD


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_thousand_sgd_steps_equal_torchs_in_float64(weight_decay):
    ours, theirs = (walk(kind, weight_decay=weight_decay) for kind in (SGD, torch.optim.SGD))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_decay_is_part_of_the_gradient_so_it_follows_the_learning_rate():
    p = nn.Parameter(torch.tensor([2.0]))
    p.grad = torch.tensor([1.0])
    SGD([p], lr=0.5, weight_decay=0.1).step()
    assert p.item() == pytest.approx(2.0 - 0.5 * (1.0 + 0.1 * 2.0))


def test_a_parameter_without_a_gradient_stays_where_it_is():
    p = nn.Parameter(torch.ones(3))
    SGD([p], lr=1.0, weight_decay=0.5).step()
    assert torch.equal(p, torch.ones(3))


def test_groups_keep_their_own_numbers():
    fast, slow = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    for p in (fast, slow):
        p.grad = torch.ones(1)
    SGD([{"params": [fast], "lr": 1.0}, {"params": [slow]}], lr=0.1).step()
    assert (fast.item(), slow.item()) == pytest.approx((-1.0, -0.1))


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
def test_a_thousand_steps_with_momentum_equal_torchs_in_float64(momentum):
    ours, theirs = (walk(kind, momentum=momentum) for kind in (SGD, torch.optim.SGD))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_with_momentum_the_decay_stays_out_of_the_velocity():
    start, pull = (value.numpy() for value in surface())
    p, v = start.copy(), np.zeros(7)
    for step in range(1_000):
        v = 0.9 * v + gradient_at(p, pull)
        p = p - falling(step) * (v + 0.1 * p)
    ours = walk(SGD, momentum=0.9, weight_decay=0.1)
    torch.testing.assert_close(ours, torch.from_numpy(p), rtol=0, atol=1e-12)


def test_without_momentum_nothing_is_kept():
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    optimizer = SGD([p], lr=0.1)
    optimizer.step()
    assert optimizer.state_dict()["state"] == {}


def test_without_momentum_the_decay_comes_first_to_the_bit():
    start, _ = surface()
    p, q = nn.Parameter(start.float()), start.float()
    p.grad = start.roll(1).float()
    SGD([p], lr=6e-3, weight_decay=0.1).step()
    assert torch.equal(p, q.mul(1 - 6e-3 * 0.1).add(p.grad, alpha=-6e-3))


# AdamW


ADAM = {"betas": (0.9, 0.95), "eps": 1e-2, "weight_decay": 0.1}
"""Numbers that all count. At the walk's end the gradient vanishes, and an eps of 1e-6 would let the
last bit of a sum decide the way on, by 1e-4."""


@pytest.mark.parametrize("options", [{}, ADAM, {"betas": (0.0, 0.5)}], ids=str)
def test_a_thousand_adamw_steps_equal_torchs_in_float64(options):
    ours, theirs = (walk(kind, **options) for kind in (AdamW, torch.optim.AdamW))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_thousand_adamw_steps_equal_the_formulas_of_its_docstring():
    p, pull = (value.numpy() for value in surface())
    (b1, b2), m, v = ADAM["betas"], np.zeros(7), np.zeros(7)
    for step in range(1_000):
        g, lr, t = gradient_at(p, pull), falling(step), step + 1
        p = p - lr * ADAM["weight_decay"] * p
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        p = p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + ADAM["eps"])
    torch.testing.assert_close(walk(AdamW, **ADAM), torch.from_numpy(p), rtol=0, atol=1e-12)


def patchy(optimizer_kind, steps=200):
    """Return three parameters of two groups after steps in which some have no gradient."""
    generator = torch.Generator().manual_seed(1)
    parameters = [nn.Parameter(torch.ones(shape, dtype=torch.float64)) for shape in (5, (3, 4), ())]
    groups = [{"params": parameters[:2], "lr": 0.1}, {"params": parameters[2:], "weight_decay": 0}]
    optimizer = optimizer_kind(groups, lr=0.01, **ADAM)
    for step in range(steps):
        for i, p in enumerate(parameters):
            gradient = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            p.grad = gradient if step % (i + 2) else None
        optimizer.step()
    return [p.detach() for p in parameters]


def test_groups_and_missing_gradients_are_treated_as_by_torchs_adamw():
    for p, q in zip(patchy(AdamW), patchy(torch.optim.AdamW), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-12)


@given(scale=st.floats(1e-3, 1e6))
def test_the_first_adamw_step_is_lr_long_whatever_the_gradients_scale(scale):
    p = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    p.grad = scale * torch.tensor([1.0, -2.0, 3.0, -4.0], dtype=torch.float64)
    AdamW([p], lr=0.5, eps=1e-12).step()
    torch.testing.assert_close(p.detach().abs(), torch.full((4,), 0.5, dtype=torch.float64))


def test_without_a_gradient_to_follow_adamw_only_shrinks_by_lr_times_decay():
    p = nn.Parameter(torch.tensor([2.0]))
    p.grad = torch.zeros(1)
    AdamW([p], lr=0.5, weight_decay=0.1).step()
    assert p.item() == pytest.approx(2.0 * (1 - 0.5 * 0.1))


def test_a_gradient_that_lies_otherwise_in_memory_is_read_right():
    parameters = [nn.Parameter(torch.zeros(3, 4)) for _ in range(2)]
    gradient = torch.arange(12.0).view(4, 3).T - 5
    parameters[0].grad, parameters[1].grad = gradient, gradient.contiguous()
    AdamW(parameters, eps=1.0).step()
    assert torch.equal(*parameters)


def test_a_parameter_that_is_not_contiguous_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"shape \(3, 4\) is not contiguous.*store it"):
        AdamW([nn.Parameter(torch.zeros(4, 3).T)])


def test_a_sparse_gradient_is_an_error_that_says_what_to_do():
    embedding = nn.Embedding(4, 3, sparse=True)
    with torch.sparse.check_sparse_tensor_invariants():
        embedding(torch.tensor([1])).sum().backward()
        with pytest.raises(ValueError, match=r"shape \(4, 3\) is sparse.*sparse=False"):
            AdamW(embedding.parameters()).step()


# Muon


def walk_of_two(make):
    """Return a matrix and a vector after three steps of the optimizers that make gives them."""
    generator = torch.Generator().manual_seed(2)
    matrix, vector = (nn.Parameter(torch.ones(shape)) for shape in ((16, 8), (8,)))
    optimizers = make(matrix, vector)
    for _ in range(3):
        for p in (matrix, vector):
            p.grad = torch.randn(p.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()
    return matrix.detach(), vector.detach()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch is below 2.9")
def test_muon_is_torchs_for_the_matrix_and_our_adamw_for_the_rest():
    shared = {"lr": 0.1, "weight_decay": 0.1}
    together = walk_of_two(lambda m, v: [Muon([m], [v], **shared)])
    apart = walk_of_two(
        lambda m, v: [
            torch.optim.Muon([m], **shared, adjust_lr_fn="match_rms_adamw"),
            AdamW([v], **shared),
        ]
    )
    assert torch.equal(together[1], apart[1])
    torch.testing.assert_close(together[0], apart[0], rtol=0.01, atol=0.002)  # torch's is bfloat16


@pytest.mark.parametrize("shape", [(16, 8), (8, 16), (12, 12)])
def test_orthogonalising_changes_singular_values_as_five_polynomials_and_nothing_else(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    left, values, right = np.linalg.svd(matrix.numpy().astype(np.float64), full_matrices=False)
    values /= np.sqrt(np.square(values).sum())
    for _ in range(5):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    expected = torch.from_numpy((left * values) @ right).float()
    torch.testing.assert_close(newton_schulz(matrix), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", [(16, 8), (8, 16), (12, 12)])
def test_a_step_of_muon_turns_and_stretches_all_directions_alike(shape):
    p, vector = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(1))
    p.grad = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    Muon([p], [vector], lr=1.0).step()
    stretched = torch.linalg.svdvals(p.detach()) / (0.2 * max(shape) ** 0.5)
    assert 0.6 < stretched.min() <= stretched.max() < 1.3  # Newton-Schulz aims at 1 in five steps


def test_a_step_of_muon_is_about_as_long_as_one_of_adamw():
    p, vector = nn.Parameter(torch.zeros(64, 32)), nn.Parameter(torch.zeros(1))
    p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(3))
    Muon([p], [vector], lr=1.0).step()
    assert p.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.2)  # Liu et al., section 2.2


def test_muon_heeds_an_lr_that_is_set_after_a_state_was_loaded():
    matrix, vector = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4))
    optimizer = Muon([matrix], [vector])
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    matrix.grad, vector.grad = torch.ones(4, 4), torch.ones(4)
    optimizer.step()
    assert torch.equal(matrix, torch.ones(4, 4))
    assert torch.equal(vector, torch.ones(4))


def test_muon_refuses_what_is_no_matrix_by_its_shape():
    with pytest.raises(ValueError, match=r"steps matrices, not a parameter of shape \(2, 2, 2\)"):
        Muon([nn.Parameter(torch.ones(2, 2, 2))], [nn.Parameter(torch.ones(2))])


# Bad numbers


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        (SGD, {"lr": -1.0}),
        (SGD, {"lr": 1.0, "weight_decay": -0.5}),
        (SGD, {"lr": 1.0, "momentum": 1.0}),
        (SGD, {"lr": 1.0, "momentum": -0.5}),
        (AdamW, {"lr": -1.0}),
        (AdamW, {"betas": (1.0, 0.999)}),
        (AdamW, {"betas": (0.9, -0.5)}),
        (AdamW, {"eps": 0.0}),
        (AdamW, {"eps": -1.0}),
        (AdamW, {"weight_decay": -0.5}),
        (AdamW, {"lr": float("nan")}),
    ],
)
def test_a_bad_number_is_an_error_that_says_it(kind, numbers):
    bad = next(reversed(numbers.values()))
    bad = next((beta for beta in bad if not 0 <= beta < 1), None) if type(bad) is tuple else bad
    with pytest.raises(ValueError, match=str(bad)):
        kind([nn.Parameter(torch.ones(1))], **numbers)


@pytest.mark.parametrize("numbers", [{"lr": -1.0}, {"momentum": 1.5}, {"betas": (0.9, 2.0)}])
def test_a_bad_number_for_muon_is_an_error_that_says_it(numbers):
    with pytest.raises(ValueError, match=r"-1\.0|1\.5|2\.0"):
        Muon([nn.Parameter(torch.ones(2, 2))], [nn.Parameter(torch.ones(1))], **numbers)


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_a_bad_number_of_one_group_is_an_error_too(kind):
    with pytest.raises(ValueError, match=r"weight_decay must be 0 or more, not -0\.5"):
        kind([{"params": [nn.Parameter(torch.ones(1))], "weight_decay": -0.5}], lr=1.0)


# Who is stepped


def tiny(seed=0):
    torch.manual_seed(seed)
    return GPT(
        ModelConfig(
            vocab_size=11, context_length=4, d_model=8, n_heads=2, d_ff=16, dropout=0.0, n_layers=2
        )
    )


class Untied(nn.Module):
    """The outline of a decoder whose head is its own, and has a bias."""

    def __init__(self):
        super().__init__()
        self.token_embedding = nn.Embedding(5, 3)
        self.blocks = nn.ModuleList([nn.Linear(3, 3)])
        self.head = nn.Linear(3, 5)


def members(groups, model):
    """Return the names of model's parameters in each group."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {group["name"]: {names[id(p)] for p in group["params"]} for group in groups}


def test_every_trainable_parameter_is_in_exactly_one_group():
    model = tiny()
    listed = [id(p) for group in parameter_groups(model, 0.1, True) for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())


def test_matrices_of_the_blocks_are_hidden():
    model = tiny()
    expected = {n for n, p in model.blocks.named_parameters(prefix="blocks") if p.ndim == 2}
    assert members(parameter_groups(model, 0.1, True), model)["hidden"] == expected


def test_a_head_of_its_own_is_neither_hidden_nor_an_embedding():
    model = Untied()
    assert members(parameter_groups(model, 0.1, True), model) == {
        "hidden": {"blocks.0.weight"},
        "embedding": {"token_embedding.weight"},
        "head": {"head.weight"},
        "vector": {"blocks.0.bias", "head.bias"},
    }


def test_a_tied_head_is_an_embedding_once():
    model = Untied()
    model.head.weight = model.token_embedding.weight
    groups = members(parameter_groups(model, 0.1, True), model)
    assert (groups["embedding"], "head" in groups) == ({"token_embedding.weight"}, False)


@pytest.mark.parametrize("decay_embeddings", [True, False])
def test_matrices_decay_and_vectors_do_not_and_embeddings_as_told(decay_embeddings):
    decays = {
        g["name"]: g["weight_decay"] for g in parameter_groups(Untied(), 0.1, decay_embeddings)
    }
    embedding = 0.1 if decay_embeddings else 0.0
    assert decays == {"hidden": 0.1, "embedding": embedding, "head": 0.1, "vector": 0.0}


def test_a_frozen_parameter_is_in_no_group():
    model = Untied()
    model.head.requires_grad_(False)
    assert "head.bias" not in members(parameter_groups(model, 0.1, True), model)["vector"]


def test_in_any_model_a_matrix_is_hidden_and_what_has_more_dimensions_a_kernel():
    model = nn.ModuleDict({"mix": nn.Linear(3, 3, bias=False), "conv": nn.Conv1d(3, 3, 2)})
    assert members(parameter_groups(model, 0.1, True), model) == {
        "hidden": {"mix.weight"},
        "kernel": {"conv.weight"},
        "vector": {"conv.bias"},
    }


def test_a_function_may_give_some_parameters_another_role():
    model = Untied()
    groups = parameter_groups(
        model, 0.1, True, lambda name, p: "head" if name == "blocks.0.weight" else None
    )
    assert members(groups, model)["head"] == {"blocks.0.weight", "head.weight"}
    assert members(groups, model)["embedding"] == {"token_embedding.weight"}


def test_a_role_that_does_not_exist_is_an_error_that_names_it_and_the_parameter():
    with pytest.raises(ValueError, match=f"blocks.0.weight got the role 'x': .* {ROLES[-1]}"):
        parameter_groups(
            Untied(), 0.1, True, lambda name, p: "x" if name == "blocks.0.weight" else None
        )


@pytest.mark.parametrize("make", [SGD, AdamW, lambda ps, lr: Muon(ps[:1], ps[1:], lr)])
def test_a_step_calls_its_closure_and_returns_its_loss(make):
    matrix, vector = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    optimizer = make([matrix, vector], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (matrix @ vector).square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 8
    assert closure() < 8


@pytest.mark.parametrize("make", [SGD, AdamW, lambda ps, lr: Muon(ps[:1], ps[1:], lr)])
@pytest.mark.parametrize("filters", [(), ("slow",), ("orthogonal",), ("slow", "orthogonal")])
@pytest.mark.parametrize("is_named", [True, False])
def test_a_closure_steps_like_its_gradients_computed_before(make, filters, is_named):
    ends = []
    for with_closure in (True, False):
        generator = torch.Generator().manual_seed(0)
        matrix = nn.Parameter(torch.randn(3, 4, generator=generator))
        vector = nn.Parameter(torch.randn(4, generator=generator))
        pull = torch.randn(4, 3, generator=generator)
        optimizer = make([matrix, vector], lr=0.1)
        if "slow" in filters:
            amplify_slow_gradients(optimizer, 2.0, 0.9)
        if "orthogonal" in filters:
            orthogonalise_gradients(optimizer)

        def closure(optimizer=optimizer, matrix=matrix, vector=vector, pull=pull):
            optimizer.zero_grad()
            # of a transposed matrix the gradient is transposed in memory too
            loss = ((matrix.T * pull).sum(1) @ vector).square() + vector.sin().sum()
            loss.backward()
            return loss

        for _ in range(4):
            if not with_closure:
                closure()
                optimizer.step()
            elif is_named:
                optimizer.step(closure=closure)
            else:
                optimizer.step(closure)
        ends.append((matrix, vector))
    for one, other in zip(*ends, strict=True):
        assert torch.equal(one, other)


# From numbers to an optimizer, into a checkpoint and back


def build(kind, model, **changes):
    momentum = {} if kind == "adamw" else {"momentum": 0.9}
    config = OptimizerConfig(**{"kind": kind, "lr": 0.01, "weight_decay": 0.1} | momentum | changes)
    return build_optimizer(config, model)


def descend(model, optimizer, steps):
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.tensor([[step % 11, 3, 1, 4]])).square().mean().backward()
        optimizer.step()


def bits(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).view(torch.int32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_trainable_parameter_is_moved(kind):
    model = tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    descend(model, build(kind, model), steps=2)
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("sgd", {"lr": 0.25, "momentum": 0.7}),
        ("adamw", {"lr": 0.25, "betas": (0.5, 0.6), "eps": 0.25}),
        ("muon", {"lr": 0.25, "momentum": 0.7, "betas": (0.5, 0.6), "eps": 0.25}),
    ],
)
def test_numbers_reach_the_groups_that_read_them(kind, numbers):
    groups = build(kind, tiny(), **numbers).param_groups
    assert {group["lr"] for group in groups} == {0.25}
    assert all(value in [group.get(name) for group in groups] for name, value in numbers.items())


FILTERS = {"grokfast_lambda": 2.0, "orthogonal_gradients": True}


@pytest.mark.parametrize("filters", [{}, FILTERS], ids=["plain", "filtered"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_from_a_checkpoint_to_the_bit(kind, filters, tmp_path):
    model, again = tiny(), tiny(seed=1)
    optimizer, resumed = build(kind, model, **filters), build(kind, again, **filters)
    descend(model, optimizer, steps=3)
    save_checkpoint(tmp_path / "checkpoint", model, optimizer, 3)
    load_checkpoint(tmp_path / "checkpoint", again, resumed)
    descend(model, optimizer, steps=3)
    descend(again, resumed, steps=3)
    assert torch.equal(bits(model), bits(again))


# Grokfast's filter and orthogonal gradients


def gradients(steps=100, size=7, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, size))


def fed(optimizer_kind, some_gradients, change=None, **options):
    """Return where steps lead that are taken with some_gradients, after change to the optimizer."""
    p = nn.Parameter(torch.linspace(-1, 1, some_gradients.shape[1], dtype=torch.float64))
    optimizer = optimizer_kind([p], lr=1e-2, **options)
    if change:
        change(optimizer)
    for gradient in some_gradients:
        p.grad = torch.tensor(gradient)
        optimizer.step()
    return p.detach()


def amplified(some_gradients, gain, memory):
    """Return gradients filtered by the formula of Grokfast, in NumPy."""
    out, mean = [], some_gradients[0]
    for g in some_gradients:
        mean = memory * mean + (1 - memory) * g
        out.append(g + gain * mean)
    return np.array(out)


@pytest.mark.parametrize("kind", [SGD, AdamW])
@pytest.mark.parametrize(("gain", "memory"), [(2.0, 0.98), (5.0, 0.0), (0.5, 0.9)])
def test_a_hundred_filtered_steps_equal_steps_along_grokfasts_formula(kind, gain, memory):
    ours = fed(kind, gradients(), lambda opt: amplify_slow_gradients(opt, gain, memory))
    theirs = fed(kind, amplified(gradients(), gain, memory))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@given(gain=st.floats(0, 10), memory=st.floats(0, 0.999))
def test_a_gradient_that_never_changes_is_multiplied_by_one_more_than_the_gain(gain, memory):
    same = np.tile(gradients(1), (20, 1))
    ours = fed(SGD, same, lambda opt: amplify_slow_gradients(opt, gain, memory))
    torch.testing.assert_close(ours, fed(SGD, (1 + gain) * same), rtol=0, atol=1e-12)


def test_what_has_no_gradient_keeps_its_slow_gradient():
    p = nn.Parameter(torch.zeros(1))
    optimizer = SGD([p], lr=1.0)
    amplify_slow_gradients(optimizer, 1.0, 0.5)
    for gradient in (torch.ones(1), None, torch.zeros(1)):
        p.grad = gradient
        optimizer.step()
    assert p.item() == -(1 + 1) - 0.5


@pytest.mark.parametrize(
    "bad", [{"grokfast_lambda": -1.0}, {"grokfast_alpha": 1.0}, {"grokfast_alpha": -0.5}]
)
def test_a_bad_number_for_the_filter_is_an_error_that_says_it(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} {next(iter(bad.values()))} "):
        amplify_slow_gradients(SGD([nn.Parameter(torch.ones(1))], 1.0), **WELL | bad)


WELL = {"grokfast_lambda": 2.0, "grokfast_alpha": 0.98}


def made_orthogonal(weight, gradient):
    """Return the gradient with which a step is taken, as float64 in NumPy."""
    p = nn.Parameter(torch.from_numpy(weight))
    optimizer = SGD([p], lr=0.0)
    orthogonalise_gradients(optimizer)
    p.grad = torch.from_numpy(gradient)
    optimizer.step()
    return p.grad.double().numpy()


@given(seed=st.integers(0, 100), scale=st.floats(1e-6, 1e6))
def test_an_orthogonal_gradient_is_the_papers_formula_at_the_gradients_norm(seed, scale):
    w, g = np.random.default_rng(seed).normal(size=(2, 3, 4)) * [[[scale]], [[1.0]]]
    expected = g - (w * g).sum() / (w * w).sum() * w
    expected *= np.linalg.norm(g) / np.linalg.norm(expected)
    np.testing.assert_allclose(made_orthogonal(w, g.copy()), expected, rtol=0, atol=1e-12)


@given(seed=st.integers(0, 100))
def test_a_step_along_an_orthogonal_gradient_changes_the_norm_in_second_order_only(seed):
    w, g = np.random.default_rng(seed).normal(size=(2, 3, 4)).astype(np.float32)
    stepped = w - 1e-3 * made_orthogonal(w, g.copy())
    assert np.linalg.norm(stepped) == pytest.approx(
        np.hypot(np.linalg.norm(w), 1e-3 * np.linalg.norm(g)), rel=1e-6
    )


def test_a_weight_of_zero_leaves_the_gradient_as_it_is():
    assert made_orthogonal(np.zeros(3), np.ones(3)).tolist() == [1, 1, 1]


@given(seed=st.integers(0, 100), size=st.integers(1, 1000))
def test_of_a_gradient_along_its_weight_nothing_is_left(seed, size):
    w = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    assert not made_orthogonal(w, (0.3 * w).astype(np.float32)).any()


def test_a_gradient_of_zero_stays_zero():
    assert not made_orthogonal(np.ones(3), np.zeros(3)).any()


def test_the_model_is_stepped_with_amplified_gradients_made_orthogonal():
    model = tiny()
    optimizer = build("sgd", model, **FILTERS, weight_decay=0.0)
    descend(model, optimizer, steps=2)
    for p in model.parameters():
        cosine = nn.functional.cosine_similarity(
            (p + 0.01 * optimizer.state[p]["velocity"]).detach().flatten(), p.grad.flatten(), 0
        )
        assert abs(cosine) < 1e-5


# Clipping


def with_gradients(seed, scale):
    """Return parameters with random gradients, one of them without."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((3,), (2, 4), (), (5,))]
    for p in parameters[:-1]:
        p.grad = scale * torch.randn(p.shape, generator=generator)
    return parameters


@given(seed=st.integers(0, 100), scale=st.floats(1e-3, 1e3), max_norm=st.floats(0.01, 100))
def test_clipping_equals_torchs(seed, scale, max_norm):
    ours, theirs = with_gradients(seed, scale), with_gradients(seed, scale)
    norm = clip_gradient(ours, max_norm)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(theirs, max_norm))
    for p, q in zip(ours[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@given(seed=st.integers(0, 100), scale=st.floats(1e-3, 1e3), max_norm=st.floats(0.01, 100))
def test_no_clipped_gradient_is_longer_than_the_limit(seed, scale, max_norm):
    parameters = with_gradients(seed, scale)
    clip_gradient(parameters, max_norm)
    after = torch.cat([p.grad.flatten() for p in parameters[:-1]]).norm()
    assert after <= max_norm * (1 + 1e-6)


def test_a_gradient_below_the_limit_is_not_touched():
    parameters = with_gradients(0, 1.0)
    before = [p.grad.clone() for p in parameters[:-1]]
    clip_gradient(parameters, 1e3)
    assert all(torch.equal(p.grad, g) for p, g in zip(parameters[:-1], before, strict=True))


def test_without_any_gradient_the_norm_is_zero_as_in_torch():
    parameters = [nn.Parameter(torch.ones(2))]
    assert clip_gradient(parameters, 1.0) == nn.utils.clip_grad_norm_(parameters, 1.0) == 0


def test_parameters_may_come_from_a_generator():
    parameters = with_gradients(0, 1.0)
    assert clip_gradient((p for p in parameters), 1.0) == clip_gradient(with_gradients(0, 1.0), 1.0)
