"""Build the site, look for what a build lets through, and look at the result.

MyST exits 0 on a figure that never resolved, a cell that never ran or a link that leads nowhere;
`check` reads the page data, the pages and the log it wrote, and names each of them.

    python docs/site.py build [--theme offline|book]    python docs/site.py check
    python docs/site.py view
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "docs"))

from widget_files import add_widgets  # noqa: E402

NODE_MAJOR = 20
CONFIGS = {"offline": "myst.offline.yml", "book": "myst.yml"}


class MissingToolError(Exception):
    """A program the build needs is not there; the message says what to do."""


# ---- building


def myst_command() -> str:
    """Return the myst that belongs to this Python, or the one on PATH."""
    beside = Path(sys.executable).parent / "myst"
    found = str(beside) if beside.exists() else shutil.which("myst")
    if not found:
        raise MissingToolError("myst is not installed: run `pip install -e '.[site]'`")
    return found


def require_node() -> None:
    """Raise unless a Node that mystmd accepts is on PATH."""
    advice = f"install Node {NODE_MAJOR} or newer (https://nodejs.org, or `conda install nodejs`)"
    node = shutil.which("node")
    if not node:
        raise MissingToolError(f"Node is not installed: {advice}")
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip()
    major = re.match(r"v(\d+)", version)
    if not major or int(major[1]) < NODE_MAJOR:
        raise MissingToolError(f"Node {version or 'of unknown version'} is too old: {advice}")


def build(root: Path = ROOT, base_url: str = "", theme: str = "offline") -> list[str]:
    """Write `_build/html` and return the problems found in it.

    The site that was there stays until a whole new one is ready, and comes back if none gets so.
    """
    require_node()
    command = [myst_command(), "--config", CONFIGS[theme], "build", "--html"]
    output = root / "_build"
    html, kept = output / "html", output / "html.kept"
    output.mkdir(exist_ok=True)
    # MyST never removes the data of a page that is gone, and `check` would go on reading it.
    shutil.rmtree(output / "site", ignore_errors=True)
    if html.exists() and not kept.exists():
        html.rename(kept)
    whole = False
    try:
        whole = run_myst(command, root, base_url) == 0 and (html / "index.html").exists()
    finally:
        if not whole:
            shutil.rmtree(html, ignore_errors=True)
            if kept.exists():
                kept.rename(html)
        shutil.rmtree(kept, ignore_errors=True)
    if not whole:
        said = [line.strip() for line in log_lines(root) if re.search(r"[Ee]rror|failed", line)]
        why = said[-1] if said else "MyST said nothing"
        return [*log_problems(root), f"the build failed: {why}; its log is {output / 'site.log'}"]
    open_from_disk(html, base_url.rstrip("/"))
    add_widgets(root)
    return check(root)


def run_myst(command: list[str], root: Path, base_url: str) -> int:
    """Run myst in root, show each page as it is built, keep the whole log, return the status."""
    names = {"BASE_URL": base_url.rstrip("/"), "LMCORE_PYTHON": sys.executable}
    environment = {**os.environ, **names}
    with (
        (root / "_build" / "site.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        try:
            for line in process.stdout:
                log.write(line)
                if page := re.search(r"Built (\S+\.(?:md|ipynb)) in", line):
                    print(f"  {page[1]}", flush=True)
        except BaseException:
            process.terminate()
            raise
    return process.returncode


ADDRESS = re.compile(r'(?<= )(href|src)="(/(?!/)[^"]*)"')
REDIRECT = "if(p.endsWith('/index.html'))"


def open_from_disk(html: Path, base: str) -> None:
    """Make the built pages work from the disk, where there is no server to find an index.html.

    Addresses become relative and name the file, MyST's script that takes index.html off the
    address stays quiet there, and the search index is a script too, since a page from the disk may
    not fetch. The page for what is not found keeps its addresses: it is shown in any folder.
    """
    for page in html.glob("**/*.html"):
        if page.parent == html and page.name == "404.html":
            continue
        up = "../" * len(page.relative_to(html).parent.parts)
        text = page.read_text(encoding="utf-8")
        text = ADDRESS.sub(functools.partial(_relative, html=html, base=base, up=up), text)
        text = text.replace(REDIRECT, "if(location.protocol!=='file:'&&p.endsWith('/index.html'))")
        page.write_text(text, encoding="utf-8", newline="\n")
    index = html / "myst.search.json"
    if index.exists():
        script = f"window.searchIndex = {index.read_text(encoding='utf-8')};\n"
        index.with_suffix(".js").write_text(script, encoding="utf-8", newline="\n")


def _relative(found: re.Match[str], html: Path, base: str, up: str) -> str:
    name, address = found.groups()
    path, mark, place = address.removeprefix(base).lstrip("/").partition("#")
    if (html / unquote(path) / "index.html").is_file():
        path = f"{path.rstrip('/')}/index.html".lstrip("/")
    return f'{name}="{up}{path}{mark}{place}"'


# ---- checking: the log


def log_lines(root: Path) -> list[str]:
    """Return the last build's log without terminal colours."""
    log = root / "_build" / "site.log"
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    return re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()


