// Mathematics as MathML: the half of KaTeX's output that browsers set without its fonts.
// KaTeX asks for alphabets with `mathvariant`, which browsers ignore; Unicode has the letters.

import { escape } from "./highlight.mjs";

// Where each alphabet's A, a and 0 stand.
const ALPHABETS = {
  bold: [0x1d400, 0x1d41a, 0x1d7ce],
  "bold-italic": [0x1d468, 0x1d482],
  script: [0x1d49c, 0x1d4b6],
  fraktur: [0x1d504, 0x1d51e],
  "double-struck": [0x1d538, 0x1d552, 0x1d7d8],
  "sans-serif": [0x1d5a0, 0x1d5ba, 0x1d7e2],
  monospace: [0x1d670, 0x1d68a, 0x1d7f6],
};

// Letters that were in Unicode before the alphabets and left holes there, each after its plain one.
const OLDER = {
  script: "BℬEℰFℱHℋIℐLℒMℳRℛeℯgℊoℴ",
  fraktur: "CℭHℌIℑRℜZℨ",
  "double-struck": "CℂHℍNℕPℙQℚRℝZℤ",
};

function letter(variant, char) {
  const older = OLDER[variant] ?? "";
  if (older.includes(char)) return older[older.indexOf(char) + 1];
  const [upper, lower, digit] = ALPHABETS[variant];
  const at = (start, first) => String.fromCodePoint(start + char.charCodeAt(0) - first);
  if (/[A-Z]/.test(char)) return at(upper, 0x41);
  if (/[a-z]/.test(char)) return at(lower, 0x61);
  if (/\d/.test(char) && digit) return at(digit, 0x30);
  return char;
}

const lettered = (math) =>
  math.replace(
    /<(mi|mn|mtext) mathvariant="([\w-]+)">([A-Za-z\d]+)</g,
    (whole, tag, variant, text) =>
      ALPHABETS[variant]
        ? `<${tag}>${[...text].map((char) => letter(variant, char)).join("")}<`
        : whole,
  );

// "log x" is spaced and "log(x)" is not; KaTeX's invisible operator says neither.
const spaced = (math) =>
  math.replace(
    /<mo>\u2061<\/mo>(?!(?:<mrow>)?<mo[^>]*>[([{|])/g,
    '<mspace width="0.167em"></mspace>',
  );

export function mathml(node) {
  if (node.error) {
    const message = escape(node.message ?? "could not be read");
    return `<code class="unresolved" title="${message}">${escape(node.value)}</code>`;
  }
  const found = /<math[\s\S]*<\/math>/.exec(node.html ?? "");
  return found ? spaced(lettered(found[0])) : `<code>${escape(node.value)}</code>`;
}
