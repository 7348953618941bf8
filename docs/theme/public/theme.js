// What a page needs a script for: dark or light, the menu on phones, copying, search, the outline.
"use strict";

const root = document.documentElement;
const home = new URL(".", document.currentScript.src).href;
const isFromDisk = location.protocol === "file:";

// ---- addresses: pages from the disk name index.html, which a server does not need

if (!isFromDisk) {
  for (const link of document.querySelectorAll("a[href]")) {
    if (link.origin === location.origin && link.pathname.endsWith("/index.html")) {
      link.pathname = link.pathname.slice(0, -"index.html".length);
    }
  }
}

// ---- dark or light

const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
const theme = () => root.dataset.theme ?? (systemDark.matches ? "dark" : "light");

function remember(value) {
  root.dataset.theme = value;
  try {
    localStorage.setItem("theme", value);
  } catch {
    // A private window may refuse; the choice then lasts for this page.
  }
}

document
  .querySelector(".theme-toggle")
  ?.addEventListener("click", () => remember(theme() === "dark" ? "light" : "dark"));

// ---- the menu on phones

const menu = document.querySelector(".menu");
menu?.addEventListener("click", () => {
  const open = menu.getAttribute("aria-expanded") !== "true";
  menu.setAttribute("aria-expanded", String(open));
  document.body.classList.toggle("menu-open", open);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("menu-open")) {
    menu.click();
    menu.focus();
  }
});

// ---- copying code

for (const block of document.querySelectorAll(".code")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  block.append(button);
}

// ---- what scrolls sideways can be reached and scrolled by keyboard

const scrollers = [...document.querySelectorAll("pre, .scroll")];
const reach = () => {
  for (const box of scrollers) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
window.addEventListener("resize", reach);
reach();

// ---- tabs that belong together change together

document.addEventListener("change", (event) => {
  const sync = event.target.dataset?.sync;
  if (!sync) return;
  for (const tab of document.querySelectorAll(".tabs > input")) {
    if (tab.dataset.sync === sync) tab.checked = true;
  }
});

// ---- the section being read, marked in the outline

const links = new Map(
  [...document.querySelectorAll(".outline a")].map((link) => [link.hash.slice(1), link]),
);
if (links.size) {
  const headings = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const mark = () => {
    const passed = headings.filter((heading) => heading.getBoundingClientRect().top < 120);
    const current = (passed.at(-1) ?? headings[0])?.id;
    for (const [id, link] of links) link.classList.toggle("current", id === current);
  };
  document.addEventListener("scroll", mark, { passive: true });
  mark();
}

// ---- widgets: plain scripts, since a page from the disk may load no modules

const modelOf = (values) => ({
  get: (name) => values[name],
  set: (name, value) => (values[name] = value),
  on: () => {},
  save_changes: () => {},
});

function loadWidget(box) {
  const { widget } = box.dataset;
  const place = box.querySelector(".widget-place");
  const script = document.createElement("script");
  script.src = `${home}build/${widget}.js`;
  script.onload = async () => {
    const values = JSON.parse(box.querySelector("script").textContent);
    const fallback = [...place.childNodes];
    place.replaceChildren();
    try {
      await window.lmcoreWidgets[widget].render({ model: modelOf(values), el: place });
    } catch (error) {
      place.replaceChildren(...fallback);
      console.error(error);
    }
    box.dataset.ready = "yes";
  };
  document.head.append(script);
}

// A widget and its data are loaded once the reader comes near it.
const nearby = new IntersectionObserver(
  (entries) => {
    for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
      nearby.unobserve(target);
      loadWidget(target);
    }
  },
  { rootMargin: "600px" },
);
for (const box of document.querySelectorAll("[data-widget]")) nearby.observe(box);

// ---- search, in the index the build writes

const box = document.querySelector(".search input");
const results = document.querySelector(".search-results");
let records;

async function loadRecords() {
  if (isFromDisk) {
    const script = document.createElement("script");
    script.src = `${home}myst.search.js`;
    const ready = new Promise((done) => (script.onload = script.onerror = done));
    document.head.append(script);
    await ready;
    records = window.searchIndex?.records ?? [];
    return;
  }
  const response = await fetch(`${home}myst.search.json`);
  records = response.ok ? (await response.json()).records : [];
}

const address = (url) => {
  const [path, hash] = url.split("#");
  const page = path.replace(/^\//, "").replace(/(?<=.)\/?$/, "/");
  return home + page + (isFromDisk ? "index.html" : "") + (hash ? `#${hash}` : "");
};

// Every word must occur; a word in a title counts for more than one in the text.
function find(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const scored = records.map((record) => {
    const titles = Object.values(record.hierarchy ?? {}).filter(Boolean);
    const own = (titles.at(-1) ?? "").toLowerCase();
    const text = `${titles.join(" ")} ${record.content ?? ""}`.toLowerCase();
    if (!words.every((word) => text.includes(word))) return null;
    const score = words.reduce((sum, word) => sum + (own.includes(word) ? 3 : 1), 0);
    return { record, titles, score };
  });
  const best = scored.filter(Boolean).sort((a, b) => b.score - a.score);
  const seen = new Set();
  return best
    .filter(({ record }) => !seen.has(record.url) && seen.add(record.url))
    .slice(0, 8);
}

async function show() {
  if (!records) await loadRecords();
  const found = find(box.value);
  results.replaceChildren(
    ...found.map(({ record, titles }) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = address(record.url);
      link.textContent = titles.join(" \u203a ");
      item.append(link);
      return item;
    }),
  );
  if (box.value.trim() && !found.length) {
    const item = document.createElement("li");
    item.textContent = "Nothing found";
    results.append(item);
  }
  results.hidden = !box.value.trim();
}

box?.addEventListener("input", show);
document.addEventListener("click", (event) => {
  if (!event.target.closest(".search")) results.hidden = true;
});
document.querySelector(".search")?.addEventListener("keydown", (event) => {
  const items = [...results.querySelectorAll("a")];
  const at = items.indexOf(document.activeElement);
  if (event.key === "Escape") results.hidden = true;
  else if (event.key === "ArrowDown") (items[at + 1] ?? items[0])?.focus();
  else if (event.key === "ArrowUp") (items[at - 1] ?? box).focus();
  else if (event.key === "Enter" && at < 0) items[0]?.click();
  else return;
  event.preventDefault();
});