def log_problems(root: Path) -> Iterator[str]:
    """Yield what MyST called an error, though it exits 0, and what the theme could not draw."""
    for line in dict.fromkeys(log_lines(root)):
        if line.startswith("\N{NO ENTRY}"):
            yield line.lstrip("\N{NO ENTRY}\N{VARIATION SELECTOR-16} ")
        elif "the theme does not know" in line or line.startswith("Error fetching"):
            yield line.strip().lstrip("/")


# ---- checking: the page data


def nodes(node: dict) -> Iterator[dict]:
    """Yield a page tree's nodes in reading order."""
    yield node
    for child in node.get("children", []):
        yield from nodes(child)


def text_of(node: dict) -> str:
    """Return a node's plain text, without a caption's number."""
    if node.get("type") == "captionNumber":
        return ""
    return node.get("value") or "".join(text_of(child) for child in node.get("children", []))


def pages(root: Path) -> dict[str, dict]:
    """Return the built page data by source location, such as `docs/index.md`."""
    files = sorted((root / "_build" / "site" / "content").glob("**/*.json"))
    data = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {page["location"].lstrip("/"): page for page in data}


def is_picture(output: dict) -> bool:
    """Say whether a cell's output is shown as an image."""
    bundle = output.get("jupyter_data", {}).get("data", {})
    return any(kind.startswith("image/") for kind in bundle)


def embed_problems(page: dict) -> Iterator[str]:
    """Yield embeds of labels that do not exist and of cells that have no output."""
    for node in nodes(page["mdast"]):
        source = node.get("source")
        if not source or node["type"] not in ("container", "embed"):
            continue
        label = source.get("label", "")
        if not source.get("location"):
            yield f"unresolved embed: nothing is labelled {label}"
            continue
        inner = list(nodes(node))
        empty = not any(child["type"] == "output" for child in inner)
        if empty and any(child["type"] == "outputs" for child in inner):
            yield f"embed of {label}: its cell in {source['location'].lstrip('/')} has no output"


def reference_problems(page: dict) -> Iterator[str]:
    """Yield cross-references and citations that lead nowhere."""
    cited = page.get("references", {}).get("cite", {}).get("data", {})
    for node in nodes(page["mdast"]):
        name = node.get("label") or node.get("identifier")
        if node["type"] == "crossReference" and not (node.get("resolved") or node.get("html_id")):
            yield f"dead cross-reference to {name}"
        if node["type"] == "cite" and (node.get("error") or name not in cited):
            yield f"unknown citation or cross-reference {name}"


def error_problems(page: dict) -> Iterator[str]:
    """Yield cells that ended in an exception."""
    for node in nodes(page["mdast"]):
        data = node.get("jupyter_data") or {}
        if data.get("output_type") == "error":
            yield f"error output in a cell: {data.get('ename')}: {data.get('evalue')}"


def figure_problems(page: dict) -> Iterator[str]:
    """Yield figures and tables without label, caption or alt text."""
    in_notebook = page["location"].endswith(".ipynb")
    for node in nodes(page["mdast"]):
        if node["type"] == "container" and node.get("kind") in ("figure", "table"):
            yield from container_problems(node, in_notebook)
    yield from cell_problems(page["mdast"])
    yield from image_problems(page["mdast"])


