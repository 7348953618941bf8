// Runs in a page: drives every widget, and measures contrast, names and width. A driver gets the
// widget's section; what it returns is what the test looks at.

const drivers = {
  talk: async (box) => {
    const panel = () => box.querySelectorAll(".t-panel");
    const drawn = () => [...panel()].map((one) => one.dataset.done);
    await until(() => drawn()[0]);
    const first = box.querySelector(".t-tokens").textContent;
    const input = box.querySelector("textarea");
    input.value = "Ask HN: What is";
    input.dispatchEvent(new Event("input"));
    await until(() => drawn()[0] > 1);
    const tokens = () => box.querySelector(".t-tokens").textContent;
    const typed = tokens();
    box.querySelector(".t-bars button").click();
    await until(() => drawn()[0] > 2);
    box.querySelectorAll("input[type=checkbox]")[1].click();
    await until(() => drawn()[1]);
    const keys = box.querySelector(".t-tokens");
    keys.querySelector("button").focus();
    press(keys.querySelector("button"), "ArrowRight");
    return {
      first, typed, appended: input.value, after: tokens(), panels: panel().length,
      fact: box.querySelector(".t-fact").textContent,
      focused: document.activeElement === keys.querySelectorAll("button")[1],
    };
  },
  grok: async (box) => {
    const el = box.querySelector(".widget-place");
    const status = () => box.querySelector(".g-status").textContent;
    const shaded = (name) => box.querySelectorAll(`.g-table .${name}`).length;
    const button = (text) => [...box.querySelectorAll("button")].find((one) => one.textContent === text);
    const before = { status: status(), cells: box.querySelectorAll(".g-table rect").length };
    button("Train").click();
    await until(() => Number(el.dataset.step) >= 20);
    button("Pause").click();
    const step = Number(el.dataset.step);
    const [a, b] = box.querySelectorAll("input[type=number]");
    [a.value, b.value] = [6, 2];
    button("Ask").click();
    const asked = box.querySelectorAll(".w-note")[0].textContent;
    const curve = box.querySelector(".g-curves path.unseen").getAttribute("d").split("L").length;
    const trained = shaded("trained");
    const share = box.querySelector("input[type=range]");
    share.value = 0;
    share.dispatchEvent(new Event("input"));
    return { before, asked, curve, step, trained, fewer: shaded("trained"), reset: status() };
  },
  tokenize: async (box) => {
    const tokens = () => [...box.querySelectorAll(".k-tokens button")].map((one) => one.textContent);
    const before = tokens();
    const size = box.querySelector("input[type=range]");
    size.value = 0;
    size.dispatchEvent(new Event("input"));
    const bytes = tokens();
    const input = box.querySelector("textarea");
    input.value = "Show HN";
    input.dispatchEvent(new Event("input"));
    box.querySelector(".k-tokens button").focus();
    const fact = box.querySelector(".k-fact").textContent;
    press(document.activeElement, "End");
    return {
      before, bytes: bytes.length, typed: tokens(), fact,
      last: box.querySelector(".k-fact").textContent,
      sizes: [...box.querySelectorAll(".k-sizes dd:not(.bar)")].map((one) => one.textContent),
    };
  },
  rope: async (box) => {
    const score = () => box.querySelector(".r-score").textContent;
    const arrows = () => [...box.querySelectorAll(".r-dials line")].map((line) => line.getAttribute("x2"));
    const before = { score: score(), arrows: arrows() };
    [...box.querySelectorAll("button")].find((one) => one.textContent === "Both ten on").click();
    const moved = { score: score(), arrows: arrows() };
    const base = box.querySelectorAll("input[type=range]")[2];
    base.value = 0;
    base.dispatchEvent(new Event("input"));
    return { before, moved, base: score() };
  },
  curves: async (box) => {
    const lines = () => [...box.querySelectorAll(".c-plot path")].map((path) => path.getAttribute("d"));
    const svg = box.querySelector(".c-plot");
    const before = lines();
    press(svg, "ArrowRight");
    const fact = box.querySelector(".c-fact").textContent;
    box.querySelector("input[value=seconds]").click();
    const seconds = lines();
    box.querySelector("input[type=checkbox]").click();
    const fewer = lines().length;
    const { left, top, width, height } = svg.getBoundingClientRect();
    svg.dispatchEvent(new PointerEvent("pointermove", { clientX: left + width, clientY: top + height }));
    return { before, fact, seconds, fewer, pointed: box.querySelector(".c-fact").textContent };
  },
};

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
async function until(condition) {
  for (let i = 0; i < 4000 && !condition(); i++) await wait(5);
  if (!condition()) throw new Error(`never happened: ${condition}`);
}
const press = (node, key) => node.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));

const channels = (text) => {
  const numbers = (text.match(/[\d.e+-]+(?=[\s,)/%])/g) ?? []).map(Number);
  const scale = text.startsWith("color(") ? 255 : 1;
  const [r, g, b, a = 1] = numbers;
  return [r * scale, g * scale, b * scale, a];
};
const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => a * value + (1 - a) * under[i]);
const behind = (node) => {
  if (!node) return [255, 255, 255];
  const color = channels(getComputedStyle(node).backgroundColor);
  return color[3] === 1 ? color : over(color, behind(node.parentElement));
};
const luminance = (color) =>
  color.slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
function contrasts(box) {
  const found = [];
  for (const node of box.querySelectorAll("*")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || ["STYLE", "SCRIPT"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const back = behind(node);
    const ink = node instanceof SVGElement ? style.fill : style.color;
    const [light, dark] = [luminance(over(channels(ink), back)), luminance(back)].sort((a, b) => b - a);
    found.push([(light + 0.05) / (dark + 0.05), node.textContent.slice(0, 30)]);
  }
  return found.sort((a, b) => a[0] - b[0]).slice(0, 3);
}
const nameless = (box) =>
  [...box.querySelectorAll("button, input, textarea, select, canvas, svg[role=img]")].filter((node) =>
    !(node.textContent.trim() || node.ariaLabel || node.labels?.length)).map((node) => node.outerHTML);

async function probe(drivers) {
  const seen = { errors: [], widgets: {} };
  addEventListener("error", (event) => seen.errors.push(event.message));
  for (const box of document.querySelectorAll("[data-widget]")) {
    const name = box.dataset.widget.split("-")[0];
    box.scrollIntoView();
    await until(() => box.dataset.ready);
    const driven = await drivers[name](box).catch((error) => ({ error: String(error) }));
    seen.widgets[name] = { driven, contrast: {}, nameless: nameless(box) };
    for (const theme of ["light", "dark"]) {
      document.documentElement.dataset.theme = theme;
      seen.widgets[name].contrast[theme] = contrasts(box);
    }
    delete document.documentElement.dataset.theme;
  }
  const root = document.documentElement;
  seen.overflow = root.scrollWidth - root.clientWidth;
  return seen;
}
