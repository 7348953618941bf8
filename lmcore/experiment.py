"""Experiments with names: what a run is, its small version, and running it at most once."""

import importlib.metadata
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm.auto import tqdm

from lmcore import parallel
from lmcore.checkpoint import kept_weights
from lmcore.corpus import CorpusConfig
from lmcore.model import GPT, ModelConfig
from lmcore.modular import ModularConfig
from lmcore.records import Run, RunWriter, config_hash, load_run
from lmcore.runtime import Runtime
from lmcore.sentence import SentenceConfig
from lmcore.source import Data, Source
from lmcore.train import DivergedError, Record, TrainConfig, train

TOKENS_PER_TITLE = 12.8
USUAL_EFFICIENCY = 0.7
"""The share of a large product's speed that training steps of this package reach on a CPU."""

SHORT_WARMUP = 20
"""Steps of warmup that a small version has at most."""

WORTH_COMPARING = 2e12
"""Operations in a run from which on its speed is shown beside that of large products."""

Probe = Callable[[GPT, Data], dict[str, Any]]
History = Callable[[Iterator[tuple[int, GPT]], GPT, Data], dict[str, Any]]
"""What a study finds in the weights kept on the way, each with its step, and in the last ones."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that decides a run's numbers: the study and name it goes by, its seed, its configs.

    What is learned is called its corpus, be it of text or a table.
    """

    study: str
    name: str
    seed: int
    corpus: CorpusConfig | ModularConfig | SentenceConfig
    model: ModelConfig
    train: TrainConfig
    scale: Literal["full", "smoke"] = "full"

    def __post_init__(self):
        if self.corpus.vocab_size != self.model.vocab_size:
            raise ValueError(
                f"the corpus has a vocabulary of {self.corpus.vocab_size}, "
                f"the model one of {self.model.vocab_size}"
            )
        if self.train.within_documents and not isinstance(self.corpus, CorpusConfig):
            raise ValueError(
                f"within_documents has no effect with a {type(self.corpus).__name__}, which has no "
                "documents: leave it out"
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
    """Return the small version of experiment: seconds long, on generated titles or a small table.

    Whatever its data does not shrink stays as it is, but for a warmup that is longer than so short
    a run can have. So does the lr of other optimizers than SGD, since the small version's is SGD's.
    """
    corpus, shape, plan = experiment.corpus.small()
    plan.setdefault("warmup", min(experiment.train.warmup, SHORT_WARMUP))
    if experiment.train.optimizer != "sgd":
        plan.pop("lr", None)
    model, plan = replace(experiment.model, **shape), replace(experiment.train, **plan)
    return replace(experiment, corpus=corpus, model=model, train=plan, scale="smoke")


def workspace() -> Path:
    """Return the repository around the working directory, or that directory itself."""
    here = Path.cwd()
    return next((up for up in (here, *here.parents) if (up / "myst.yml").exists()), here)


def seeded(experiments: Sequence[Experiment], seeds: Sequence[int]) -> list[Experiment]:
    """Return each of experiments with each of seeds, which draw its weights."""
    return [replace(each, seed=seed) for each in experiments for seed in seeds]


def slug(name: str) -> str:
    """Return a name as it stands in a path."""
    return name.replace(", ", "-").replace(" ", "-").lower()


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


def loaded(experiments: Sequence[Experiment]) -> list[Run]:
    """Return the finished runs there are of experiments, which `load` reads."""
    return [run for experiment in experiments if (run := load(experiment))]


def run_or_load(
    experiment: Experiment,
    probe: Probe,
    *,
    history: History | None = None,
    runtime: Runtime | None = None,
    data: Path | None = None,
    scratch: Path | None = None,
    progress: bool = True,
) -> Run:
    """Return experiment's run: loaded if it is finished, else trained, resumed where it stopped.

    What is under way stands in scratch and moves to the results when it is whole. After training,
    the test set is scored, once, and probe's findings are kept with the scores. A run that
    diverged is a result too: its outcome says so, and holds no score.

    Raises:
        ValueError: text or a folder is missing, damaged or of another config.
        KeyboardInterrupt: as `train` does; the run can be taken up again.
    """
    finished = load(experiment)
    if finished:
        return finished
    with parallel.first_goes_first():
        cache = experiment.root / ".cache/corpus"
        corpus = prepared(experiment, cache, data, progress)
    started = time.process_time()
    torch.manual_seed(experiment.seed)
    model = GPT(experiment.model)
    source = source_of(experiment, corpus)
    flops = steps_of(experiment, source) * flops_per_step(experiment)
    resolved = (runtime or Runtime()).resolve(flops, experiment.train.precision)
    folder = (scratch or experiment.root / "runs") / experiment.path
    records = train(model, experiment.train, source, resolved, folder / "checkpoints")
    if parallel.rank() > 0:
        for _ in records:
            pass
        with parallel.first_goes_first():
            return load(experiment)
    writer = RunWriter(folder, experiment)
    writer.check_text(corpus.origin["text_sha256"])
    session = environment(resolved)
    if experiment.train.within_documents:
        session["document_attention"] = resolved.document_attention(experiment.model.dropout)
    writer.note_session(session)
    writer.note_environment({"corpus": corpus.origin})
    try:
        for record in with_bar(records, experiment, source, resolved, progress):
            writer.add(told(record))
    except DivergedError as error:
        tqdm.write(f"{experiment.path.as_posix()} diverged: {error}", file=sys.stderr)
        outcome = {"diverged": str(error)}
    else:
        with resolved.autocast():
            tests = corpus.test_scores(model)
            outcome = {name: asdict(score) for name, score in tests.items()}
            outcome["probe"] = probe(model, corpus)
        if history and experiment.train.keep_weights:
            weights = kept_weights(folder / "checkpoints", model)
            outcome["history"] = history(weights, model, corpus)
    writer.note_environment(
        {
            "training_s": writer.kept_records()[-1]["elapsed_s"],
            "cpu_s": round(time.process_time() - started, 2),
            "peak_bytes": peak_bytes(resolved),
        }
    )
    with parallel.first_goes_first():
        writer.finish(outcome, experiment.root / "results" / experiment.path)
    return load(experiment)


def prepared(
    experiment: Experiment, cache: Path, data: Path | None = None, progress: bool = False
) -> Data:
    """Return what experiment learns from and is judged by, read as its plan says."""
    corpus = experiment.corpus.prepare(cache, data, progress)
    is_within = experiment.train.within_documents
    return replace(corpus, within_documents=True) if is_within else corpus


def source_of(experiment: Experiment, corpus: Data) -> Source:
    """Return what experiment learns from and is judged by, out of corpus."""
    plan = experiment.train
    return corpus.source(
        batch_size=plan.batch_size,
        context_length=experiment.model.context_length,
        order=plan.order,
        seed=experiment.seed,
    )


def steps_of(experiment: Experiment, source: Source) -> int:
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
    history: History | None = None,
    runtime: Runtime | None = None,
    data: Path | None = None,
    scratch: Path | None = None,
) -> list[Run]:
    """Return the run of each experiment, as `run_or_load` does; full-scale cost is said first."""
    waiting = [e for e in experiments if e.scale == "full" and load(e) is None]
    if waiting:
        tqdm.write(cost(waiting, runtime or Runtime()), file=sys.stderr)
    places = {"runtime": runtime, "data": data, "scratch": scratch}
    return [run_or_load(each, probe, history=history, **places) for each in experiments]


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
    source: Source,
    runtime: Runtime,
    shown: bool,
) -> Iterator[Record]:
    """Pass records on, with a bar of steps, time left, score, speed and its share of the ceiling.

    The share, known as MFU, is of the speed of large matrix products here (see `accounting`); a
    run that is over in seconds goes without it.
    """
    steps, name = steps_of(experiment, source), experiment.path.as_posix()
    is_long = shown and steps * flops_per_step(experiment) > WORTH_COMPARING
    ceiling = runtime.product_speed() if is_long else math.inf
    said: dict[str, str] = {}
    first: Record | None = None
    with tqdm(total=steps, desc=name, unit="step", disable=not shown, leave=False) as bar:
        for record in records:
            first = first or record
            if "validation" in record.scores:
                said["validation"] = str(record.scores["validation"])
            if record.elapsed_s > first.elapsed_s and is_long:
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
