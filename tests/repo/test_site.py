"""The published site: it builds offline, shows what it promises, and its check misses nothing.

A tiny site of every kind of content is built once, and a second one with every fault planted.
"""

import contextlib
import functools
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]

# docs/site.py is a command, not part of the package, and shares its name with a standard module.
_spec = importlib.util.spec_from_file_location("docs_site", ROOT / "docs" / "site.py")
docs_site = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(docs_site)

CONFIG = """\
version: 1
project:
  id: tiny
  title: A tiny site
  github: https://github.com/owner/repo
  authors:
    - name: The authors
  bibliography:
    - docs/references.bib
  plugins:
    - docs/figures.mjs
  toc:
    - file: docs/index.md
    - title: Studies
      children:
        - file: notebooks/01_baseline.ipynb
    - title: Reference
      children:
        - file: docs/notes.md
  error_rules:
    - id: reference-target-resolves
      severity: error
    - id: identifier-is-unique
      severity: error
site:
  template: ./docs/theme
  title: tiny
"""

BIBLIOGRAPHY = """\
@article{loshchilov2019,
  title={Decoupled Weight Decay Regularization},
  author={Loshchilov, Ilya and Hutter, Frank},
  journal={ICLR},
  year={2019},
  url={https://arxiv.org/abs/1711.05101}
}
"""

INDEX = """\
---
title: Findings & <limits>
date: 2026-11-22
---

## What was found

The loss falls [@loshchilov2019], see @fig-report-loss and @tbl-report-runs.[^seeds]
Bits per byte are defined in [](#eq-bpb); names are in [the notes](notes.md).

[^seeds]: Over three seeds.

:::{figure} #fig-baseline-loss
:label: fig-report-loss
:alt: A curve that falls and flattens
Validation loss against steps, $n = 3$.
:::

:::{figure} #tbl-baseline-runs
:label: tbl-report-runs
The runs.
:::

:::{figure} dot.svg
:label: fig-dot
:alt: A blue dot
A picture kept beside the page.
:::

```python
answer = "<b>not bold</b>"
```

## A wide table

| a | b | c | d | e | f | g | h | i |
|---|---|---|---|---|---|---|---|---|
| 0.123456789 | 0.123456789 | 0.123456789 | 0.123456789 | 0.123456789 | 0.1 | 0.1 | 0.1 | 0.1 |
"""

NOTES = """\
# Notes

```{math}
:label: eq-bpb
\\mathcal{L} = \\sum_i \\log_2 p(x_i \\mid x_{<i}) + aaaaaaaaaa + bbbbbbbbbb + cccccccccc + dddd
```

:::{note}
A note with `a_name_that_is_much_too_long_to_fit_on_any_phone_and_has_no_place_to_break_at_all`.
:::

::::{tab-set}
:::{tab-item} pip
pip
:::
:::{tab-item} conda
conda
:::
::::

{download}`the notebook <../notebooks/01_baseline.ipynb>`
"""

DOT = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="40">'
    '<circle cx="20" cy="20" r="9" fill="#1d4f7c"/></svg>'
)


def result(number, **data):
    """Return the output of an executed cell."""
    return new_output("execute_result", data, execution_count=number)


def executed(number, source, *outputs, tags=()):
    """Return a cell as a finished run leaves it."""
    cell = new_code_cell(source, execution_count=number, outputs=list(outputs))
    cell.update(id=f"cell-{number}", metadata={"tags": list(tags)})
    return cell


def notebook_cells():
    """Return a sound notebook's cells."""
    table = "<table><tr><th>run</th><th>bpb</th></tr><tr><td>a</td><td>1.83</td></tr></table>"
    picture = {"image/svg+xml": DOT.format(size=900), "text/plain": "<Figure>"}
    return [
        new_markdown_cell("# Baseline\n\nHow far does one minute go?", id="title"),
        executed(1, "import lmcore", tags=["remove-cell"]),
        executed(2, 'SCALE = "smoke"', tags=["parameters"]),
        executed(
            3,
            "#| label: tbl-baseline-runs\n#| caption: The runs.\ntable(runs)",
            result(3, **{"text/html": table, "text/plain": "runs"}),
        ),
        executed(
            4,
            "#| label: fig-baseline-loss\n#| caption: Loss against steps.\ncurves(runs)",
            result(4, **picture),
        ),
        executed(5, "losses", new_output("stream", name="stdout", text="1 < 2 & so on\n")),
    ]


