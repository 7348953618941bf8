"""Tables of what faults do to files of this package and of others: table.json and table.md here.

Usage: python tests/faults/table.py [--places N] [--stores NAME ...] [--faults NAME ...]

N is how many bits of each file are flipped and at how many places it is cut; all file operations
are hit. What is measured replaces the same part of table.json; all of it takes half an hour, a C
compiler on Linux, and lightning for litgpt's column.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sqlite3
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "faults")]

from damage import findings  # noqa: E402
from injection import compiled, outcomes  # noqa: E402

PEERS = ["save_checkpoint", "SQLite", "safetensors", "torch.save", "litgpt"]
OURS = ["checkpoints", "run", "unfinished run", "saved model", "tokens", "prepared text"]
FAULTS = {
    "kill": "killed before a file operation",
    "torn": "killed half-way through a write",
    "interrupt": "Ctrl-C at a file operation",
    "full": "disk full from an operation on",
    "broken": "disk broken from an operation on",
}
DAMAGES = {
    "bit": "one bit flipped",
    "cut": "cut short",
    "page": "4 KiB of zeros in it",
    "other": "other content, longer, or gone",
    "mixed": "a file of the version before",
}
CONTENDED = "read while two processes write it"
OTHERS = "other damages"
COUNTED = {
    "kills": ("kill", "torn"),
    "interrupts": ("interrupt",),
    "failing disks": ("full", "broken"),
    "flipped bits": ("bit",),
    "files cut short": ("cut",),
    OTHERS: (),
    "reads beside two writers": ("contended",),
}
"""What the last sentence counts, and the names of its faults and damages."""

NAMES = {
    "save_checkpoint": "`save_checkpoint`",
    "torch.save": "`torch.save`",
    "litgpt": "litgpt",
    "checkpoints": "checkpoints of a run",
    "run": "run",
    "saved model": "saved model",
    "tokens": "token file",
    "prepared text": "prepared text",
}


def measured(store: str, faults: list[str], places: int, library: Path) -> dict:
    """Return what was found for a store: counts by fault and by kind of damage."""
    operations = [fault for fault in faults if fault != "damage"]
    found = outcomes(library, [store], operations, None)[store] if operations else {}
    out = {fault: result["found"] for fault, result in found.items()}
    notes = [note for result in found.values() for note in result.get("notes", [])]
    if "damage" in faults:
        result = findings([store], places)[store]
        out |= {"places": places} | result["found"]
        notes += result["notes"]
    for note in notes:
        print(f"{store}: {note}", file=sys.stderr)
    return out


def after_fault(found: dict[str, int]) -> str:
    """Return a cell: after how many faults a whole version was read, and what else was."""
    counts = dict(found)
    again = counts.pop("not again", 0)
    whole = counts.get("old", 0) + counts.get("new", 0)
    others = [f"{n} {name}" for name, n in counts.items() if name not in ("old", "new")]
    others += [f"{again} not written again"] * bool(again)
    return f"{whole} of {sum(counts.values())}" + (f" ({', '.join(others)})" if others else "")


def after_damage(found: dict[str, dict[str, int]]) -> str:
    """Return a cell: how many damages were noticed or harmless, and what else happened."""
    counts: dict[str, int] = {}
    for states in found.values():
        for state, n in states.items():
            counts[state] = counts.get(state, 0) + n
    words = {"wrong": "wrong", "crash": "crashed", "old": "old"}
    others = [f"{n} {words[state]}" for state, n in counts.items() if state in words]
    good = counts.get("noticed", 0) + counts.get("right", 0)
    return f"{good} of {sum(counts.values())}" + (f" ({', '.join(others)})" if others else "")


def after_contention(found: dict[str, int]) -> str:
    """Return a cell: the share of reads that gave a whole version."""
    return f"{found.get('whole', 0) / sum(found.values()):.0%}"


def cells(found: dict) -> dict[str, str]:
    """Return the cells of a store by row."""
    rows = {row: after_fault(found[fault]) for fault, row in FAULTS.items() if fault in found}
    kinds = {name: value for name, value in found.items() if name not in (*FAULTS, "contended")}
    kinds.pop("places", None)
    for kind, row in DAMAGES.items():
        of_kind = {
            name: value
            for name, value in kinds.items()
            if name == kind or (kind == "other" and name not in DAMAGES)
        }
        if of_kind:
            rows[row] = after_damage(of_kind)
    if "contended" in found:
        rows[CONTENDED] = after_contention(found["contended"])
    return rows


def table(stores: list[str], results: dict) -> str:
    """Return a table of stores side by side, a row for each fault, in Markdown."""
    columns = {store: cells(results[store]) for store in stores if store in results}
    rows = [*FAULTS.values(), *DAMAGES.values(), CONTENDED]
    head = ["", *(NAMES.get(store, store) for store in columns)]
    lines = [head, ["---"] * len(head)]
    lines += [
        [row, *(column.get(row, "–") for column in columns.values())]
        for row in rows
        if any(row in column for column in columns.values())
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def versions() -> list[str]:
    """Return the versions that are compared."""
    out = [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}"]
    for name in ("torch", "safetensors", "lightning"):
        try:
            out.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


def tried(results: dict) -> str:
    """Return a sentence that counts the faults of all stores."""
    counts = dict.fromkeys(COUNTED, 0)
    for found in results.values():
        for name, states in found.items() if isinstance(found, dict) else ():
            if name != "places":
                kind = next((k for k, names in COUNTED.items() if name in names), OTHERS)
                counts[kind] += sum(n for state, n in states.items() if state != "not again")
    *first, last = (f"{n:,} {kind}" for kind, n in counts.items())
    return f"Both tables together: {', '.join(first)} and {last}.\n"


def markdown(results: dict) -> str:
    """Return both tables, and how many faults they count."""
    return (
        f"The same weights, saved over an earlier version, with {', '.join(results['versions'])}:\n"
        f"\n{table(PEERS, results)}\nFiles of this package:\n\n{table(OURS, results)}\n"
        f"{tried(results)}"
    )


def main() -> None:
    """Measure what is asked for and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", type=int, default=100)
    parser.add_argument("--stores", nargs="*", default=[*PEERS, *OURS])
    parser.add_argument("--faults", nargs="*", default=[*FAULTS, "damage", "contended"])
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    path = Path(__file__).with_name("table.json")
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        library = compiled(Path(folder))
        assert library is not None, "a C compiler on Linux is needed"
        for store in arguments.stores:
            faults = [f for f in arguments.faults if f != "contended" or store in PEERS]
            found = measured(store, faults, arguments.places, library)
            results[store] = results.get(store, {}) | found
            results["versions"] = versions()
            text = json.dumps(results, indent=1, sort_keys=True) + "\n"
            path.write_text(text, encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(results), encoding="utf-8")


if __name__ == "__main__":
    main()
