// Colours for code: one regular expression per language, whose first matching group names the
// token. Small on purpose: five languages, no grammar, and what it misses stays plain text.

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
export const escape = (text) => String(text ?? "").replace(/[&<>"']/g, (c) => escapes[c]);

const words = (text) => `\\b(?:${text.trim().replace(/\s+/g, "|")})\\b`;

const PYTHON = new RegExp(
  [
    `(?<comment>#.*)`,
    `(?<string>\\b[rbfu]{0,2}"""[\\s\\S]*?(?:"""|$)|\\b[rbfu]{0,2}'''[\\s\\S]*?(?:'''|$)` +
      `|"""[\\s\\S]*?(?:"""|$)|'''[\\s\\S]*?(?:'''|$)` +
      `|\\b[rbfu]{0,2}"(?:\\\\.|[^"\\\\\\n])*"|\\b[rbfu]{0,2}'(?:\\\\.|[^'\\\\\\n])*'` +
      `|"(?:\\\\.|[^"\\\\\\n])*"|'(?:\\\\.|[^'\\\\\\n])*')`,
    `(?<decorator>^[ \\t]*@[\\w.]+|^[ \\t]*%{1,2}\\w+)`,
    `(?<keyword>${words(`and as assert async await break class continue def del elif else except
      finally for from global if import in is lambda nonlocal not or pass raise return try while
      with yield match case`)})`,
    `(?<constant>${words("None True False self cls")})`,
    `(?<number>\\b(?:0[xb][\\da-f_]+|\\d[\\d_]*\\.?[\\d_]*(?:e[+-]?\\d+)?)\\b)`,
    `(?<call>\\b[A-Za-z_]\\w*(?=\\())`,
  ].join("|"),
  "gimu",
);

const BASH = new RegExp(
  [
    `(?<comment>(?<=^|\\s)#.*)`,
    `(?<string>"(?:\\\\.|[^"\\\\])*"|'[^']*')`,
    `(?<constant>\\$(?:\\w+|\\{[^}]*\\}|[@?#*!$]))`,
    `(?<keyword>${words("if then else elif fi for in do done while case esac function export")})`,
    `(?<decorator>(?<=\\s)--?[A-Za-z][\\w-]*)`,
    `(?<call>(?<=^|[|&;(]\\s*)[A-Za-z_][\\w./-]*(?![\\w=]))`,
    `(?<number>\\b\\d+(?:\\.\\d+)?\\b)`,
  ].join("|"),
  "gmu",
);

const YAML = new RegExp(
  [
    `(?<comment>(?<=^|\\s)#.*)`,
    `(?<key>^\\s*(?:- )?[\\w./-]+(?=\\s*:(?:\\s|$)))`,
    `(?<string>"(?:\\\\.|[^"\\\\])*"|'[^']*')`,
    `(?<constant>${words("true false null yes no on off")})`,
    `(?<number>(?<![\\w.-])-?\\d+(?:\\.\\d+)*(?:e[+-]?\\d+)?(?![\\w.-]))`,
  ].join("|"),
  "gmu",
);

const JSON_LIKE = new RegExp(
  [
    `(?<key>"(?:\\\\.|[^"\\\\])*"(?=\\s*:))`,
    `(?<string>"(?:\\\\.|[^"\\\\])*")`,
    `(?<constant>${words("true false null")})`,
    `(?<number>-?\\b\\d+(?:\\.\\d+)?(?:e[+-]?\\d+)?\\b)`,
  ].join("|"),
  "gimu",
);

const TOML = new RegExp(
  [
    `(?<comment>#.*)`,
    `(?<keyword>^\\s*\\[{1,2}[^\\]]+\\]{1,2})`,
    `(?<key>^\\s*[\\w.-]+(?=\\s*=))`,
    `(?<string>"(?:\\\\.|[^"\\\\])*"|'[^']*')`,
    `(?<constant>${words("true false")})`,
    `(?<number>\\b\\d+(?:\\.\\d+)?\\b)`,
  ].join("|"),
  "gmu",
);

const LANGUAGES = {
  bash: BASH,
  console: BASH,
  ipython: PYTHON,
  ipython3: PYTHON,
  json: JSON_LIKE,
  jsonl: JSON_LIKE,
  py: PYTHON,
  python: PYTHON,
  python3: PYTHON,
  sh: BASH,
  shell: BASH,
  toml: TOML,
  yaml: YAML,
  yml: YAML,
};

function tokens(code, pattern) {
  const found = [];
  let end = 0;
  for (const match of code.matchAll(pattern)) {
    if (match.index > end) found.push(["", code.slice(end, match.index)]);
    const [kind] = Object.entries(match.groups).find(([, text]) => text !== undefined);
    found.push([kind, match[0]]);
    end = match.index + match[0].length;
  }
  found.push(["", code.slice(end)]);
  return found.filter(([, text]) => text);
}

const span = (kind, text) => {
  const safe = escape(text);
  return kind && text.trim() ? `<span class="tok-${kind}">${safe}</span>` : safe;
};

// Lines of HTML. A token that spans lines is closed and reopened, so a line can be wrapped alone.
export function highlightLines(code, language) {
  const pattern = LANGUAGES[(language ?? "").toLowerCase()];
  const lines = [""];
  for (const [kind, text] of pattern ? tokens(code, pattern) : [["", code]]) {
    text.split("\n").forEach((piece, i) => {
      if (i) lines.push("");
      lines[lines.length - 1] += span(kind, piece);
    });
  }
  return lines;
}
