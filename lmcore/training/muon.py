"""Muon: momentum steps with orthogonalised updates for hidden matrices, AdamW for the rest."""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmcore.boundary import checked
from lmcore.training.adamw import AdamW
from lmcore.training.gradients import check_numbers, loss_of, parameters_of


@torch.no_grad()
def newton_schulz(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Return approximately the nearest matrix whose singular values are all 1.

    Five steps with the coefficients of Jordan et al. 2024, which bring them between 0.6 and 1.3.
    Computed in bfloat16 on a GPU and in float32 on a CPU, where bfloat16 is often emulated.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.to(torch.bfloat16 if matrix.is_cuda else torch.float32)
    x = x.T if is_tall else x
    x = x / torch.linalg.matrix_norm(x).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (2.0315 * gram @ gram - 4.775 * gram) @ x
    return (x.T if is_tall else x).to(matrix.dtype)


class _MatrixMuon(torch.optim.Optimizer):
    """Muon's step, for matrices only."""

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
    """Steps hidden matrices along their orthogonalised momentum (Jordan et al. 2024).

    AdamW steps the rest: embeddings, head, norms and biases. A matrix's update is scaled by
    0.2 √max(rows, columns), so that its root mean square is about that of AdamW, and the same lr
    and weight_decay suit both (Liu et al. 2025, 2502.16982). The momentum is Nesterov's. We differ
    from torch's Muon only in the precision of `newton_schulz`.

    Raises:
        ValueError: a hidden parameter is not a matrix, or a number is out of its range.
    """

    @checked
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
        matrices = _MatrixMuon(hidden, numbers)
        for p in parameters_of(matrices):
            if p.ndim != 2:
                raise ValueError(f"Muon steps matrices, not a parameter of shape {tuple(p.shape)}")
        others = AdamW(rest, lr, betas, eps, weight_decay)
        super().__init__(matrices.param_groups + others.param_groups, {})
        check_numbers(self.param_groups)
        self.matrices, self.others = matrices, others

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor | float] | None = None) -> Tensor | float | None:
        """Take one step along the present gradients; return the closure's loss, if one is given."""
        loss = loss_of(closure)
        n = len(self.matrices.param_groups)
        parts = ((self.matrices, self.param_groups[:n]), (self.others, self.param_groups[n:]))
        for part, groups in parts:  # load_state_dict makes new groups and a new state
            part.param_groups, part.state = groups, self.state
            part.step()
        return loss
