// The runbook, which is Markdown: as much of it as the runbook has.

import { h } from "./dom.mjs";

/** The entries under headings of the third level. */
export const entriesOf = (text) => text.split("\n### ").slice(1).map((entry) => {
  const [title, ...lines] = entry.split("\n");
  return { title, text: lines.join("\n") };
});

/** Code and links. Names of alerts lead to their entries; links written as Markdown lead to other documents, and are their text here. */
const inline = (text, linkTo) => text.split(/(`[^`]+`|\[[^\]]+\]\([^)]+\)|\bSluicegate[A-Z]\w+)/).map((part) => {
  const [, named] = part.match(/^\[([^\]]+)\]\(/) ?? [];
  if (part.startsWith("`")) return h("code", null, part.slice(1, -1));
  return named ?? (/^Sluicegate[A-Z]/.test(part) ? linkTo(part) : part);
});

/** Paragraphs and lists. `linkTo` makes the link to an entry. */
export const markdown = (text, linkTo) => text.trim().split(/\n\n+/).map((block) => (block.startsWith("- ")
  ? h("ul", null, block.slice(2).split("\n- ").map((item) => h("li", null, inline(item.replace(/\n\s*/g, " "), linkTo))))
  : h("p", null, inline(block.replaceAll("\n", " "), linkTo))));
