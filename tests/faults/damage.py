"""Files damaged in each way, and what their readers make of them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from injection import reading

PAGE = 4096


def damages(whole: bytes, other: bytes | None, n: int) -> Iterator[tuple[str, bytes | None]]:
    """Yield (kind, content) for each damage of a file; None means that the file is gone.

    n bits are flipped one at a time, evenly over the file, and it is cut at n places. A lost page
    is 4 KiB of zeros. other is the same file of another version.
    """
    size = len(whole)
    places = sorted({round(i * (size - 1) / max(n - 1, 1)) for i in range(n)}) if size else []
    for number, place in enumerate(places):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (number * 5) % 8
        yield "bit", bytes(flipped)
    for place in places:
        yield "cut", whole[:place]
    for start in range(0, size, max(PAGE, size // max(n // 4, 1) // PAGE * PAGE)):
        page = whole[:start] + bytes(min(PAGE, size - start)) + whole[start + PAGE :]
        if page != whole:
            yield "page", page
    yield "gone", None
    yield "longer", whole + whole[-1:]
    yield "json", b'{"a": ' * 100_000
    yield "list", b"[]"
    yield "noise", bytes(range(256)) * 4
    if other is not None and other != whole:
        yield "mixed", other


def files_in(folder: Path) -> list[Path]:
    """Return the files of a store, without locks."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    )


def damaged(store, n: int) -> dict:
    """Return by kind of damage how often a store's reader noticed it, and how often it did not.

    The states are noticed (an error of the kind that the store gives for content that is not
    whole), right (the damage changed nothing), old (an earlier version was read), wrong (something
    else was read), crash (the process died or fell over with another error).
    """
    found: dict[str, Counter] = {}
    notes = []
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        before, whole = Path(name) / "before", Path(name) / "whole"
        for folder, versions in ((before, (1,)), (whole, (1, 2))):
            folder.mkdir()
            for version in versions:
                store.write(folder, version)
        old, new = reading(store, before), reading(store, whole)
        for path in files_in(whole):
            part = path.relative_to(whole)
            content, earlier = path.read_bytes(), before / part
            other = earlier.read_bytes() if earlier.exists() else None
            for kind, now in damages(content, other, n):
                folder = Path(name) / "damaged"
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(whole, folder)
                if now is None:
                    (folder / part).unlink()
                else:
                    (folder / part).write_bytes(now)
                value = reading(store, folder)
                state = {old: "old", new: "right"}.get(value)
                if state is None:
                    is_noticed = value.startswith(store.refusals)
                    is_error = value.startswith("died of") or "Error" in value.split(":")[0]
                    state = "noticed" if is_noticed else "crash" if is_error else "wrong"
                found.setdefault(kind, Counter())[state] += 1
                if state in ("crash", "wrong"):
                    notes.append(f"{part} {kind}: {value}"[:300])
    return {"found": {kind: dict(counts) for kind, counts in found.items()}, "notes": notes}


def findings(stores: list[str], n: int) -> dict:
    """Return what `damaged` counts by store, from a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, json.dumps([stores, n])],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    from stores import STORES

    names, n_places = json.loads(sys.argv[1])
    print(json.dumps({name: damaged(STORES[name](), n_places) for name in names}))
