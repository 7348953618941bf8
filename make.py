"""Set up, run, test and build on any system: python make.py run (needs Python 3.11 and Node 20).

Works with the standard library alone and parses on Python 3.8, so that an old Python is told what
is wrong. The environment is .venv beside this file, unless this file is run by a virtual or conda
environment of your own in which this checkout is installed with its dev extra: then that one.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Iterator, Sequence  # noqa: UP035 - Python 3.8 cannot subscript the others

ROOT = Path(__file__).resolve().parent
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20


class Stop(Exception):
    """An end with one line that says why, and what the caller may do about it."""

    def __init__(self, why: str, code: int = 2):
        super().__init__(why)
        self.code = code


def run() -> None:
    """Run every study small, redraw every figure from the committed results, build the site."""
    python = set_up()
    with stage("studies, small, on generated data"):
        call(python, "-m", "lmcore", "run", "all", "--small")
    with stage("figures, from the committed results"):
        call(python, "-m", "lmcore", "figures")
    site()
    print("look at it: python make.py view, or open", ROOT / "_build" / "html" / "index.html")


def test(*arguments: str) -> None:
    """Run the tests; what follows is handed to pytest."""
    call(set_up(), "-m", "pytest", *arguments)


def site(*arguments: str) -> None:
    """Build the site to _build/html; what follows is handed to docs/site.py."""
    python = set_up()
    with stage("site"):
        call(python, "docs/site.py", "build", *arguments)


def check() -> None:
    """Check style, and the pages of the site if it is built."""
    python = set_up()
    call(python, "-m", "ruff", "check", ".")
    call(python, "-m", "ruff", "format", "--check", ".")
    if (ROOT / "_build" / "html" / "index.html").exists():
        call(python, "docs/site.py", "check")


def view(*arguments: str) -> None:
    """Show the built site in the browser."""
    call(set_up(), "docs/site.py", "view", *arguments)


def show_help() -> None:
    """List what this file can do."""
    for name, command in COMMANDS.items():
        print(f"python make.py {name:6} {(command.__doc__ or '').splitlines()[0]}")


COMMANDS = {
    "run": run, "test": test, "site": site, "check": check, "view": view, "help": show_help,
}  # fmt: skip


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Say what was done and in how many seconds."""
    started = time.monotonic()
    yield
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


