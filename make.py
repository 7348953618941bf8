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
from typing import Iterator, Sequence  # noqa: UP035 - Python 3.8 has these here

ROOT = Path(__file__).resolve().parent
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20


class MakeError(Exception):
    """One line that says what is wrong and what to do, then the last lines of what failed."""

    def __init__(self, why: str, said: Sequence[str] = (), code: int = 2):
        super().__init__("\n    ".join([why, *said[-6:]]))
        self.code = code


def run() -> None:
    """Run one study live and all small, redraw figures from committed results, build the site."""
    python = set_up()
    with stage("a table of arithmetic, learned live"):
        call(python, "-m", "lmcore", "live")
    with stage("studies, small, on generated data"):
        call(python, "-m", "lmcore", "run", "all", "--small")
    with stage("figures, from the committed results"):
        call(python, "-m", "lmcore", "notebooks")
    site()
    print("look at it: python make.py view, or open", ROOT / "_build" / "html" / "index.html")


def test(*arguments: str) -> None:
    """Run the tests on all processors; what follows is handed to pytest (-n 0: one by one)."""
    call(set_up(), "-m", "pytest", "-n", "logical", "--dist", "loadfile", *arguments)


def site(*arguments: str) -> None:
    """Build the site to _build/html; what follows is handed to docs/site.py."""
    python = set_up()
    with stage("site"):
        call(python, "docs/site.py", "build", *arguments)


def check() -> None:
    """Check the code's style and types, and the pages of the site if it is built."""
    python = set_up()
    call(python, "-m", "ruff", "check", ".")
    call(python, "-m", "ruff", "format", "--check", ".")
    call(python, "-m", "pytest", "tests/repo/test_types.py")
    if (ROOT / "_build" / "html" / "index.html").exists():
        call(python, "docs/site.py", "check")


def view(*arguments: str) -> None:
    """Show the built site in the browser; what follows is handed to docs/site.py."""
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
    """Run the environment's Python at the root, the environment's programs found first.

    Raises:
        MakeError: it failed; what it said stands above.
    """
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    process = subprocess.Popen([str(python), *arguments], cwd=str(ROOT), env=environment)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # it got the Ctrl-C too, and may still be saving
        raise
    if code != 0:
        failed = f"python {' '.join(arguments)} ended with code {code}"
        raise MakeError(failed, code=code if code > 0 else 1)


def set_up() -> Path:
    """Return the Python of an environment that holds what pyproject.toml asks for."""
    check_python(sys.version_info[:2])
    check_node(shutil.which("node"))
    if is_own_environment():
        return Path(sys.executable)
    venv, wanted = ROOT / ".venv", wanted_stamp()
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = venv / "lmcore-stamp"
    stamped = stamp.read_text(encoding="utf-8") if stamp.exists() else ""
    if stamped != wanted or not python.exists():
        print(f"environment: installing into {venv}, minutes the first time", flush=True)
        with stage("environment"):
            if not venv.exists():
                make_venv(venv)
            check_venv(venv, python, stamped)
            install(python)
            stamp.write_text(wanted, encoding="utf-8")
    return python


def wanted_stamp() -> str:
    """Return where this checkout lies and a hash of what its environment must hold."""
    files = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return f"{ROOT}\n{digest}\n"


def check_python(version: Sequence[int]) -> None:
    """Refuse a version that is older than the package allows."""
    if tuple(version) < OLDEST_PYTHON:
        have, need = (".".join(map(str, numbers)) for numbers in (version, OLDEST_PYTHON))
        where = "https://www.python.org/downloads"
        raise MakeError(
            f"this is Python {have}, lmcore needs {need} or newer: get it from {where}, "
            f"then: python{need} make.py"
        )


def check_node(node: str | None) -> None:
    """Refuse a program node that is missing or too old for MyST."""
    advice = f"get Node {OLDEST_NODE} or newer from https://nodejs.org, then run the same command"
    if node is None:
        raise MakeError(f"Node, which builds the site, is missing: {advice}")
    said = subprocess.run([node, "--version"], stdout=subprocess.PIPE, check=False).stdout.decode()
    version = re.match(r"v(\d+)", said)
    if version is None or int(version.group(1)) < OLDEST_NODE:
        raise MakeError(f"Node, which builds the site, is {said.strip() or 'broken'}: {advice}")


