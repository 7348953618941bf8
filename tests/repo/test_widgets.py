"""The site's widgets in a real browser: from the disk and from a server, on a phone, in the dark.

A small site has a page for each of the site's pages with widgets, with the same directives. A
script in the page drives them and writes down what it saw.
"""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

import pytest
import torch
from test_site import QUIET, docs_site, needs_myst, served, write_site
from test_site import chromium as chromium
from widget_files import bundled, data_script
from widgets import export

from lmcore.generation.web_export import web_export
from lmcore.model.rope import rope_table, rotate
from lmcore.tokenizer.byte_bpe import Tokenizer
from lmcore.tokenizer.saved_tokenizer import load_tokenizer
from lmcore.training.checkpoint import latest_checkpoint

ROOT = Path(__file__).resolve().parents[2]
WIDGETS = ROOT / "docs" / "widgets"
DIRECTIVE = re.compile(r"^:::\{anywidget\} widgets/(\w+)\.mjs\n.*?^:::$", re.MULTILINE | re.DOTALL)
PAGES = {
    path.stem: found
    for path in sorted((ROOT / "docs").glob("*.md"))
    if (found := list(DIRECTIVE.finditer(path.read_text(encoding="utf-8"))))
}
NAMES = [found[1] for page in PAGES.values() for found in page]
MOST_BYTES = 2_000_000
"""What a page with a widget may load before its reader asks for more."""
PROBE = (ROOT / "tests" / "repo" / "widget_probe.js").read_text(encoding="utf-8")
LEAST_CONTRAST = 4.5
"""Of text against what is behind it: WCAG 2.2, level AA."""

FROM_DISK = """<script>DRIVE
addEventListener("load", async () => {
  const seen = document.createElement("pre");
  seen.id = "seen";
  const failed = (error) => ({ error: String(error) });
  seen.textContent = JSON.stringify(await probe(drivers).catch(failed));
  document.body.append(seen);
});
</script></body>"""
ON_A_PHONE = """<!doctype html><pre id="seen"></pre><script>
addEventListener("load", async () => {
  const frame = document.createElement("iframe");
  frame.style = "width:390px;height:800px;border:0";
  frame.src = "PAGE";
  document.body.append(frame);
  await new Promise((done) => frame.addEventListener("load", done));
  const script = frame.contentDocument.createElement("script");
  script.textContent = CODE;
  frame.contentDocument.body.append(script);
  const seen = await frame.contentWindow.found.catch((error) => ({ error: String(error) }));
  document.querySelector("#seen").textContent = JSON.stringify(seen);
});
</script>"""


def model_of(directive):
    """Return the values that a directive gives its widget."""
    return json.loads(re.search(r"^\{.*?^\}", directive[0], re.MULTILINE | re.DOTALL)[0])


def look(chromium, address):
    """Return what the script in the page at address saw."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium, *QUIET, f"--user-data-dir={profile}", "--dump-dom", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    seen = re.search(r'<pre id="seen">(.+?)</pre>', done.stdout, re.DOTALL)
    assert seen, done.stderr[-2000:]
    text = seen[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return json.loads(text)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A site with the pages that have widgets, without their text."""
    root = tmp_path_factory.mktemp("widgets")
    entries = "".join(f"    - file: docs/{stem}.md\n" for stem in PAGES)
    config = (
        "version: 1\nproject:\n  title: Widgets\n  toc:\n    - file: docs/index.md\n"
        f"{entries}site:\n  template: ./docs/theme\n"
    )
    files = {"myst.yml": config, "docs/index.md": "# All of them\n\nOne to a page.\n"}
    for stem, found in PAGES.items():
        files[f"docs/{stem}.md"] = f"# {stem}\n\n" + "\n\n".join(part[0] for part in found) + "\n"
    write_site(root, **files)
    shutil.copytree(WIDGETS, root / "docs" / "widgets")
    problems = docs_site.build(root)
    assert problems == []
    return root / "_build" / "html"


@pytest.fixture(scope="session", params=["disk", "phone"])
def seen(request, chromium, site, tmp_path_factory):
    """What a browser saw of all widgets, on a page from the disk or on a phone, from a server."""
    pages = []
    if request.param == "disk":
        copy = shutil.copytree(site, tmp_path_factory.mktemp("disk") / "html")
        for stem in PAGES:
            page = copy / stem / "index.html"
            text = page.read_text(encoding="utf-8")
            page.write_text(text.replace("</body>", FROM_DISK.replace("DRIVE", PROBE)))
            pages.append(look(chromium, page.as_uri()))
    else:
        code = json.dumps(f"{PROBE}\nvar found = probe(drivers);").replace("</", "<\\/")
        for stem in PAGES:
            harness = ON_A_PHONE.replace("PAGE", f"/{stem}/").replace("CODE", code)
            with served(site, harness) as address:
                pages.append(look(chromium, f"{address}/harness.html"))
    assert [page.get("error") or page["errors"] for page in pages] == [[]] * len(pages)
    return pages


