"""README and pages: what they name exists, what they say can be run."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lmcore.report.package_map import first_line, with_map

ROOT = Path(__file__).parents[2]
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
