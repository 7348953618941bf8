"""The lines of a definition as they are in the package, for a notebook, with a link to the file."""

import ast
import html
import inspect
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

BLOB = "https://github.com/lmcore/lmcore/blob/main"


@dataclass(frozen=True)
class Source:
    """A definition's code, which a notebook draws with a link to its file."""

    path: str
    name: str
    code: str

    def __repr__(self) -> str:
        return self.code

    def _repr_html_(self) -> str:
        place = html.escape(f"{self.path}, {self.name}")
        return (
            f'<pre class="source"><code>{html.escape(self.code)}</code></pre>'
            f'<p class="code-source">From <a href="{BLOB}/{self.path}"><code>{place}</code></a></p>'
        )


def source(module: ModuleType, name: str, first: str = "", last: str = "") -> Source:
    """Return a function, class, method or constant of module without its docstring.

    first and last are texts within the first and the last line to show; a method's name is
    "Class.method".

    Raises:
        ValueError: nothing of module has this name, or no line holds first or last.
    """
    text = inspect.getsource(module)
    node = _definition(ast.parse(text).body, name)
    if node is None:
        raise ValueError(f"{module.__name__} defines no {name}")
    decorators = getattr(node, "decorator_list", [])
    lines = text.splitlines()
    numbers = range(
        min(n.lineno for n in (node, *decorators)), (node.end_lineno or node.lineno) + 1
    )
    shown = [lines[n - 1] for n in numbers if n not in _docstring_lines(node)]
    start = _index(shown, first, module, name) if first else 0
    end = start + _index(shown[start:], last, module, name) if last else len(shown) - 1
    code = textwrap.dedent("\n".join(shown[start : end + 1])).replace("  # fmt: skip", "")
    return Source(f"{module.__name__.replace('.', '/')}.py", name, code)


def _definition(body: Sequence[ast.stmt], name: str) -> ast.stmt | None:
    outer, _, inner = name.partition(".")
    for node in body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if outer in (getattr(node, "name", None), *(getattr(t, "id", None) for t in targets)):
            return _definition(getattr(node, "body", []), inner) if inner else node
    return None


def _docstring_lines(node: ast.stmt) -> range:
    for first in getattr(node, "body", [])[:1]:
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            return range(first.lineno, (first.end_lineno or first.lineno) + 1)
    return range(0)


def _index(lines: list[str], part: str, module: ModuleType, name: str) -> int:
    for place, line in enumerate(lines):
        if part in line:
            return place
    raise ValueError(f"{name} of {module.__name__} has no line with {part!r}")