def driven(seen, name):
    """Return what was seen of one widget."""
    widgets = {name: found for page in seen for name, found in page["widgets"].items()}
    found = widgets[name]["driven"]
    assert "error" not in found, found
    return found


pytestmark = needs_myst


def test_every_widget_runs_and_no_page_scrolls_sideways(seen):
    names = [name for page in seen for name in page["widgets"]]
    assert names == NAMES
    assert [page["overflow"] for page in seen] == [0] * len(seen)


def test_every_text_of_a_widget_can_be_read_in_the_light_and_in_the_dark(seen):
    found = [(*worst, name, theme) for page in seen for name, one in page["widgets"].items()
             for theme, pairs in one["contrast"].items() for worst in pairs]  # fmt: skip
    assert len(found) >= 6 * len(NAMES)
    assert [entry for entry in found if entry[0] < LEAST_CONTRAST] == []


def test_every_control_of_a_widget_has_a_name(seen):
    assert [
        one["nameless"] for page in seen for one in page["widgets"].values() if one["nameless"]
    ] == []


def test_a_model_reads_what_is_typed_and_writes_on(seen):
    found = driven(seen, "talk")
    assert found["first"].startswith(" Show HN: A")
    assert found["typed"].startswith(" Ask HN: What is")
    assert len(found["typed"]) > len(" Ask HN: What is")
    assert found["appended"].startswith("Ask HN: What is ")
    assert found["after"].startswith(f" {found['appended']}")
    assert found["panels"] == 2
    assert found["focused"]
    assert re.search(r"probability [\d.]+ %, loss [\d.]+ nats", found["fact"])


def test_a_table_is_learned_in_the_page_and_can_be_asked(seen):
    found = driven(seen, "grok")
    assert found["before"]["cells"] == 41 * 40
    assert found["before"]["status"].startswith("Step 0:")
    assert re.match(r"6 / 2 mod 41: the model says .* with probability [\d.]+ %", found["asked"])
    assert found["curve"] == 1 + found["step"] // 10  # evaluations at the start and every 10 steps
    assert found["trained"] == 984
    assert found["fewer"] == 328
    assert found["reset"].startswith("Step 0:")


def test_text_is_cut_by_as_many_merges_as_are_chosen(seen):
    found = driven(seen, "tokenize")
    text = model_of(PAGES["tokenizer"][0])["text"]
    assert "".join(found["before"])[:50] == text[:50]
    assert len(found["before"]) < found["bytes"] == len(text.encode())
    assert found["typed"] == list("Show HN")
    assert found["fact"] == "“S”: 1 bytes, 53. A single byte."
    assert found["last"].startswith("“N”")
    counts = [int(text.split()[0]) for text in found["sizes"]]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == len("Show HN")
    assert counts[-1] < 4


def test_both_positions_moved_together_leave_rope_s_score(seen):
    found = driven(seen, "rope")
    assert found["before"]["score"].startswith("Distance 8: score ")
    assert found["moved"]["score"] == found["before"]["score"]
    assert found["moved"]["arrows"] != found["before"]["arrows"]
    assert found["base"] != found["before"]["score"]


def test_a_curve_says_which_run_it_is(seen):
    found = driven(seen, "curves")
    runs = [run for group in export.swap_curves()["groups"] for run in group["runs"]]
    assert len(found["before"]) == len(runs) == 15
    first = runs[0]
    assert f"Run {first['run']}, commit {first['commit']}." in found["fact"]
    assert f"at step {first['steps'][1]}" in found["fact"]
    assert found["seconds"] != found["before"]
    assert found["fewer"] == 12
    assert "at step 718" in found["pointed"]


# ---- without a browser


def test_the_curves_of_the_page_are_those_of_the_committed_runs():
    path = WIDGETS / "data" / "adamw-swap-curves.json"
    advice = "python docs/widgets/export.py curves"
    assert json.loads(path.read_text(encoding="utf-8")) == export.swap_curves(), advice


def test_the_losses_of_the_drawn_title_are_those_of_the_page_s_models():
    path = WIDGETS / "data" / "title-losses.json"
    found, saved = export.title_losses(), json.loads(path.read_text(encoding="utf-8"))
    assert saved["tokens"] == found["tokens"]
    assert saved["losses"].keys() == found["losses"].keys()
    for name, losses in saved["losses"].items():
        assert losses == pytest.approx(found["losses"][name], abs=2e-3)


SCORES = """
import { score, turned } from "./rope.mjs";
answer(given.map(([query, key, base]) => [score(query, key, base), [...turned(query, base)]]));
"""


