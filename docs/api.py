"""Write the API page as MyST Markdown, from the package's docstrings, which are read, not run.

    python docs/api.py

`docs/code.mjs` calls this when the site is built, so the page is never older than the code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "https://github.com/lmcore/lmcore/blob/main"
PACKAGES = {
    "tokenizer": "Text to ids and back",
    "data": "Batches and token files",
    "model": "Model",
    "training": "Training",
    "tasks": "Tasks",
    "generation": "Generation, saved models",
    "experiments": "Runs on a text",
    "report": "Figures",
}
"""The order of the public names, by the package that defines them."""


def public_names() -> dict[str, griffe.Object]:
    """Return what `lmcore` exports, by name, in the order of the stub file."""
    stub = (ROOT / "lmcore/__init__.pyi").read_text(encoding="utf-8")
    package = griffe.load("lmcore", search_paths=[ROOT], allow_inspection=False)
    found = re.findall(r"^from \.([\w.]+) import (.+)$", stub, re.MULTILINE)
    listed = [(module, name.strip()) for module, names in found for name in names.split(",")]
    return {name: package[module][name] for module, name in listed}


def escaped(text: str) -> str:
    """Return text with what MyST would read as markup escaped, but for code in backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([$<@{}\[\]*|])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def paragraphs(item: griffe.Object) -> str:
    """Return an object's docstring as Markdown; errors that it raises become a list."""
    written = []
    for section in item.docstring.parse("google") if item.docstring else []:
        if section.kind is griffe.DocstringSectionKind.raises:
            lines = [f"- `{one.annotation}`: {escaped(one.description)}" for one in section.value]
            written.append("Raises:\n\n" + "\n".join(lines))
        elif isinstance(section.value, str):
            written.append(escaped(section.value))
    return "\n\n".join(written)


def parameters(function: griffe.Function) -> str:
    """Return a function's parameters with annotations and defaults, one a line if they are many."""
    shown, starred = [], False
    for parameter in function.parameters:
        if parameter.name == "self" or parameter.name == "cls":
            continue
        prefix = {"variadic positional": "*", "variadic keyword": "**"}.get(
            parameter.kind.value if parameter.kind else "", ""
        )
        if parameter.kind is griffe.ParameterKind.keyword_only and not starred:
            shown.append("*")
        starred = starred or prefix == "*" or "*" in shown
        text = f"{prefix}{parameter.name}"
        text += f": {parameter.annotation}" if parameter.annotation else ""
        text += f" = {parameter.default}" if parameter.default and not prefix else ""
        shown.append(text)
    joined = ", ".join(shown)
    return joined if len(joined) < 70 else "\n    " + ",\n    ".join(shown) + ",\n"


def signature(function: griffe.Function, name: str) -> str:
    """Return a function's signature as Python code in a block."""
    returned = f" -> {function.returns}" if function.returns else ""
    return f"```python\n{name}({parameters(function)}){returned}\n```"


def field_table(item: griffe.Class) -> str:
    """Return a table of a dataclass's fields, or nothing."""
    fields = [
        member
        for member in item.attributes.values()
        if "instance-attribute" in member.labels and not member.name.startswith("_")
    ]
    if "dataclass" not in item.labels or not fields:
        return ""
    rows = []
    for field in fields:
        text = " ".join(field.docstring.value.split()) if field.docstring else ""
        kind = str(field.annotation or "").replace("|", "\\|")
        default = "" if field.value is None else f"`{field.value}`".replace("|", "\\|")
        rows.append(f"| `{field.name}` | `{kind}` | {default} | {escaped(text)} |")
    return "\n".join(["| field | type | default | |", "| --- | --- | --- | --- |", *rows])


def methods(item: griffe.Class) -> Iterator[str]:
    """Yield the public methods and properties of a class, its own before inherited ones."""
    for name, member in [*item.members.items(), *item.inherited_members.items()]:
        if name.startswith("_") or not member.docstring:
            continue
        if member.is_function:
            yield f"{signature(member, f'{item.name}.{name}')}\n\n{paragraphs(member)}"
        elif "property" in member.labels:
            yield f"`{item.name}.{name}`: {paragraphs(member)}"


def entry(name: str, item: griffe.Object) -> str:
    """Return the section of one public name."""
    path = item.filepath.relative_to(ROOT).as_posix()
    source = f"[`{path}`]({SOURCE}/{path}#L{item.lineno})"
    written = [f"(api-{name.lower()})=\n### `{name}`"]
    if isinstance(item, griffe.Class):
        is_plain = "dataclass" not in item.labels and "__init__" in item.members
        if is_plain:
            written.append(signature(item.members["__init__"], name).replace(" -> None", ""))
        written += [paragraphs(item), field_table(item), *methods(item)]
    else:
        written += [signature(item, name), paragraphs(item)]
    return "\n\n".join(part for part in [*written, source] if part)


def page() -> str:
    """Return the page: the public names by package, each with what its docstring says."""
    names = public_names()
    sections = []
    for package, title in PACKAGES.items():
        members = {n: item for n, item in names.items() if item.path.split(".")[1] == package}
        entries = [entry(name, item) for name, item in members.items()]
        sections.append("\n\n".join([f"## {title}", *entries]))
    return "\n\n".join(sections)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    print(page())
