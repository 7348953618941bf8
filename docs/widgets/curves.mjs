// Curves that answer: which run a point is of, over steps, tokens or seconds.

import { choice, h, loadJson, place } from "./dom.mjs";

const STYLE = `
  .c-plot { display: block; width: 100%; height: auto; cursor: crosshair; touch-action: pan-y; }
  .c-plot .grid { stroke: var(--w-line); }
  .c-plot path { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
  .c-plot .dot { fill: none; stroke: var(--w-ink); stroke-width: 2; }
  .c-fact { min-height: 3em; margin: 0.5rem 0 0; }
  .c-groups { display: flex; flex-wrap: wrap; gap: 0.3rem 1rem; border: 0; margin: 0 0 0.6rem; padding: 0; }
  .c-groups label { display: inline-flex; gap: 0.4rem; align-items: center; cursor: pointer; }
  .c-groups input { margin: 0; width: 1.05rem; height: 1.05rem; accent-color: var(--w-accent); }
  .c-swatch { width: 1.3rem; height: 0.25rem; border-radius: 2px; }
`;

const AXES = { steps: "Steps", tokens: "Tokens", seconds: "Seconds" };
const UNITS = { steps: "optimizer steps", tokens: "tokens seen", seconds: "seconds of training" };
const [LEFT, RIGHT, TOP, BOTTOM] = [44, 14, 12, 42];

// Round numbers that mark an axis: powers of ten on a log axis.
export function logTicks(low, high) {
  const out = [];
  for (let power = Math.ceil(Math.log10(low)); 10 ** power <= high; power++) out.push(10 ** power);
  return out;
}

export function ticks(low, high, n = 4) {
  const rough = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

// The points that are drawn: those of the groups shown, without step 0, which a log axis lacks.
export function pointsOf(groups, hidden, axis) {
  return groups.filter(({ name }) => !hidden.has(name)).flatMap((group) =>
    group.runs.map((run) =>
      run.values
        .map((value, i) => ({ x: run[axis][i], y: value, step: run.steps[i], tokens: run.tokens[i], seconds: run.seconds[i], run, group }))
        .filter(({ x }) => x > 0),
    ),
  );
}

// A series' colour with some of the page's ink, so that it can be seen in the dark as well.
const ink = (color) => `color-mix(in oklab, ${color} 75%, var(--w-ink))`;

const short = (value) => new Intl.NumberFormat("en", { notation: "compact" }).format(value);
const clear = (value) => Number(value.toPrecision(6)).toLocaleString("en");

function describe({ y, step, tokens, seconds, run, group }, label) {
  return (
    `${group.name}, seed ${run.seed}: ${y.toFixed(3)} (${label}) at step ${step.toLocaleString("en")}, ` +
    `${short(tokens)} tokens, ${Math.round(seconds).toLocaleString("en")} s. Run ${run.run}, commit ${run.commit}.`
  );
}

async function render({ model, el }) {
  const { label, groups } = await loadJson(model.get("data")[0], undefined);
  const hidden = new Set();
  let axis = "steps";
  let lines, scale, chosen;
  const fact = h("p", { class: "w-note c-fact", "aria-live": "polite" });
  const svg = h("svg", { class: "c-plot", tabindex: 0, role: "img" });
  const size = () => [Math.max(300, Math.min(860, svg.clientWidth || 600)), 300];

  function draw() {
    const [width, height] = size();
    lines = pointsOf(groups, hidden, axis);
    const all = lines.flat();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    chosen = undefined;
    fact.textContent = "Point at a curve, or focus the plot and use the arrow keys.";
    if (!all.length) return svg.replaceChildren();
    const [xs, ys] = [all.map(({ x }) => x), all.map(({ y }) => y)];
    const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    scale = {
      x: (x) => LEFT + ((width - LEFT - RIGHT) * Math.log(x / x0)) / Math.log(x1 / x0),
      y: (y) => TOP + ((height - TOP - BOTTOM) * (y1 - y)) / (y1 - y0),
    };
    const text = (x, y, value, anchor = "middle") => h("svg:text", { x, y, text: value, "text-anchor": anchor });
    const marks = [
      ...ticks(y0, y1, 6).flatMap((y) => [
        h("svg:line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: scale.y(y), y2: scale.y(y) }),
        text(LEFT - 6, scale.y(y) + 4, clear(y), "end"),
      ]),
      ...logTicks(x0, x1).map((x) => text(scale.x(x), height - BOTTOM + 18, short(x))),
      text((LEFT + width) / 2, height - 6, `${UNITS[axis]}, log axis`),
    ];
    const paths = lines.map((points) => {
      const places = points.map(({ x, y }) => `${scale.x(x).toFixed(1)},${scale.y(y).toFixed(1)}`);
      return h("svg:path", { d: `M${places.join("L")}`, style: `stroke: ${ink(points[0].group.color)}` });
    });
    svg.replaceChildren(...marks, ...paths);
    const names = groups.filter(({ name }) => !hidden.has(name)).map(({ name }) => name);
    svg.setAttribute("aria-label", `${label} against ${UNITS[axis]}: ${names.join(", ")}. Arrow keys read the points.`);
    return undefined;
  }

  function choose(line, at) {
    const point = lines[line]?.[at];
    if (!point) return;
    chosen = [line, at];
    svg.querySelector(".dot")?.remove();
    svg.append(h("svg:circle", { class: "dot", r: 6, cx: scale.x(point.x), cy: scale.y(point.y) }));
    fact.textContent = describe(point, label);
  }

  svg.onpointermove = svg.onpointerdown = (event) => {
    const box = svg.getBoundingClientRect();
    const zoom = size()[0] / box.width;
    const [x, y] = [(event.clientX - box.left) * zoom, (event.clientY - box.top) * zoom];
    let best = [Infinity];
    lines.forEach((points, line) =>
      points.forEach((point, at) => {
        const distance = Math.hypot(scale.x(point.x) - x, scale.y(point.y) - y);
        if (distance < best[0]) best = [distance, line, at];
      }),
    );
    choose(best[1], best[2]);
  };
  svg.onkeydown = (event) => {
    const [line, at] = chosen ?? [0, -1];
    const to = {
      ArrowRight: [line, at + 1], ArrowLeft: [line, at - 1],
      ArrowDown: [line + 1, Math.max(at, 0)], ArrowUp: [line - 1, Math.max(at, 0)],
    }[event.key];
    if (!to) return;
    event.preventDefault();
    choose(...to);
  };
  const boxes = groups.map(({ name, color }) => {
    const box = h("input", {
      type: "checkbox",
      onchange: () => {
        if (box.checked) hidden.delete(name);
        else hidden.add(name);
        draw();
      },
    });
    box.checked = true;
    return h("label", {}, box, h("span", { class: "c-swatch", style: `background: ${ink(color)}` }), h("span", { text: name }));
  });
  place(
    el, STYLE,
    h("fieldset", { class: "c-groups" }, h("legend", { class: "w-hidden", text: "Curves" }), ...boxes),
    choice({ label: "Against", options: AXES, value: axis, onchange: (key) => ((axis = key), draw()) }),
    h("p", { class: "w-note", text: `${label[0].toUpperCase()}${label.slice(1)}; the axis does not start at zero.` }),
    svg, fact,
  );
  draw();
  let width = size()[0];
  new ResizeObserver(() => {
    if (size()[0] !== width) draw();
    [width] = size();
  }).observe(svg);
}

export default { render };
