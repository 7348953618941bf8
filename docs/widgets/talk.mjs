// Talk to it: models of headlines continue what is typed, and show what they expected of it.

import { button, h, load, newId, place, randomNumbers, roving, slider, textOfBytes, visible } from "./dom.mjs";
import { Gpt, draw, probabilities, softmax } from "./gpt.mjs";

const STYLE = `
  .t-panels { display: grid; gap: 1.2rem; margin-top: 1rem;
    grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); }
  .t-panel { min-width: 0; }
  .t-panel h3 { margin: 0; font: 600 1rem/1.4 var(--sans, system-ui, sans-serif); }
  .t-tokens { margin: 0.5rem 0; padding: 0.6rem 0.7rem; min-height: 4.2rem; border: 1px solid var(--w-line);
    border-radius: 6px; background: var(--w-paper); line-height: 1.9; overflow-wrap: anywhere; }
  .t-tokens button { display: inline; padding: 0.12em 0; border: 0; border-radius: 3px; white-space: pre-wrap;
    font: inherit; text-align: left; color: var(--w-ink) !important;
    background: color-mix(in srgb, #e07a00 calc(min(var(--loss), 10) * 4.5%), transparent); }
  .t-tokens .drawn { text-decoration: underline; text-decoration-color: var(--w-accent);
    text-decoration-thickness: 2px; text-underline-offset: 0.25em; }
  .t-tokens .end { padding-inline: 0.4em; font-size: 0.8em; color: var(--w-soft) !important; }
  .t-fact { min-height: 3em; margin: 0; color: var(--w-soft); font-size: 0.875rem; }
  .t-bars { list-style: none; margin: 0.5rem 0 0; padding: 0; }
  .t-bars li { margin: 2px 0; }
  .w .t-bars button { display: grid; grid-template-columns: 8.5rem 1fr 3.6rem; gap: 0.5rem; width: 100%;
    align-items: center; padding: 0.1rem 0.35rem; border-color: transparent; background: none; text-align: left; }
  .t-bars .name { overflow: hidden; text-overflow: ellipsis; white-space: pre; font-family: var(--mono, monospace);
    font-size: 0.85rem; }
  .t-bars .bar { height: 0.75rem; border-radius: 2px; background: var(--w-accent); min-width: 1px; }
  .t-bars .share { text-align: right; font-size: 0.85rem; }
  .t-key { display: inline-block; width: 7rem; height: 0.8rem; vertical-align: middle; border-radius: 3px;
    margin: 0 0.4rem; border: 1px solid var(--w-line);
    background: linear-gradient(90deg, transparent, color-mix(in srgb, #e07a00 45%, transparent)); }
`;

const N_BARS = 8;
const MOST_NEW = 24;
const TEMPERATURES = Array.from({ length: 16 }, (_, i) => i / 10);
const TOP_P = Array.from({ length: 10 }, (_, i) => (i + 1) / 10);
const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
const frame = () => new Promise((done) => setTimeout(done, 0));

// One model: its tokens, what it expects next, and the tokens that it draws.
class Panel {
  constructor(name, state) {
    Object.assign(this, { name, state, logits: [], turn: 0 });
    this.title = h("h3", { text: state.labels[name] });
    this.tokens = h("div", { class: "t-tokens", role: "group", "aria-label": `${state.labels[name]}: tokens` });
    this.fact = h("p", { class: "t-fact", text: "Loading \u2026" });
    this.bars = h("ul", { class: "t-bars", "aria-label": "Likeliest next tokens" });
    this.about = h("p", { class: "w-note" });
    this.spoken = h("p", { class: "w-hidden", "aria-live": "polite" });
    this.node = h(
      "section", { class: "t-panel", "aria-label": state.labels[name] },
      this.title, this.tokens, this.fact, this.bars, this.about, this.spoken,
    );
  }

  async start(model) {
    try {
      this.gpt = new Gpt(await load(this.name, model));
    } catch (error) {
      this.fact.textContent = `This model could not be loaded: ${error.message}`;
      return;
    }
    const { parameters, run, commit, bits_per_byte: bits } = this.gpt.about;
    this.about.textContent =
      `${(parameters / 1e6).toFixed(2)} million parameters, int8. Run ${run}, commit ${commit}, ` +
      `${bits.toFixed(3)} bits per byte on validation titles.`;
    await this.update();
  }

  // Reads the prompt, then draws tokens until the title ends or the prompt changes.
  async update() {
    const { gpt, state } = this;
    if (!gpt) return;
    const turn = (this.turn += 1);
    const text = state.prompt.trim();
    const room = gpt.config.context_length - MOST_NEW;
    const ids = [gpt.eosId, ...(text ? gpt.encode(` ${text}`) : [])].slice(0, room);
    gpt.read(ids, this.logits);
    const losses = ids.slice(1).map((id, i) => lossOf(this.logits[i], id));
    this.tokens.replaceChildren(...losses.map((loss, i) => this.token(ids[i + 1], loss, "read")));
    this.describeText(ids, losses);
    this.drawBars(this.logits.at(-1));
    const random = randomNumbers(state.seed);
    let logits = this.logits.at(-1);
    const drawn = [];
    while (drawn.length < MOST_NEW) {
      const id = draw(probabilities(logits, state.temperature, state.topP), random());
      this.tokens.append(this.token(id, lossOf(logits, id), "drawn"));
      if (id === gpt.eosId) break;
      drawn.push(id);
      await frame();
      if (turn !== this.turn) return;
      logits = gpt.next(id);
    }
    roving(this.tokens);
    this.spoken.textContent = textOfBytes(drawn.flatMap((id) => gpt.bytesOf(id)));
    this.node.dataset.done = String(turn);
  }

