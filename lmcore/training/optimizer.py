"""SGD, AdamW and Muon, which of a model's parameters each of them steps, and what is done to
gradients: clipping, Grokfast's filter, orthogonal gradients.

In all three the decay is decoupled: it shrinks a weight by lr · weight_decay of itself.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmcore.training.config import OptimizerConfig


class SGD(torch.optim.Optimizer):
    """Steps along the velocity: v ← momentum · v + grad, p ← p - lr · (v + weight_decay · p).

    With no momentum v is the gradient and nothing is kept. With momentum we differ from torch in
    the decay, which it sends through v; ours stays outside, decoupled as in SGDW (Loshchilov &
    Hutter 2019, 1711.05101).
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        _require_sensible(self.param_groups)

    @torch.no_grad()
    def step(self) -> None:
        """Take one step with the gradients as they stand."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(self._velocity(p, group["momentum"]), alpha=-group["lr"])

    def _velocity(self, p: nn.Parameter, momentum: float) -> Tensor:
        if momentum == 0:
            return p.grad
        state = self.state[p]
        if not state:
            state["velocity"] = torch.zeros_like(p)
        return state["velocity"].mul_(momentum).add_(p.grad)


class AdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, 1711.05101, algorithm 2).

    At step t, counted from 1 for each parameter p with gradient g, and with (β₁, β₂) = betas:

        p ← p - lr · weight_decay · p
        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²
        p ← p - lr · m̂ / (√v̂ + eps)    where m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ)

    In the paper the schedule alone scales the decay; here, as in torch, all of lr does. The steps
    are taken by torch's fused kernel: one pass over memory, where these lines as tensor operations
    would take one for each operation.

    Raises:
        ValueError: a number makes no sense, a parameter is not contiguous, or in a step, a gradient
            is sparse.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, fused=True)
        _require_sensible(self.param_groups)
        for p in _parameters(self.param_groups):
            if not p.is_contiguous():
                raise ValueError(
                    f"a parameter of shape {tuple(p.shape)} is not contiguous in memory, "
                    "and AdamW's kernel would mix up its numbers: store it .contiguous()"
                )
        self.register_step_pre_hook(_lay_out_gradients)

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from state_dict, whose groups may have been through JSON."""
        super().load_state_dict(state_dict)
        _restore_tuples(self.param_groups)


def _lay_out_gradients(optimizer: AdamW, args: tuple, kwargs: dict) -> None:
    for p in _parameters(optimizer.param_groups):
        gradient = p.grad
        if gradient is None:
            continue
        if gradient.is_sparse:
            raise ValueError(
                f"the gradient of a parameter of shape {tuple(p.shape)} is sparse: "
                "AdamW takes dense ones, as an nn.Embedding(sparse=False) has"
            )
        # The kernel reads plain memory: strides other than p's give wrong numbers, in silence.
        if gradient.stride() != p.stride():
            p.grad = torch.empty_like(p).copy_(gradient)