def write_site(root, **replaced):
    """Write a site's sources, with the theme and command of this repository."""
    files = {
        "myst.yml": CONFIG,
        "myst.offline.yml": "version: 1\nextends: myst.yml\nsite:\n  template: ./docs/theme\n",
        "docs/references.bib": BIBLIOGRAPHY,
        "docs/index.md": INDEX,
        "docs/notes.md": NOTES,
        "docs/dot.svg": DOT.format(size=40),
        "notebooks/01_baseline.py": "# %%\nimport lmcore\n",
    } | {name: text for name, text in replaced.items() if name != "cells"}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    notebook = new_notebook(cells=replaced.get("cells", notebook_cells()))
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, root / "notebooks" / "01_baseline.ipynb")
    shutil.copytree(ROOT / "docs" / "theme", root / "docs" / "theme", dirs_exist_ok=True)
    shutil.copy(ROOT / "docs" / "figures.mjs", root / "docs")
    return root


needs_myst = pytest.mark.skipif(
    not (shutil.which("node") and (Path(sys.executable).parent / "myst").exists()),
    reason="building the site needs Node and mystmd: pip install -e '.[site]'",
)
pytestmark = needs_myst


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A site without faults, and what the build said of it."""
    root = write_site(tmp_path_factory.mktemp("sound"))
    return root, docs_site.build(root)


def html_of(root, page):
    return (root / "_build" / "html" / page / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def index(sound):
    return html_of(sound[0], "")


@pytest.fixture(scope="session")
def notebook(sound):
    return html_of(sound[0], "baseline")


def test_a_sound_site_builds_offline_without_problems(sound):
    assert sound[1] == []


# ---- what a page shows


def figure(html, label):
    """Return the HTML of one labelled figure."""
    return re.search(rf'<figure id="{label}".*?</figure>', html, re.DOTALL)[0]


def test_a_figure_from_a_notebook_keeps_its_number_caption_and_alt_text(index):
    shown = figure(index, "fig-report-loss")
    assert "Figure\N{NO-BREAK SPACE}1:" in shown
    assert "Validation loss against steps" in shown
    assert 'alt="A curve that falls and flattens"' in shown


def test_a_figure_from_a_notebook_links_to_the_cell_that_made_it(index, notebook):
    shown = figure(index, "fig-report-loss")
    assert 'Source: <a href="baseline/index.html#fig-baseline-loss"' in shown
    assert 'id="fig-baseline-loss"' in notebook


def test_an_embedded_figure_leaves_the_code_of_its_cell_behind(index, notebook):
    assert "curves" not in index
    assert "curves" in notebook


def test_a_table_from_a_notebook_is_numbered_as_a_table(index):
    shown = figure(index, "tbl-report-runs")
    assert "Table\N{NO-BREAK SPACE}1:" in shown
    assert "<td>1.83</td>" in shown


def test_a_notebook_page_opens_in_colab(notebook):
    root = "https://colab.research.google.com/github/owner/repo/blob/main"
    assert f'href="{root}/notebooks/01_baseline.ipynb"' in notebook


@pytest.mark.parametrize("suffix", [".ipynb", ".py"])
def test_a_notebook_page_offers_the_notebook_and_its_pair(sound, notebook, suffix):
    name = rf'href="\.\./(build/01_baseline-\w+\{suffix})" download="01_baseline\{suffix}"'
    url = re.search(name, notebook)[1]
    assert (sound[0] / "_build" / "html" / url).exists()


def test_a_page_links_to_its_source_and_its_editor(index):
    assert 'href="https://github.com/owner/repo/blob/main/docs/index.md"' in index
    assert 'href="https://github.com/owner/repo/edit/main/docs/index.md"' in index


def test_the_navigation_lists_every_page_and_marks_the_current_one(notebook):
    listed = re.search(r'<nav class="site-nav".*?</nav>', notebook, re.DOTALL)[0]
    assert re.findall(r'href="([^"]*)"', listed) == [
        "../index.html", "../baseline/index.html", "../notes/index.html"
    ]  # fmt: skip
    assert 'href="../baseline/index.html" aria-current="page"' in listed
    assert "Studies" in listed


def test_previous_and_next_follow_the_table_of_contents(notebook):
    assert 'rel="prev" href="../index.html"' in notebook
    assert 'rel="next" href="../notes/index.html"' in notebook


def test_a_reference_shows_what_it_leads_to_on_hover(index):
    reference = re.search(r'<a class="xref" href="#fig-report-loss" title="([^"]*)"', index)
    assert reference[1].startswith("Validation loss against steps")


def test_citations_and_footnotes_stand_at_the_end(index):
    assert '<a class="cite" href="#cite-loshchilov2019"' in index
    assert re.search(r'<li id="cite-loshchilov2019">Loshchilov', index)
    assert 'href="#fn-seeds"' in index
    assert 'id="fn-seeds"' in index


def test_text_is_escaped(index, notebook):
    assert "<h1>Findings &amp; &lt;limits&gt;</h1>" in index
    assert "<b>not bold" not in index
    assert "1 &lt; 2 &amp; so on" in notebook


def test_a_removed_cell_is_not_shown(notebook):
    assert "import lmcore" not in notebook


def test_mathematics_is_mathml_with_the_letters_browsers_lack(sound):
    notes = html_of(sound[0], "notes")
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in notes
    assert "<mi>\N{SCRIPT CAPITAL L}</mi>" in notes
    assert "katex-html" not in notes


def test_the_files_around_the_pages_are_written(sound):
    html = sound[0] / "_build" / "html"
    for name in ["robots.txt", "sitemap.xml", "myst-theme.css", "404.html", "favicon.ico"]:
        assert (html / name).stat().st_size > 0, name
    assert "/baseline/" in (html / "sitemap.xml").read_text()


@pytest.mark.parametrize("base", ["", "/repo"])
def test_addresses_within_the_site_are_relative_whatever_folder_it_lives_in(tmp_path, base):
    root = write_site(tmp_path)
    assert docs_site.build(root, base_url=base) == []
    html = root / "_build" / "html"
    for file in set(html.glob("**/*.html")) - {html / "404.html"}:
        assert re.findall(r'(?:href|src)="(/[^"]*)"', file.read_text(encoding="utf-8")) == [], file
    lost = re.findall(r'(?:href|src)="(/[^"]*)"', (html / "404.html").read_text(encoding="utf-8"))
    assert lost
    assert [address for address in lost if not address.startswith(f"{base}/")] == []


def test_an_unknown_kind_of_content_keeps_its_text_and_is_reported():
    script = (
        'import { render } from "./docs/theme/render.mjs";'
        "const page = { ids: new Set(), unknown: new Set() };"
        'const tree = { type: "novelty", children: [{ type: "text", value: "kept" }] };'
        "console.log(render(tree, page), [...page.unknown].join());"
    )
    command = ["node", "--input-type=module", "--eval", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["kept", "novelty"]


# ---- what the check catches

FAULTY_INDEX = """\
---
title: Faults
exports:
  - format: docx
    output: report.docx
