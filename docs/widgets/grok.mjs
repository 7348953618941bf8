// Watch it grok: a small transformer learns division modulo p here, while its table fills in.

import { button, choice, h, newId, place, slider } from "./dom.mjs";
import { SIZES, Training } from "./division.mjs";

const STYLE = `
  .g-views { display: grid; gap: 1rem 1.5rem; align-items: start;
    grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); }
  .g-views svg { display: block; width: 100%; height: auto; }
  .g-table rect { fill: var(--w-paper); }
  .g-table .trained { fill: color-mix(in srgb, var(--w-soft) 28%, var(--w-paper)); }
  .g-table .trained.right { fill: var(--w-soft); }
  .g-table .unseen.right { fill: var(--w-accent); }
  .g-curves .axis { stroke: var(--w-soft); stroke-width: 1; }
  .g-curves .grid { stroke: var(--w-line); stroke-width: 1; }
  .g-curves path { fill: none; stroke-width: 2; stroke-linejoin: round; }
  .g-curves .trained { stroke: var(--w-soft); }
  .g-curves .unseen { stroke: var(--w-accent); stroke-width: 2.5; }
  .w .g-curves text.unseen { fill: var(--w-accent); stroke: none; font-weight: 600; }
  .w .g-curves text.trained { stroke: none; }
  .g-key { display: inline-block; width: 0.8rem; height: 0.8rem; margin: 0 0.3rem 0 0.8rem; vertical-align: -0.08rem;
    border: 1px solid var(--w-soft); }
  .g-ask { display: flex; flex-wrap: wrap; gap: 0.4rem; align-items: center; margin-top: 0.8rem; }
  .g-ask input { width: 4.2rem; padding: 0.25rem 0.4rem; border: 1px solid var(--w-soft); border-radius: 6px;
    background: var(--w-paper); }
  .g-status { font-weight: 600; min-height: 1.5em; margin: 0.6rem 0; }
`;

const SHARES = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
const DECAYS = [0, 0.3, 0.7, 1, 1.5, 2];
const MODULI = { 31: "31", 41: "41", 59: "59" };
const SOLVED = 0.99;
const IN_A_ROW = 5;
const MOST_STEPS = 3000;
const EVERY = 10;
const FRAME_MS = 25;
const PER_FRAME = 5;
const percent = (share) => `${Math.floor(100 * share)} %`;

// ---- pictures

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [340, 230, 44, 10, 12, 40];

function line(records, name, lastStep) {
  const x = (step) => LEFT + ((WIDTH - LEFT - RIGHT) * step) / lastStep;
  const y = (share) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share;
  const points = records.map((record) => `${x(record.step).toFixed(1)},${y(record[name]).toFixed(1)}`);
  return points.length ? `M${points.join("L")}` : "";
}

