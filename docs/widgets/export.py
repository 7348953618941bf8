"""Write the models that the site's pages run, from finished runs and their last checkpoints."""

import argparse
from pathlib import Path
from typing import Any

from lmcore.experiments.run_folder import Run, load_run
from lmcore.files import whole_file
from lmcore.generation.language_model import LanguageModel
from lmcore.generation.saved_model import load_tokenizer
from lmcore.generation.web_export import web_export
from lmcore.model.gpt import GPT
from lmcore.report.tables import validation
from lmcore.studies import all_studies
from lmcore.training.checkpoint import load_weights, step_of

FOLDER = Path(__file__).resolve().parent
MODELS = FOLDER / "models"


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


def about(run: Run, label: str) -> dict[str, Any]:
    """Return what the page says about the model of a run."""
    config = run.config
    return {
        "label": label,
        "run": f"{config.study}/{config.name}/seed{config.seed}",
        "commit": run.environment["sessions"][-1]["commit"][:7],
        "parameters": config.model.n_parameters,
        "nats_per_token": round(validation(run).loss, 4),
        "bits_per_byte": round(validation(run).bpb, 4),
    }


def main() -> None:
    """Write one model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the run's last checkpoint")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of tokenizer.json")
    parser.add_argument("--label", required=True, help="what the page calls the model")
    options = parser.parse_args()
    run = load_run(options.run, all_studies()[options.run.parts[-3]].config_type)
    lm = language_model(run, options.checkpoint, options.tokenizer)
    path = MODELS / f"{run.config.study}-{run.config.name}.safetensors"
    with whole_file(path) as file:
        file.write_bytes(web_export(lm, about(run, options.label)))
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
