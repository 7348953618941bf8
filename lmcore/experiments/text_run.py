"""Train a model on a prepared text, in a folder that holds the whole run and can be resumed."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lmcore.boundary import checked
from lmcore.config import from_dict, stored_config
from lmcore.data.batches import Batches
from lmcore.evaluation.score_types import Score
from lmcore.experiments.checksums import check_sums
from lmcore.experiments.cost import USUAL_EFFICIENCY
from lmcore.experiments.environment import environment, peak_bytes
from lmcore.experiments.metrics_file import read_metrics
from lmcore.experiments.progress import show_progress, speed_to_compare
from lmcore.experiments.run_folder import (
    Run,
    RunWriter,
    check_schema,
    load_run,
    write_outcome,
)
from lmcore.experiments.runner import record_to_dict
from lmcore.experiments.samples import SampleConfig, Sampler
from lmcore.experiments.text_config import (
    LENGTHS,
    TextRun,
    differences,
    require_data,
    text_fingerprint,
)
from lmcore.files import read_json, read_object, require_folder, write_json
from lmcore.generation.saved_model import save
from lmcore.locks import locked
from lmcore.model.gpt import GPT
from lmcore.tasks.prepared_text import MANIFEST, PreparedText, load_prepared
from lmcore.tasks.text import TextTask
from lmcore.training import parallel
from lmcore.training.checkpoint import latest_checkpoint, step_of
from lmcore.training.interrupts import Interrupt
from lmcore.training.loop import train
from lmcore.training.records import DivergedError, Record
from lmcore.training.runtime import Runtime
from lmcore.training.trackers import (
    Tracker,
    TrackerKind,
    open_tracker,
    require_tracker,
    tracked,
)

Show = Callable[[str], None]
"""What takes lines for the user."""


@checked
def train_text(
    prepared: PreparedText | str | Path,
    out: str | Path,
    config: TextRun,
    *,
    runtime: Runtime | None = None,
    extend_to: int | None = None,
    samples: SampleConfig | None = None,
    track: TrackerKind | None = None,
    show: Show | None = None,
    progress: bool = False,
) -> Run:
    """Return the run of config in the folder out: loaded if it is finished, else trained there.

    An interrupted run resumes from its last checkpoint, with the numbers that an uninterrupted one
    has. The folder ends with config.json, metrics.jsonl, samples.jsonl, environment.json,
    outcome.json, checkpoints, and the model with the best validation loss in model/ (the last one
    without a patience). extend_to gives a run a new length in steps, also once it is finished; its
    learning rate then follows the longer schedule. track sends the records to a tracker too. show
    takes lines for the user: the cost, scores and samples. progress shows a bar.

    Example:
        run = train_text("stories", "runs/first", text_run(load_prepared("stories"), steps=500))

    Raises:
        ValueError: out holds another run, or data, config and extend_to do not fit together.
        DivergedError: a loss or gradient is not finite; the last checkpoint stays.
        KeyboardInterrupt: on a signal, after a checkpoint.
    """
    prepared = prepared if isinstance(prepared, PreparedText) else load_prepared(prepared)
    out, show = Path(out), show or (lambda line: None)
    if track is not None:
        require_tracker(track)
    require_data(config, prepared)
    task = text_task(prepared, config)
    config.train.schedule.multiplier(0, planned_steps(config, task))  # complains before it starts
    with sole_trainer(out):
        with parallel.first_goes_first():
            config = agreed_config(prepared, out, config, task, extend_to)
        if not (out / "outcome.json").exists():
            _train(
                prepared, out, config, task, runtime or Runtime(), samples, track, show, progress
            )
    run = load_run(out, TextRun)
    show(f"{out} is finished: {result_line(run)}; --extend-to STEPS trains longer")
    return run


def text_task(prepared: PreparedText, config: TextRun) -> TextTask:
    """Return the task of config on prepared.

    Raises:
        ValueError: the text is too short for a batch or for a window of validation tokens.
    """
    plan, context_length = config.train, config.model.context_length
    n = prepared.validation.info.n_tokens
    if n < context_length:
        raise ValueError(
            f"{prepared.folder} has {n} validation tokens, fewer than context_length "
            f"{context_length}: prepare more with --validation-fraction or --validation, or lower "
            "context_length"
        )
    return TextTask(
        batches=Batches(
            prepared.train, plan.batch_size, context_length, plan.order, seed=config.seed
        ),
        validation=prepared.validation,
        eos_id=prepared.eos_id,
        within_documents=plan.within_documents,
    )


def planned_steps(config: TextRun, task: TextTask) -> int:
    """Return the length of a run in optimizer steps."""
    return config.train.planned_steps(task, tokens_per_step(config))


def tokens_per_step(config: TextRun) -> int:
    """Return the tokens of a batch."""
    return config.train.batch_size * config.model.context_length


# The folder


@contextlib.contextmanager
def sole_trainer(out: Path) -> Iterator[None]:
    """Hold out's lock inside the block.

    Raises:
        ValueError: another process holds it, or out is a file.
    """
    require_folder(out, "for the run")
    if parallel.rank() > 0:
        yield
        return
    with locked(out):
        out.mkdir(parents=True, exist_ok=True)
        yield


def agreed_config(
    prepared: PreparedText, out: Path, config: TextRun, task: TextTask, extend_to: int | None
) -> TextRun:
    """Return the config of the run in out, which is config's or begins now, extended if asked.

    Raises:
        ValueError: out holds something else, began on other data or with another config, or cannot
            be extended; the message names what differs, with both values.
    """
    if not (out / "config.json").exists():
        require_empty(out)
        if extend_to is not None:
            raise ValueError(f"{out} holds no run to extend: give its length as --train.steps")
        return config
    begun = stored_run(out)
    require_same_data(prepared, out, begun)
    others = differences(begun, config, LENGTHS if extend_to else ())
    if others:
        only_length = all(line.split()[0] in LENGTHS for line in others)
        longer = " (--extend-to STEPS trains longer)" if only_length else ""
        raise ValueError(
            f"{out} holds a run of another config: {'; '.join(others)}; give it the same values"
            f"{longer}, or another --out"
        )
    return begun if extend_to is None else extended(out, begun, task, extend_to)


def require_empty(out: Path) -> None:
    """Raise ValueError if out holds files of something else than a run."""
    others = sorted(path.name for path in out.glob("[!.]*"))
    if others:
        what = "a prepared text" if MANIFEST in others else f"no run but {', '.join(others[:3])}"
        raise ValueError(f"{out} holds {what}: name another folder for the run")


def stored_run(out: Path) -> TextRun:
    """Return the config of the run in out, finished or not.

    Raises:
        ValueError: out holds no run on a text, or one of another version of lmcore.
    """
    path = out / "config.json"
    stored = read_json(path)
    if not isinstance(stored, dict) or "hash" not in stored:
        raise ValueError(f"{path} is not that of a run: name another folder for the run")
    check_schema(out, stored.get("schema", 1))
    try:
        return from_dict(TextRun, stored["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{out} holds no run on a text ({error}): name another folder") from None


def is_text_run(out: Path) -> bool:
    """Return whether out holds a run on a text, finished or not."""
    try:
        stored_run(out)
    except ValueError:
        return False
    return True


def require_same_data(prepared: PreparedText, out: Path, begun: TextRun) -> None:
    """Raise ValueError if the run in out began on other data; the message names both."""
    now = (text_fingerprint(prepared), prepared.tokenizer.fingerprint)
    if (begun.text, begun.tokenizer) != now:
        path = out / "environment.json"
        data = read_object(path).get("data", {}) if path.exists() else {}
        raise ValueError(
            f"{out} began on {data.get('folder', 'data')} with text {begun.text} and tokenizer "
            f"{begun.tokenizer}, but {prepared.folder} has text {now[0]} and tokenizer {now[1]}: "
            "give it the same data, or another --out"
        )


def extended(out: Path, begun: TextRun, task: TextTask, steps: int) -> TextRun:
    """Return begun with so many steps, and make out's run one of that length.

    Raises:
        ValueError: the run is longer already, is damaged, or ended early for a reason that more
            steps would not change.
    """
    planned = planned_steps(begun, task)
    if steps == planned:
        return begun
    if steps < planned:
        raise ValueError(f"{out} has {planned} steps: --extend-to {steps} is not longer")
    reason = last_record(out).get("stop_reason")
    if reason:
        raise ValueError(
            f"{out} ended early ({reason}), and more steps do not change that: "
            "train another run, with another --out"
        )
    longer = replace(begun, train=replace(begun.train, epochs=None, n_tokens=None, steps=steps))
    if parallel.rank() == 0:
        if (out / "outcome.json").exists():
            check_sums(out)
        path = out / "environment.json"
        facts = read_object(path) if path.exists() else {}
        extension = {"from_steps": planned, "to_steps": steps}
        earlier = [past for past in facts.get("extensions", []) if past != extension]
        # In this order, so that a run that is interrupted here is one of either length.
        (out / "outcome.json").unlink(missing_ok=True)
        write_json(path, facts | {"extensions": [*earlier, extension]})
        write_json(out / "config.json", stored_config(longer))
    return longer


def last_record(out: Path) -> dict[str, Any]:
    """Return the last record of the run in out, or an empty dict if there is none."""
    path = out / "metrics.jsonl"
    records = read_metrics(path) if path.exists() else []
    return records[-1] if records else {}


# The run


def _train(
    prepared: PreparedText,
    out: Path,
    config: TextRun,
    task: TextTask,
    runtime: Runtime,
    samples: SampleConfig | None,
    track: TrackerKind | None,
    show: Show,
    progress: bool,
) -> None:
    steps = planned_steps(config, task)
    flops = steps * tokens_per_step(config) * config.model.flops_per_token
    runtime = runtime.resolve(flops, config.train.precision)
    torch.manual_seed(config.seed)
    model, interrupt = GPT(config.model), Interrupt()
    with parallel.first_goes_first():
        writer = None if parallel.rank() else RunWriter(out, config, is_locked=True)
        if writer:
            writer.drop_newer_checkpoints()
    records = train(
        model,
        config.train,
        task,
        runtime,
        out / "checkpoints",
        interrupt=interrupt,
        before_checkpoint=writer.sync if writer else None,
        show=show if writer else lambda line: None,
    )
    if writer is None:
        for _ in records:
            pass
        with parallel.first_goes_first():
            return
    writer.note_session(environment(runtime))
    writer.note_environment({"data": data_facts(prepared)})
    speed = speed_to_compare(runtime, flops)
    show(cost_line(config, prepared, steps, runtime, speed))
    newest = latest_checkpoint(out / "checkpoints")
    if newest is not None:
        show(f"resuming after step {step_of(newest):,}")
    sampler = Sampler(prepared, samples or SampleConfig(), out)
    if track is not None:
        records = tracked(records, run_tracker(track, out, config, writer))
        show(f"tracking with {track}")
    shown = show_progress(
        records,
        name=out.name,
        steps=steps,
        flops_per_token=config.model.flops_per_token,
        speed=speed,
        shown=progress,
    )
    try:
        for record in shown:
            with interrupt.deferred():
                writer.add(record_to_dict(record))
                if record.scores and record.step:
                    show(score_line(record))
                    for sample in sampler.write(model, record.step):
                        show(f"    {sample.prompt}|{sample.text}".replace("\n", "\n    "))
    except DivergedError as error:
        raise DivergedError(f"{error} and train into another --out, or delete {out}") from None
    with parallel.first_goes_first():
        _finish(prepared, out, config, writer, model, runtime)


def _finish(
    prepared: PreparedText,
    out: Path,
    config: TextRun,
    writer: RunWriter,
    model: GPT,
    runtime: Runtime,
) -> None:
    save(out / "model", model, prepared.tokenizer, eos_token=prepared.report["end_of_text"])
    records = writer.records()
    facts = {"training_s": records[-1]["elapsed_s"], "peak_bytes": peak_bytes(runtime)}
    writer.note_environment(facts)
    scored = [record for record in records if "validation" in record]
    saved = scored[-1]
    if config.train.evaluation.patience:
        saved = min(scored, key=lambda record: record["validation"]["nats"])
    outcome = {"saved_step": saved["step"], "validation": saved["validation"]}
    write_outcome(out, outcome)


def run_tracker(kind: TrackerKind, out: Path, config: TextRun, writer: RunWriter) -> Tracker:
    """Return the tracker of the run in out, the same one when the run resumes."""
    run_id = read_json(out / "environment.json").get("tracker_id") or uuid.uuid4().hex[:8]
    writer.note_environment({"tracker_id": run_id})
    return open_tracker(kind, out, config=config, run_id=run_id)


def data_facts(prepared: PreparedText) -> dict[str, Any]:
    """Return what a run's environment.json says of its data."""
    return {
        "folder": str(prepared.folder),
        "text_sha256": text_fingerprint(prepared),
        "tokenizer": prepared.tokenizer.fingerprint,
        "train_tokens": prepared.train.info.n_tokens,
        "validation_tokens": prepared.validation.info.n_tokens,
    }


