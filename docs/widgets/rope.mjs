// RoPE, to touch: pairs of a query and a key turn with their positions, and their score follows from
// the distance alone.

import { button, h, place, slider } from "./dom.mjs";
import { rotate } from "./gpt.mjs";

const STYLE = `
  .r-views { display: grid; gap: 1rem 1.5rem; align-items: center; margin: 0.8rem 0;
    grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); }
  .r-dials { display: grid; grid-template-columns: repeat(4, 1fr); gap: 0.4rem; }
  .r-dials figure, .w .r-dials figure { margin: 0; text-align: center; }
  .r-dials figcaption { margin: 0; font-size: 0.8rem; color: var(--w-soft); }
  .r-dials svg { display: block; width: 100%; height: auto; }
  .r-dials circle { fill: var(--w-paper); stroke: var(--w-line); }
  .r-dials line { stroke-width: 5; stroke-linecap: round; }
  .r-dials .query, .r-key .query { stroke: var(--w-accent); }
  .r-dials .key, .r-key .key { stroke: light-dark(#b35900, #f0a860); }
  .r-curve { display: block; width: 100%; height: auto; }
  .r-curve path { fill: none; stroke: var(--w-accent); stroke-width: 1.5; }
  .r-curve .grid { stroke: var(--w-line); }
  .r-curve .here { stroke: light-dark(#b35900, #f0a860); stroke-width: 1.5; }
  .r-curve circle { fill: light-dark(#b35900, #f0a860); }
  .r-score { font-weight: 600; margin: 0.6rem 0; }
  .r-key svg { width: 1.6rem; height: 0.8rem; vertical-align: middle; }
  .r-key line { stroke-width: 4; }
`;

export const D_HEAD = 16;
const LAST = 127;
const BASES = [10, 100, 1_000, 10_000, 100_000, 1_000_000];

// A vector of ones in the first feature of each pair, turned to a position.
export function turned(position, base, size = D_HEAD) {
  const x = Float64Array.from({ length: size }, (_, i) => (i % 2 ? 0 : 1));
  rotate(x, position, size, base);
  return x;
}

// The dot product of a query and a key that are equal before they are turned.
export function score(query, key, base, size = D_HEAD) {
  const k = turned(key, base, size);
  return turned(query, base, size).reduce((sum, value, i) => sum + value * k[i], 0);
}

const short = (value) => new Intl.NumberFormat("en", { notation: "compact" }).format(value);

function dial(pair) {
  const [query, key] = ["query", "key"].map((name) => h("svg:line", { class: name, x1: 50, y1: 50 }));
  const caption = h("figcaption");
  const svg = h("svg", { viewBox: "0 0 100 100", "aria-hidden": "true" }, h("svg:circle", { cx: 50, cy: 50, r: 46 }), query, key);
  const draw = (q, k, base) => {
    for (const [line, x, length] of [[query, q, 42], [key, k, 32]]) {
      line.setAttribute("x2", 50 + length * x[2 * pair]);
      line.setAttribute("y2", 50 - length * x[2 * pair + 1]);
    }
    const turn = (2 * Math.PI) / base ** ((-2 * pair) / D_HEAD);
    caption.textContent = `1 in ${turn < 10_000 ? Math.round(turn).toLocaleString("en") : short(turn)}`;
  };
  return { node: h("figure", {}, svg, caption), draw };
}

const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [340, 170, 34, 10, 36];
const xOf = (distance) => LEFT + ((WIDTH - LEFT - 8) * distance) / LAST;
const yOf = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (0.5 - value / D_HEAD);

function curve() {
  const text = (x, y, value, anchor = "middle") => h("svg:text", { x, y, text: value, "text-anchor": anchor });
  const half = D_HEAD / 2;
  const marks = [-half, 0, half].flatMap((value) => [
    h("svg:line", { class: "grid", x1: LEFT, x2: WIDTH - 8, y1: yOf(value), y2: yOf(value) }),
    text(LEFT - 6, yOf(value) + 4, String(value).replace("-", "\u2212"), "end"),
  ]);
  const ticks = [0, 32, 64, 96, LAST].map((at) => text(xOf(at), HEIGHT - BOTTOM + 16, at, at === LAST ? "end" : "middle"));
  const name = text((LEFT + WIDTH) / 2, HEIGHT - 5, "score against distance, in tokens");
  const path = h("svg:path");
  const line = h("svg:line", { class: "here", y1: yOf(-half), y2: yOf(half) });
  const dot = h("svg:circle", { r: 4.5 });
  const svg = h("svg", { class: "r-curve", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" }, ...marks, ...ticks, name, path, line, dot);
  const draw = (distance, base) => {
    const points = Array.from({ length: LAST + 1 }, (_, at) => `${xOf(at).toFixed(1)},${yOf(score(at, 0, base)).toFixed(1)}`);
    path.setAttribute("d", `M${points.join("L")}`);
    const value = score(distance, 0, base);
    for (const end of ["x1", "x2"]) line.setAttribute(end, xOf(distance));
    dot.setAttribute("cx", xOf(distance));
    dot.setAttribute("cy", yOf(value));
    svg.setAttribute("aria-label", `Score against distance at base ${base}. At distance ${distance} it is ${value.toFixed(3)}.`);
  };
  return { svg, draw };
}

function render({ model, el }) {
  const state = { query: 20, key: 12, base: 10_000, ...model.get("settings") };
  const dials = Array.from({ length: D_HEAD / 2 }, (_, pair) => dial(pair));
  const picture = curve();
  const fact = h("p", { class: "r-score", "aria-live": "polite" });
  const sliders = h("div", { class: "w-row" });
  const positions = Array.from({ length: LAST + 1 }, (_, i) => i);

  function draw() {
    const [q, k] = [turned(state.query, state.base), turned(state.key, state.base)];
    for (const { draw: turn } of dials) turn(q, k, state.base);
    const distance = Math.abs(state.query - state.key);
    picture.draw(distance, state.base);
    fact.textContent = `Distance ${distance}: score ${score(state.query, state.key, state.base).toFixed(3)} of ${D_HEAD / 2}.`;
  }

  function controls() {
    const part = (label, name, values, show) =>
      slider({ label, values, value: state[name], show, onchange: (value) => ((state[name] = value), draw()) });
    sliders.replaceChildren(
      part("Query at", "query", positions),
      part("Key at", "key", positions),
      part("Base", "base", BASES, (base) => base.toLocaleString("en")),
    );
  }

  const move = (by) => () => {
    const [low, high] = [Math.min(state.query, state.key), Math.max(state.query, state.key)];
    const step = Math.max(-low, Math.min(LAST - high, by));
    state.query += step;
    state.key += step;
    controls();
    draw();
  };
  const swatch = (name) =>
    h("svg", { viewBox: "0 0 24 10", "aria-hidden": "true" }, h("svg:line", { class: name, x1: 2, x2: 22, y1: 5, y2: 5 }));
  place(
    el, STYLE, sliders,
    h("div", { class: "w-row" }, button("Both one back", move(-1)), button("Both one on", move(1)), button("Both ten on", move(10))),
    fact,
    h("div", { class: "r-views" }, h("div", { class: "r-dials" }, ...dials.map(({ node }) => node)), picture.svg),
    h(
      "p", { class: "w-note r-key" }, swatch("query"), " query, ", swatch("key"), " key. One dial for each of the ",
      `${D_HEAD / 2} pairs of features of a head; below it, the tokens that a full turn takes.`,
    ),
  );
  controls();
  draw();
}

export default { render };