def is_own_environment() -> bool:
    """Return whether this runs in an environment of the user's that has this checkout and pytest.

    Only installed packages count: from this folder, lmcore can be imported anyway.
    """
    is_conda = Path(sys.prefix, "conda-meta").is_dir()
    if not (is_conda or sys.prefix != sys.base_prefix) or Path(sys.prefix) == ROOT / ".venv":
        return False
    packages = [sysconfig.get_path("purelib")]
    found = importlib.metadata.distributions(name="lmcore", path=packages)
    sources = [json.loads(one.read_text("direct_url.json") or "{}") for one in found]
    is_installed = any(source.get("url") == ROOT.as_uri() for source in sources)
    return is_installed and importlib.util.find_spec("pytest") is not None


def make_venv(venv: Path) -> None:
    """Make an empty virtual environment."""
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        advice = "on Debian or Ubuntu, apt install python3-venv, then run the same command"
        raise MakeError(f"this Python has no venv module: {advice}")
    code, said = ask(Path(sys.executable), "-m", "venv", str(venv))
    if code != 0:
        raise MakeError(f"{venv} could not be made", said)


def check_venv(venv: Path, python: Path, stamped: str) -> None:
    """Refuse a venv that nothing can be installed into; it may be the user's, so it stays."""
    is_moved = stamped != "" and not stamped.startswith(f"{ROOT}\n")
    if is_moved or not python.exists() or ask(python, "-m", "pip", "--version")[0] != 0:
        raise MakeError(f"{venv} was moved or is damaged: delete it, then run the same command")


def install(python: Path) -> None:
    """Install what constraints.txt lists as it stands, then the package and what else it needs.

    One step would do, but where a pin does not fit, pip then tries older versions for many minutes
    and swaps torch for a larger build; with nothing left to choose it names the pin at once.
    """
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    for step in (["--no-deps", "-r"], ["-e", ".[dev]", "-c"]):
        code, said = ask(*pip, *step, "constraints.txt")
        if code != 0:
            errors = [line for line in said if re.search("error", line, re.IGNORECASE)]
            raise MakeError(pip_failure("\n".join(said)), errors or said)


def pip_failure(said: str) -> str:
    """Return in one line why pip failed, and what to do."""
    if "No space left" in said:
        return "the disk is full: free some gigabytes, then run the same command"
    if re.search("connection broken|timed out|could not fetch", said, re.IGNORECASE):
        index = re.search("Looking in indexes: (.+)", said)
        where = index.group(1) if index else "https://pypi.org"
        return f"pip cannot reach {where}: check the network or proxy, then run the same command"
    return "pip could not install the environment; it says:"


def ask(python: Path, *arguments: str) -> tuple[int, list[str]]:
    """Return a program's exit code and what it said; a terminal shows its newest line meanwhile."""
    said, is_watched = [], sys.stderr.isatty()
    command = [str(python), *arguments]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(
        command, cwd=str(ROOT), encoding="utf-8", errors="replace", **pipe
    ) as process:
        for line in process.stdout:
            said.append(line.rstrip())
            if is_watched:
                print(f"\r\033[K{said[-1][:76]}", end="", file=sys.stderr, flush=True)
    if is_watched:
        print("\r\033[K", end="", file=sys.stderr)
    return process.returncode, said


def main(arguments: Sequence[str]) -> int:
    """Run the command that arguments name; a failure is one line and an exit code."""
    name, rest = arguments[0].lstrip("-") if arguments else "help", arguments[1:]
    try:
        if name not in COMMANDS:
            raise MakeError(f"there is no {name!r}; there are: {', '.join(COMMANDS)}")
        if rest and not inspect.signature(COMMANDS[name]).parameters:
            raise MakeError(f"{name} takes no arguments, not {' '.join(rest)!r}")
        COMMANDS[name](*rest)
    except MakeError as error:
        print(f"make.py: {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"make.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("make.py: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
