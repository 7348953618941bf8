// The page around the text: header, navigation, outline, footer, and the site's small files.

import {
  captionText,
  escape,
  footnotes,
  href,
  nodesOf,
  references,
  render,
  textOf,
} from "./render.mjs";

const project = (site) => site.config?.projects?.[0] ?? {};
const siteTitle = (site) => site.config?.title ?? project(site).title ?? "Site";

function entries(site) {
  const { index = "index", title = "Home", pages = [] } = project(site);
  return [{ slug: index, title, level: 1, home: true }, ...pages];
}

const titleOf = (entry) => (entry.home ? "Overview" : (entry.short_title ?? entry.title));

const urlOf = (entry, site) =>
  entry.home ? `${site.base}/` : `${site.base}/${entry.slug.replaceAll(".", "/")}/`;

// ---- what other pages must be asked for: the words a reference shows on hover

const shorten = (text, length = 180) =>
  text.length > length ? `${text.slice(0, length).replace(/\s+\S*$/, "")}\u2026` : text;

const POINTERS = ["block", "captionNumber", "crossReference"];

// A figure is described by its caption, an equation by its source, a term by its definition.
function describe(tree, id) {
  for (const node of nodesOf(tree)) {
    const at = (node.children ?? []).findIndex(
      (child) => child.html_id === id && child.type === "definitionTerm",
    );
    if (at >= 0) return textOf(node.children[at + 1]);
    if (node.html_id !== id || POINTERS.includes(node.type)) continue;
    return node.type === "container" ? captionText(node) : textOf(node);
  }
  return "";
}

async function titlesOf(tree, site) {
  const titles = new Map();
  for (const node of nodesOf(tree)) {
    if (node.type !== "crossReference") continue;
    const elsewhere = node.remote && node.dataUrl ? node.dataUrl : "";
    const id = node.html_id ?? node.identifier;
    const key = `${elsewhere}#${id}`;
    if (titles.has(key)) continue;
    const slug = elsewhere.replace(/^\/|\.json$/g, "");
    const home = elsewhere ? (await site.readPage(slug))?.mdast : tree;
    titles.set(key, home ? shorten(describe(home, id)) : "");
  }
  return titles;
}

// ---- parts of a page

function navigation(site, current) {
  const items = entries(site).map((entry) => {
    const title = escape(titleOf(entry));
    const level = `level-${entry.level ?? 1}`;
    if (!entry.slug) return `<li class="group ${level}">${title}</li>`;
    const here = entry.slug === current ? ` aria-current="page"` : "";
    return `<li class="${level}"><a href="${escape(urlOf(entry, site))}"${here}>${title}</a></li>`;
  });
  return `<ul>${items.join("")}</ul>`;
}

function outline(tree) {
  const headings = [...nodesOf(tree)].filter(
    (node) => node.type === "heading" && node.html_id && (node.depth ?? 2) <= 3,
  );
  if (headings.length < 2) return "";
  const items = headings.map(
    (node) =>
      `<li class="depth-${node.depth ?? 2}">` +
      `<a href="#${escape(node.html_id)}">${escape(textOf(node))}</a></li>`,
  );
  return (
    `<nav class="outline" aria-labelledby="outline-title">` +
    `<p id="outline-title">On this page</p><ul>${items.join("")}</ul></nav>`
  );
}

function neighbours(site, current) {
  const pages = entries(site).filter((entry) => entry.slug);
  const at = pages.findIndex((entry) => entry.slug === current);
  if (at < 0) return "";
  const link = (entry, rel, word) =>
    entry
      ? `<a rel="${rel}" href="${escape(urlOf(entry, site))}"><span>${word}</span>` +
        `${escape(titleOf(entry))}</a>`
      : "<span></span>";
  return (
    `<nav class="neighbours" aria-label="Previous and next page">` +
    `${link(pages[at - 1], "prev", "Previous")}${link(pages[at + 1], "next", "Next")}</nav>`
  );
}

