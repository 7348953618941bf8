"""The commands: which there are, how one is called, and what a user sees when it fails.

Each is a module here with a function `run`. Only the one that is called is imported, because some
take seconds.
"""

import ast
import contextlib
import functools
import importlib
import inspect
import io
import itertools
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmcore.config import nearest

ON_TEXT = (
    "go", "prepare", "train", "generate", "evaluate", "runs", "export", "import", "completion",
)  # fmt: skip
ON_STUDIES = (
    "studies", "cost", "run", "experiments", "reproduce", "live", "ask", "notebooks", "readme",
    "upgrade",
)  # fmt: skip
COMMANDS = {name: name for name in (*ON_TEXT, *ON_STUDIES)} | {"import": "import_model"}
"""The module of each command."""

MISTAKE, STOPPED, PIPE_CLOSED = 2, 130, 141
STATUS = (
    "Exit status: 0 done, 1 an error in lmcore, 2 a mistake in the call or its input, "
    "130 stopped by Ctrl-C."
)

NEXT_TIME = {
    "prepare": "; the same command prepares the text again",
    "run": "; the same command resumes from the last checkpoint",
}
"""What a command that is called again after Ctrl-C does, where it does not say so itself."""


def run_command() -> int:
    """Run the command that the arguments name and return its exit status.

    A user's mistake is one line and status 2, Ctrl-C one line and status 130.
    """
    name, *arguments = sys.argv[1:] or ["--help"]
    next_time = ""
    try:
        if name in ("-h", "--help"):
            print(overview())
            return 0
        if name not in COMMANDS:
            raise ValueError(f"there is no command {name}{nearest(name, dict(COMMANDS))}")
        call = called(*chosen(name, arguments))
        next_time = NEXT_TIME.get(name, "")
        call()
    except (ValueError, ArithmeticError, MemoryError) as error:
        print(f"lmcore: {error}", file=sys.stderr)
        return MISTAKE
    except BrokenPipeError:  # what reads the output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"lmcore: {error.strerror or error}{where}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print(f"lmcore: stopped{next_time}", file=sys.stderr)
        return STOPPED
    return 0


def overview() -> str:
    """Return the commands with a line for each, from the docstrings of their modules."""

    def lines(names: Sequence[str]) -> list[str]:
        return [f"  {name:11} {summary(name)}" for name in names]

    return "\n".join(
        [
            "usage: lmcore COMMAND [options]\n",
            "On any text:",
            *lines(ON_TEXT),
            "\nOn the studies:",
            *lines(ON_STUDIES),
            "\nlmcore COMMAND --help explains a command and all of its options.",
            STATUS,
        ]
    )


def summary(name: str) -> str:
    """Return what the docstring of a command's module says after its name, without importing it."""
    path = Path(__file__).with_name(f"{COMMANDS[name]}.py")
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return doc.splitlines()[0].removeprefix(f"lmcore {name}: ").removesuffix(".")


def chosen(
    name: str, arguments: Sequence[str] = ()
) -> tuple[str, Callable[..., None], Sequence[str]]:
    """Return a command's whole name, its function, and the arguments that remain for it.

    The arguments of train decide the defaults of its flags, and experiments has commands of its
    own, or else shows its menu.

    Raises:
        ValueError: experiments has no such command.
    """
    module = importlib.import_module(f"lmcore.cli.{COMMANDS[name]}")
    if name == "train":
        return name, module.command(arguments), arguments
    if name != "experiments":
        return name, module.run, arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        return name, module.menu, arguments
    second, *rest = arguments
    if second not in module.COMMANDS:
        known = {command: command for command in module.COMMANDS}
        raise ValueError(f"experiments has no command {second}{nearest(second, known)}")
    return f"{name} {second}", module.COMMANDS[second], rest


def called(name: str, function: Callable[..., None], arguments: Sequence[str]) -> Callable[[], Any]:
    """Return a command's function with arguments from the command line.

    Raises:
        ValueError: an argument is missing, unknown or of another type.
        SystemExit: help was asked for.
    """
    import tyro  # overview does without

    @functools.wraps(function)
    def later(*given: Any, **named: Any) -> Callable[[], Any]:
        return functools.partial(function, *given, **named)

    doc = inspect.getdoc(function) or ""
    later.__doc__ = re.sub(r"\n {8,}", " ", doc)  # tyro would keep the source's line breaks
    vars(later)["__signature__"] = inspect.signature(function)
    del vars(later)["__wrapped__"]  # whose docstring would be read
    box = io.StringIO()
    about = f"{doc.partition('Args:')[0].strip()}\n\n{STATUS}"
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(later, prog=f"lmcore {name}", description=about, args=arguments)
    except SystemExit as error:
        if not error.code:
            raise
        raise ValueError(in_one_line(box.getvalue(), name)) from None


def in_one_line(box: str, name: str) -> str:
    """Return tyro's error message, several lines in a box, as one line."""
    if box[:1] not in ("╭", "+", " "):
        return f"{' '.join(box.split())}; see lmcore {name} --help"
    _, *lines = [line[2:-2].rstrip(" ─-") for line in box.splitlines()]
    lines = [*itertools.dropwhile(lambda line: not line, lines)]  # rules are empty now
    end = lines.index("") if "" in lines else len(lines)
    what = " ".join(line for line in lines[:end] if not line.startswith(" ")).rstrip(".")
    if what.startswith("Missing from"):
        what += f" {', '.join(_indented(lines[:end]))}"
    elif "Perhaps you meant:" in lines:
        option = _indented(lines[lines.index("Perhaps you meant:") :])[0]
        what += f": did you mean {option.split()[0]}?"
    return f"{what[:1].lower()}{what[1:]}; see lmcore {name} --help"


def _indented(lines: Sequence[str]) -> list[str]:
    """Return the lines that name an option; what explains it is indented further."""
    return [line.strip() for line in lines if line.startswith("    ") and line[4] != " "]