def test_the_page_turns_pairs_as_the_package_does(node):
    places = [(0, 0, 1e4), (5, 3, 1e4), (127, 0, 10.0), (90, 64, 1e6)]
    ones = torch.tensor([1.0, 0.0]).repeat(8)[None]
    for (query, key, base), (score, turned) in zip(places, node(SCORES, places), strict=True):
        q, k = (rotate(ones, *rope_table(torch.tensor([at]), 16, base))[0] for at in (query, key))
        torch.testing.assert_close(torch.tensor(turned).float(), q, rtol=0, atol=1e-5)
        assert score == pytest.approx(float(q @ k), abs=1e-4)


def test_a_page_with_a_widget_loads_less_than_two_megabytes(site):
    shared = sum(path.stat().st_size for path in site.glob("*.*s"))
    for stem, found in PAGES.items():
        html = (site / stem / "index.html").read_text(encoding="utf-8")
        scripts = [
            site / "build" / f"{name}.js" for name in re.findall(r'data-widget="(.*?)"', html)
        ]
        size = shared + len(html.encode()) + sum(path.stat().st_size for path in scripts)
        for directive in found:
            model = model_of(directive)
            loaded = [*model.get("data", []), *list(model.get("models", {}))[:1]]
            size += sum((site / "widgets" / f"{name}.js").stat().st_size for name in loaded)
        assert size < MOST_BYTES, (stem, size)


def test_without_scripts_a_widget_says_what_it_would_be(site):
    for stem, found in PAGES.items():
        html = (site / stem / "index.html").read_text(encoding="utf-8")
        texts = re.findall(r'<div class="widget-place"><p>(.*?)</p></div>', html)
        assert len(texts) == len(found)
        assert all(len(text) > 40 for text in texts)


def test_a_bundle_runs_without_modules(node, tmp_path):
    (tmp_path / "one.mjs").write_text(
        "export const one = 1;\nexport function two() { return 2; }\n"
    )
    (tmp_path / "sum.mjs").write_text(
        'import { one } from "./one.mjs";\nimport {\n  two,\n} from "./one.mjs";\n'
        "export default { sum: one + two() };\n"
    )
    code = "answer(new Function(given)().sum);"
    assert node(code, bundled(tmp_path / "sum.mjs")) == 3


@pytest.mark.parametrize(
    "line", ['import * as all from "./one.mjs";', 'import "./one.mjs";', "export { one };"]
)
def test_a_bundle_refuses_what_it_does_not_know(tmp_path, line):
    (tmp_path / "one.mjs").write_text("export const one = 1;\n")
    (tmp_path / "bad.mjs").write_text(f"{line}\nexport default {{}};\n")
    with pytest.raises(ValueError, match=r"bad.mjs: the bundle does not know"):
        bundled(tmp_path / "bad.mjs")


def test_data_come_back_from_their_script_bit_for_bit(tmp_path):
    content = bytes(range(256)) * 9
    (tmp_path / "some-data.bin").write_bytes(content)
    script = data_script(tmp_path / "some-data.bin")
    text = re.search(r'\["some-data"\] = "(.*?)";', script)[1]
    assert zlib.decompress(base64.b64decode(text), wbits=-zlib.MAX_WBITS) == content


@pytest.fixture(scope="session")
def finished(smoke_run):
    """A finished run with the checkpoint and the tokenizer that it left."""
    workspace, run = smoke_run
    folders = {path.parent for path in workspace.rglob("corpus/*/tokenizer.json")}
    expected = run.environment["data"]["tokenizer"]
    [tokenizer] = [f for f in folders if load_tokenizer(f).fingerprint == expected]
    place = f"{run.config.name}/seed{run.config.seed}/checkpoints"
    return run, latest_checkpoint(next(workspace.rglob(place))), tokenizer


def test_a_finished_run_becomes_a_model_that_says_where_it_is_from(finished):
    run, checkpoint, tokenizer = finished
    lm = export.language_model(run, checkpoint, tokenizer)
    found = export.about(run)
    assert found["run"] == f"{run.config.study}/{run.config.name}/seed{run.config.seed}"
    assert found["parameters"] == sum(weight.numel() for weight in lm.model.parameters())
    assert found["nats_per_token"] == pytest.approx(run.records[-1]["validation"].loss, abs=1e-4)
    assert web_export(lm, found)


def test_an_earlier_checkpoint_and_another_tokenizer_are_refused(finished, tmp_path):
    run, checkpoint, tokenizer = finished
    earlier = tmp_path / "step0000001.safetensors"
    shutil.copy(checkpoint, earlier)
    with pytest.raises(ValueError, match=r"is not of the run's last step"):
        export.language_model(run, earlier, tokenizer)
    size = run.config.model.vocab_size
    Tokenizer.train(["other text"] * 3, min(size, 260), ["<eos>"]).save(tmp_path)
    with pytest.raises(ValueError, match=r"has the tokenizer .*, and the run"):
        export.language_model(run, checkpoint, tmp_path)
