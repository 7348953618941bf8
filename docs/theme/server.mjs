// Answers MyST's requests for pages: HTML from the page trees its content server holds.
// `myst build --html` fetches each page once into files; `myst start` leaves the server running.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

import { errorPage, htmlPage, robots, sitemap } from "./pages.mjs";

const { PORT = "3000", HOST = "localhost", MODE = "app", CONTENT_CDN_PORT = "3100" } = process.env;
const BASE = (process.env.BASE_URL ?? "").replace(/\/$/, "");
const CONTENT = `http://localhost:${CONTENT_CDN_PORT}`;
const PUBLIC = fileURLToPath(new URL("public", import.meta.url));

const TYPES = {
  ".css": "text/css",
  ".html": "text/html",
  ".ico": "image/x-icon",
  ".ipynb": "application/x-ipynb+json",
  ".js": "text/javascript",
  ".json": "application/json",
  ".md": "text/markdown",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain",
  ".xml": "application/xml",
};

const typeOf = (path) => {
  const type = TYPES[extname(path)] ?? "application/octet-stream";
  return /^(text|application\/(json|xml))|svg/.test(type) ? `${type}; charset=utf-8` : type;
};

async function fromContent(path) {
  const response = await fetch(CONTENT + path);
  return response.ok ? Buffer.from(await response.arrayBuffer()) : null;
}

async function jsonFromContent(path) {
  const body = await fromContent(path);
  return body && JSON.parse(body);
}

async function fromPublic(path) {
  const file = join(PUBLIC, normalize(path));
  if (!file.startsWith(PUBLIC)) return null;
  return readFile(file).catch(() => null);
}

// A static build asks for every page, and pages ask about each other's targets; nothing changes
// meanwhile, so each tree is read once. A running server must see every edit.
const kept = new Map();
async function readPage(slug) {
  if (MODE !== "static") return jsonFromContent(`/content/${slug}.json`);
  if (!kept.has(slug)) kept.set(slug, jsonFromContent(`/content/${slug}.json`));
  return kept.get(slug);
}

const slugOf = (path) => decodeURIComponent(path).replace(/^\/|\/$/g, "").replaceAll("/", ".");

async function answer(path) {
  const config = await jsonFromContent("/config.json");
  const site = { config, base: BASE, mode: MODE, contentPort: CONTENT_CDN_PORT, readPage };
  const page = (html, status = 200) => ({ status, type: "text/html; charset=utf-8", body: html });
  const file = (body) => body && { status: 200, type: typeOf(path), body };

  if (path === "/robots.txt") return file(robots(site));
  if (path === "/sitemap.xml") return file(sitemap(site));
  // MyST insists on this file; browsers that show the sitemap plain are good enough for us.
  if (path === "/sitemap_style.xsl") return file("<!-- The sitemap is shown as it is. -->\n");
  if (path.startsWith("/build/")) {
    const found = file(await fromContent(path.slice("/build".length)));
    return found ?? page(errorPage(site), 404);
  }
  const asset = file(await fromPublic(path));
  if (asset) return asset;
  if (path === "/myst.search.json" || path === "/myst.xref.json" || path === "/config.json") {
    const found = file(await fromContent(path));
    if (found) return found;
  }
  if (path.endsWith(".json")) {
    const tree = await readPage(slugOf(path.slice(0, -".json".length)));
    if (tree) return file(JSON.stringify(tree));
  }
  const index = config?.projects?.[0]?.index ?? "index";
  const slug = slugOf(path) || index;
  const tree = /^[\w.-]+$/.test(slug) ? await readPage(slug) : null;
  return tree ? page(await htmlPage(site, tree)) : page(errorPage(site), 404);
}

const server = createServer(async (request, response) => {
  let { pathname } = new URL(request.url, "http://site");
  if (BASE && (pathname === BASE || pathname.startsWith(`${BASE}/`))) {
    pathname = pathname.slice(BASE.length) || "/";
  }
  try {
    const { status, type, body } = await answer(pathname);
    response.writeHead(status, { "content-type": type }).end(body);
  } catch (error) {
    console.error(`${pathname}: ${error.stack}`);
    response.writeHead(500, { "content-type": "text/plain" }).end("This page failed to render.\n");
  }
});

// Whoever kills MyST leaves us behind, and without its content there is nothing to serve.
setInterval(() => fetch(CONTENT).catch(() => process.exit()), 1000);

// MyST waits for a line with the address before it sends the first request.
server.listen(Number(PORT), HOST, () => console.log(`Serving at http://${HOST}:${PORT}`));