  token(id, loss, kind) {
    const isEnd = id === this.gpt.eosId;
    const text = isEnd ? "end of title" : textOfBytes(this.gpt.bytesOf(id));
    const fact =
      `${isEnd ? "The end" : `\u201c${visible(text)}\u201d`} ${kind === "read" ? "was given" : "was drawn"}: ` +
      `probability ${percent(Math.exp(-loss))}, loss ${loss.toFixed(2)} nats.`;
    const show = () => (this.fact.textContent = fact);
    return h("button", {
      type: "button", text, class: `${kind}${isEnd ? " end" : ""}`, style: `--loss: ${loss.toFixed(2)}`,
      "aria-label": fact, tabindex: -1, onmouseenter: show, onfocus: show, onclick: show,
    });
  }

  describeText(ids, losses) {
    const sum = losses.reduce((total, loss) => total + loss, 0);
    const bytes = ids.slice(1).flatMap((id) => this.gpt.bytesOf(id)).length;
    this.fact.textContent = losses.length
      ? `Your text: ${losses.length} tokens, ${(sum / losses.length).toFixed(2)} nats per token, ` +
        `${(sum / bytes / Math.LN2).toFixed(2)} bits per byte.`
      : "An empty prompt: the model begins a title.";
  }

  drawBars(logits) {
    const { gpt, state } = this;
    const shares = probabilities(logits, state.temperature, state.topP);
    const best = [...shares.keys()].sort((a, b) => shares[b] - shares[a]).slice(0, N_BARS);
    const rows = best.filter((id) => shares[id] > 0).map((id) => {
      const isEnd = id === gpt.eosId;
      const text = isEnd ? "end of title" : textOfBytes(gpt.bytesOf(id));
      const row = button("", () => !isEnd && state.append(text), {
        "aria-label": `${text.trim() || visible(text)}, ${percent(shares[id])}${isEnd ? "" : ": append it"}`,
      });
      row.append(
        h("span", { class: "name", text: isEnd ? text : visible(text) }),
        h("span", { class: "bar", style: `width: ${((100 * shares[id]) / shares[best[0]]).toFixed(2)}%` }),
        h("span", { class: "share", text: percent(shares[id]) }),
      );
      return h("li", {}, row);
    });
    this.bars.replaceChildren(...rows);
    roving(this.bars);
  }
}

const lossOf = (logits, id) => -Math.log(softmax(logits)[id]);

async function render({ model, el }) {
  const labels = model.get("models");
  const names = Object.keys(labels);
  const state = { labels, prompt: model.get("prompt") ?? "", temperature: 0.8, topP: 0.9, seed: 1 };
  const panels = new Map();
  const update = () => panels.forEach((panel) => panel.update());
  let waiting;
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 120);
  };
  const id = newId();
  const input = h("textarea", {
    id, rows: 2, spellcheck: "false", autocomplete: "off", value: state.prompt,
    oninput: () => {
      state.prompt = input.value;
      soon();
    },
  });
  state.append = (text) => {
    input.value = state.prompt = state.prompt.trimEnd() ? state.prompt.trimEnd() + text : text.trimStart();
    update();
  };
  const grid = h("div", { class: "t-panels" });
  const show = async (name, isOn) => {
    if (!isOn) {
      panels.get(name)?.node.remove();
      panels.delete(name);
      return;
    }
    const panel = new Panel(name, state);
    panels.set(name, panel);
    grid.append(...names.filter((other) => panels.has(other)).map((other) => panels.get(other).node));
    await panel.start(model);
  };
  const boxes = names.map((name, i) => {
    const box = h("input", { type: "checkbox", onchange: () => show(name, box.checked) });
    box.checked = i === 0;
    return h("label", {}, box, h("span", { text: labels[name] }));
  });
  place(
    el, STYLE,
    h("label", { for: id, text: "Begin a headline" }), input,
    h(
      "div", { class: "w-row" },
      slider({
        label: "Temperature", values: TEMPERATURES, value: state.temperature, show: (t) => t.toFixed(1),
        onchange: (value) => ((state.temperature = value), soon()),
      }),
      slider({
        label: "Top-p", values: TOP_P, value: state.topP, show: (p) => p.toFixed(1),
        onchange: (value) => ((state.topP = value), soon()),
      }),
      button("Draw again", () => ((state.seed += 1), update())),
    ),
    h("fieldset", { class: "w-choice" }, h("legend", { text: "Models" }), ...boxes),
    grid,
    h(
      "p", { class: "w-note" }, "Loss of each token:", " 0", h("span", { class: "t-key", "aria-hidden": "true" }),
      "10 nats. Underlined: drawn by the model. Point at a token, or move with the arrow keys. Bars: the " +
        "likeliest next tokens after your text, at this temperature and top-p; press one to append it.",
    ),
  );
  await show(names[0], true);
}

export default { render };