def call(python: Path, *arguments: str) -> None:
    """Run the environment's Python at the root, its scripts found first.

    Raises:
        Stop: it failed; what it said stands above.
    """
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    process = subprocess.Popen(
        [str(python), *arguments], cwd=str(ROOT), env={**os.environ, "PATH": path}
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # it got the Ctrl-C too, and may still be saving
        raise
    if code != 0:
        raise Stop(f"python {' '.join(arguments)} ended with code {code}", code if code > 0 else 1)


def set_up() -> Path:
    """Return the Python of an environment that holds what pyproject.toml asks for."""
    check_python(sys.version_info[:2])
    check_node(shutil.which("node"))
    if is_own_environment():
        return Path(sys.executable)
    venv = ROOT / ".venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp, wanted = venv / "lmcore-stamp", wanted_stamp()
    stamped = stamp.read_text(encoding="utf-8") if stamp.exists() else ""
    if stamped != wanted or not python.exists():
        with stage("environment"):
            prepare(venv, python, stamped)
            stamp.write_text(wanted, encoding="utf-8")
    return python


def wanted_stamp() -> str:
    """Return where this checkout lies and a hash of what its environment must hold."""
    files = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return f"{ROOT}\n{digest}\n"


def check_python(version: Sequence[int]) -> None:
    """Stop if version is older than the package allows."""
    if tuple(version) < OLDEST_PYTHON:
        have, need = (".".join(map(str, numbers)) for numbers in (version, OLDEST_PYTHON))
        raise Stop(
            f"this is Python {have}, lmcore needs {need} or newer: get it from "
            "https://www.python.org/downloads, then run make.py with it"
        )


def check_node(node: str | None) -> None:
    """Stop if the program node is missing or too old for MyST."""
    advice = f"get Node {OLDEST_NODE} or newer from https://nodejs.org, then run the same command"
    if node is None:
        raise Stop(f"Node, which builds the site, is missing: {advice}")
    said = subprocess.run([node, "--version"], stdout=subprocess.PIPE, check=False).stdout.decode()
    version = re.match(r"v(\d+)", said)
    if version is None or int(version.group(1)) < OLDEST_NODE:
        raise Stop(f"Node, which builds the site, is {said.strip() or 'broken'}: {advice}")


def is_own_environment() -> bool:
    """Return whether this runs in an environment of the user's that has this checkout and pytest.

    Only the installed packages count: lmcore can be imported from the current folder anyway.
    """
    prefix = Path(sys.prefix)
    is_conda = (prefix / "conda-meta").is_dir()
    if not (is_conda or sys.prefix != sys.base_prefix) or prefix == ROOT / ".venv":
        return False
    installed = importlib.metadata.distributions(
        name="lmcore", path=[sysconfig.get_path("purelib")]
    )
    sources = [json.loads(found.read_text("direct_url.json") or "{}") for found in installed]
    is_here = any(source.get("url") == ROOT.as_uri() for source in sources)
    return is_here and importlib.util.find_spec("pytest") is not None


def prepare(venv: Path, python: Path, stamped: str) -> None:
    """Make venv if it is not there, and install into it."""
    if not venv.exists():
        make_venv(venv)
    is_moved = stamped != "" and not stamped.startswith(f"{ROOT}\n")
    if is_moved or not python.exists() or ask(python, "-m", "pip", "--version")[0] != 0:
        raise Stop(f"{venv} was moved or is damaged: delete it, then run the same command")
    print(f"environment: installing into {venv}, minutes the first time", flush=True)
    install(python)


def make_venv(venv: Path) -> None:
    """Make an empty virtual environment."""
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise Stop("this Python has no venv module: on Debian or Ubuntu, apt install python3-venv")
    code, said = ask(Path(sys.executable), "-m", "venv", str(venv))
    if code != 0:
        raise Stop("\n".join([f"{venv} could not be made", *indented(said)]))


def install(python: Path) -> None:
    """Install the package and its development tools at the versions of constraints.txt."""
    code, said = ask(
        python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
        "-c", "constraints.txt", "-e", ".[dev]",
    )  # fmt: skip
    if code != 0:
        raise Stop("\n".join([pip_failure(said), *indented(said)]))


def pip_failure(said: Sequence[str]) -> str:
    """Return in one line why pip failed, and what to do."""
    text = "\n".join(said)
    host = re.search(r"host='([^']+)'", text)
    if re.search("connection|timed out|name resolution|proxy|SSLError", text, re.IGNORECASE):
        where = host.group(1) if host else "its package index"
        return f"pip cannot reach {where}: check the network or proxy, then run the same command"
    if "No space left" in text:
        return "the disk is full: free a few gigabytes, then run the same command"
    return "pip could not install the environment; it says:"


def indented(said: Sequence[str], n_last: int = 6) -> list[str]:
    """Return the last lines of what a program said, set off from our own."""
    return [f"    {line}" for line in said[-n_last:]]


def ask(python: Path, *arguments: str) -> tuple[int, list[str]]:
    """Return the exit code of a quiet program and what it said, its newest line shown meanwhile."""
    said: list[str] = []
    is_seen = sys.stderr.isatty()
    with subprocess.Popen(
        [str(python), *arguments], cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        for line in process.stdout or []:
            said.append(line.rstrip())
            if is_seen:
                print(f"\r\033[K{line.strip()[:76]}", end="", file=sys.stderr, flush=True)
    if is_seen:
        print("\r\033[K", end="", file=sys.stderr)
    return process.returncode, said


def main(arguments: Sequence[str]) -> int:
    """Run the command that arguments name; a failure is one line and an exit code."""
    name, *rest = [arguments[0].lstrip("-"), *arguments[1:]] if arguments else ["help"]
    try:
        if name not in COMMANDS:
            raise Stop(f"there is no {name!r}; there are: {', '.join(COMMANDS)}")
        if rest and not inspect.signature(COMMANDS[name]).parameters:
            raise Stop(f"{name} takes no arguments, not {' '.join(rest)!r}")
        COMMANDS[name](*rest)
    except Stop as stop:
        print(f"make.py: {stop}", file=sys.stderr)
        return stop.code
    except OSError as error:
        print(f"make.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("make.py: stopped; the same command goes on where it can", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
