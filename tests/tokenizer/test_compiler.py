"""Compiled code where Numba works, and plain Python with one warning where it does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "lmcore" / "tokenizer" / "kernels"

WORK = """
import sys, warnings
from lmcore.tokenizer import bpe, encoder
from lmcore.tokenizer.byte_bpe import Tokenizer

bpe.SMALL = encoder.PATIENCE = encoder.FEW = 10
texts = ["the cat sat on the mat, the rat sat on the cat" + " and on" * 20] * 3
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    vocab, merges = bpe.train_bpe(iter(texts), 270, workers=2)
    tokenizer = Tokenizer(vocab, merges)
    ids = [tokenizer.encode(text) for text in texts]
    ids += tokenizer.encode_batch(texts, workers=3)
    bpe.train_bpe(["a" * 2_000], 258)
print(vocab, ids)
for warning in caught:
    print(warning.category.__name__, warning.message, file=sys.stderr)
"""

MISSING = "import sys; sys.modules['numba'] = None\n"
OUT_OF_MEMORY = """
import resource, numpy, regex, tqdm, jaxtyping, threading
threading.stack_size(2**20)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 60 * 2**20,) * 2)
"""
DISK_FULL = """
import numba.core.caching as caching
def save(self, key, data):
    raise OSError(28, "No space left on device")
caching.IndexDataCacheFile.save = save
"""


def output(start="", **environment):
    """Return what the work prints after start, and its warnings, one a line."""
    done = subprocess.run(
        [sys.executable, "-c", start + WORK],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.splitlines()


@pytest.fixture(scope="module")
def expected():
    """What the work prints where Numba works."""
    printed, warnings = output()
    assert warnings == []
    return printed


@pytest.mark.parametrize(
    ("start", "environment", "reason"),
    [
        (MISSING, {}, "import of numba halted"),
        (OUT_OF_MEMORY, {}, ""),
        (DISK_FULL, {"NUMBA_CACHE_DIR": "an empty folder"}, "No space left on device"),
        ("", {"NUMBA_DISABLE_JIT": "1"}, "NUMBA_DISABLE_JIT is set"),
    ],
    ids=["missing", "out of memory", "disk full", "disabled"],
)
def test_where_numba_cannot_start_plain_python_gives_the_same_after_one_warning(
    expected, tmp_path, start, environment, reason
):
    if "NUMBA_CACHE_DIR" in environment:
        environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    printed, warnings = output(start, **environment)
    assert printed == expected
    assert len(warnings) == 1
    assert warnings[0].startswith("RuntimeWarning Numba cannot compile here")
    assert reason in warnings[0]


PART = """
from compiler import part
@part
def number():
    return {number}
"""
WHOLE = """
from compiler import compiled
from one_part import number
@compiled
def twice():
    return 2 * number()
print(twice())
"""


def twice(folder, number, **environment):
    """Return twice a number, computed by a compiled function with a part in another file."""
    (folder / "compiler.py").write_bytes((KERNELS / "compiler.py").read_bytes())
    (folder / "whole.py").write_text(WHOLE, "utf-8")
    (folder / "one_part.py").write_text(PART.format(number=number), "utf-8")
    run = [sys.executable, "-B", "-c", "import whole"]
    return int(subprocess.check_output(run, cwd=folder, env=os.environ | environment))


def test_a_changed_part_is_compiled_again_into_what_uses_it(tmp_path):
    assert [twice(tmp_path, number) for number in (3, 3, 4)] == [6, 6, 8]


def test_code_is_compiled_though_no_place_for_the_cache_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    nowhere = {
        "NUMBA_CACHE_DIR": str(tmp_path / "file" / "cache"),
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    assert twice(tmp_path, 3, **nowhere) == 6
