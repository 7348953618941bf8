"""Write what the site's widgets run on, models, merges and curves, and the losses of one title."""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import save

from lmcore.evaluation.scores import token_nats
from lmcore.experiments.run_folder import Run, load_run
from lmcore.files import whole_file, write_text
from lmcore.generation.language_model import LanguageModel
from lmcore.generation.saved_model import load_tokenizer
from lmcore.generation.web_export import read_web_export, tokenizer_tensors, web_export
from lmcore.model.gpt import GPT
from lmcore.report.plotting import METADATA, OURS, REFERENCE, use_style
from lmcore.report.tables import nats_per_character_of, select, validation
from lmcore.report.text import in_figure
from lmcore.report.web_curves import web_curves
from lmcore.studies import all_studies
from lmcore.studies.adamw_swap.experiments import NAMES
from lmcore.studies.adamw_swap.figures import COLORS
from lmcore.studies.headlines.measures import completed
from lmcore.training.checkpoint import load_weights, step_of

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]


def language_model(run: Run, checkpoint: Path, tokenizer: Path) -> LanguageModel:
    """Return the model of a finished run, from its last checkpoint.

    Raises:
        ValueError: the checkpoint is of another step than the run's last, or the tokenizer is
            another than the run's.
    """
    last = run.records[-1]["step"]
    if step_of(checkpoint) != last:
        raise ValueError(f"{checkpoint} is not of the run's last step, {last}")
    lm = LanguageModel(GPT(run.config.model).eval(), load_tokenizer(tokenizer))
    expected = run.environment["data"]["tokenizer"]
    if lm.tokenizer.fingerprint != expected:
        raise ValueError(
            f"{tokenizer} has the tokenizer {lm.tokenizer.fingerprint}, and the run {expected}"
        )
    load_weights(checkpoint, lm.model)
    return lm


def about(run: Run) -> dict[str, Any]:
    """Return what the page says about the model of a run."""
    config = run.config
    return {
        "run": f"{config.study}/{config.name}/seed{config.seed}",
        "commit": run.environment["sessions"][-1]["commit"][:7],
        "parameters": config.model.n_parameters,
        "nats_per_token": round(validation(run).loss, 4),
        "bits_per_byte": round(validation(run).bpb, 4),
    }


def write_model(options: argparse.Namespace) -> Path:
    """Write the model of a finished run; return the file."""
    run = load_run(options.run, all_studies()[options.run.parts[-3]].config_type)
    lm = language_model(run, options.checkpoint, options.tokenizer)
    path = FOLDER / "models" / f"{run.config.study}-{run.config.name}.safetensors"
    with whole_file(path) as file:
        file.write_bytes(web_export(lm, about(run)))
    return path


def write_merges(options: argparse.Namespace) -> Path:
    """Write the merges of a tokenizer for the page that cuts text; return the file."""
    tokenizer = load_tokenizer(options.tokenizer)
    text = {"special_tokens": len(tokenizer.special_tokens), "about": options.about}
    tensors = {"tokenizer.merges": tokenizer_tensors(tokenizer)["tokenizer.merges"]}
    path = FOLDER / "data" / f"{options.name}-merges.safetensors"
    with whole_file(path) as file:
        file.write_bytes(save(tensors, {"lmcore": json.dumps(text)}))
    return path


def swap_curves() -> dict[str, Any]:
    """Return the curves of the AdamW swap's loss figure, from the committed runs."""
    folders = [ROOT / "results" / "adamw_swap" / name for name in NAMES.values()]
    paths = [path.parent for folder in folders for path in sorted(folder.glob("*/config.json"))]
    runs = completed([load_run(path, all_studies()["adamw_swap"].config_type) for path in paths])
    groups = {shown: select(runs, name) for shown, name in NAMES.items()}
    label = "validation loss, nats per character"
    return web_curves(groups, COLORS, nats_per_character_of("validation"), label)


def write_curves(options: argparse.Namespace) -> Path:
    """Write the curves; return the file."""
    path = FOLDER / "data" / "adamw-swap-curves.json"
    write_text(path, json.dumps(swap_curves()) + "\n")
    return path


TITLE = " Time Warner will spend $100M on Snapchat original shows and ads"
"""A title of the challenge's own data, whose losses are drawn token by token."""
SHOWN_MODELS = {
    "record-sgd-as-given": ("SGD as in the baseline", REFERENCE),
    "record-muon": ("Muon with RoPE", OURS),
}
"""The models of the page by file, with name and colour."""


def title_losses() -> dict[str, Any]:
    """Return the tokens of TITLE and <eos>, and each shown model's loss on them, in nats."""
    losses, tokens = {}, []
    for name in SHOWN_MODELS:
        lm, _ = read_web_export(FOLDER / "models" / f"{name}.safetensors")
        eos_id = lm.tokenizer.special_id("<eos>")
        ids = torch.tensor([eos_id, *lm.tokenizer.encode(TITLE), eos_id])
        nats, _ = token_nats(lm.model, [(ids[None, :-1], ids[None, 1:])])
        losses[name] = [round(loss, 3) for loss in nats.tolist()]
        tokens = [lm.tokenizer.decode([id]) for id in ids[1:].tolist()]
    return {"tokens": tokens, "losses": losses}


def plot_losses(found: dict[str, Any]) -> Figure:
    """Return the loss of each token of a title, a row for each token and a dot for each model."""
    fig, ax = plt.subplots(figsize=(4.6, 1.1 + 0.24 * len(found["tokens"])))
    rows = range(len(found["tokens"]))
    values = np.array(list(found["losses"].values()))
    ax.hlines(rows, values.min(0), values.max(0), color="#d0d4d9", lw=2, zorder=0)
    for name, (shown, color) in SHOWN_MODELS.items():
        losses = found["losses"][name]
        label = f"{shown}: mean {np.mean(losses):.2f}"
        ax.plot(losses, rows, "o", ms=6, color=color, label=label)
    ax.set_yticks(rows, [in_figure(token.replace(" ", "\u2423")) for token in found["tokens"]])
    ax.invert_yaxis()
    ax.set_xlim(0, None)
    ax.set_xlabel("loss, nats")
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), frameon=False)
    return fig


def write_losses(options: argparse.Namespace) -> Path:
    """Write the losses of one title and their figure; return the figure."""
    found, path = title_losses(), ROOT / "docs" / "title-losses.svg"
    write_text(FOLDER / "data" / "title-losses.json", json.dumps(found) + "\n")
    use_style()
    with whole_file(path) as file:
        plot_losses(found).savefig(file, format="svg", metadata=METADATA)
    return path


def main() -> None:
    """Write one file, as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    model = commands.add_parser("model", help=write_model.__doc__)
    model.add_argument("run", type=Path, help="folder of a finished run")
    model.add_argument("--checkpoint", type=Path, required=True, help="the run's last checkpoint")
    model.add_argument("--tokenizer", type=Path, required=True, help="folder of tokenizer.json")
    model.set_defaults(write=write_model)
    merges = commands.add_parser("merges", help=write_merges.__doc__)
    merges.add_argument("tokenizer", type=Path, help="folder of tokenizer.json")
    merges.add_argument("--name", required=True, help="how the file's name begins")
    merges.add_argument("--about", required=True, help="what the page says of the text behind it")
    merges.set_defaults(write=write_merges)
    commands.add_parser("losses", help=write_losses.__doc__).set_defaults(write=write_losses)
    commands.add_parser("curves", help=write_curves.__doc__).set_defaults(write=write_curves)
    options = parser.parse_args()
    path = options.write(options)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
