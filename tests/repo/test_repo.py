"""The repository agrees with itself: versions, layers, style, and what may be committed."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = sorted((ROOT / "lmcore").rglob("*.py"))
FLOORS = (
    {"boundary"}, {"config", "files"}, {"locks"}, {"tokenizer"}, {"data"}, {"model"},
    {"evaluation"}, {"tasks"},
    {"training", "generation"}, {"experiments"}, {"report"}, {"studies"}, {"cli"},
    {"__init__", "__main__"},
)  # fmt: skip
"""The packages of lmcore from the bottom up. One imports from itself and from lower floors."""


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def requirements():
    """Return every requirement of the package and its extras but those on itself."""
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    return [one for one in map(Requirement, lines) if one.name != "lmcore"]


def pins():
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


def conda():
    """Return environment.yml's requirements by name, and what it leaves to pip."""
    listed = yaml.safe_load(text("environment.yml"))["dependencies"]
    plain = [Requirement(entry) for entry in listed if isinstance(entry, str)]
    [with_pip] = [entry["pip"] for entry in listed if isinstance(entry, dict)]
    return {one.name: one.specifier for one in plain}, with_pip


def tracked():
    """Return the files that git tracks and that are there."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"git does not list this folder: {done.stderr.strip()}")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def is_text(path):
    return b"\0" not in path.read_bytes()[:8192]


# Versions


def test_conda_and_pip_ask_for_the_same_python():
    assert conda()[0]["python"] == SpecifierSet(PROJECT["requires-python"])


def test_conda_and_make_ask_for_the_same_node(make):
    assert conda()[0]["nodejs"] == SpecifierSet(f">={make.OLDEST_NODE}")


def test_make_and_pip_ask_for_the_same_python(make):
    oldest = ".".join(map(str, make.OLDEST_PYTHON))
    assert SpecifierSet(f">={oldest}") == SpecifierSet(PROJECT["requires-python"])


def test_conda_brings_python_and_node_and_leaves_the_rest_to_the_dev_extra():
    plain, with_pip = conda()
    assert (set(plain), with_pip) == ({"python", "nodejs", "pip"}, ["-e .[dev]"])


@pytest.mark.parametrize("requirement", requirements(), ids=lambda one: one.name)
def test_constraints_pin_each_requirement_within_its_range(requirement):
    name = canonicalize_name(requirement.name)
    assert name in pins(), f"{name} has no pin in constraints.txt"
    assert pins()[name] in requirement.specifier


@pytest.mark.parametrize("name", sorted(pins()))
def test_pinned_versions_run_on_the_oldest_python(make, name):
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed on this system")
    if metadata["Version"].split("+")[0] != pins()[name]:
        pytest.skip(f"this environment has {metadata['Version']}, not the pinned one")
    oldest = ".".join(map(str, (*make.OLDEST_PYTHON, 0)))
    assert oldest in SpecifierSet(metadata.get("Requires-Python") or "")


SERVICES = {"wandb", "trackio"}
"""Trackers that bring a server with dozens of packages; trackio's pillow is older than the pin."""


def test_the_dev_extra_holds_every_other_extra_but_services():
    dev = [Requirement(line) for line in PROJECT["optional-dependencies"]["dev"]]
    [extras] = [one.extras for one in dev if one.name == "lmcore"]
    assert extras == set(PROJECT["optional-dependencies"]) - {"dev"} - SERVICES


def test_constraints_name_public_versions_only():
    assert [v for v in pins().values() if Version(v).local or str(Version(v)) != v] == []


def test_citation_gives_the_package_version():
    assert yaml.safe_load(text("CITATION.cff"))["version"] == PROJECT["version"]


def test_citation_gives_the_package_licence():
    assert yaml.safe_load(text("CITATION.cff"))["license"] == PROJECT["license"]


def test_the_changelog_starts_with_the_package_version():
    assert re.findall(r"^## \[(.+?)\]", text("CHANGELOG.md"), re.MULTILINE)[0] == PROJECT["version"]


# Floors


def package_of(dotted):
    return dotted.split(".")[1] if "." in dotted else "__init__"


def imports_of(path):
    """Return the packages of lmcore that the module at path imports."""
    out = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "lmcore":
            parts = {other.relative_to(ROOT / "lmcore").parts[0] for other in MODULES}
            is_part = {part.removesuffix(".py") for part in parts}
            names = [f"lmcore.{a.name}" if a.name in is_part else "lmcore" for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = [node.module]
        else:
            continue
        out |= {package_of(name) for name in names if name.split(".")[0] == "lmcore"}
    return out


def floor_of(package):
    found = [number for number, names in enumerate(FLOORS) if package in names]
    assert found, (
        f"lmcore.{package} has no floor yet: give it one in FLOORS of {Path(__file__).name}"
    )
    return found[0]


def test_imports_point_down_package_by_package():
    up = []
    for path in MODULES:
        own = path.relative_to(ROOT / "lmcore").parts[0].removesuffix(".py")
        others = imports_of(path) - {own}
        up += [(str(path), o) for o in sorted(others) if floor_of(o) >= floor_of(own)]
    assert up == []


@pytest.mark.parametrize(
    "statement",
    [
        "import lmcore.report.tables, lmcore.report.plotting, lmcore.experiments.run_folder",
        "from lmcore import Tokenizer, tokens_of_file, train_bpe",
    ],
)
def test_tables_plots_and_tokenizers_import_no_torch(statement):
    code = f"{statement}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_package_gives_the_functions_and_classes_it_names_whatever_was_imported_before():
    code = (
        "import lmcore.training.loop, lmcore;"
        "from lmcore import *;"
        "names = {name: getattr(lmcore, name) for name in lmcore.__all__};"
        "assert all(map(callable, names.values())) and train is lmcore.train is names['train'];"
        "assert set(names) <= set(dir(lmcore))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_prints(path):
    names = [n.id for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.Name)]
    assert "print" not in names or path.parent.name == "cli"


# Style and files


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_has_nothing_to_say(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_makefile_has_a_line_for_each_command_of_make_py(make):
    rules = re.findall(r"^(\w+): ; (.+)$", text("Makefile"), re.MULTILINE)
    assert sorted(rules) == sorted((name, f"@$(PYTHON) make.py {name}") for name in make.COMMANDS)


def test_make_alone_helps():
    assert re.search(r"^(\w+):", text("Makefile"), re.MULTILINE).group(1) == "help"


def test_workflows_pin_actions_by_commit_and_name_the_version():
    uses = re.findall(
        r"uses: (.+)", "\n".join(p.read_text() for p in ROOT.glob(".github/workflows/*.yml"))
    )
    assert [u for u in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", u)] == []


def test_workflows_pin_an_action_at_one_version():
    files = ROOT.glob(".github/workflows/*.yml")
    uses = {use for p in files for use in re.findall(r"uses: (\S+)@(\S+)", p.read_text())}
    assert len(uses) == len({action for action, _ in uses})


def test_no_tracked_file_is_over_two_megabytes():
    assert [str(path) for path in tracked() if path.stat().st_size > 2e6] == []


def test_no_tracked_text_names_a_place_on_one_machine():
    place = re.compile(rb"(?<![\w.:/~$}-])/(?:home|root|Users|work|mnt|opt)/\w|[A-Z]:\\Users")
    found = {path.name: place.search(path.read_bytes()) for path in tracked() if is_text(path)}
    assert {name: match.group() for name, match in found.items() if match} == {}
