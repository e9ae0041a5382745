// Tables: sorted, filtered and paged by the server, and calm while somebody reads them.

import { h } from "./dom.mjs";
import { many } from "./format.mjs";

/** The badge of a state: text, a shape and a colour. */
export const badge = ({ tone, text }) => h("span", { class: `badge ${tone}` },
  h("span", { class: "shape", "aria-hidden": "true" }, { ok: "●", warn: "▲", bad: "■", off: "◆" }[tone]), " ", text);

let held = null;
let frozen = new Map();

/** Whether somebody points at or stands in the body of a table: its rows keep their places then. */
const isHeld = (name) => held === name;
const hold = (name) => () => { held = name; };
const release = (name, again) => (event) => {
  if (event?.relatedTarget && event.currentTarget.contains(event.relatedTarget)) return;
  if (event?.type === "mouseleave" && event.currentTarget.contains(document.activeElement)) return;
  if (held === name) held = null;
  if (frozen.delete(name)) again();
};

/** The rows in the order in which they are shown, and how many would move. */
const calm = (name, rows, keyOf) => {
  if (!isHeld(name)) {
    frozen.set(name, rows.map(keyOf));
    return { rows, changes: 0 };
  }
  const order = frozen.get(name) ?? rows.map(keyOf);
  const byKey = new Map(rows.map((row) => [keyOf(row), row]));
  const kept = order.filter((key) => byKey.has(key));
  const changes = rows.filter((row, at) => keyOf(row) !== order[at]).length;
  return { rows: kept.map((key) => byKey.get(key)), changes };
};

/** The box that chooses a row, and the one that chooses all that are shown. `choice` has `chosen`, the rows by their keys, `most` of them,
 * `labelOf` a row, and `onChoose`, which takes them. */
const chooser = ({ chosen, most, labelOf, onChoose }, row, key) => h("input", {
  type: "checkbox", "aria-label": `Choose ${labelOf(row)}`, checked: chosen.has(key), disabled: !chosen.has(key) && chosen.size >= most,
  onchange: ({ target }) => {
    const next = new Map(chosen);
    if (target.checked) next.set(key, row);
    else next.delete(key);
    onChoose(next);
  },
});
const chooseAll = ({ chosen, most, onChoose }, rows, keyOf) => h("input", {
  type: "checkbox", "aria-label": "Choose all rows that are shown", checked: rows.length > 0 && rows.every((row) => chosen.has(keyOf(row))),
  onchange: ({ target }) => {
    const next = new Map(chosen);
    for (const row of rows) {
      if (!target.checked) next.delete(keyOf(row));
      else if (next.size < most) next.set(keyOf(row), row);
    }
    onChoose(next);
  },
});

const header = (column, { sort, onSort }) => {
  const name = column.sort;
  if (!name) return h("th", { scope: "col", class: column.class }, column.title);
  const isOwn = sort === name || sort === `-${name}`;
  const next = sort === `-${name}` ? name : sort === name ? `-${name}` : column.first ?? name;
  const direction = isOwn ? (sort.startsWith("-") ? "descending" : "ascending") : null;
  const arrow = { descending: " ▼", ascending: " ▲" }[direction] ?? "";
  return h("th", { scope: "col", class: column.class, "aria-sort": direction ?? false },
    h("button", { type: "button", class: "sort", onclick: () => onSort(next) }, column.title, h("span", { "aria-hidden": "true" }, arrow)));
};

/** A table. `columns` have a title, a cell, and perhaps the name of a sort; `again` draws the page once more; one that `isPage` is under a heading with
 * the same words; with a `choice`, rows can be chosen. Without `rows`, nobody has said yet which there are. */
export const table = ({ name, caption, isPage, columns, rows: known, keyOf, empty, sort = "", onSort, page, choice, again }) => {
  const rows = known ?? [];
  const shown = calm(name, rows, keyOf);
  const body = shown.rows.map((row) => h("tr", { key: keyOf(row) },
    choice && h("td", { class: "choose" }, chooser(choice, row, keyOf(row))),
    columns.map((column, at) => h(at === 0 ? "th" : "td", { scope: at === 0 ? "row" : false, class: column.class }, column.cell(row)))));
  const more = shown.changes > 0
    && h("button", { type: "button", class: "changes", onclick: () => { held = null; again(); } }, `${many(shown.changes, "change")}, show`);
  return h("section", { class: "tabled", key: name },
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      h("table", null,
        h("caption", { class: isPage ? "offscreen" : false }, caption),
        rows.length > 0 && h("thead", null, h("tr", null,
          choice && h("td", { class: "choose" }, chooseAll(choice, shown.rows, keyOf)), columns.map((column) => header(column, { sort, onSort })))),
        h("tbody", { onmouseenter: hold(name), onfocusin: hold(name), onmouseleave: release(name, again), onfocusout: release(name, again) }, body))),
    rows.length === 0 && h("p", { class: "empty" }, known ? empty : "Asking…"),
    h("p", { class: "pages" }, more, page && pager(page)));
};

const pager = ({ total, atLeast, next, isFirst, onNext, onFirst, noun }) => [
  h("span", null, `${atLeast ? "at least " : ""}${many(total, noun)}`),
  !isFirst && h("button", { type: "button", onclick: onFirst }, "First page"),
  next && h("button", { type: "button", onclick: onNext }, "Next page"),
];
