"""What is written and read under faults: this package's files, and those of other systems.

A store writes version 1 or 2 to a folder and reads it back as text, which is the same for the same
content. `refusals` begin the text of an error that says the content is not whole, rather than one
of a program that fell over. A reader that `may_crash` is called in a process of its own.
"""

import hashlib
import json
import shutil
import sqlite3
import tempfile
import warnings
from pathlib import Path

import torch
from made import PLAIN, TINY, random_tokens
from torch import nn

from lmcore.config import with_fields
from lmcore.data.batches import Batches
from lmcore.data.token_files import load_tokens, tokens_of_file
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.run_folder import RunWriter, load_run
from lmcore.experiments.runner import record_to_dict
from lmcore.generation.saved_model import load, save
from lmcore.model.gpt import GPT
from lmcore.studies.baseline.experiments import BASELINE
from lmcore.tasks.prepared_text import PrepareConfig, load_prepared, prepare
from lmcore.tasks.text import TextTask
from lmcore.tokenizer.byte_bpe import Tokenizer
from lmcore.training.checkpoint import (
    Progress,
    checkpoints_in,
    latest_checkpoint,
    load_checkpoint,
    load_progress,
    save_checkpoint,
    save_progress,
)
from lmcore.training.config import TrainConfig
from lmcore.training.loop import train

torch.set_num_threads(1)
warnings.filterwarnings("ignore", "the text has no more pairs to merge")
OURS = ("ValueError", "DamagedError", "UnwritableError", "LockedError")
TEXTS = {1: "the cat sat on the mat\n" * 200, 2: "a dog ran to the sea\n" * 300}
TOKENIZER = Tokenizer.train(list(TEXTS.values()), 280, ["<|endoftext|>"])


def model_of(version: int) -> GPT:
    """Return a small model with the weights of a version."""
    torch.manual_seed(version)
    return GPT(TINY)