def container_problems(node: dict, in_notebook: bool) -> Iterator[str]:
    """Yield what one figure or table lacks; a subfigure leans on the figure around it."""
    if node.get("subcontainer"):
        return
    caption = next((text_of(c) for c in node.get("children", []) if c["type"] == "caption"), "")
    kind, label = node["kind"], node.get("label")
    name = label or node.get("source", {}).get("label") or f"“{caption.strip()[:50]}”"
    if not label:
        yield f"unlabelled {kind}: {name}"
    if not caption.strip():
        yield f"{kind} without caption: {name}"
    # In a notebook the caption stands in for alt text; the write-up embeds with both.
    shows_output = any(is_picture(child) for child in nodes(node))
    if shows_output and not in_notebook and not node.get("alt"):
        yield f"{kind} without alt text: {name}"


def cell_problems(tree: dict) -> Iterator[str]:
    """Yield drawn outputs of cells that nobody can refer to or that say nothing."""
    for block in nodes(tree):
        if block["type"] != "block" or block.get("kind") != "notebook-code":
            continue
        inner = list(nodes(block))
        if block.get("visibility") == "remove" or not any(is_picture(node) for node in inner):
            continue
        figure = next((node for node in inner if node["type"] == "container"), None)
        code = next((text_of(node) for node in inner if node["type"] == "code"), "")
        name = block.get("label") or f"the cell “{code.strip()[:50]}”"
        if not figure and not block.get("label"):
            yield f"unlabelled figure: {name}"
        if not figure and not block.get("data", {}).get("alt"):
            yield f"figure without caption or alt text: {name}"


def image_problems(tree: dict) -> Iterator[str]:
    """Yield images whose author wrote no alt text; MyST may have repeated the caption."""
    for node in nodes(tree):
        if node["type"] != "image" or node.get("placeholder"):
            continue
        generated = (node.get("data") or {}).get("altTextIsAutoGenerated")
        if generated or not (node.get("alt") or "").strip():
            yield f"image without alt text: {node.get('urlSource') or node.get('url')}"


LABELLED = {"container", "heading", "math", "proof", "exercise", "table", "code", "block"}


def duplicate_labels(root: Path) -> Iterator[str]:
    """Yield labels that more than one thing carries."""
    places = defaultdict(list)
    for location, page in pages(root).items():
        for node in nodes(page["mdast"]):
            named = node["type"] in LABELLED and node.get("label") and not node.get("implicit")
            if named and node.get("visibility") != "remove":
                places[node["identifier"]].append(location)
    for label, where in places.items():
        if len(where) > 1:
            yield f"{where[0]}: duplicate label {label}, also in {', '.join(where[1:])}"


def notebook_problems(root: Path, location: str) -> Iterator[str]:
    """Yield the cells of a notebook that were never executed; page data does not tell."""
    notebook = root / location
    if notebook.suffix != ".ipynb" or not notebook.exists():
        return
    for number, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "code" and source and cell.get("execution_count") is None:
            last = source.splitlines()[-1]
            yield f"cell {number} was never executed: {last[:60]}"


def download_problems(root: Path, location: str, page: dict) -> Iterator[str]:
    """Yield downloads without a file, and exports a page promises that were never written."""
    frontmatter = page.get("frontmatter", {})
    for entry in [*frontmatter.get("exports", []), *frontmatter.get("downloads", [])]:
        url = entry.get("url", "")
        if url.startswith("/") and not (root / "_build" / "site" / "public" / url[1:]).exists():
            yield f"missing download {entry.get('filename') or url}"
    source = root / location
    if source.suffix == ".md" and source.exists():
        head = re.match(r"---\n(.*?)\n---", source.read_text(encoding="utf-8"), re.DOTALL)
        for name in re.findall(r"^\s*(?:- )?output: *(\S+)", head[1] if head else "", re.MULTILINE):
            if not (source.parent / name).exists():
                yield f"missing export {name}: it is promised but was never written"


# ---- checking: the pages