downloads:
  - file: nothing.zip
---

:::{figure} #fig-no-such-cell
:label: fig-unresolved
:alt: Nothing
A figure of nothing.
:::

:::{embed} #fig-never-embedded
:::

:::{figure} #fig-not-run
:label: fig-empty
:alt: Empty
A cell that did not run.
:::

:::{figure} #fig-bare
:label: fig-silent
No alt text was written.
:::

:::{figure} dot.svg
:alt: A dot
Nobody can cite this one.
:::

:::{figure} #fig-bare
:label: fig-wordless
:alt: A dot
:::

:::{figure} gone.svg
:label: fig-gone
:alt: Gone
The file is not there.
:::

See @fig-nowhere, [](#sec-nowhere), [@nobody2020] and [a page](no-such-page.md).
And [a place](notes.md#no-such-place), and [an address](/no-such-address).

(sec-twice)=
## Once

(sec-twice)=
## Twice

:::{no-such-directive}
Body
:::

{no-such-role}`text`

```{include} no-such-file.md
```

{download}`no-such-download.zip`

$\\nosuchmacro$

![](dot.svg)
"""


def faulty_cells():
    """Return a notebook's cells with faults in them."""
    picture = {"image/svg+xml": DOT.format(size=99), "text/plain": "<Figure>"}
    error = new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=[])
    return [
        new_markdown_cell("# Baseline", id="title"),
        new_code_cell("#| label: fig-not-run\nnever_run()", id="never"),
        executed(2, "1 / 0", error),
        executed(3, "#| label: fig-bare\nbare_figure()", result(3, **picture)),
        executed(4, "nameless_figure()", result(4, **picture)),
    ]


@pytest.fixture(scope="session")
def faults(tmp_path_factory):
    """What the build says of a site in which every fault was planted."""
    pages = {"docs/index.md": FAULTY_INDEX, "cells": faulty_cells()}
    pages["myst.yml"] = CONFIG.replace("docs/notes.md", "docs/notes.md\n        - file: absent.md")
    root = write_site(tmp_path_factory.mktemp("faulty"), **pages)
    return docs_site.build(root)


FAULTS = {
    "a figure of a label that does not exist": r"index.md: unresolved embed.*fig-no-such-cell",
    "an embed of a label that does not exist": r"index.md: unresolved embed.*fig-never-embedded",
    "a figure of a cell without output": r"index.md: embed of fig-not-run.*01_baseline.ipynb",
    "a figure without alt text": r"index.md: figure without alt text: fig-silent",
    "a figure without a label": r"index.md: unlabelled figure: .*Nobody can cite",
    "a figure without a caption": r"index.md: figure without caption: fig-wordless",
    "a picture file that does not exist": r"index.md.*gone.svg",
    "a citation of an unknown figure": r"index.md.*fig-nowhere",
    "a dead cross-reference": r"index.md.*sec-nowhere",
    "an unknown citation": r"index.md: unknown citation.*nobody2020",
    "a link to a page that does not exist": r"index.html: dead link no-such-page.md",
    "a link to a place that does not exist": r"index.md: dead cross-reference to no-such-place",
    "a link to an address that does not exist": r"index.html: dead link no-such-address/",
    "a duplicate label": r"index.md: duplicate label sec-twice",
    "an unknown directive": r"index.md.*unknown directive: no-such-directive",
    "an unknown role": r"index.md.*unknown role: no-such-role",
    "a missing include": r"index.md.*no-such-file.md",
    "a missing download": r"index.html: dead download no-such-download.zip",
    "a missing download of the page": r"index.md.*nothing.zip",
    "bad mathematics": r"index.md.*nosuchmacro",
    "an image without alt text": r"index.md: image without alt text: dot.svg",
    "an export that was never written": r"index.md: missing export report.docx",
    "a missing page of the contents": r"absent.md",
    "a cell that was never executed": r"01_baseline.ipynb: cell 1 was never executed: never_run",
    "a cell that failed": r"01_baseline.ipynb: error output in a cell: ZeroDivisionError",
    "a notebook figure without a label": r"01_baseline.ipynb: unlabelled figure: .*nameless",
    "a notebook figure without words": r"01_baseline.ipynb: figure without caption.*fig-bare",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_names(fault, faults):
    assert any(re.search(FAULTS[fault], problem) for problem in faults), "\n".join(faults)


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("build/*.svg", r"index.html: dead image build/dot-\w+\.svg"),
        ("build/01_baseline-*.py", r"baseline/index.html: dead download .*\.py"),
        ("notes/index.html", r"notes/index.html: missing page"),
    ],
)
def test_the_check_notices_a_file_that_went_missing(sound, tmp_path, pattern, problem):
    root = tmp_path / "copy"
    shutil.copytree(sound[0], root)
    for file in (root / "_build" / "html").glob(pattern):
        file.unlink()
    assert any(re.search(problem, found) for found in docs_site.check(root))


