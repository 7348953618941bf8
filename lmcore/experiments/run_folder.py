"""Run folders: config.json, metrics.jsonl, environment.json and outcome.json.

No torch here, so that tables and plots load fast.
"""

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmcore.config import SCHEMA, config_hash, from_dict, stored_config
from lmcore.evaluation.score_types import read_score
from lmcore.files import naming, read_json, write_json, write_text


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run as read from its folder.

    records are the lines of metrics.jsonl. In them and in the outcome, scores are `Score` or
    `Answers`.
    """

    folder: Path
    config: Any
    records: list[dict[str, Any]]
    environment: dict[str, Any]
    outcome: dict[str, Any]


def load_run(folder: Path, kind: type) -> Run:
    """Return the run in folder with a config of class kind.

    Raises:
        ValueError: a file is missing or damaged, the config was changed, or another version of
            lmcore wrote it.
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
    return Run(
        folder,
        config,
        [with_scores(record) for record in read_metrics(folder / "metrics.jsonl")],
        read_json(folder / "environment.json"),
        with_scores(read_json(folder / "outcome.json")),
    )


def check_schema(folder: Path, schema: int) -> None:
    """Raise ValueError if another version of lmcore wrote folder; the message says what to do."""
    if schema != SCHEMA:
        remedy = f"upgrade it with python -m lmcore upgrade {folder}"
        raise ValueError(
            f"{folder} was written by another version of lmcore (schema {schema}, this one reads "
            f"{SCHEMA}): {remedy if schema < SCHEMA else 'update lmcore'}"
        )


def with_scores(stored: dict[str, Any]) -> dict[str, Any]:
    """Return stored with the scores in it as objects."""
    return {name: read_score(value) for name, value in stored.items()}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records in path, one from each line.

    Raises:
        ValueError: the file is missing or a line is damaged; the message names it.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing")
    out = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            out.append(json.loads(line))
        except ValueError:
            raise ValueError(f"{path} is damaged in line {number}") from None
    return out


class JsonLines:
    """A file of one JSON object a line, each with a step, that a resumed run appends to.

    A resumed run repeats the steps after its checkpoint: what it adds first replaces the lines of
    the same and later steps.
    """

    def __init__(self, path: Path):
        self.path, self._is_first = path, True

    def add(self, *records: dict[str, Any]) -> None:
        """Append records, all of one step."""
        text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
        if not self._is_first:
            with naming(self.path), open(self.path, "a", encoding="utf-8", newline="\n") as file:
                file.write(text)
        elif records:
            self._is_first = False
            earlier = [old for old in self.read() if old["step"] < records[0]["step"]]
            write_text(self.path, "".join(json.dumps(old) + "\n" for old in earlier) + text)

    def read(self) -> list[dict[str, Any]]:
        """Return the records so far, without a last line that was cut off."""
        out = []
        with contextlib.suppress(ValueError, FileNotFoundError):
            for line in self.path.read_text(encoding="utf-8").splitlines():
                out.append(json.loads(line))
        return out


class RunWriter:
    """Writes an unfinished run to a scratch folder and moves it to the results when it is done.

    A resumed run appends to its metrics. It repeats the steps after its checkpoint, and their
    records replace the earlier ones.
    """

    def __init__(self, folder: Path, config: Any):
        self.folder, stored = folder, stored_config(config)
        path = folder / "config.json"
        if path.exists() and read_json(path).get("hash") != stored["hash"]:
            raise ValueError(
                f"{folder} holds an unfinished run of another config: delete it to start this one"
            )
        write_json(path, stored)
        self._metrics = JsonLines(folder / "metrics.jsonl")

    def check_text(self, sha256: str) -> None:
        """Check that the run began on the text with this hash.

        Raises:
            ValueError: it began on another text; the message names both hashes.
        """
        path = self.folder / "environment.json"
        data = read_json(path).get("data", {}) if path.exists() else {}
        if data.get("text_sha256", sha256) != sha256:
            raise ValueError(
                f"{self.folder} began on the text {data['text_sha256'][:12]}, this one is "
                f"{sha256[:12]}: give it the same titles, or delete it to start again"
            )

    def note_session(self, facts: dict[str, Any]) -> None:
        """Add facts about the process that trains now; a resumed run has several."""
        path = self.folder / "environment.json"
        earlier = read_json(path)["sessions"] if path.exists() else []
        self.note_environment({"sessions": [*earlier, facts]})

    def note_environment(self, facts: dict[str, Any]) -> None:
        """Add facts to environment.json; they replace earlier facts of the same names."""
        path = self.folder / "environment.json"
        write_json(path, (read_json(path) if path.exists() else {}) | facts)

    def add(self, record: dict[str, Any]) -> None:
        """Append a record. The first one also removes records of its own and later steps."""
        self._metrics.add(record)

    def records(self) -> list[dict[str, Any]]:
        """Return the records so far, without a last line that was cut off."""
        return self._metrics.read()

    def finish(self, outcome: dict[str, Any], destination: Path) -> None:
        """Write the outcome and copy all files but the checkpoints to destination, whole."""
        write_json(self.folder / "outcome.json", outcome)
        destination.parent.mkdir(parents=True, exist_ok=True)
        whole = destination.with_name(f".{destination.name}.part")
        shutil.rmtree(whole, ignore_errors=True)
        shutil.copytree(self.folder, whole, ignore=shutil.ignore_patterns("checkpoints", ".*"))
        os.replace(whole, destination)