def trained(version: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return the model of a version and its optimizer after a step."""
    model = model_of(version)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    x = torch.arange(16).view(2, 8)
    model(x).square().mean().backward()
    optimizer.step()
    return model, optimizer


def digest(tree) -> str:
    """Return a hash of the tensors and values in a tree."""
    sha = hashlib.sha256()

    def add(value):
        if isinstance(value, torch.Tensor):
            sha.update(f"{value.dtype} {tuple(value.shape)}".encode())
            sha.update(value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                sha.update(str(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for item in value:
                add(item)
        else:
            sha.update(repr(value).encode())

    add(tree)
    return sha.hexdigest()[:16]


class Checkpoint:
    """A run's checkpoints: each version is one of a later step."""

    refusals, may_crash = OURS, False

    def write(self, folder: Path, version: int) -> None:
        if any(path.stem.endswith(str(version)) for path in checkpoints_in(folder)):
            return
        progress = Progress(step=version, elapsed_s=0.0, precision="float32")
        save_progress(folder, *trained(version), progress, {"seed": 0})

    def read(self, folder: Path) -> str:
        model, optimizer = trained(9)
        progress = load_progress(latest_checkpoint(folder), model, optimizer)
        return digest([vars(progress), model.state_dict(), optimizer.state_dict()])


class CheckpointFile:
    """One checkpoint of the user's loop, written over the one before."""

    refusals, may_crash = OURS, False

    def write(self, folder: Path, version: int) -> None:
        save_checkpoint(folder / "model.checkpoint", *trained(version), version)

    def read(self, folder: Path) -> str:
        model, optimizer = trained(9)
        step = load_checkpoint(folder / "model.checkpoint", model, optimizer)
        return digest([step, model.state_dict(), optimizer.state_dict()])


class TokenFile:
    """The tokens of a text file; each version is another text."""

    refusals, may_crash = OURS, False

    def write(self, folder: Path, version: int) -> None:
        source = folder.with_name(f"{folder.name}.text")
        source.write_text(TEXTS[version])
        tokens_of_file(folder / "t.npy", source, TOKENIZER)

    def read(self, folder: Path) -> str:
        tokens = load_tokens(folder / "t.npy", TOKENIZER)
        return digest([tokens.ids.tolist(), tokens.documents.tolist(), vars(tokens.info)])


class SavedModel:
    """A model and its tokenizer as lmcore.save writes them."""

    refusals, may_crash = OURS, False

    def write(self, folder: Path, version: int) -> None:
        save(folder, GPT(self.shape(version)), TOKENIZER)

    def shape(self, version: int):
        torch.manual_seed(version)
        return with_fields(TINY, vocab_size=TOKENIZER.vocab_size)

    def read(self, folder: Path) -> str:
        lm = load(folder)
        return digest([lm.model.state_dict(), lm.tokenizer.fingerprint, lm.eos_ids])


class Prepared:
    """A prepared text; each version is another text."""

    refusals, may_crash = OURS, False

    def write(self, folder: Path, version: int) -> None:
        source = folder.with_name(f"{folder.name}.{version}.txt")
        source.write_text(TEXTS[version])
        prepare(source, folder, PrepareConfig(vocab_size=270))

    def read(self, folder: Path) -> str:
        text = load_prepared(folder)
        parts = [[part.ids.tolist(), vars(part.info)] for part in (text.train, text.validation)]
        keys = ("end_of_text", "vocab_size", "split")
        return digest([text.tokenizer.fingerprint, parts, [text.report[key] for key in keys]])


SMALL = with_fields(TrainConfig(steps=4), eval_every=2)


class TrainedRun:
    """A run that trains, with a checkpoint after each step, and moves to its results.

    Version 1 is an unfinished run of two steps, version 2 the finished one.
    """

    refusals, may_crash = OURS, False

    def write(self, folder: Path, version: int) -> None:
        if (folder / "results").exists():
            load_run(folder / "results", Experiment)
            return
        source = TextTask(
            batches=Batches(random_tokens(200), 2, 8, "shuffled"),
            validation=random_tokens(60, seed=1),
            eos_id=1,
        )
        runtime = with_fields(PLAIN, checkpoint_every_s=0.0)
        with RunWriter(folder / "run", BASELINE) as writer:
            writer.drop_newer_checkpoints()
            writer.note_environment({"data": {"text_sha256": "0"}})
            torch.manual_seed(0)
            records = train(
                GPT(TINY), SMALL, source, runtime, folder / "run" / "checkpoints",
                before_checkpoint=writer.sync, show=lambda line: None,
            )  # fmt: skip
            for record in records:
                writer.add(record_to_dict(record) | {"elapsed_s": 0.0})
                if version == 1 and record.step == 3:
                    return
            writer.finish({}, folder / "results")

    def read(self, folder: Path) -> str:
        if not (folder / "results").exists():
            return "unfinished"
        run = load_run(folder / "results", Experiment)
        return digest([list(run.records), run.environment, run.outcome, run.config])


class UnfinishedRun(TrainedRun):
    """A run that was interrupted; reading it is finishing it, with the same numbers."""

    def write(self, folder: Path, version: int) -> None:
        if version == 1 and not (folder / "run").exists():
            super().write(folder, 1)

    def read(self, folder: Path) -> str:
        with tempfile.TemporaryDirectory() as name:
            copy = shutil.copytree(folder, Path(name) / "copy")
            super().write(copy, 2)
            return super().read(copy)


# Other systems: the same tensors, as their users save them


def state(version: int) -> dict[str, torch.Tensor]:
    """Return the weights of a version and its step, as tensors by name."""
    return model_of(version).state_dict() | {"step": torch.tensor(version)}


class TorchSave:
    """torch.save over the file of the version before; torch.load without code."""

    refusals = ("RuntimeError", "UnpicklingError", "EOFError", "OSError", "FileNotFoundError")
    may_crash = True

    def write(self, folder: Path, version: int) -> None:
        torch.save(state(version), folder / "model.pt")

    def read(self, folder: Path) -> str:
        return digest(torch.load(folder / "model.pt", weights_only=True))


class Safetensors:
    """safetensors' save_file over the file of the version before."""

    refusals, may_crash = ("SafetensorError", "FileNotFoundError"), True

    def write(self, folder: Path, version: int) -> None:
        from safetensors.torch import save_file

        tensors = {name: value.clone() for name, value in state(version).items()}
        save_file(tensors, folder / "model.safetensors")

    def read(self, folder: Path) -> str:
        from safetensors.torch import load_file

        return digest(load_file(folder / "model.safetensors"))


class Litgpt(TorchSave):
    """Lightning's Fabric.save, with which litgpt writes its checkpoints."""

    def fabric(self):
        from lightning import Fabric

        return Fabric(accelerator="cpu", devices=1)

    def write(self, folder: Path, version: int) -> None:
        self.fabric().save(folder / "lit_model.pth", state(version))

    def read(self, folder: Path) -> str:
        return digest(self.fabric().load(folder / "lit_model.pth"))


class Sqlite:
    """Rows of a table, replaced in one transaction; integrity_check before they are read."""

    refusals, may_crash = ("DatabaseError", "OperationalError"), True

    def write(self, folder: Path, version: int) -> None:
        with sqlite3.connect(folder / "model.db") as db:
            db.execute("create table if not exists tensors (name primary key, shape, type, data)")
            for name, value in state(version).items():
                row = (name, json.dumps(value.shape), str(value.dtype), value.numpy().tobytes())
                db.execute("insert or replace into tensors values (?, ?, ?, ?)", row)
        db.close()

    def read(self, folder: Path) -> str:
        with sqlite3.connect(folder / "model.db") as db:
            ((verdict,), *_) = db.execute("pragma integrity_check")
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            return digest([list(row) for row in db.execute("select * from tensors order by name")])


STORES = {
    "save_checkpoint": CheckpointFile,
    "checkpoints": Checkpoint,
    "run": TrainedRun,
    "unfinished run": UnfinishedRun,
    "tokens": TokenFile,
    "prepared text": Prepared,
    "saved model": SavedModel,
    "SQLite": Sqlite,
    "safetensors": Safetensors,
    "torch.save": TorchSave,
    "litgpt": Litgpt,
}
