"""Make the site's widgets load: one script for each, and their data as scripts too.

A widget is an ES module in docs/widgets that imports others there. A page from the disk may load
neither modules nor data, but it may load plain scripts. So each widget becomes one script without
imports, and each model or table a script that holds it as text. A server sends the same files.
"""

import base64
import re
import zlib
from pathlib import Path

IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+)\.mjs";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|const|class) (\w+))", re.MULTILINE)
DEFAULT = re.compile(r"^export default ", re.MULTILINE)
SUFFIXES = (".safetensors", ".bin", ".json")


def bundled(path: Path) -> str:
    """Return the body of a function that runs a module with all that it imports.

    The function returns the default export. Modules are written with one import for each line of
    names, and name what they export where they define it.

    Raises:
        ValueError: a module imports or exports in another way.
    """
    parts: dict[str, str] = {}
    _collect(path, parts)
    return "\n".join([*parts.values(), f"return ${path.stem}.default;"])


def _collect(path: Path, parts: dict[str, str]) -> None:
    """Add a module to parts, after all that it imports; each is a constant of its exports."""
    text = path.read_text(encoding="utf-8")
    for _, name in IMPORT.findall(text):
        if name not in parts:
            _collect(path.with_name(f"{name}.mjs"), parts)
    names = [*EXPORT.findall(text), *(["default: widget"] if DEFAULT.search(text) else [])]
    body = IMPORT.sub(lambda found: f"const {{{found[1]}}} = ${found[2]};\n", text)
    body = DEFAULT.sub("const widget = ", EXPORT.sub("", body))
    if unknown := re.search(r"^(?:import|export)\b.*", body, re.MULTILINE):
        raise ValueError(f"{path.name}: the bundle does not know {unknown[0]!r}")
    exports = f"return {{ {', '.join(names)} }};"
    parts[path.stem] = f"const ${path.stem} = (() => {{\n{body}{exports}\n}})();"


def data_script(path: Path) -> str:
    """Return a script that hands a file's bytes, compressed, to the widget that waits for them."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    packed = packer.compress(path.read_bytes()) + packer.flush()
    text = base64.b64encode(packed).decode()
    return f'(globalThis.lmcoreData ??= {{}})["{path.stem}"] = "{text}";\n'


def add_widgets(root: Path) -> None:
    """Complete the widgets of a site that MyST has built from root.

    MyST copies each module by itself, under a name with a hash. The copy becomes the whole bundle,
    for themes that load modules, and a script of the same name is put beside it. Data go to the
    folder widgets.
    """
    html, sources = root / "_build" / "html", root / "docs" / "widgets"
    modules = {path.read_bytes(): path for path in sources.glob("*.mjs")}
    for copy in html.glob("build/*.mjs"):
        source = modules.get(copy.read_bytes())
        if source:
            body = bundled(source)
            _write(copy, f"export default (() => {{\n{body}\n}})();\n")
            registered = f'(globalThis.lmcoreWidgets ??= {{}})["{copy.stem}"]'
            _write(copy.with_suffix(".js"), f"{registered} = (() => {{\n{body}\n}})();\n")
    for path in sorted(sources.glob("*/*")):
        if path.suffix in SUFFIXES:
            (html / "widgets").mkdir(exist_ok=True)
            _write(html / "widgets" / f"{path.stem}.js", data_script(path))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
