"""Run folders: config.json, metrics.jsonl, environment.json and outcome.json.

No torch here, so that tables and plots load fast.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lmcore.config import SCHEMA, config_hash, flat_fields, from_dict, stored_config
from lmcore.experiments.checksums import check_sums, write_sums
from lmcore.experiments.metrics_file import JsonLines, Records, first_missing, with_scores
from lmcore.files import as_json, read_json, read_object, write_json, write_text
from lmcore.locks import locked, remove_leftovers

SHA256_DIGITS = 64
LEFT_OVER_S = 3600
"""Age in seconds from which an unfinished copy of a run belongs to no living process."""


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run as read from its folder.

    records are the lines of metrics.jsonl. In them and in the outcome, scores are `Score` or
    `Answers`.
    """

    folder: Path
    config: Any
    records: Sequence[dict[str, Any]]
    environment: dict[str, Any]
    outcome: dict[str, Any]


def load_run(folder: Path, kind: type) -> Run:
    """Return the run in folder with a config of class kind.

    Raises:
        ValueError: a file is missing or damaged, the config was changed, or another version of
            lmcore wrote it, or its steps are repeated, missing or out of order.
    """
    stored = read_json(folder / "config.json")
    if isinstance(stored, dict) and "hash" in stored:
        check_schema(folder, stored.get("schema", 1))
    try:
        config = from_dict(kind, stored["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'} is not a config: {error}") from None
    if config_hash(config) != stored.get("hash"):
        raise ValueError(
            f"{folder / 'config.json'} was changed after its run: its recorded hash is "
            f"{stored.get('hash')}, its values have {config_hash(config)}"
        )
    check_sums(folder)
    return Run(
        folder,
        config,
        Records(folder / "metrics.jsonl", log_every(config)),
        read_object(folder / "environment.json"),
        with_scores(read_object(folder / "outcome.json")),
    )


def write_outcome(folder: Path, outcome: dict[str, Any]) -> None:
    """Write outcome.json, which makes the run in folder a finished one, after its checksums."""
    text, environment = as_json(outcome), folder / "environment.json"
    if environment.exists():
        write_json(environment, without_checksum(read_object(environment)))
    write_sums(folder, {"outcome.json": text.encode()})
    write_text(folder / "outcome.json", text)


def with_checksum(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts with their checksum, which environment.json has until the run is finished."""
    plain = without_checksum(facts)
    text = json.dumps(plain, sort_keys=True)
    return plain | {"checksum": hashlib.sha256(text.encode()).hexdigest()}


def without_checksum(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts without their checksum."""
    return {name: value for name, value in facts.items() if name != "checksum"}


def check_schema(folder: Path, schema: int) -> None:
    """Raise ValueError if another version of lmcore wrote folder; the message says what to do."""
    if schema != SCHEMA:
        remedy = f"upgrade it with python -m lmcore upgrade {folder}"
        raise ValueError(
            f"{folder} was written by another version of lmcore (schema {schema}, this one reads "
            f"{SCHEMA}): {remedy if schema < SCHEMA else 'update lmcore'}"
        )


def log_every(config: Any) -> int:
    """Return after how many steps a run of config has a record, at the latest."""
    return flat_fields(config).get("train.evaluation.log_every", 1)


class RunWriter:
    """Writes an unfinished run to a scratch folder and moves it to the results when it is done.

    From its creation to `close` it holds the folder's lock, unless the caller does (is_locked). It
    is a context manager.
    With is_fresh, what an earlier run left in the folder is deleted first.
    A resumed run appends to its metrics. It repeats the steps after its checkpoint, and their
    records replace the earlier ones.
    """

    def __init__(
        self, folder: Path, config: Any, *, is_fresh: bool = False, is_locked: bool = False
    ):
        self.folder = folder
        self._log_every = log_every(config)
        self._metrics = JsonLines(folder / "metrics.jsonl")
        with contextlib.ExitStack() as stack:
            if not is_locked:
                stack.enter_context(locked(folder))
            if is_fresh:
                shutil.rmtree(folder, ignore_errors=True)
            remove_leftovers(folder)
            self._claim(stored_config(config))
            self._stack = stack.pop_all()

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder's lock."""
        self._stack.close()

    def _claim(self, stored: dict[str, Any]) -> None:
        folder = self.folder
        path = folder / "config.json"
        if path.exists() and self._begun(path).get("hash") != stored["hash"]:
            raise ValueError(
                f"{folder} holds an unfinished run of another config: delete it to start this one"
            )
        write_json(path, stored)

    def check_text(self, sha256: str) -> None:
        """Check that the run began on the text with this hash.

        Raises:
            ValueError: it began on another text; the message names both hashes.
        """
        began_on = self._facts("data", {}).get("text_sha256", sha256)
        if began_on != sha256:
            raise ValueError(
                f"{self.folder} began on the text {str(began_on)[:12]}, this one is "
                f"{sha256[:12]}: give it the same titles, or delete it to start again"
            )

    def note_session(self, facts: dict[str, Any]) -> None:
        """Add facts about the process that trains now; a resumed run has several."""
        self.note_environment({"sessions": [*self._facts("sessions", []), facts]})

    def note_environment(self, facts: dict[str, Any]) -> None:
        """Add facts to environment.json; they replace earlier facts of the same names."""
        write_json(self.folder / "environment.json", with_checksum(self._environment() | facts))

    def _facts(self, name: str, default: Any) -> Any:
        """Return what environment.json holds under a name, of default's type."""
        value = self._environment().get(name, default)
        if type(value) is not type(default):
            path = self.folder / "environment.json"
            raise self._damaged(f"{path} is damaged: {name} is a {type(value).__name__}")
        return value

    def _environment(self) -> dict[str, Any]:
        """Return the facts of environment.json, checked if they have a checksum."""
        path = self.folder / "environment.json"
        facts = self._begun(path) if path.exists() else {}
        is_checked = "checksum" in facts
        # A checksum under another name is one whose name is damaged.
        is_misnamed = any(
            isinstance(value, str) and len(value) == SHA256_DIGITS
            for value in without_checksum(facts).values()
        )
        if is_misnamed or (is_checked and facts != with_checksum(facts)):
            raise self._damaged(f"{path} is damaged (its checksum differs)")
        return facts

    def _begun(self, path: Path) -> dict[str, Any]:
        """Return what a file of the unfinished run holds."""
        try:
            return read_object(path)
        except ValueError as error:
            raise self._damaged(error) from None

    def _damaged(self, problem: object) -> ValueError:
        return ValueError(
            f"{problem}; the run in {self.folder} is not finished: restore the file from a copy, "
            f"or delete {self.folder} to start again"
        )

    def add(self, record: dict[str, Any]) -> None:
        """Append a record. The first one also removes records of its own and later steps."""
        self._metrics.add(record)

    def sync(self) -> None:
        """Wait until the records so far are on the disk."""
        self._metrics.sync()

    def drop_newer_checkpoints(self) -> None:
        """Delete the checkpoints that are newer than the records, so that training repeats steps.

        Raises:
            ValueError: no checkpoint would remain, or records have another content than was
                written; nothing is deleted.
        """
        try:
            self._metrics.check()
        except ValueError as error:
            raise self._damaged(error) from None
        lacking = first_missing([record["step"] for record in self.records()], self._log_every)
        numbers = {
            path: path.stem.removeprefix("step")
            for path in sorted((self.folder / "checkpoints").glob("step*.safetensors"))
        }
        paths = {path: int(number) for path, number in numbers.items() if number.isdecimal()}
        newer = [path for path, step in paths.items() if step >= lacking]
        if newer and len(newer) == len(paths):
            raise ValueError(
                f"{self.folder / 'metrics.jsonl'} lacks step {lacking}, which every checkpoint of "
                f"this run is past ({', '.join(path.name for path in newer)}): restore the file, "
                f"or delete {self.folder} to start again"
            )
        for path in newer:
            path.unlink()

    def records(self) -> list[dict[str, Any]]:
        """Return the records so far, without a last line that was cut off."""
        return self._metrics.read()

    def finish(self, outcome: dict[str, Any], destination: Path) -> None:
        """Write the outcome and copy all files but the checkpoints to destination, whole.

        A run that is at destination already stays.
        """
        write_outcome(self.folder, outcome)
        destination.parent.mkdir(parents=True, exist_ok=True)
        for old in destination.parent.glob(f".{destination.name}.*part"):
            if time.time() - old.stat().st_ctime > LEFT_OVER_S:
                shutil.rmtree(old, ignore_errors=True)
        whole = destination.with_name(f".{destination.name}.{os.getpid()}.part")
        shutil.rmtree(whole, ignore_errors=True)
        try:
            shutil.copytree(self.folder, whole, ignore=shutil.ignore_patterns("checkpoints", ".*"))
            for path in whole.iterdir():
                with open(path, "rb+") as file:
                    os.fsync(file.fileno())
            os.replace(whole, destination)
        except OSError:
            # A process with another scratch folder may have finished the same run before this one.
            if not (destination / "outcome.json").exists():
                raise
        finally:
            shutil.rmtree(whole, ignore_errors=True)
