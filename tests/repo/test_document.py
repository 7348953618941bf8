"""README and pages: what they name exists, what they say can be run."""

import importlib.util
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lmcore
from lmcore.report.package_map import first_line, with_map

ROOT = Path(__file__).parents[2]
# docs/api.py is a command, not part of the package.
_spec = importlib.util.spec_from_file_location("docs_api", ROOT / "docs" / "api.py")
docs_api = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(docs_api)
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(text: str, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [code for name, code in fenced if name == language]


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_map_is_read_from_the_package(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert with_map(text) == text


def test_every_module_says_in_its_first_line_what_it_is():
    silent = [p for p in (ROOT / "lmcore").rglob("*.py") if not first_line(p)]
    assert silent == []


def test_every_folder_of_the_readme_exists():
    named = re.findall(r"^\| `(\w+)/` \|", README, re.MULTILINE)
    assert len(named) > 4
    assert [name for name in named if not (ROOT / name).is_dir()] == []


def test_the_python_example_of_the_readme_runs(tmp_path):
    (example,) = blocks(README, "python")
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.strip()


def test_every_example_of_a_page_is_the_body_of_a_test():
    shown = re.findall(
        r":::\{literalinclude\} \.\./(\S+)\n.*?start-after: (.+?)\n:end-before: (.+?)\n",
        (ROOT / "docs/your-own.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert len(shown) >= 10
    for path, start, end in shown:
        code = (ROOT / path).read_text(encoding="utf-8")
        assert (path, code.count(f"# {start}\n"), code.count(f"# {end}\n")) == (path, 1, 1)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_each_local_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#:\s]+)\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_each_embedded_label_is_made_by_one_notebook(page):
    wanted = re.findall(r"^:::\{figure\} #(\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    made = "\n".join(path.read_text() for path in (ROOT / "notebooks").glob("*.py"))
    assert [label for label in wanted if made.count(f"#| label: {label}\n") != 1] == []


def test_every_labelled_cell_is_embedded_in_the_write_up():
    made = set()
    for path in (ROOT / "notebooks").glob("*.py"):
        made |= set(re.findall(r"^#\| label: (\S+)", path.read_text(), re.MULTILINE))
    told = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {label for label in made if f"{{figure}} #{label}\n" not in told} == set()


def test_the_blocks_of_the_architecture_page_are_where_it_says():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = page.split("| block | where |")[1].split("\n\n")[0]
    names = re.findall(r"`([\w.]+)`", table)
    assert len(names) > 20
    for name in names:
        in_package = name if name.startswith("torch.") else f"lmcore.{name}"
        assert pkgutil.resolve_name(in_package) is not None


@pytest.fixture(scope="module")
def api():
    return docs_api.page()


@pytest.mark.parametrize("name", lmcore.__all__)
def test_the_api_page_says_of_every_public_name_what_its_docstring_says(api, name):
    section = api.split(f"### `{name}`\n")[1].split("\n(api-")[0]
    first = (getattr(lmcore, name).__doc__ or "").split("\n")[0]
    assert docs_api.escaped(first) in section
    assert "](https://github.com/lmcore/lmcore/blob/main/lmcore/" in section


def test_the_api_page_lists_fields_defaults_methods_and_errors(api):
    config = api.split("### `ModelConfig`\n")[1].split("\n(api-")[0]
    assert re.search(r"^\| `d_model` \| `int` \| `\d+` \| .+ \|$", config, re.MULTILINE)
    tokenizer = api.split("### `Tokenizer`\n")[1].split("\n(api-")[0]
    assert "Tokenizer.decode(" in tokenizer  # inherited
    assert "\nRaises:\n\n- `ValueError`: " in tokenizer


def test_markup_in_a_docstring_stays_text():
    assert docs_api.escaped("a <eos> costs $1, `x[0] | y`") == "a \\<eos> costs \\$1, `x[0] | y`"