# Lines for the user


def cost_line(
    config: TextRun, prepared: PreparedText, steps: int, runtime: Runtime, speed: float | None
) -> str:
    """Return parameters, tokens, operations and, given the device's speed, minutes in one line."""
    n_tokens = steps * tokens_per_step(config)
    flops = n_tokens * config.model.flops_per_token
    minutes = "" if speed is None else f", about {flops / speed / USUAL_EFFICIENCY / 60:,.1f} min"
    return (
        f"{config.model.n_parameters:,} parameters, {steps:,} steps, {n_tokens:,} tokens "
        f"({n_tokens / prepared.train.info.n_tokens:.1f} epochs), {flops:.2g} FLOPs{minutes} on "
        f"{runtime.device} in {runtime.precision}"
    )


def score_line(record: Record) -> str:
    """Return step and losses of an evaluated record in one line."""
    score = record.scores["validation"]
    assert isinstance(score, Score), "a text has no answers"
    return (
        f"step {record.step:,}: validation {score.loss:.3f} nats/token "
        f"({score.bpb:.3f} bits/byte), training {record.loss:.3f}"
    )


def result_line(run: Run) -> str:
    """Return length, best score and the reason of an early end of a finished run."""
    last, score = run.records[-1], run.outcome["validation"]
    reason = f" ({last['stop_reason']})" if last.get("stop_reason") else ""
    return (
        f"{last['step']:,} steps{reason}, validation {score.loss:.3f} nats/token "
        f"({score.bpb:.3f} bits/byte) at step {run.outcome['saved_step']:,}"
    )