def test_the_check_says_when_there_is_no_site(tmp_path):
    assert docs_site.check(tmp_path) == [docs_site.NO_SITE]


def test_a_build_that_fails_keeps_the_site_that_was_there(sound, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(sound[0], root)
    (root / "docs" / "theme" / "server.mjs").write_text("this is not JavaScript")
    problems = docs_site.build(root)
    assert "the build failed" in problems[-1]
    assert "What was found" in html_of(root, "")
    assert sorted(path.name for path in (root / "_build").iterdir()) == ["html", "site", "site.log"]


@pytest.mark.parametrize(
    ("version", "message"),
    [(None, "Node is not installed"), ("v18.19.0", "Node v18.19.0 is too old")],
)
def test_a_missing_or_old_node_is_one_line_that_says_what_to_do(tmp_path, version, message):
    if version:
        node = tmp_path / "node"
        node.write_text(f"#!/bin/sh\necho {version}\n")
        node.chmod(0o755)
    command = [sys.executable, str(ROOT / "docs" / "site.py"), "build"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert "install Node 20 or newer" in done.stderr


def test_a_running_server_answers_pages_and_files_and_ends_with_myst(sound, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(sound[0], root)
    command = [docs_site.myst_command(), "--config", "myst.offline.yml", "start"]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            found = (re.search(r"http://localhost:\d+", line) for line in process.stdout)
            address = next(match[0] for match in found if match)
            assert "Open in Colab" in fetch(f"{address}/baseline/")
            picture = re.search(r'<img[^>]* src="(/[^"]*)"', fetch(f"{address}/"))[1]
            assert "<circle" in fetch(address + picture)
        finally:
            process.terminate()
            process.stdout.read()
    for _ in range(50):
        try:
            fetch(address)
        except OSError:
            return
        time.sleep(0.1)
    pytest.fail("the theme's server outlived MyST")


def fetch(url):
    with urllib.request.urlopen(url, timeout=20) as response:
        return response.read().decode()


# ---- what a browser shows


@pytest.fixture(scope="session")
def chromium():
    for name in ["chromium", "chromium-browser", "google-chrome"]:
        if path := shutil.which(name):
            return path
    pytest.skip("no chromium, chromium-browser or google-chrome on PATH")


# Opens each page in a frame of each width, as a phone or a desk would, and writes what it saw.
HARNESS = """\
<!doctype html><pre id="seen"></pre><script type="module">
const seen = {};
for (const page of PAGES) for (const width of [390, 1280]) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:800px;border:0`;
  frame.src = page;
  document.body.append(frame);
  await new Promise((done) => frame.addEventListener("load", done));
  const inside = frame.contentDocument;
  const root = inside.documentElement;
  const images = [...inside.images];
  await Promise.allSettled(images.map((image) => image.decode()));
  const paper = () => frame.contentWindow.getComputedStyle(inside.body).backgroundColor;
  const shown = (query) => inside.querySelector(query)?.checkVisibility() ?? false;
  const texts = (query) => [...inside.querySelectorAll(query)].map((node) => node.textContent);
  const before = { paper: paper(), nav: shown(".site-nav") };
  const search = inside.querySelector(".search input");
  search.value = "bits defined";
  search.dispatchEvent(new Event("input"));
  await frame.contentWindow.show();
  const found = [...inside.querySelectorAll(".search-results a")].map((link) => link.pathname);
  search.value = "";
  search.dispatchEvent(new Event("input"));
  inside.querySelector(".theme-toggle").click();
  inside.querySelector(".menu").click();
  seen[`${page} ${width}`] = {
    overflow: root.scrollWidth - root.clientWidth,
    images: images.map((image) => [image.alt, image.naturalWidth]),
    found,
    captions: texts("figcaption .caption"),
    sources: texts("figcaption .source a"),
    before,
    after: { paper: paper(), nav: shown(".site-nav") },
    remembered: localStorage.getItem("theme"),
  };
  localStorage.clear();
  frame.remove();
}
document.querySelector("#seen").textContent = JSON.stringify(seen);
</script>
"""


@contextlib.contextmanager
def served(html, harness):
    """Serve a built site and the harness beside it; yield the address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/harness.html":
                return super().do_GET()
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(harness.encode())

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--virtual-time-budget=30000",
]


def look(chromium, root, pages):
    """Return what a browser saw on each page at each width."""
    harness = HARNESS.replace("PAGES", json.dumps(pages))
    with (
        served(root / "_build" / "html", harness) as address,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        command = [chromium, *QUIET, f"--user-data-dir={profile}", "--dump-dom"]
        command.append(f"{address}/harness.html")
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    seen = re.search(r'<pre id="seen">(.+?)</pre>', done.stdout, re.DOTALL)
    assert seen, done.stderr[-2000:]
    return json.loads(seen[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


@pytest.fixture(scope="session")
def seen(chromium, sound):
    return look(chromium, sound[0], ["/", "/baseline/", "/notes/"])


def test_a_browser_loads_every_figure(seen):
    assert len(seen["/ 1280"]["images"]) == 2
    assert len(seen["/baseline/ 1280"]["images"]) == 1
    for view in seen.values():
        assert all(alt and width > 0 for alt, width in view["images"]), view["images"]


def test_a_browser_shows_captions_and_sources(seen):
    assert len(seen["/ 1280"]["captions"]) == 3
    assert seen["/ 1280"]["sources"] == ["01_baseline.ipynb"] * 2
    assert len(seen["/baseline/ 1280"]["captions"]) == 2


def test_the_search_finds_the_page_with_the_words(seen):
    for view in seen.values():
        assert view["found"][:1] == ["/"]


def test_no_page_scrolls_sideways(seen):
    assert {view: page["overflow"] for view, page in seen.items() if page["overflow"] > 0} == {}


def test_the_toggle_turns_light_into_dark_and_remembers(seen):
    for view in seen.values():
        assert view["before"]["paper"] != view["after"]["paper"]
        assert view["remembered"] == "dark"


def test_the_menu_opens_on_a_phone_and_always_stands_on_a_desk(seen):
    phone, desk = seen["/ 390"], seen["/ 1280"]
    assert [phone["before"]["nav"], phone["after"]["nav"]] == [False, True]
    assert desk["before"]["nav"]


# Opened from the disk, a page may neither fetch nor look into a frame: it says itself what it saw.
FROM_DISK = """\
<script>
addEventListener("load", async () => {
  const box = document.querySelector(".search input");
  box.value = "bits defined";
  await show();
  const found = [...document.querySelectorAll(".search-results a")].map((link) => link.href);
  const images = [...document.images].map((image) => image.naturalWidth);
  const links = [...document.querySelectorAll(".site-nav a")].map((link) => link.href);
  const seen = document.createElement("pre");
  seen.id = "seen";
  seen.textContent = JSON.stringify({ at: location.href, found, images, links });
  document.body.append(seen);
});
</script></body>"""


def test_the_site_opens_from_the_disk(chromium, sound, tmp_path):
    html = shutil.copytree(sound[0] / "_build" / "html", tmp_path / "html")
    for name in ("index.html", "baseline/index.html"):
        page = html / name
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("</body>", FROM_DISK), encoding="utf-8")
        command = [chromium, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
        done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=60)
        seen = json.loads(re.search(r'<pre id="seen">(.+?)</pre>', done.stdout)[1])
        assert seen["at"] == page.as_uri()
        assert seen["images"]
        assert min(seen["images"]) > 0
        assert seen["found"][0].startswith((html / "index.html").as_uri())
        assert all(
            Path(urllib.request.url2pathname(urlsplit(u).path)).is_file() for u in seen["links"]
        )


# ---- this repository's own site

own_site = pytest.mark.skipif(
    not (ROOT / "docs" / "index.md").exists(), reason="docs/index.md is not written yet"
)


@pytest.fixture(scope="session")
def own():
    return docs_site.build(ROOT)


@own_site
def test_the_site_of_this_repository_has_no_problems(own):
    assert own == []


@own_site
def test_every_page_of_this_repository_opens_in_a_browser(own, chromium):
    config = json.loads((ROOT / "_build" / "site" / "config.json").read_text(encoding="utf-8"))
    slugs = [page["slug"] for page in config["projects"][0]["pages"] if page.get("slug")]
    views = look(chromium, ROOT, ["/", *(f"/{slug.replace('.', '/')}/" for slug in slugs)])
    for name, view in views.items():
        assert view["overflow"] <= 0, name
        assert all(alt and width > 0 for alt, width in view["images"]), name
