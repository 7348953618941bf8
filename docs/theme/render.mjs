// Turns a page's tree into HTML, one small function per node type.
// A type that is not listed renders its children and is reported, so nothing vanishes unseen.

import { escape, highlightLines } from "./highlight.mjs";
import { mathml } from "./math.mjs";

export { escape };

export const textOf = (node) => node?.value ?? (node?.children ?? []).map(textOf).join("");

export function* nodesOf(node) {
  yield node;
  for (const child of node?.children ?? []) yield* nodesOf(child);
}

const inside = (node, page) => (node.children ?? []).map((child) => render(child, page)).join("");

// An id is given out once: an embed and the cell around it carry the same one.
function idOf(node, page) {
  const id = node.html_id;
  if (!id || page.ids.has(id)) return "";
  page.ids.add(id);
  return ` id="${escape(id)}"`;
}

const classes = (...names) => {
  const list = names.filter(Boolean).join(" ");
  return list ? ` class="${escape(list)}"` : "";
};

const wrap = (tag, className) => (node, page) =>
  `<${tag}${idOf(node, page)}${classes(className, node.class)}>${inside(node, page)}</${tag}>`;

// Pages end in a slash, as a static server names them; files from the build live under /build/.
export function href(url, page) {
  if (!url || /^([a-z][a-z\d+.-]*:|\/\/|#)/i.test(url)) return url ?? "";
  const [path, hash] = url.split("#");
  if (!path.startsWith("/")) return url;
  const isFile = /\.[A-Za-z]\w*$/.test(path);
  const full = isFile ? `${page.base}/build${path}` : `${page.base}${path.replace(/\/?$/, "/")}`;
  return hash ? `${full}#${hash}` : full;
}

// ---- code and outputs

function code(node, page) {
  if (node.visibility === "remove") return "";
  const lines = highlightLines(node.value ?? "", node.lang);
  const marked = new Set(node.emphasizeLines ?? []);
  const start = node.startingLineNumber ?? 1;
  const asLine = (line, i) =>
    `<span class="line${marked.has(i + 1) ? " marked" : ""}"` +
    (node.showLineNumbers ? ` data-line="${start + i}"` : "") +
    `>${line || " "}</span>`;
  const plain = !node.showLineNumbers && !marked.size;
  const body = plain ? lines.join("\n") : lines.map(asLine).join("\n");
  const name = node.filename ? `<div class="filename">${escape(node.filename)}</div>` : "";
  const numbered = node.showLineNumbers ? "numbered" : "";
  const html =
    `<div${idOf(node, page)}${classes("code", numbered, node.class)}>${name}` +
    `<pre><code data-language="${escape(node.lang ?? "")}">${body}</code></pre></div>`;
  if (node.visibility !== "hide") return html;
  return `<details class="hidden-code"><summary>Code</summary>${html}</details>`;
}

// Terminal colours are for terminals: the page has its own.
const withoutAnsi = (text) => String(text ?? "").replace(/\u001b\[[\d;]*[A-Za-z]/g, "");

const joined = (value) => (Array.isArray(value) ? value.join("") : String(value ?? ""));

const PICTURES = ["image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp"];

function picture(url, type, alt) {
  const drawn = type === "image/svg+xml" ? ` class="drawn"` : "";
  return `<img${drawn} src="${escape(url)}" alt="${escape(alt ?? "")}" decoding="async">`;
}

// On a phone a figure's labels are small, so a tap opens it alone, where it can be zoomed.
const enlarged = (url, img) =>
  `<a class="enlarge" href="${escape(url)}" title="Open this figure alone">${img}</a>`;

function outputPicture(data, type, page) {
  const { path, content } = data[type];
  if (path) return enlarged(href(path, page), picture(href(path, page), type, page.alt));
  const bytes =
    type === "image/svg+xml" ? Buffer.from(joined(content)).toString("base64") : joined(content);
  return picture(`data:${type};base64,${bytes}`, type, page.alt);
}

function output(node, page) {
  const data = node.jupyter_data;
  if (!data) return inside(node, page);
  if (data.output_type === "stream") {
    const kind = data.name === "stderr" ? "stderr" : "stdout";
    return `<pre class="stream ${kind}">${escape(withoutAnsi(joined(data.text)))}</pre>`;
  }
  if (data.output_type === "error") {
    const trace = withoutAnsi(
      Array.isArray(data.traceback) ? data.traceback.join("\n") : data.traceback,
    );
    return (
      `<div class="error" role="note"><p class="error-title">This cell failed: ` +
      `<code>${escape(data.ename)}: ${escape(data.evalue)}</code></p>` +
      `<pre>${escape(trace)}</pre></div>`
    );
  }
  const bundle = data.data ?? {};
  const type = PICTURES.find((name) => bundle[name]);
  if (type) return outputPicture(bundle, type, page);
  // Our own notebooks wrote this HTML and reviewers read it there, so it is trusted as it stands.
  const html = bundle["text/html"];
  if (html) return htmlOutput(joined(html.content));
  const latex = bundle["text/latex"] ?? bundle["text/markdown"] ?? bundle["text/plain"];
  if (latex) return `<pre class="result">${escape(joined(latex.content))}</pre>`;
  report(`output with ${Object.keys(bundle).join(", ") || "no data"}`, page);
  return "";
}

// A definition that a notebook shows is coloured like the code of the page.
const SOURCE = /^<pre class="source"><code>([^]*?)<\/code><\/pre>/;
const unescaped = (text) =>
  text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&quot;/g, '"').replace(/&#x27;/g, "'").replace(/&amp;/g, "&");

function htmlOutput(html) {
  const shown = SOURCE.exec(html);
  if (!shown) return `<div class="html-output scroll">${breakable(html)}</div>`;
  const lines = highlightLines(unescaped(shown[1]), "python").join("\n");
  return `<div class="code"><pre><code data-language="python">${lines}</code></pre></div>${html.slice(shown[0].length)}`;
}

function outputs(node, page) {
  if (node.visibility === "remove") return "";
  const html = inside(node, page);
  if (!html.trim()) return "";
  // Pictures and tables may be wider than the text; printed lines stay in its column.
  const wide = /<(img|table)\b/.test(html) && !page.inFigure ? "wide" : "";
  const block = `<div${idOf(node, page)}${classes("outputs", wide)}>${html}</div>`;
  if (node.visibility !== "hide") return block;
  return `<details class="hidden-code"><summary>Output</summary>${block}</details>`;
}

function block(node, page) {
  if (node.visibility === "remove") return "";
  const isCell = node.kind === "notebook-code";
  const tags = node.data?.tags ?? [];
  const name = isCell ? `cell${tags.includes("parameters") ? " parameters" : ""}` : "block";
  const kept = page.alt;
  if (isCell) page.alt = node.data?.alt ?? kept;
  const body = inside(node, page);
  page.alt = kept;
  const html = `<div${idOf(node, page)}${classes(name, node.class)}>${body}</div>`;
  if (node.visibility !== "hide") return html;
  return `<details class="hidden-code"><summary>Cell</summary>${html}</details>`;
}

// ---- figures and tables

const withoutNumber = (node) =>
  node.type === "captionNumber"
    ? ""
    : (node.value ?? (node.children ?? []).map(withoutNumber).join(""));

export function captionText(container) {
  const caption = (container.children ?? []).find((child) => child.type === "caption");
  return caption ? withoutNumber(caption).trim() : "";
}

function sourceLink(source, page) {
  if (!source?.location) return "";
  const name = source.location.split("/").pop();
  const url = `${href(source.url, page)}#${encodeURIComponent(source.label ?? "")}`;
  const title = `${source.title ?? name}: the cell that made this`;
  return (
    `<p class="source">Source: <a href="${escape(url)}" title="${escape(title)}">` +
    `${escape(name)}</a></p>`
  );
}

const isMissing = (node) => node.source?.label && !node.source.location;

function missing(source) {
  const label = escape(source.label);
  return `<p class="unresolved">Nothing is labelled <code>${label}</code>.</p>`;
}

const embed = (node, page) => (isMissing(node) ? missing(node.source) : inside(node, page));

function container(node, page) {
  if (node.kind === "quote") return `<figure class="quote">${inside(node, page)}</figure>`;
  const draw = (types, listed = true) =>
    (node.children ?? [])
      .filter((child) => types.includes(child.type) === listed && !child.placeholder)
      .map((child) => render(child, page))
      .join("");
  const id = idOf(node, page);
  const above = draw(["code"]);
  const caption = draw(["caption", "legend"]) + sourceLink(node.source, page);
  const kept = page.alt;
  // The author's alt text, carried by docs/figures.mjs; the caption says more than "image" would.
  page.alt = node.alt ?? page.alt ?? captionText(node);
  page.inFigure = true;
  // MyST leaves an embed it could not resolve as a half-made child, a "_lift".
  const drawn = draw(["code", "caption", "legend", "_lift"], false);
  const body = isMissing(node) ? missing(node.source) : drawn;
  page.inFigure = false;
  page.alt = kept;
  const kind = node.kind === "table" ? "table" : "figure";
  const place = node.subcontainer ? "subfigure" : "wide";
  const parts = (node.children ?? []).filter((child) => child.type === "container");
  const figcaption = caption && `<figcaption>${caption}</figcaption>`;
  const inner = kind === "table" ? figcaption + body : body + figcaption;
  const name = classes(kind, place, parts.length > 1 && "many", node.class);
  return `${above}<figure${id}${name}>${inner}</figure>`;
}

function captionNumber(node, page) {
  const id = node.html_id ?? "";
  const label = inside(node, page);
  // The same cell embedded again is numbered once, where its label stands.
  return page.ids.has(id)
    ? `<a class="number" href="#${escape(id)}" title="Link to this">${label}</a> `
    : `<span class="number">${label}</span> `;
}

function image(node, page) {
  const style = node.width ? ` style="width:${escape(node.width)}"` : "";
  const title = node.title ? ` title="${escape(node.title)}"` : "";
  return (
    `<img${idOf(node, page)}${classes(node.class, node.align && `align-${node.align}`)} ` +
    `src="${escape(href(node.url, page))}" alt="${escape(node.alt ?? page.alt ?? "")}"` +
    `${title}${style} decoding="async">`
  );
}

// A cell that may break before its spread or inside a name keeps a table within its column.
const breakable = (html) =>
  html
    .split(/(<[^>]*>)/)
    .map((part) =>
      part.startsWith("<")
        ? part
        : part.replace(/(?:&nbsp;|\u00a0| )±(?:&nbsp;|\u00a0| )/g, " ±&nbsp;").replace(/([a-z][/_.])(?=\w)/g, "$1<wbr>"),
    )
    .join("");

function table(node, page) {
  const rows = node.children ?? [];
  const isHead = (row) => (row.children ?? []).every((cell) => cell.header);
  const split = rows.findIndex((row) => !isHead(row));
  const cut = split < 0 ? rows.length : split;
  const part = (tag, list) =>
    list.length ? `<${tag}>${list.map((row) => render(row, page)).join("")}</${tag}>` : "";
  return (
    `<div class="scroll"><table${idOf(node, page)}>` +
    `${part("thead", rows.slice(0, cut))}${part("tbody", rows.slice(cut))}</table></div>`
  );
}

function tableCell(node, page) {
  const tag = node.header ? "th" : "td";
  const span = ["colspan", "rowspan"]
    .filter((name) => node[name] > 1)
    .map((name) => ` ${name}="${Number(node[name])}"`)
    .join("");
  const side = node.align ? ` class="${escape(node.align)}"` : "";
  return `<${tag}${side}${span}>${breakable(inside(node, page))}</${tag}>`;
}

// ---- references

function footnoteReference(node, page) {
  const id = escape(node.identifier);
  const mark = `<sup class="footnote-mark">`;
  const seen = page.footnotes.has(node.identifier);
  page.footnotes.add(node.identifier);
  const anchor = seen ? "" : ` id="fnref-${id}"`;
  const title = escape(page.footnoteTexts.get(node.identifier) ?? "");
  return (
    `${mark}<a${anchor} href="#fn-${id}" title="${title}" ` +
    `aria-label="Footnote ${escape(node.enumerator)}">${escape(node.enumerator)}</a></sup>`
  );
}

function cite(node, page) {
  const data = page.cites[node.label];
  const plain = (data?.html ?? "").replace(/<[^>]*>/g, "").replace(/&amp;/g, "&");
  if (!data) return `<span class="unresolved">${inside(node, page) || escape(node.label)}</span>`;
  return (
    `<a class="cite" href="#cite-${escape(node.label)}" title="${escape(plain)}">` +
    `${inside(node, page)}</a>`
  );
}

function citeGroup(node, page) {
  const cites = (node.children ?? []).map((child) => render(child, page));
  return node.kind === "narrative" ? cites.join(", ") : `(${cites.join("; ")})`;
}

function crossReference(node, page) {
  const text = inside(node, page) || escape(node.label ?? node.identifier);
  if (!node.resolved && !node.html_id) return `<span class="unresolved">${text}</span>`;
  const target = node.html_id ?? node.identifier;
  const url = node.remote && node.url ? href(node.url, page) : "";
  const known = page.titles.get(`${node.remote ? (node.dataUrl ?? "") : ""}#${target}`);
  const title = known && known !== textOf(node) ? ` title="${escape(known)}"` : "";
  return `<a class="xref" href="${escape(`${url}#${target}`)}"${title}>${text}</a>`;
}

function link(node, page) {
  const outside = /^https?:/.test(node.url ?? "");
  const file = node.static ? ` download="${escape((node.urlSource ?? "").split("/").pop())}"` : "";
  const rel = outside ? ` rel="noopener"` : "";
  const label = inside(node, page) || escape(node.urlSource ?? node.url);
  const name = outside ? "external" : "";
  return (
    `<a${classes(name, node.class)} href="${escape(href(node.url, page))}"${file}${rel}>` +
    `${label}</a>`
  );
}

// ---- boxes

function admonition(node, page) {
  const kind = node.kind ?? "note";
  const [first, ...rest] = node.children ?? [];
  const titled = first?.type === "admonitionTitle";
  const title = titled ? inside(first, page) : escape(kind);
  const body = (titled ? rest : (node.children ?? []))
    .map((child) => render(child, page))
    .join("");
  const name = classes("admonition", kind, node.class);
  if (/\bdropdown\b/.test(node.class ?? "")) {
    const open = node.open ? " open" : "";
    return (
      `<details${idOf(node, page)}${name}${open}>` +
      `<summary class="admonition-title">${title}</summary>${body}</details>`
    );
  }
  return (
    `<div${idOf(node, page)}${name} role="note">` +
    `<p class="admonition-title">${title}</p>${body}</div>`
  );
}

function numberedBox(word) {
  return (node, page) => {
    const number = node.enumerator ? ` ${node.enumerator}` : "";
    const name = node.kind ?? word;
    const title = (node.children ?? []).find((child) => child.type === "admonitionTitle");
    const rest = (node.children ?? []).filter((child) => child !== title);
    const label = `${name[0].toUpperCase()}${name.slice(1)}${number}`;
    const heading = title ? `${escape(label)} (${inside(title, page)})` : escape(label);
    return (
      `<section${idOf(node, page)}${classes("admonition", "proof", node.class)}>` +
      `<p class="admonition-title">${heading}</p>${inside({ children: rest }, page)}</section>`
    );
  };
}

function tabSet(node, page) {
  const group = `tabs-${(page.counter += 1)}`;
  const tabs = (node.children ?? []).filter((child) => child.type === "tabItem");
  const first = Math.max(
    0,
    tabs.findIndex((tab) => tab.selected),
  );
  // Radio buttons keep tabs working by keyboard and without any script.
  const parts = tabs.map((tab, i) => {
    const id = `${group}-${i}`;
    const sync = tab.sync ? ` data-sync="${escape(tab.sync)}"` : "";
    return (
      `<input type="radio" name="${group}" id="${id}"${sync}${i === first ? " checked" : ""}>` +
      `<label for="${id}">${escape(tab.title)}</label>` +
      `<div class="tab-panel">${inside(tab, page)}</div>`
    );
  });
  return `<div class="tabs">${parts.join("")}</div>`;
}

function card(node, page) {
  const body = inside(node, page);
  const name = classes("card", node.class);
  if (!node.url) return `<div${name}>${body}</div>`;
  // The title is the link and covers the card, so the card may hold other links.
  const url = escape(href(node.url, page));
  const title = (node.children ?? []).find((child) => child.type === "cardTitle");
  const label = escape(title ? textOf(title) : node.url);
  return `<div${name}><a class="card-link" href="${url}" aria-label="${label}"></a>${body}</div>`;
}

function details(node, page) {
  const open = node.open ? " open" : "";
  return `<details${idOf(node, page)}${classes(node.class)}${open}>${inside(node, page)}</details>`;
}

// ---- everything else

function math(node, page) {
  const number = node.enumerator
    ? `<a class="equation-number" href="#${escape(node.html_id ?? "")}">` +
      `(${escape(node.enumerator)})</a>`
    : "";
  return (
    `<div${idOf(node, page)} class="equation"><div class="scroll">${mathml(node)}` +
    `</div>${number}</div>`
  );
}

function heading(node, page) {
  const level = Math.min(6, Math.max(2, node.depth ?? 2));
  const number = node.enumerator
    ? `<span class="heading-number">${escape(node.enumerator)}</span> `
    : "";
  const anchor = node.html_id
    ? `<a class="anchor" href="#${escape(node.html_id)}" aria-label="Link to this section">#</a>`
    : "";
  return `<h${level}${idOf(node, page)}>${number}${inside(node, page)}${anchor}</h${level}>`;
}

function list(node, page) {
  const tag = node.ordered ? "ol" : "ul";
  const start = node.ordered && node.start > 1 ? ` start="${Number(node.start)}"` : "";
  return `<${tag}${start}${classes(node.class)}>${inside(node, page)}</${tag}>`;
}

function listItem(node, page) {
  const box =
    typeof node.checked === "boolean"
      ? `<input type="checkbox" disabled${node.checked ? " checked" : ""} aria-label="` +
        `${node.checked ? "done" : "open"}"> `
      : "";
  // A lone paragraph is the item itself; its margins would only loosen the list.
  const [first, ...rest] = node.children ?? [];
  const tight = first?.type === "paragraph" && rest.every((child) => child.type === "list");
  const body = tight
    ? inside(first, page) + rest.map((child) => render(child, page)).join("")
    : inside(node, page);
  return `<li${idOf(node, page)}${box ? ` class="task"` : ""}>${box}${body}</li>`;
}

function iframe(node, page) {
  const title = escape(node.title ?? node.src);
  return (
    `<iframe class="wide" src="${escape(href(node.src, page))}" title="${title}" loading="lazy">` +
    `</iframe>`
  );
}

// The script takes the place of what is shown without it; the site's build puts it under /build/.
function anywidget(node, page) {
  const { title = "", fallback = "", ...model } = node.model ?? {};
  const name = (node.esm ?? "").replace(/^\/|\.mjs$/g, "");
  const data = JSON.stringify(model).replaceAll("<", "\\u003c");
  return (
    `<section${classes("widget wide", node.class)} data-widget="${escape(name)}" ` +
    `aria-label="${escape(title)}"><p class="widget-title">${escape(title)}</p>` +
    `<div class="widget-place"><p>${escape(fallback)}</p></div>` +
    `<script type="application/json">${data}</script></section>`
  );
}

const faulty = (node, page) => {
  report(`${node.type} ${node.name ?? ""}`.trim(), page);
  return `<div class="unresolved">${inside(node, page) || escape(node.value)}</div>`;
};

function report(what, page) {
  page.unknown.add(what);
}

const nothing = () => "";
const through = inside;

const NODES = {
  abbreviation: (node, page) =>
    `<abbr title="${escape(node.title)}">${inside(node, page)}</abbr>`,
  admonition,
  anywidget,
  aside: (node, page) =>
    `<aside${idOf(node, page)}${classes("margin-note", node.class)}>${inside(node, page)}</aside>`,
  block,
  blockBreak: nothing,
  blockquote: wrap("blockquote"),
  break: () => "<br>",
  caption: wrap("div", "caption"),
  captionNumber,
  card,
  cardTitle: wrap("p", "card-title"),
  cite,
  citeGroup,
  code,
  comment: nothing,
  container,
  crossReference,
  definitionDescription: wrap("dd"),
  definitionList: wrap("dl"),
  definitionTerm: wrap("dt"),
  delete: wrap("del"),
  details,
  div: wrap("div"),
  embed,
  emphasis: wrap("em"),
  exercise: numberedBox("exercise"),
  footer: wrap("div", "card-footer"),
  footnoteDefinition: nothing,
  footnoteReference,
  glossary: wrap("div", "glossary"),
  grid: (node, page) => {
    const columns = Math.max(...(node.columns ?? [2]));
    return `<div class="grid wide" style="--columns:${columns}">${inside(node, page)}</div>`;
  },
  header: wrap("div", "card-header"),
  heading,
  // Raw HTML in a page is the author's own, like a notebook's HTML output.
  html: (node) => node.value ?? "",
  iframe,
  image,
  include: through,
  inlineCode: (node) => `<code>${escape(node.value)}</code>`,
  inlineExpression: through,
  inlineMath: (node) => mathml(node),
  keyboard: wrap("kbd"),
  legend: wrap("div", "legend"),
  link,
  list,
  listItem,
  math,
  mathGroup: wrap("div", "math-group"),
  // Drawing a diagram would need a large script; its source reads well enough.
  mermaid: (node, page) => code({ ...node, lang: "mermaid" }, page),
  mystDirective: faulty,
  mystDirectiveError: faulty,
  mystRole: faulty,
  mystRoleError: faulty,
  mystTarget: nothing,
  output,
  outputs,
  paragraph: wrap("p"),
  proof: numberedBox("proof"),
  raw: (node) => (!node.lang || node.lang === "html" ? (node.html ?? "") : ""),
  root: through,
  smallcaps: wrap("span", "smallcaps"),
  solution: numberedBox("solution"),
  span: wrap("span"),
  strong: wrap("strong"),
  subscript: wrap("sub"),
  summary: wrap("summary"),
  superscript: wrap("sup"),
  tabSet,
  table,
  tableCell,
  tableRow: wrap("tr"),
  text: (node) => escape(node.value),
  thematicBreak: () => "<hr>",
  underline: wrap("u"),
};

export function render(node, page) {
  const draw = NODES[node.type];
  if (draw) return draw(node, page);
  report(node.type, page);
  return node.children ? inside(node, page) : escape(node.value ?? "");
}

// ---- what stands at the end of a page

export function footnotes(tree, page) {
  const notes = [...nodesOf(tree)].filter((node) => node.type === "footnoteDefinition");
  if (!notes.length) return "";
  const items = notes.map((note) => {
    const id = escape(note.identifier);
    const back = ` <a href="#fnref-${id}" aria-label="Back to the text">\u21a9\ufe0e</a>`;
    const body = inside(note, page).replace(/(<\/p>)?$/, (end) => back + end);
    return `<li id="fn-${id}" value="${escape(note.enumerator)}">${body}</li>`;
  });
  return (
    `<section class="notes" aria-labelledby="footnotes"><h2 id="footnotes">Footnotes</h2>` +
    `<ol>${items.join("")}</ol></section>`
  );
}

export function references(page) {
  const entries = page.citeOrder.filter((label) => page.cites[label]);
  if (!entries.length) return "";
  // The entry's HTML is made by MyST from our own bibliography file.
  const items = entries.map(
    (label) => `<li id="cite-${escape(label)}">${page.cites[label].html}</li>`,
  );
  return (
    `<section class="notes" aria-labelledby="references"><h2 id="references">References</h2>` +
    `<ul class="bibliography">${items.join("")}</ul></section>`
  );
}
