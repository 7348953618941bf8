"""What a finished text run leaves for its user next to its checkpoints: model, loss, samples."""

from pathlib import Path

from lmcore.experiments.batch import Job
from lmcore.experiments.experiment import prepared
from lmcore.experiments.run_folder import Run
from lmcore.files import write_text
from lmcore.generation.saved_model import save
from lmcore.model.gpt import GPT
from lmcore.report import plotting
from lmcore.report.comparison_figures import plot_loss, save_figures
from lmcore.tasks.file_text import FileTextConfig
from lmcore.tasks.text_corpus import EOS, TextCorpus
from lmcore.training.checkpoint import load_weights

MODEL = "model"


def write_run_files(run: Run, job: Job) -> None:
    """Write a run's best model, samples and loss plot to the folder it was trained in.

    The model is written for a text alone; `lmcore generate` opens the folder then. The optimizer's
    state in the checkpoints is deleted. Nothing is done twice, or where nothing was trained.
    """
    folder = job.folder
    if not folder.exists() or (folder / "loss.svg").exists():
        return
    best = folder / "checkpoints" / "best.safetensors"
    if best.exists() and isinstance(run.config.task, FileTextConfig):
        write_model(run, job, best)
    samples = run.outcome.get("probe", {}).get("samples", [])
    if samples:
        lines = [f"> {sample['prompt']}{sample['text']}\n" for sample in samples]
        write_text(folder / "samples.md", "\n".join(lines))
    plotting.use_style()
    save_figures(folder, {"loss": plot_loss(run)})


def write_model(run: Run, job: Job, weights: Path) -> None:
    """Write the model of a run with these weights to its folder, and delete its checkpoints."""
    config, folder = run.config, job.folder
    corpus = prepared(config, config.root / ".cache/corpus", job.data)
    assert isinstance(corpus, TextCorpus), "as its config is a FileTextConfig"
    model = GPT(config.model)
    load_weights(weights, model)
    save(folder / MODEL, model, corpus.tokenizer, eos_token=EOS)
    for checkpoint in (folder / "checkpoints").glob("step*.safetensors"):
        checkpoint.unlink()