function curves() {
  const [trained, unseen] = ["trained", "unseen"].map((name) => h("svg:path", { class: name }));
  const ticks = h("svg:g");
  const svg = h("svg", { class: "g-curves", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" }, ticks, trained, unseen);
  const text = (x, y, value, properties = {}) => h("svg:text", { x, y, text: value, ...properties });
  const draw = (records) => {
    const last = Math.max(300, records.at(-1)?.step ?? 0);
    const every = 10 ** Math.floor(Math.log10(last)) * (last / 10 ** Math.floor(Math.log10(last)) > 4 ? 2 : 1);
    const marks = [];
    for (const share of [0, 0.5, 1]) {
      const y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share;
      marks.push(h("svg:line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }));
      marks.push(text(LEFT - 6, y + 4, percent(share), { "text-anchor": "end" }));
    }
    for (let step = 0; step <= last; step += every) {
      const x = LEFT + ((WIDTH - LEFT - RIGHT) * step) / last;
      marks.push(text(x, HEIGHT - BOTTOM + 16, step, { "text-anchor": step + every > last ? "end" : "middle" }));
    }
    marks.push(text((LEFT + WIDTH) / 2, HEIGHT - 6, "optimizer steps", { "text-anchor": "middle" }));
    marks.push(text(LEFT + 8, TOP + 16, "trained on", { class: "trained" }));
    marks.push(text(LEFT + 8, TOP + 32, "never seen", { class: "unseen" }));
    ticks.replaceChildren(...marks);
    trained.setAttribute("d", line(records, "train", last));
    unseen.setAttribute("d", line(records, "unseen", last));
    const { step = 0, train = 0, unseen: other = 0 } = records.at(-1) ?? {};
    svg.setAttribute(
      "aria-label",
      `Share of right answers against steps. At step ${step}: ${percent(train)} of pairs trained on, ` +
        `${percent(other)} of pairs never seen.`,
    );
  };
  return { svg, draw };
}

// The whole table: a row for each a, a column for each b.
function grid(p, rows, point) {
  const cells = rows.map((row) => {
    const cell = h("svg:rect", { x: row.b - 1 + 0.06, y: row.a + 0.06, width: 0.88, height: 0.88 });
    cell.onpointerenter = () => point(row);
    cell.onclick = () => point(row);
    return cell;
  });
  const svg = h("svg", { class: "g-table", viewBox: `0 0 ${p - 1} ${p}`, role: "img" }, ...cells);
  const draw = () => {
    let right = 0;
    rows.forEach((row, i) => {
      const isRight = row.guess === row.answer;
      right += isRight;
      const name = `${row.isTrained ? "trained" : "unseen"}${isRight ? " right" : ""}`;
      if (cells[i].getAttribute("class") !== name) cells[i].setAttribute("class", name);
    });
    svg.setAttribute("aria-label", `Table of a divided by b modulo ${p}: ${right} of ${rows.length} answers right.`);
  };
  return { svg, draw };
}

// ---- the widget

function render({ model, el }) {
  const settings = { p: 41, share: 0.6, decay: 0.7, seed: 1, ...model.get("settings") };
  let training, records, view, isRunning;
  const status = h("p", { class: "g-status", "aria-live": "polite" });
  const fact = h("p", { class: "w-note", text: "Point at a cell of the table, or ask below." });
  const views = h("div", { class: "g-views" });
  const picture = curves();
  const run = button("Train", () => (isRunning ? pause() : start()));

  function reset() {
    pause();
    training = new Training(settings);
    records = [training.evaluate()];
    view = grid(settings.p, training.table.rows, (row) => tell(row));
    views.replaceChildren(view.svg, h("div", {}, picture.svg));
    for (const input of [a, b]) input.max = settings.p - 1;
    modulus.textContent = `mod ${settings.p}`;
    show();
  }

  function show() {
    view.draw();
    picture.draw(records);
    const { step, train, unseen } = records.at(-1);
    const isSolved = solvedAt(records) !== undefined;
    status.textContent =
      `Step ${step}: ${percent(train)} of the pairs trained on are right, ${percent(unseen)} of the others.` +
      (isSolved ? ` Solved at step ${solvedAt(records)}.` : "");
    el.dataset.step = step;
  }

  function pause() {
    isRunning = false;
    run.textContent = records?.length > 1 ? "Go on" : "Train";
  }

  async function start() {
    isRunning = true;
    run.textContent = "Pause";
    const mine = training;
    while (isRunning && mine === training) {
      const until = performance.now() + FRAME_MS;
      for (let i = 0; i < PER_FRAME && isRunning && performance.now() < until; i++) {
        training.step();
        if (training.optimizer.step % EVERY === 0) {
          records.push(training.evaluate());
          show();
          if (isDone(records)) pause();
        }
      }
      await new Promise((done) => setTimeout(done, 0));
    }
  }

  function tell(row) {
    const [shares] = training.model.probabilities([row]);
    const best = shares.indexOf(Math.max(...shares));
    const known = row.isTrained ? "a pair that it trains on" : "a pair that it never sees";
    fact.textContent =
      `${row.a} / ${row.b} mod ${settings.p}: the model says ${best === settings.p ? "\u201c/\u201d" : best} ` +
      `with probability ${(100 * shares[best]).toFixed(1)} %, which is ` +
      `${best === row.answer ? "right" : `wrong: it is ${row.answer}`}. It is ${known}.`;
  }

  const number = (label, value) => {
    const id = newId();
    const input = h("input", { id, type: "number", min: 0, value, "aria-label": label });
    return input;
  };
  const [a, b] = [number("Dividend", 5), number("Divisor", 7)];
  const modulus = h("span");
  const ask = h(
    "form",
    {
      class: "g-ask",
      onsubmit: (event) => {
        event.preventDefault();
        const row = training.table.rows.find((one) => one.a === Number(a.value) && one.b === Number(b.value));
        if (row) tell(row);
        else fact.textContent = `Take a from 0 to ${settings.p - 1} and b from 1 to ${settings.p - 1}.`;
      },
    },
    a, h("span", { text: "/" }), b, modulus, h("button", { type: "submit", text: "Ask" }),
  );
  const changed = (name) => (value) => {
    settings[name] = value;
    reset();
  };
  place(
    el, STYLE,
    h(
      "div", { class: "w-row" },
      slider({ label: "Share trained on", values: SHARES, value: settings.share, show: percent, onchange: changed("share") }),
      slider({ label: "Weight decay", values: DECAYS, value: settings.decay, onchange: changed("decay") }),
    ),
    h(
      "div", { class: "w-row" },
      run, button("New start", () => changed("seed")(settings.seed + 1)),
      choice({
        label: "Modulus", options: MODULI, value: String(settings.p),
        onchange: (value) => changed("p")(Number(value)),
      }),
    ),
    status, views, fact, ask,
    h(
      "p", { class: "w-note" }, "Rows: a; columns: b.",
      h("span", { class: "g-key", style: "background: var(--w-soft)" }), "trained on, right",
      h("span", { class: "g-key", style: "background: var(--w-accent)" }), "never seen, right",
      h("span", { class: "g-key", style: "background: var(--w-paper)" }), "wrong.",
      ` The model: one layer, ${SIZES.d} features, ${SIZES.heads} heads, cosine head; AdamW, batches of 512.`,
    ),
  );
  reset();
}

// Whether the table has just been solved, or will not be; a reader may still go on.
export function isDone(records) {
  const solved = solvedAt(records);
  const isNew = solved !== undefined && solved === records.at(-IN_A_ROW).step;
  return isNew || records.at(-1).step === MOST_STEPS;
}

// The first of some evaluations in a row that have nearly all unseen pairs right.
export function solvedAt(records) {
  let inRow = 0;
  for (const record of records) {
    inRow = record.unseen >= SOLVED ? inRow + 1 : 0;
    if (inRow === IN_A_ROW) return record.step - EVERY * (IN_A_ROW - 1);
  }
  return undefined;
}

export default { render };
