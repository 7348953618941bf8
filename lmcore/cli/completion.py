"""lmcore completion: a script that makes a shell complete commands and options."""

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union

import tyro

from lmcore.cli import experiments
from lmcore.cli.commands import COMMANDS, chosen

Shell = Literal["bash", "zsh", "fish"]


def run(shell: Annotated[Shell, tyro.conf.Positional]) -> None:
    """Print a script that completes commands, options and choices; files complete as before.

    In bash, for example: lmcore completion bash > ~/.lmcore-completion, and in ~/.bashrc the line
    source ~/.lmcore-completion.

    Args:
        shell: The shell that the script is for.
    """
    functions = {name: chosen(name)[1] for name in COMMANDS}
    print(completion_script(functions | {"experiments": _one_of(experiments.COMMANDS)}, shell))


def completion_script(functions: Mapping[str, Callable], shell: Shell) -> str:
    """Return the script that completes these commands of lmcore and their options."""
    script = io.StringIO()
    with contextlib.redirect_stdout(script), contextlib.suppress(SystemExit):
        tyro.extras.subcommand_cli_from_dict(
            dict(functions), prog="lmcore", args=["--tyro-print-completion", shell]
        )
    # Where an option or argument takes a path, the shell completes it.
    with_files = script.getvalue().replace("complete -F", "complete -o default -F")
    return with_files.replace("complete --no-files", "complete")


def _one_of(functions: Mapping[str, Callable]) -> Callable[..., None]:
    """Return a command whose own commands are functions, for completion alone."""
    options = [
        Annotated[Any, tyro.conf.subcommand(name=name, constructor=function)]
        for name, function in functions.items()
    ]

    def command(command: Any) -> None: ...

    command.__annotations__["command"] = tyro.conf.OmitSubcommandPrefixes[Union[tuple(options)]]  # noqa: UP007
    return command
