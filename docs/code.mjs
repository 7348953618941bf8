// Code from where it stands: the API page from docstrings, and single functions from their files.
// A page names what it shows, so that it cannot say something else than the code does.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const GITHUB = "https://github.com/lmcore/lmcore/blob/main";

// docs/site.py names the Python it runs on; `myst start` takes the one on PATH.
const python = () => process.env.LMCORE_PYTHON ?? (process.platform === "win32" ? "python" : "python3");

const api = {
  name: "api",
  doc: "The public names of the package with what their docstrings say.",
  run(_data, _file, ctx) {
    const page = execFileSync(python(), [join(ROOT, "docs", "api.py")], {
      cwd: ROOT,
      encoding: "utf-8",
      maxBuffer: 1 << 26,
    });
    return ctx.parseMyst(page).children;
  },
};

// The lines from a definition, decorators included, to the next line that is indented no deeper.
function linesOf(lines, name) {
  const [outer, inner] = name.split(".");
  const defines = (word, depth) =>
    new RegExp(`^${" ".repeat(depth)}(?:(?:async )?def|class) ${word}\\b|^${" ".repeat(depth)}${word}(?:: [^=]+)? = `);
  const find = (word, depth, from) => {
    const at = lines.findIndex((line, i) => i >= from && defines(word, depth).test(line));
    if (at < 0) throw new Error(`nothing defines ${word}`);
    return at;
  };
  let [start, depth] = [find(outer, 0, 0), 0];
  if (inner) [start, depth] = [find(inner, 4, start + 1), 4];
  const closes = new RegExp(`^ {0,${depth}}[^\\s)\\]}]`);
  let end = start + 1;
  while (end < lines.length && !closes.test(lines[end])) end += 1;
  while (start > 0 && lines[start - 1].startsWith(`${" ".repeat(depth)}@`)) start -= 1;
  while (end > start + 1 && !lines[end - 1].trim()) end -= 1;
  return [start, end];
}

const withoutDocstring = (code) => code.replace(/\n +"""[\s\S]*?"""(?=\n|$)/, "");

const source = {
  name: "source",
  doc: "A function, a class or a constant as it stands in its file, with a link to the file.",
  arg: { type: String, required: true, doc: "path and name, such as lmcore/model/rope.py rotate" },
  options: {
    docstring: { type: Boolean, doc: "keep the docstring" },
    from: { type: String, doc: "begin with the first line that holds this" },
    to: { type: String, doc: "end with the first line after it that holds this" },
  },
  run(data) {
    const [path, name] = data.arg.trim().split(/\s+/);
    const file = join(ROOT, path);
    if (!existsSync(file)) throw new Error(`source: there is no ${path}`);
    const lines = readFileSync(file, "utf-8").split("\n");
    let [start, end] = linesOf(lines, name);
    const { from, to } = data.options ?? {};
    const place = (text, at) => {
      const found = lines.findIndex((line, i) => i >= at && i < end && line.includes(text));
      if (found < 0) throw new Error(`source: ${path} ${name} has no line with ${text}`);
      return found;
    };
    if (from) start = place(from, start);
    if (to) end = place(to, start) + 1;
    const code = lines.slice(start, end).join("\n").replace(/ +# fmt: skip$/gm, "");
    const value = data.options?.docstring ? code : withoutDocstring(code);
    const url = `${GITHUB}/${path}#L${start + 1}-L${end}`;
    const link = { type: "link", url, children: [{ type: "inlineCode", value: `${path}, ${name}` }] };
    return [
      { type: "code", lang: "python", value },
      { type: "paragraph", class: "code-source", children: [{ type: "text", value: "From " }, link] },
    ];
  },
};

export default { name: "Code from the package", directives: [api, source] };
