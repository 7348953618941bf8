"""lmcore import: a GPT-2 or a Llama from a folder that transformers wrote."""

from pathlib import Path
from typing import Annotated

import tyro

from lmcore.generation.saved_model import load, save


def run(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    out: Annotated[Path | None, tyro.conf.arg(metavar="MODEL")] = None,
) -> None:
    """Save a GPT-2 or a Llama of transformers as a model of ours, in float32.

    `lmcore generate MODEL` and `lmcore evaluate MODEL TEXT` open it. They open DIR itself too, but
    that is read anew and converted each time.

    Args:
        folder: Folder with config.json, model.safetensors and tokenizer.json (or vocab.json and
            merges.txt), as from_pretrained of transformers reads it.
        out: Folder to write. None: models/ and the name of DIR.
    """
    out = out or Path("models") / folder.resolve().name
    if out.resolve() == folder.resolve():
        raise ValueError(f"{out} is the folder to import: name another one with --out")
    lm = load(folder)
    save(out, lm.model, lm.tokenizer, eos_token=lm.eos_tokens)
    model = lm.model.config
    print(
        f"wrote {out}: {model.n_parameters:,} parameters, {model.n_layers} layers, "
        f"d_model {model.d_model}, context {model.context_length}, vocabulary {model.vocab_size:,}"
    )
    print(f"next: lmcore generate {out}")