const dateWords = (date) => {
  const day = new Date(`${date}T00:00:00Z`);
  if (Number.isNaN(day.getTime())) return date;
  const options = { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" };
  return day.toLocaleDateString("en-GB", options);
};

// Owner and repository come from `github:` in myst.yml, so a fork links to itself.
const BRANCH = "main";

function pageLinks(tree, site) {
  const github = (tree.frontmatter?.github ?? project(site).github ?? "").replace(/\/$/, "");
  const links = [];
  const add = (name, url, text, more = "") =>
    links.push(`<a class="${name}" href="${escape(url)}"${more}>${text}</a>`);
  if (github && tree.location) {
    if (tree.location.endsWith(".ipynb")) {
      const repo = github.replace(/^https?:\/\/github\.com\//, "");
      const root = "https://colab.research.google.com/github";
      add("colab", `${root}/${repo}/blob/${BRANCH}${tree.location}`, "Open in Colab");
    }
    add("view-source", `${github}/blob/${BRANCH}${tree.location}`, "Source");
    const edited = pairOf(tree) ? tree.location.replace(/\.ipynb$/, ".py") : tree.location;
    add("edit", `${github}/edit/${BRANCH}${edited}`, "Edit");
  }
  const page = { base: site.base };
  const { exports = [], downloads } = tree.frontmatter ?? {};
  for (const file of downloads ?? exports) {
    if (!file.url) continue;
    const name = file.filename ?? file.title ?? file.url.split("/").pop();
    const what = ` download="${escape(name)}"`;
    add("download", href(file.url, page), `Download ${escape(suffix(name))}`, what);
  }
  const pair = pairOf(tree);
  if (pair) {
    const name = textOf(pair);
    add("download", href(pair.url, page), "Download .py", ` download="${escape(name)}"`);
  }
  return links.length ? `<p class="page-links">${links.join("")}</p>` : "";
}

const suffix = (name) => /\.[A-Za-z0-9]+$/.exec(name)?.[0] ?? name;

// The link docs/figures.mjs puts on a notebook's page to the .py file it is edited as.
const pairOf = (tree) =>
  [...nodesOf(tree.mdast)].find((node) => node.type === "link" && node.class === "pair");

function header(tree, site, page) {
  const { title, subtitle, authors = [], date, license } = tree.frontmatter ?? {};
  const facts = [];
  if (authors.length) facts.push(escape(authors.map((author) => author.name).join(", ")));
  if (date) facts.push(`<time datetime="${escape(date)}">${escape(dateWords(date))}</time>`);
  const content = license?.content ?? (license?.id ? license : null);
  if (content?.url) {
    facts.push(`<a href="${escape(content.url)}" rel="license">${escape(content.id)}</a>`);
  }
  const abstract = tree.frontmatter?.parts?.abstract?.mdast;
  const group = groupOf(tree.slug, site);
  return (
    `<header class="page-header">` +
    (group ? `<p class="kicker">${escape(group)}</p>` : "") +
    `<h1>${escape(title ?? siteTitle(site))}</h1>` +
    (subtitle ? `<p class="subtitle">${escape(subtitle)}</p>` : "") +
    (facts.length ? `<p class="facts">${facts.join(`<span> \u00b7 </span>`)}</p>` : "") +
    pageLinks(tree, site) +
    (abstract ? `<div class="abstract">${render(abstract, page)}</div>` : "") +
    `</header>`
  );
}

function groupOf(slug, site) {
  let group = "";
  for (const entry of entries(site)) {
    if (!entry.slug) group = entry.title;
    else if (entry.level === 1) group = "";
    if (entry.slug === slug) return group;
  }
  return "";
}

// ---- the whole page

// Before the first paint, so that a remembered choice does not flash.
const REMEMBERED =
  `try{const t=localStorage.getItem("theme");` +
  `if(t==="dark"||t==="light")document.documentElement.dataset.theme=t}catch{}`;

// A running server tells its readers when a source file changed.
const reloader = (port) =>
  `new WebSocket("ws://"+location.hostname+":${Number(port)}/socket").onmessage=(m)=>` +
  `{if(JSON.parse(m.data).type==="RELOAD")location.reload()}`;

function shell(site, { title, description, current, main, aside, url }) {
  const { base } = site;
  const github = project(site).github;
  const full = current === project(site).index ? title : `${title} \u2013 ${siteTitle(site)}`;
  const style = site.config?.options?.style;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escape(full)}</title>
<meta name="description" content="${escape(description)}">
<meta property="og:title" content="${escape(title)}">
<meta property="og:description" content="${escape(description)}">
<meta property="og:type" content="article">
<script>${REMEMBERED}</script>
<link rel="icon" href="${base}/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="${base}/myst-theme.css">
${style ? `<link rel="stylesheet" href="${escape(href(style, { base }))}">` : ""}
<script src="${base}/theme.js" defer></script>
${site.mode === "app" ? `<script>${reloader(site.contentPort)}</script>` : ""}
</head>
<body>
<a class="skip" href="#main">Skip to the text</a>
<header class="site-header">
<button class="menu" type="button" aria-expanded="false" aria-controls="site-nav">Menu</button>
<a class="site-title" href="${base}/">${escape(siteTitle(site))}</a>
<div class="search" role="search">
<input type="search" placeholder="Search" aria-label="Search this site" autocomplete="off">
<ol class="search-results" hidden></ol>
</div>
<button class="theme-toggle" type="button" aria-label="Switch between light and dark"></button>
${github ? `<a class="github" href="${escape(github)}">GitHub</a>` : ""}
</header>
<div class="columns">
<nav class="site-nav" id="site-nav" aria-label="Pages">${navigation(site, current)}</nav>
<main id="main" tabindex="-1"${url ? ` data-page="${escape(url)}"` : ""}>
${main}
</main>
${aside}
</div>
</body>
</html>
`;
}

export async function htmlPage(site, tree) {
  const { frontmatter = {}, slug, mdast, references: refs } = tree;
  const notes = [...nodesOf(mdast)].filter((node) => node.type === "footnoteDefinition");
  const page = {
    base: site.base,
    ids: new Set(["main", "site-nav", "outline-title", "footnotes", "references"]),
    footnotes: new Set(),
    footnoteTexts: new Map(notes.map((note) => [note.identifier, shorten(textOf(note))])),
    cites: refs?.cite?.data ?? {},
    citeOrder: refs?.cite?.order ?? [],
    titles: await titlesOf(mdast, site),
    counter: 0,
    unknown: new Set(),
  };
  const top = header(tree, site, page);
  const body = render(mdast, page);
  const main =
    `<article${frontmatter.kernelspec ? ` class="notebook"` : ""}>${top}${body}` +
    `${footnotes(mdast, page)}${references(page)}</article>${neighbours(site, slug)}`;
  for (const what of page.unknown) {
    console.error(`${tree.location}: the theme does not know "${what}"; only its text is shown`);
  }
  return shell(site, {
    title: frontmatter.title ?? siteTitle(site),
    description: frontmatter.description ?? project(site).description ?? "",
    current: slug,
    main,
    aside: outline(mdast),
    url: slug,
  });
}

export function errorPage(site) {
  const main =
    `<article><header class="page-header"><h1>Page not found</h1></header>` +
    `<p>There is no page at this address. The menu lists them all, and ` +
    `<a href="${site.base}/">the overview</a> is where to begin.</p></article>`;
  return shell(site, { title: "Page not found", description: "", current: "", main, aside: "" });
}

// Sitemaps need whole addresses: GitHub serves a project's pages under its owner's name.
function origin(site) {
  const owner = /github\.com\/([^/]+)/.exec(project(site).github ?? "")?.[1];
  return owner && site.base ? `https://${owner.toLowerCase()}.github.io` : "";
}

export const robots = (site) =>
  `User-agent: *\nAllow: /\nSitemap: ${origin(site)}${site.base}/sitemap.xml\n`;

export function sitemap(site) {
  const urls = entries(site)
    .filter((entry) => entry.slug)
    .map((entry) => `  <url><loc>${escape(origin(site) + urlOf(entry, site))}</loc></url>`);
  return (
    `<?xml version="1.0" encoding="UTF-8"?>\n` +
    `<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n${urls.join("\n")}\n</urlset>\n`
  );
}