class Links(HTMLParser):
    """Collects a page's ids and what it points to."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[tuple[str, str]] = []
        self.silent_images: list[str] = []
        self.widgets: list[str] = []
        self.ours = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        found = dict(attrs)
        if name := found.get("id"):
            self.ids.add(name)
        kind = "download" if "download" in found else {"a": "link", "img": "image"}.get(tag, "file")
        url = found.get("href") if tag in ("a", "link") else found.get("src")
        if url is not None:
            self.targets.append((kind, url))
            self.ours = self.ours or url.endswith("/theme.js")
        if widget := found.get("data-widget"):
            self.widgets.append(widget)
        if tag == "img" and not found.get("alt"):
            self.silent_images.append(url or "")


def read_links(file: Path) -> Links:
    """Return what an HTML file links to."""
    links = Links()
    links.feed(file.read_text(encoding="utf-8"))
    return links


def base_of(root: Path) -> str:
    """Return the path the site was built to live under, as MyST noted in the log."""
    for line in log_lines(root):
        if found := re.search(r'baseurl of "([^"]*)"', line):
            return found[1]
    return ""


def file_for(html: Path, page: Path, path: str, base: str) -> Path | None:
    """Return the file a static server answers a link with, or None."""
    if path.startswith("/"):
        if base and path != base and not path.startswith(f"{base}/"):
            return None
        target = html / path[len(base) :].lstrip("/")
    else:
        target = page.parent / path if path else page
    target = target / "index.html" if target.is_dir() else target
    return target if target.is_file() else None


def link_problems(root: Path) -> Iterator[str]:
    """Yield local links, images and downloads of the built pages that lead nowhere."""
    html, base = root / "_build" / "html", base_of(root)
    read = functools.cache(read_links)
    for file in sorted(html.glob("**/*.html")):
        name, links = file.relative_to(html).as_posix(), read(file)
        for kind, url in dict.fromkeys(links.targets):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = file_for(html, file, unquote(parts.path), base)
            if not target:
                yield f"{name}: dead {kind} {url}"
                continue
            # Another theme adds anchors by script, where a parser does not see them.
            to_place = links.ours and parts.fragment and target.suffix == ".html"
            if to_place and unquote(parts.fragment) not in read(target).ids:
                yield f"{name}: dead {kind} {url}: no such place on that page"
        for widget in links.widgets:
            if not (html / "build" / f"{widget}.js").is_file():
                yield f"{name}: dead widget {widget}"
        if links.ours:
            yield from (f"{name}: image without alt text: {url}" for url in links.silent_images)


NO_SITE = "there is no built site: run `python docs/site.py build`"


def page_files(root: Path) -> Iterator[str]:
    """Yield pages of the table of contents that have no HTML."""
    config = root / "_build" / "site" / "config.json"
    if not config.exists() or not (root / "_build" / "html" / "index.html").exists():
        yield NO_SITE
        return
    for project in json.loads(config.read_text(encoding="utf-8")).get("projects", []):
        for page in project.get("pages", []):
            slug = page.get("slug")
            file = f"{slug.replace('.', '/')}/index.html" if slug else ""
            if slug and not (root / "_build" / "html" / file).exists():
                yield f"{file}: missing page"


def check(root: Path = ROOT) -> list[str]:
    """Return the problems of the built site, one line each, naming page and thing."""
    problems = [*page_files(root), *log_problems(root)]
    for location, page in pages(root).items():
        found = [
            *embed_problems(page),
            *reference_problems(page),
            *error_problems(page),
            *figure_problems(page),
            *notebook_problems(root, location),
            *download_problems(root, location, page),
        ]
        problems += [f"{location}: {problem}" for problem in found]
    problems += duplicate_labels(root)
    problems += link_problems(root)
    return list(dict.fromkeys(problems))


# ---- looking


def view(root: Path = ROOT) -> None:
    """Serve the built site on a free local port until interrupted."""
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=root / "_build" / "html"
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)", flush=True)
        server.serve_forever()


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["build", "check", "view"])
    parser.add_argument("--theme", choices=sorted(CONFIGS), default="offline")
    options = parser.parse_args(arguments)
    try:
        if options.command == "view":
            problems = [] if (ROOT / "_build" / "html" / "index.html").exists() else [NO_SITE]
            if not problems:
                view()
        elif options.command == "build":
            problems = build(ROOT, os.environ.get("BASE_URL", ""), options.theme)
        else:
            problems = check(ROOT)
    except MissingToolError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    for problem in problems:
        print(problem, file=sys.stderr)
    if options.command != "view" and not problems:
        print(f"{len(pages(ROOT))} pages, no problems: {ROOT / '_build' / 'html'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
