"""lmcore export: a trained model as a folder that another library opens."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from lmcore.generation.saved_model import load, save, why_not_transformers


def run(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    to: Literal["transformers"] = "transformers",
) -> None:
    """Write model and tokenizer to a folder that transformers opens as a GPT-2 or a Llama.

    AutoModelForCausalLM.from_pretrained and AutoTokenizer.from_pretrained open it, and so do
    generate and evaluate. A model that is neither in shape is refused with what differs.

    Args:
        folder: A saved model: a finished run, or a folder that lmcore.save or transformers wrote.
        out: Folder to write; files of a model there are replaced.
        to: The library that opens it.
    """
    lm = load(folder)
    reason = why_not_transformers(lm.model)
    if reason is not None:
        raise ValueError(f"{folder} cannot be exported to {to}: {reason}")
    save(out, lm.model, lm.tokenizer, eos_token=lm.eos_tokens)
    print(f"wrote {out}, for AutoModelForCausalLM.from_pretrained({str(out)!r})")