@torch.no_grad()
def newton_schulz(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Return about the nearest matrix whose singular values are all 1.

    They come out between 0.6 and 1.3: five steps of Newton-Schulz, with the numbers of Jordan et
    al. 2024, aim no closer. Taken in bfloat16 on a GPU; on a CPU in float32, since a processor
    without bfloat16 takes many times as long in it.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.to(torch.bfloat16 if matrix.is_cuda else torch.float32)
    x = x.T if is_tall else x
    x = x / torch.linalg.matrix_norm(x).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (2.0315 * gram @ gram - 4.775 * gram) @ x
    return (x.T if is_tall else x).to(matrix.dtype)


class _Orthogonal(torch.optim.Optimizer):
    """Muon's step for matrices alone."""

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
                velocity.lerp_(p.grad, 1 - group["momentum"])
                update = newton_schulz(p.grad.lerp(velocity, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


class Muon(torch.optim.Optimizer):
    """Steps hidden matrices along their momentum, `newton_schulz` (Jordan et al. 2024).

    The rest (embeddings, head, norms, biases) is stepped by AdamW. A matrix's update is scaled by
    0.2 √max(rows, columns), so that its root mean square is about AdamW's and one lr and one
    weight_decay serve both, those that suit AdamW alone (Liu et al. 2025, 2502.16982). The momentum
    is Nesterov's. All this is torch's Muon, but for what `newton_schulz` computes in.

    Raises:
        ValueError: a hidden parameter is no matrix.
    """

    def __init__(
        self,
        hidden: Iterable[nn.Parameter] | Iterable[dict],
        rest: Iterable[nn.Parameter] | Iterable[dict],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        numbers = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        matrices = _Orthogonal(hidden, numbers)
        for p in _parameters(matrices.param_groups):
            if p.ndim != 2:
                raise ValueError(f"Muon turns matrices, not a parameter of shape {tuple(p.shape)}")
        others = AdamW(rest, lr, betas, eps, weight_decay)
        super().__init__(matrices.param_groups + others.param_groups, {})
        _require_sensible(self.param_groups)
        self.matrices, self.others = matrices, others

    @torch.no_grad()
    def step(self) -> None:
        """Take one step with the gradients as they stand."""
        n = len(self.matrices.param_groups)
        parts = ((self.matrices, self.param_groups[:n]), (self.others, self.param_groups[n:]))
        for part, groups in parts:  # groups and state are new objects once a state was loaded
            part.param_groups, part.state = groups, self.state
            part.step()

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from state_dict, whose groups may have been through JSON."""
        super().load_state_dict(state_dict)
        _restore_tuples(self.param_groups)


def _parameters(groups: list[dict]) -> Iterable[nn.Parameter]:
    return (p for group in groups for p in group["params"])


def _require_sensible(groups: list[dict]) -> None:
    for group in groups:
        for name in ("lr", "weight_decay"):
            if not group[name] >= 0:
                raise ValueError(f"{name} must be 0 or more, not {group[name]}")
        for share in (group.get("momentum", 0.0), *group.get("betas", ())):
            if not 0 <= share < 1:
                raise ValueError(f"momentum and betas must be in [0, 1), not {share}")
        if not group.get("eps", 1.0) > 0:
            raise ValueError(f"eps must be above 0, not {group['eps']}")


def _restore_tuples(groups: list[dict]) -> None:
    for group in groups:
        if "betas" in group:
            group["betas"] = tuple(group["betas"])


def parameter_groups(model: nn.Module, weight_decay: float, decay_embeddings: bool) -> list[dict]:
    """Return model's trainable parameters in groups by their role, each in exactly one.

    `hidden` are the matrices in `model.blocks`, `embedding` the weights of every nn.Embedding, a
    head that shares one included, `head` that of an own `model.head`. `vector` is what has fewer
    than two dimensions (norms, biases, gains) and never decays. A role that nothing has is absent.

    Raises:
        ValueError: a parameter has none of these roles.
    """
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}

    def role(name: str, p: nn.Parameter) -> str:
        if id(p) in embeddings:
            return "embedding"
        if p.ndim < 2:
            return "vector"
        if p.ndim == 2 and name.startswith("blocks."):
            return "hidden"
        if name == "head.weight":
            return "head"
        raise ValueError(
            f"{name} of shape {tuple(p.shape)} is neither a vector, an embedding, a matrix in "
            "blocks nor the head: give it a role in lmcore.training.optimizer.parameter_groups"
        )

    decays = {"hidden": True, "embedding": decay_embeddings, "head": True, "vector": False}
    members: dict[str, list[nn.Parameter]] = {name: [] for name in decays}
    for name, p in model.named_parameters():
        if p.requires_grad:
            members[role(name, p)].append(p)
    return [
        {"name": name, "params": params, "weight_decay": weight_decay if decays[name] else 0.0}
        for name, params in members.items()
        if params
    ]


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer that config describes, over the parameter_groups of model.

    Each group keeps lr as its `peak_lr`, which a schedule's multiplier scales to the lr of a step.
    Slow gradients are amplified before gradients are made orthogonal.
    """
    groups = parameter_groups(model, config.weight_decay, config.decay_embeddings)
    for group in groups:
        group["peak_lr"] = config.lr
    momentum, decay = config.effective_momentum, config.weight_decay
    adam = {"betas": config.betas, "eps": config.eps, "weight_decay": decay}
    if config.kind == "sgd":
        optimizer = SGD(groups, config.lr, decay, momentum)
    elif config.kind == "adamw":
        optimizer = AdamW(groups, config.lr, **adam)
    else:
        hidden = [group for group in groups if group["name"] == "hidden"]
        rest = [group for group in groups if group["name"] != "hidden"]
        optimizer = Muon(hidden, rest, config.lr, momentum, **adam)
    if config.grokfast_lambda:
        amplify_slow_gradients(optimizer, config.grokfast_lambda, config.grokfast_alpha)
    if config.orthogonal_gradients:
        orthogonalise_gradients(optimizer)
    return optimizer


def amplify_slow_gradients(optimizer: torch.optim.Optimizer, gain: float, memory: float) -> None:
    """Make optimizer step with what slowly changes in the gradients amplified.

    This is Grokfast-EMA (Lee et al. 2024, 2405.20233). Of each gradient g a moving mean is kept:

        μ ← memory · μ + (1 - memory) · g
        g ← g + gain · μ

    As in the authors' code μ begins as the first g. It is part of the optimizer's state.

    Raises:
        ValueError: gain is below 0, or memory not in [0, 1).
    """
    if not (gain >= 0 and 0 <= memory < 1):
        raise ValueError(f"gain {gain} must be 0 or more, memory {memory} in [0, 1)")
    means: dict[nn.Parameter, Tensor] = {}

    def filter_gradients(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        for p in _parameters(optimizer.param_groups):
            if p.grad is not None:
                # Not left in the state: torch's AdamW takes a parameter with any for a known one.
                mean = optimizer.state[p].pop("slow_gradient", p.grad)
                means[p] = mean.lerp(p.grad, 1 - memory)
                p.grad.add_(means[p], alpha=gain)

    def keep_means(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        while means:
            p, mean = means.popitem()
            optimizer.state[p]["slow_gradient"] = mean

    optimizer.register_step_pre_hook(filter_gradients)
    optimizer.register_step_post_hook(keep_means)


def orthogonalise_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Make optimizer step with each gradient made orthogonal to its parameter, at its old norm.

    This is ⊥Grad (Prieto et al. 2025, 2501.04697), for each parameter w taken as one vector:

        g ← g - (w · g / w · w) w

    The norm is kept as in the authors' code. We differ from it where g is parallel to w but for
    rounding, as a single number always is: nothing is left of it.
    """
    optimizer.register_step_pre_hook(_orthogonalise)


@torch.no_grad()
def _orthogonalise(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
    for p in _parameters(optimizer.param_groups):
        if p.grad is None:
            continue
        limits = torch.finfo(p.dtype)
        before = torch.linalg.vector_norm(p.grad)
        p.grad.sub_(p * ((p * p.grad).sum() / p.square().sum().clamp(min=limits.tiny)))
        after = torch.linalg.vector_norm(p.grad)
        is_rounding = after <= 8 * limits.eps * before
        p.grad.mul_(torch.where(is_rounding, 0.0, before / after))


@torch.no_grad()
def clip_gradient(params: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale the gradients in place to a global L2 norm of at most max_norm; return the norm before.

    Parameters without a gradient do not count. As in torch, 1e-6 is added to the norm, and the
    norm of no gradients is zero.
    """
    gradients = [p.grad for p in params if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = global_norm(gradients)
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, scale)
    return norm


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the L2 norm of all numbers in tensors together."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
