"""The map of the package for README and the write-up, read from the docstrings of its modules."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def first_line(module: Path) -> str:
    """Return the first line of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].removesuffix(".")


def parts(folder: Path = PACKAGE) -> list[tuple[str, str]]:
    """Return name and first line of each package and module in folder, packages first."""
    packages = sorted(path.parent for path in folder.glob("[!_]*/__init__.py"))
    modules = sorted(folder.glob("[!_]*.py"))
    named = [(f"{path.name}/", first_line(path / "__init__.py")) for path in packages]
    return [*named, *((path.name, first_line(path)) for path in modules)]


def tree(folder: Path = PACKAGE) -> str:
    """Return the packages and modules directly in folder as lines of a tree."""
    named = parts(folder)
    width = max(len(name) for name, _ in named) + 2
    return "\n".join(f"  {name:{width}}{line}" for name, line in named)


def module_table(folder: Path = PACKAGE) -> str:
    """Return a Markdown table of all modules, each with the first line of its docstring."""
    rows = [f"| `{name}` | {line} |" for name, line in _modules(folder)]
    return "\n".join(["| module | |", "| --- | --- |", *rows])


def _modules(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*.py")):
        relative = path.relative_to(folder)
        if not relative.name.startswith("_"):
            yield relative.as_posix(), first_line(path)


START, END = "<!-- map: written by `python -m lmcore readme` -->", "<!-- /map -->"


def with_map(text: str) -> str:
    """Return a page's text with the map between its two comments up to date."""
    before, rest = text.split(START, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{START}\n```\nlmcore/\n{tree()}\n```\n{END}{after}"
