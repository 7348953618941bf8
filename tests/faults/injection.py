"""Faults at each file operation of a program, and what is left of its store afterwards.

Run as a program with the compiled file_operations.c in LD_PRELOAD: it prints one JSON line.
"""

import ctypes
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

SOURCE = Path(__file__).with_name("file_operations.c")
FAULTS = {
    "kill": (b"k", signal.SIGKILL),
    "torn": (b"t", signal.SIGKILL),
    "interrupt": (b"k", signal.SIGINT),
    "full": (b"e", errno.ENOSPC),
    "broken": (b"e", errno.EIO),
}
"""By name how the shim fails at an operation, and with which signal or errno.

kill: the process is killed before the operation. torn: it is killed when half of a write is done.
interrupt: Ctrl-C arrives. full: no space is left from here on. broken: the device fails from here.
"""


def compiled(folder: Path) -> Path | None:
    """Return file_operations.c as a library in folder, or None where it cannot be compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        return None
    library = folder / "file_operations.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def outcomes(library: Path, stores: list[str], faults: list[str], points: int | None) -> dict:
    """Return what `injected` counts by store and fault, from a process with library loaded."""
    done = subprocess.run(
        [sys.executable, __file__, json.dumps([stores, faults, points])],
        env=os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def spread(n: int, points: int | None) -> list[int]:
    """Return the numbers 1 to n, or so many of them from the first to the last."""
    if points is None or points >= n:
        return [*range(1, n + 1)]
    return sorted({1 + round(i * (n - 1) / (points - 1)) for i in range(points)})


def attempt(work: Callable[[], str]) -> str:
    """Return what work returns, or the name and message of its error."""
    try:
        return work()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def reading(store, folder: Path) -> str:
    """Return what the store reads in folder; a reader that may crash gets its own process."""
    work = partial(store.read, folder)
    return in_child(work) if store.may_crash else attempt(work)


def in_child(work: Callable[[], str]) -> str:
    """Return what work returns in a forked process, or how that process died."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
        data = attempt(work).encode(errors="replace")
        while data:
            data = data[os.write(theirs, data) :]
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        text = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return f"died of signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else text


def injected(store, fault: str, points: int | None) -> dict:
    """Return how often each state was found after a fault at each file operation.

    With points, only so many operations are hit, evenly spread.

    First the store holds version 1; then the fault hits while version 2 is written. The states are
    old and new (a whole version), lost (neither can be read, and the error says so), wrong
    (something else was read), and "not again" (writing version 2 once more does not give it).
    """
    here = ctypes.CDLL(None)
    here.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_char, ctypes.c_int]
    here.fault_count.restype = ctypes.c_long
    how, number = FAULTS[fault]
    expected = {}
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        base = Path(os.path.realpath(name))
        for version in (1, 2):
            whole = base / f"whole{version}"
            whole.mkdir()
            store.write(whole, 1)
            if version == 2:
                store.write(whole, 2)
            expected[version] = reading(store, whole)

        def written(folder: Path, at: int) -> str:
            here.fault_arm(os.fsencode(folder), at, how, int(number))
            try:
                store.write(folder, 2)
            finally:
                count = here.fault_count()
                here.fault_arm(b"", 0, how, 0)
            return str(count)

        def prepared() -> Path:
            folder = base / "store"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            return shutil.copytree(base / "whole1", folder, dirs_exist_ok=True)

        folder = prepared()
        n_operations = int(in_child(lambda: written(folder, 0)))
        found, notes = Counter(), []
        for at in spread(n_operations, points):
            folder = prepared()
            ended = in_child(lambda at=at, folder=folder: written(folder, at))
            value = reading(store, folder)
            state = {expected[2]: "new", expected[1]: "old"}.get(value)
            if state is None:
                state = "lost" if value.startswith(store.refusals) else "wrong"
                notes.append(f"operation {at}: {ended} / {value}"[:300])
            found[state] += 1
            attempt(lambda folder=folder: store.write(folder, 2) or "")
            again = reading(store, folder)
            if again != expected[2]:
                found["not again"] += 1
                notes.append(f"operation {at}, again: {again}"[:300])
    return {"operations": n_operations, "found": dict(found), "notes": notes[:20]}


def _writer(store, folder: Path, seconds: float) -> int:
    """Return the number of a new process that writes versions 1 and 2 in turn."""
    child = os.fork()
    if child == 0:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for version in (1, 2):
                attempt(lambda version=version: store.write(folder, version) or "")
        os._exit(0)
    return child


def contended(store, seconds: float) -> dict:
    """Return what a third process reads while two processes write versions 1 and 2 in turn."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        base = Path(name)
        expected = []
        for version in (1, 2):
            (base / f"whole{version}").mkdir()
            store.write(base / f"whole{version}", version)
            expected.append(reading(store, base / f"whole{version}"))
        folder = base / "store"
        folder.mkdir()
        store.write(folder, 1)
        writers = [_writer(store, folder, seconds) for _ in range(2)]
        found, end = Counter(), time.monotonic() + seconds
        while time.monotonic() < end:
            value = reading(store, folder)
            is_noticed = value.startswith(store.refusals)
            found["whole" if value in expected else "lost" if is_noticed else "wrong"] += 1
        for writer in writers:
            os.waitpid(writer, 0)
        last = reading(store, folder)
    return {"found": dict(found), "in the end": "whole" if last in expected else last[:200]}


def main(names: list[str], kinds: list[str], n_points: int | None) -> dict:
    """Return what is found for each store under each kind of fault."""
    from stores import STORES

    return {
        name: {
            kind: contended(STORES[name](), 5.0)
            if kind == "contended"
            else injected(STORES[name](), kind, n_points)
            for kind in kinds
        }
        for name in names
    }


if __name__ == "__main__":
    print(json.dumps(main(*json.loads(sys.argv[1]))))
