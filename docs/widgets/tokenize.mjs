// Tokenize: text as the tokens of vocabularies from the bytes alone to 16,000 entries.
//
// BPE's merges are in order, so the first merges of the largest vocabulary are the smaller ones.

import { Bpe } from "./bpe.mjs";
import { h, load, newId, place, roving, slider, textOfBytes, visible } from "./dom.mjs";
import { readSafetensors } from "./gpt.mjs";

const STYLE = `
  .k-tokens { margin: 0.8rem 0 0.4rem; padding: 0.6rem 0.7rem; min-height: 4.2rem; border: 1px solid var(--w-line);
    border-radius: 6px; background: var(--w-paper); line-height: 2; overflow-wrap: anywhere; }
  .w .k-tokens button { display: inline; padding: 0.15em 0; border: 0; border-radius: 3px; white-space: pre-wrap;
    font: 0.95rem var(--mono, monospace); color: var(--w-ink); text-align: left;
    background: color-mix(in srgb, var(--hue) 30%, transparent); }
  .k-fact { min-height: 3em; margin: 0; color: var(--w-soft); font-size: 0.875rem; }
  .k-sizes { display: grid; grid-template-columns: max-content 1fr max-content; gap: 0.15rem 0.7rem; margin: 0.6rem 0 0;
    align-items: center; }
  .k-sizes dt, .k-sizes dd { margin: 0; font-weight: 400; }
  .k-sizes .bar { height: 0.7rem; border-radius: 2px; background: var(--w-soft); }
  .k-sizes .chosen { font-weight: 600; }
  .k-sizes .bar.chosen { background: var(--w-accent); }
`;

const HUES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"];
const hex = (byte) => byte.toString(16).padStart(2, "0");

// The tokens of a text at a vocabulary size, each with its bytes and what it was merged from.
export function tokensOf(bpe, text, size) {
  return bpe.encode(text, size).map((rank) => {
    const bytes = bpe.bytesOf(rank);
    const parts = rank < 256 ? [] : [0, 1].map((side) => bpe.bytesOf(bpe.merges[2 * (rank - 256) + side]));
    return { rank, bytes, text: textOfBytes(bytes), parts: parts.map(textOfBytes) };
  });
}

function describe({ rank, bytes, text, parts }) {
  const origin = parts.length
    ? `Merge ${rank - 255}, which joins \u201c${visible(parts[0])}\u201d and \u201c${visible(parts[1])}\u201d.`
    : "A single byte.";
  return `\u201c${visible(text)}\u201d: ${bytes.length} bytes, ${bytes.map(hex).join(" ")}. ${origin}`;
}

async function render({ model, el }) {
  const { metadata, tensors } = readSafetensors(await load(model.get("data")[0], undefined));
  const { special_tokens: nSpecial, about } = JSON.parse(metadata.lmcore);
  const bpe = new Bpe(tensors["tokenizer.merges"].values);
  // A vocabulary of this size holds the special tokens and the 256 bytes as well.
  const sizes = model.get("sizes");
  const state = { text: model.get("text"), size: model.get("size") };
  const name = (size) => (size <= 256 + nSpecial ? "bytes" : size.toLocaleString("en"));
  const tokens = h("div", { class: "k-tokens", role: "group", "aria-label": "Tokens" });
  const fact = h("p", { class: "k-fact" });
  const counts = h("dl", { class: "k-sizes", "aria-label": "Tokens of this text at each vocabulary size" });

  function update() {
    const found = tokensOf(bpe, state.text, state.size - nSpecial);
    tokens.replaceChildren(
      ...found.map((token, i) => {
        const show = () => (fact.textContent = describe(token));
        return h("button", {
          type: "button", text: token.text, style: `--hue: ${HUES[i % HUES.length]}`,
          "aria-label": describe(token), onmouseenter: show, onfocus: show, onclick: show,
        });
      }),
    );
    roving(tokens);
    const bytes = found.reduce((sum, token) => sum + token.bytes.length, 0);
    fact.textContent =
      `${found.length} tokens for ${bytes} bytes` +
      (found.length ? `: ${(bytes / found.length).toFixed(2)} bytes a token. ` : ". ") +
      "Point at a token, or move with the arrow keys.";
    const lengths = sizes.map((size) => bpe.encode(state.text, size - nSpecial).length);
    counts.replaceChildren(
      ...sizes.flatMap((size, i) => {
        const chosen = size === state.size ? " chosen" : "";
        const width = (100 * lengths[i]) / Math.max(1, ...lengths);
        return [
          h("dt", { class: chosen, text: name(size) }),
          h("dd", { class: `bar${chosen}`, style: `width: ${width.toFixed(1)}%`, "aria-hidden": "true" }),
          h("dd", { class: chosen, text: `${lengths[i]} tokens` }),
        ];
      }),
    );
  }

  const id = newId();
  const input = h("textarea", {
    id, rows: 3, spellcheck: "false", value: state.text,
    oninput: () => {
      state.text = input.value;
      update();
    },
  });
  place(
    el, STYLE,
    h("label", { for: id, text: "Text" }), input,
    h(
      "div", { class: "w-row" },
      slider({
        label: "Vocabulary", values: sizes, value: state.size, show: name,
        onchange: (size) => ((state.size = size), update()),
      }),
    ),
    tokens, fact, counts, h("p", { class: "w-note", text: about }),
  );
  update();
}

export default { render };
