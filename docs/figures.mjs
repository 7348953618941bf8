// A figure taken from a notebook keeps its alt text and leaves the cell's code behind.
// MyST drops `:alt:` when the picture is a cell's output, and shows the code of any cell with a
// caption; both are put right here, in the page data, so every theme and the site check see it.

import { existsSync } from "node:fs";
import { basename } from "node:path";

const walk = (node, visit, parent) => {
  visit(node, parent);
  for (const child of node.children ?? []) walk(child, visit, node);
};

// Runs while `![](#label)` is still an image: later it becomes an embed and its alt is lost.
const rememberAlt = {
  name: "remember-alt",
  stage: "document",
  plugin: () => (tree) => {
    walk(tree, (node, parent) => {
      const fromNotebook = node.type === "image" && /^(#|xref:)/.test(node.url ?? "");
      if (fromNotebook && node.alt && parent?.type === "container") parent.alt = node.alt;
    });
  },
};

// MyST counts every labelled cell as a figure; ours called tbl-… are tables.
const nameTables = {
  name: "name-tables",
  stage: "document",
  plugin: () => (tree) => {
    walk(tree, (node) => {
      if (node.type === "container" && /^tbl-/.test(node.label ?? "")) node.kind = "table";
    });
  },
};

// A notebook is edited as the .py file beside it, so a reader should be able to take that too.
const offerPair = {
  name: "offer-pair",
  stage: "document",
  plugin: () => (tree, file) => {
    const pair = (file.path ?? "").replace(/\.ipynb$/, ".py");
    if (pair === file.path || !existsSync(pair)) return;
    const name = basename(pair);
    const link = { type: "link", url: name, class: "pair", children: [] };
    link.children.push({ type: "text", value: name });
    const words = { type: "text", value: "This notebook as a Python file: " };
    tree.children.push({
      type: "block",
      children: [{ type: "paragraph", children: [words, link] }],
    });
  },
};

// Runs once embeds hold the cell's outputs.
const trimEmbeds = {
  name: "trim-embeds",
  stage: "project",
  plugin: () => (tree) => {
    walk(tree, (node) => {
      if (node.type !== "container" || !node.source || !node.children) return;
      if (!node.children.some((child) => child.type === "outputs")) return;
      node.children = node.children.filter((child) => child.type !== "code");
    });
  },
};

export default {
  name: "Figures from notebooks",
  transforms: [rememberAlt, nameTables, offerPair, trimEmbeds],
};
