"""The type checker has nothing to say about the packages behind the public API."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KNOWN = Path(__file__).with_name("type_errors.json")
"""Errors by file that are not repaired yet, mostly in matplotlib's and Numba's corners."""


@pytest.fixture(scope="module")
def errors():
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson"], cwd=ROOT, capture_output=True, text=True
    )
    if not done.stdout.startswith("{"):
        pytest.skip(f"pyright cannot start, it needs Node: {done.stderr.strip()[-200:]}")
    found = json.loads(done.stdout)["generalDiagnostics"]
    return [error for error in found if error["severity"] == "error"]


def test_the_public_api_checks_as_a_user_writes_it(errors):
    said = [e["message"] for e in errors if Path(e["file"]).name == "public_api.py"]
    assert said == []


def test_no_file_has_more_type_errors_than_are_known(errors):
    """A file that is repaired leaves type_errors.json, so that it stays repaired."""
    counts = Counter(Path(error["file"]).relative_to(ROOT).as_posix() for error in errors)
    known = json.loads(KNOWN.read_text(encoding="utf-8"))
    more = {file: (n, known.get(file, 0)) for file, n in counts.items() if n > known.get(file, 0)}
    fewer = {file: (counts[file], n) for file, n in known.items() if counts[file] < n}
    assert more == {}, [e["message"] for e in errors if str(e["file"]).endswith(tuple(more))]
    assert fewer == {}, f"lower these counts in {KNOWN.name}"
