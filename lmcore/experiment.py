"""Experiments with names: what a run is, its small version, and running it at most once."""

import dataclasses
import importlib.metadata
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm.auto import tqdm

from lmcore import parallel
from lmcore.corpus import Corpus, CorpusConfig, prepare
from lmcore.evaluate import score
from lmcore.model import GPT, ModelConfig
from lmcore.records import Run, RunWriter, config_hash, load_run
from lmcore.runtime import Runtime
from lmcore.source import TextSource
from lmcore.tokens import Batches
from lmcore.train import Record, TrainConfig, train

TOKENS_PER_TITLE = 12.8
USUAL_EFFICIENCY = 0.7
"""The share of a large product's speed that training steps of this package reach on a CPU."""

Probe = Callable[[GPT, Corpus], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that decides a run's numbers: the study and name it goes by, its seed, its configs."""

    study: str
    name: str
    seed: int
    corpus: CorpusConfig
    model: ModelConfig
    train: TrainConfig
    scale: Literal["full", "smoke"] = "full"

    def __post_init__(self):
        if self.corpus.vocab_size != self.model.vocab_size:
            raise ValueError(
                f"the corpus has a vocabulary of {self.corpus.vocab_size}, "
                f"the model one of {self.model.vocab_size}"
            )

    @property
    def path(self) -> Path:
        """Where the run stands below a results folder."""
        return Path(self.study) / self.name / f"seed{self.seed}"

    @property
    def root(self) -> Path:
        """The folder that holds all of this scale: the workspace, or .smoke, which git ignores."""
        return workspace() / (".smoke" if self.scale == "smoke" else "")


def smoke(experiment: Experiment) -> Experiment:
    """Return the small version of experiment: seconds long, on generated titles.

    The shape stays what it is and sizes shrink; lr is what so small a model learns well with.
    """
    corpus = CorpusConfig(source="generated", n_titles=4_000, n_test_titles=400, vocab_size=512)
    model = replace(
        experiment.model, vocab_size=512, context_length=32, d_model=64, n_layers=2, n_heads=2,
        d_ff=256,
    )  # fmt: skip
    small = replace(
        experiment.train, batch_size=16, epochs=2, steps=None, n_tokens=None, lr=0.12,
        evaluate_at=(1, 5, 20, 50),
    )  # fmt: skip
    return replace(experiment, corpus=corpus, model=model, train=small, scale="smoke")


def workspace() -> Path:
    """Return the repository around the working directory, or that directory itself."""
    here = Path.cwd()
    return next((up for up in (here, *here.parents) if (up / "myst.yml").exists()), here)


def load(experiment: Experiment) -> Run | None:
    """Return experiment's finished run, or None where there is none yet.

    Raises:
        ValueError: the folder holds a run of another config, or a damaged one.
    """
    folder = experiment.root / "results" / experiment.path
    if not folder.exists():
        return None
    run = load_run(folder, Experiment)
    if run.config != experiment:
        raise ValueError(
            f"{folder} holds a run of another config ({config_hash(run.config)}, "
            f"not {config_hash(experiment)}): move it away, or name the experiment otherwise"
        )
    return run


def run_or_load(
    experiment: Experiment,
    probe: Probe,
    *,
    runtime: Runtime | None = None,
    data: Path | None = None,
    scratch: Path | None = None,
    progress: bool = True,
) -> Run:
    """Return experiment's run: loaded if it is finished, else trained, resumed where it stopped.

    What is under way stands in scratch and moves to the results when it is whole. After training,
    the test titles are scored, once, and probe's findings are kept with the scores.

    Raises:
        ValueError: text or a folder is missing, damaged or of another config.
        DivergedError, KeyboardInterrupt: as `train` does; the run can be taken up again.
    """
    finished = load(experiment)
    if finished:
        return finished
    with parallel.first_goes_first():
        corpus = prepare(experiment.corpus, experiment.root / ".cache/corpus", data, progress)
    torch.manual_seed(experiment.seed)
    model = GPT(experiment.model)
    source = source_of(experiment, corpus)
    flops = steps_of(experiment, source) * flops_per_step(experiment)
    resolved = (runtime or Runtime()).resolve(flops)
    folder = (scratch or experiment.root / "runs") / experiment.path
    records = train(model, experiment.train, source, resolved, folder / "checkpoints")
    if parallel.rank() > 0:
        for _ in records:
            pass
        with parallel.first_goes_first():
            return load(experiment)
    writer = RunWriter(folder, experiment)
    writer.check_text(corpus.origin["text_sha256"])
    writer.note_session(environment(resolved))
    writer.note_environment({"corpus": corpus.origin})
    for record in with_bar(records, experiment, source, resolved, progress):
        writer.add(told(record))
    with resolved.autocast():
        test = score(model, corpus.test, corpus.end_id)
    outcome = {"test": dataclasses.asdict(test), "probe": probe(model, corpus)}
    writer.note_environment(
        {
            "training_s": writer.kept_records()[-1]["elapsed_s"],
            "peak_bytes": peak_bytes(resolved),
        }
    )
    with parallel.first_goes_first():
        writer.finish(outcome, experiment.root / "results" / experiment.path)
    return load(experiment)


def source_of(experiment: Experiment, corpus: Corpus) -> TextSource:
    """Return what experiment learns from and is judged by, out of corpus."""
    plan, context = experiment.train, experiment.model.context_length
    return TextSource(
        batches=Batches(corpus.train, plan.batch_size, context, plan.order, experiment.seed),
        validation=corpus.validation,
        end_id=corpus.end_id,
        within_documents=plan.within_documents,
    )


def steps_of(experiment: Experiment, source: TextSource) -> int:
    """Return the number of steps that experiment plans to take on source."""
    tokens_per_step = experiment.train.batch_size * experiment.model.context_length
    return experiment.train.planned_steps(source, tokens_per_step)


def flops_per_step(experiment: Experiment) -> int:
    """Return the operations of one of experiment's steps."""
    tokens_per_step = experiment.train.batch_size * experiment.model.context_length
    return tokens_per_step * experiment.model.flops_per_token


def run_all(
    experiments: list[Experiment],
    probe: Probe,
    *,
    runtime: Runtime | None = None,
    data: Path | None = None,
    scratch: Path | None = None,
) -> list[Run]:
    """Return the run of each experiment, as `run_or_load` does; full-scale cost is said first."""
    waiting = [e for e in experiments if e.scale == "full" and load(e) is None]
    if waiting:
        tqdm.write(cost(waiting, runtime or Runtime()), file=sys.stderr)
    return [
        run_or_load(each, probe, runtime=runtime, data=data, scratch=scratch)
        for each in experiments
    ]


def cost(experiments: list[Experiment], runtime: Runtime) -> str:
    """Return one sentence on what experiments will take, from a product measured on this device.

    Titles stand for their usual length of tokens, since the text may not be fetched yet.
    """
    flops = sum(usual_steps(e) * flops_per_step(e) for e in experiments)
    resolved = runtime.resolve(flops / len(experiments))
    speed = resolved.product_speed()
    minutes = flops / speed / USUAL_EFFICIENCY / 60
    return (
        f"{len(experiments)} runs, {flops:.2g} floating-point operations: about {minutes:,.1f} "
        f"minutes on {resolved.device} in {resolved.precision} "
        f"({speed / 1e9:,.0f} GFLOP/s measured)"
    )


def usual_steps(experiment: Experiment) -> int:
    """Return about how many steps experiment takes on titles of the usual length."""
    plan = experiment.train
    if plan.epochs is not None:
        per_step = plan.batch_size * experiment.model.context_length
        n_tokens = experiment.corpus.n_train_titles * TOKENS_PER_TITLE
        return max(1, int(plan.epochs * n_tokens / per_step))
    return plan.steps or plan.n_tokens // (plan.batch_size * experiment.model.context_length)


def with_bar(
    records: Iterator[Record],
    experiment: Experiment,
    source: TextSource,
    runtime: Runtime,
    shown: bool,
) -> Iterator[Record]:
    """Pass records on, with a bar of steps, time left, score, speed and its share of the ceiling.

    The share, known as MFU, is of the speed of large matrix products here (see `accounting`).
    """
    steps, name = steps_of(experiment, source), experiment.path.as_posix()
    ceiling = runtime.product_speed() if shown else 0.0
    said: dict[str, str] = {}
    first: Record | None = None
    with tqdm(total=steps, desc=name, unit="step", disable=not shown, leave=False) as bar:
        for record in records:
            first = first or record
            if "validation" in record.scores:
                rate = record.scores["validation"].nats_per_character
                said["validation"] = f"{rate:.3f} nats/character"
            if record.elapsed_s > first.elapsed_s and shown:
                per_s = (record.tokens - first.tokens) / (record.elapsed_s - first.elapsed_s)
                said["tokens/s"] = f"{per_s:,.0f}"
                said["MFU"] = f"{per_s * experiment.model.flops_per_token / ceiling:.0%}"
            bar.set_postfix(said, refresh=False)
            bar.update(record.step - bar.n)
            yield record


def told(record: Record) -> dict[str, Any]:
    """Return a record as it is kept: rounded where digits are noise, without what is missing."""
    kept = {name: value for name, value in asdict(record).items() if value is not None}
    scores = kept.pop("scores")
    return kept | {"elapsed_s": round(record.elapsed_s, 2)} | scores


def environment(runtime: Runtime) -> dict[str, Any]:
    """Return what a reader must know to judge or repeat a run on another machine."""
    packages = ("lmcore", "torch", "numpy", "numba", "safetensors")
    cuda = runtime.device.startswith("cuda")
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "device": torch.cuda.get_device_name() if cuda else processor(),
        "threads": torch.get_num_threads(),
        "processes": parallel.world(),
        "precision": runtime.precision,
        "compile": runtime.compile,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def git(*arguments: str) -> str:
    """Return what git says here, or nothing where there is no repository."""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=workspace(), capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor() -> str:
    """Return the processor's name as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(names) or 1} cores"


def peak_bytes(runtime: Runtime) -> int | None:
    """Return the most memory held so far: of the GPU if there is one, else by this process.

    Windows does not tell, so there it is None.
    """
    if runtime.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return None
    import resource  # only where the system has it

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
