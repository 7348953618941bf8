"""Text and next-token probabilities from a model."""

import torch
from jaxtyping import Float
from torch import Tensor

from lmcore.model import GPT


@torch.no_grad()
def next_probabilities(model: GPT, ids: list[int]) -> Float[Tensor, "vocab"]:
    """Return the probabilities of the token after ids, of which the last context's worth count."""
    was_training = model.training
    model.eval()
    window = ids[-model.config.context_length :]
    device = model.head_weight.device
    logits = model(torch.tensor([window], device=device))[0, -1]
    model.train(was_training)
    return logits.float().softmax(-1).cpu()


def draw(
    probabilities: Float[Tensor, "vocab"], temperature: float, generator: torch.Generator
) -> int:
    """Return an id drawn after the probabilities are raised to 1/temperature; 0 takes the best."""
    if temperature == 0:
        return int(probabilities.argmax())
    sharpened = (probabilities.log() / temperature).softmax(-1)
    return int(torch.multinomial(sharpened, 1, generator=generator))


def generate(
    model: GPT,
    ids: list[int],
    n_new: int,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    stop_id: int | None = None,
) -> list[int]:
    """Return up to n_new ids that follow ids, without stop_id, which ends them.

    Beyond the model's context the oldest ids are forgotten.

    Raises:
        ValueError: there is nothing to go on from, or temperature is negative.
    """
    if not ids:
        raise ValueError("generation needs at least one id to go on from, such as <eos>")
    if temperature < 0:
        raise ValueError(f"temperature {temperature} is negative; 0 is greedy")
    generator = torch.Generator().manual_seed(seed)
    out = list(ids)
    for _ in range(n_new):
        id = draw(next_probabilities(model, out), temperature, generator)
        if id == stop_id:
            break
        out.append(id)
    return out[len(ids) :]
