// What the widgets share: elements, sliders, colours that suit light and dark, and their data.

// An element; a property that starts with "on" is a listener, "text" is its text.
export function h(tag, properties = {}, ...children) {
  const node = tag === "svg" || tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.replace("svg:", ""))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
}

let counter = 0;
export const newId = () => `widget-${(counter += 1)}`;

// A labelled slider that shows its value; positions may be any list of values.
export function slider({ label, values, value, show = String, onchange }) {
  const id = newId();
  const output = h("output", { for: id, text: show(value) });
  const input = h("input", {
    type: "range", id, min: 0, max: values.length - 1, step: 1, "aria-valuetext": show(value),
    oninput: () => {
      const chosen = values[Number(input.value)];
      output.textContent = show(chosen);
      input.setAttribute("aria-valuetext", show(chosen));
      onchange(chosen);
    },
  });
  input.value = values.indexOf(value);
  return h("div", { class: "w-slider" }, h("label", { for: id, text: label }), input, output);
}

export const button = (text, onclick, properties = {}) =>
  h("button", { type: "button", text, onclick, ...properties });

// A radio group as a row of buttons.
export function choice({ label, options, value, onchange }) {
  const name = newId();
  const items = Object.entries(options).map(([key, text]) => {
    const input = h("input", { type: "radio", name, value: key, onchange: () => onchange(key) });
    input.checked = key === value;
    return h("label", {}, input, h("span", { text }));
  });
  return h("fieldset", { class: "w-choice" }, h("legend", { text: label }), ...items);
}

// Makes a row of buttons one stop of the Tab key: arrow keys, Home and End move inside it.
export function roving(row) {
  const items = [...row.querySelectorAll("button")];
  items.forEach((item, i) => (item.tabIndex = i ? -1 : 0));
  row.onkeydown = (event) => {
    const now = [...row.querySelectorAll("button")];
    const at = now.indexOf(event.target);
    const to = {
      ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0,
      End: now.length - 1,
    }[event.key];
    if (at < 0 || to === undefined || !now[to]) return;
    event.preventDefault();
    now[at].tabIndex = -1;
    now[to].tabIndex = 0;
    now[to].focus();
  };
}

// The text of a token; bytes that are no text alone are shown as numbers.
export function textOfBytes(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(new Uint8Array(bytes));
  } catch {
    return bytes.map((byte) => `\u2039${byte.toString(16).padStart(2, "0")}\u203a`).join("");
  }
}

// Blanks and line ends that can be seen.
export const visible = (text) => text.replaceAll(" ", "\u2423").replaceAll("\n", "\u21b5");

// Everything is drawn in the page's own ink, so that it is right in the dark as well.
export const STYLE = `
  :host, .w { --w-ink: var(--ink, currentColor); --w-soft: var(--soft, color-mix(in srgb, currentColor 72%, transparent));
    --w-line: var(--line, color-mix(in srgb, currentColor 22%, transparent));
    --w-paper: var(--paper, Canvas); --w-accent: var(--accent, light-dark(#1d4f7c, #8cc0ee)); }
  .w { font: 0.95rem/1.5 var(--sans, system-ui, sans-serif); color: var(--w-ink); }
  .w *, .w *::before { box-sizing: border-box; }
  .w button, .w input, .w textarea, .w select { font: inherit; color: inherit; }
  .w button { padding: 0.3rem 0.8rem; border: 1px solid var(--w-line); border-radius: 6px;
    background: var(--w-paper); cursor: pointer; }
  .w button:hover:not(:disabled) { border-color: var(--w-accent); color: var(--w-accent); }
  .w button:disabled { opacity: 0.55; cursor: default; }
  .w textarea, .w input[type=text] { width: 100%; padding: 0.5rem 0.7rem; border: 1px solid var(--w-soft);
    border-radius: 6px; background: var(--w-paper); }
  .w :focus-visible { outline: 2px solid var(--w-accent); outline-offset: 2px; border-radius: 3px; }
  .w-row { display: flex; flex-wrap: wrap; gap: 0.6rem 1.2rem; align-items: center; margin: 0.7rem 0; }
  .w-slider { display: flex; gap: 0.5rem; align-items: center; flex: 1 1 15rem; min-width: 0; max-width: min(24rem, 100%); }
  .w-slider label { white-space: nowrap; }
  .w-slider input { flex: 1; min-width: 3rem; width: 3rem; min-height: 1.6rem; accent-color: var(--w-accent); }
  .w-slider output { min-width: 3.2em; text-align: right; }
  .w-choice { border: 0; padding: 0; margin: 0; display: flex; flex-wrap: wrap; gap: 0.3rem 0.9rem; }
  .w-choice legend { float: left; padding: 0; margin-right: 0.9rem; color: var(--w-soft); }
  .w-choice label { display: inline-flex; gap: 0.35rem; align-items: center; cursor: pointer; }
  .w-choice input { margin: 0; width: 1.05rem; height: 1.05rem; accent-color: var(--w-accent); }
  .w-note { color: var(--w-soft); font-size: 0.875rem; margin: 0.4rem 0; }
  .w-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .w svg text { fill: var(--w-soft); font: 12px var(--sans, system-ui, sans-serif); }
`;

// The root of a widget in el.
export function place(el, style, ...children) {
  const root = h("div", { class: "w" }, h("style", { text: STYLE + style }), ...children);
  el.replaceChildren(root);
  return root;
}

// ---- data

// The bytes of a file that the site's build made a script of. A notebook hands them over instead.
export async function load(name, model) {
  const given = model?.get("data")?.[name];
  if (given) return given.buffer ?? given;
  if (!globalThis.lmcoreData?.[name]) await loadScript(`${siteRoot()}widgets/${name}.js`);
  const text = atob(globalThis.lmcoreData[name]);
  const packed = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

export const loadJson = async (name, model) =>
  JSON.parse(new TextDecoder().decode(await load(name, model)));

// Every page of a MyST site names this file, which lies at the site's root.
const siteRoot = () =>
  new URL(".", document.querySelector('link[href*="myst-theme.css"]')?.href ?? location.href).href;

function loadScript(url) {
  return new Promise((done, fail) => {
    const script = h("script", { src: url, onload: done });
    script.onerror = () => fail(new Error(`${url} could not be loaded`));
    document.head.append(script);
  });
}

// Numbers in [0, 1) that a seed repeats (mulberry32).
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}
