"""What is done to gradients before a step: clipping, Grokfast's filter, orthogonal gradients."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn


def parameters_of(optimizer: torch.optim.Optimizer) -> Iterable[nn.Parameter]:
    """Return the parameters in all groups of optimizer."""
    return (p for group in optimizer.param_groups for p in group["params"])


def loss_of(closure: Callable[[], Tensor | float] | None) -> Tensor | float | None:
    """Return the loss that an optimizer's closure computes, with gradients on."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def evaluate_closure(
    optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict
) -> tuple[tuple, dict] | None:
    """Compute the gradients of step(closure) now, as a hook before steps.

    Hooks after it see these gradients. The step gets a closure that only returns the loss.
    """
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)  # args[0] is the optimizer
    if closure is None:
        return None
    loss = loss_of(closure)
    return args[:1], {"closure": lambda: loss}


def check_numbers(groups: Sequence[dict]) -> None:
    """Raise ValueError if a hyperparameter of an optimizer's groups is out of its range."""
    for group in groups:
        for name in ("lr", "weight_decay"):
            if not group[name] >= 0:
                raise ValueError(f"{name} must be 0 or more, not {group[name]}")
        for share in (group.get("momentum", 0.0), *group.get("betas", ())):
            if not 0 <= share < 1:
                raise ValueError(f"momentum and betas must be in [0, 1), not {share}")
        if not group.get("eps", 1.0) > 0:
            raise ValueError(f"eps must be above 0, not {group['eps']}")


def amplify_slow_gradients(
    optimizer: torch.optim.Optimizer, grokfast_lambda: float, grokfast_alpha: float
) -> None:
    """Make optimizer amplify what changes slowly in the gradients before each step.

    This is Grokfast-EMA (Lee et al. 2024, 2405.20233), with a moving mean μ of each gradient g:

        μ ← alpha · μ + (1 - alpha) · g
        g ← g + lambda · μ

    As in the authors' code μ starts as the first g. It is part of the optimizer's state.

    Raises:
        ValueError: grokfast_lambda is below 0, or grokfast_alpha not in [0, 1).
    """
    if not (grokfast_lambda >= 0 and 0 <= grokfast_alpha < 1):
        raise ValueError(
            f"grokfast_lambda {grokfast_lambda} must be 0 or more, "
            f"grokfast_alpha {grokfast_alpha} in [0, 1)"
        )
    means: dict[nn.Parameter, Tensor] = {}

    def filter_gradients(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        for p in parameters_of(optimizer):
            if p.grad is not None:
                # Not left in the state: torch's AdamW sets up only parameters without any state.
                mean = optimizer.state[p].pop("slow_gradient", p.grad)
                means[p] = mean.lerp(p.grad, 1 - grokfast_alpha)
                p.grad.add_(means[p], alpha=grokfast_lambda)

    def store_means(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        while means:
            p, mean = means.popitem()
            optimizer.state[p]["slow_gradient"] = mean

    optimizer.register_step_pre_hook(evaluate_closure)
    optimizer.register_step_pre_hook(filter_gradients)
    optimizer.register_step_post_hook(store_means)


def orthogonalise_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Make optimizer turn each gradient orthogonal to its parameter, at the same norm.

    This is ⊥Grad (Prieto et al. 2025, 2501.04697), for each parameter w taken as one vector:

        g ← g - (w · g / w · w) w

    The norm is restored as in the authors' code. We differ from it where g is parallel to w up to
    rounding, as a single number always is: the result is zero.
    """
    optimizer.register_step_pre_hook(evaluate_closure)
    optimizer.register_step_pre_hook(_orthogonalise)


@torch.no_grad()
def _orthogonalise(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
    for p in parameters_of(optimizer):
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

    Parameters without a gradient are skipped. As in torch, 1e-6 is added to the norm, and without
    any gradient the norm is zero.
    """
    gradients = [p.grad for p in params if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = global_norm(gradients)
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, scale)  # pyright: ignore[reportPrivateImportUsage]
    return norm


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the L2 norm of all numbers in tensors together."""
    norms = torch._foreach_norm(list(tensors))  # pyright: ignore[reportPrivateImportUsage]
    return torch.linalg.vector_norm(torch.stack(norms))
