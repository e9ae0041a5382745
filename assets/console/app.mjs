// The shell: which page is open, asking for what it shows, and telling how old that is.

import { ask as askUser, say } from "./actions.mjs";
import { Refused, address, follow, get, logout, me, name, query } from "./data.mjs";
import { h, render } from "./dom.mjs";
import { span } from "./format.mjs";
import { NAMED, PAGES } from "./pages.mjs";

const POLL_MS = 2000;
const SLOWEST_MS = 10_000;
const STALE_MS = 5000;
const top = document.getElementById("top");
const main = document.getElementById("main");

let route;
let data = {};
let state = {};
let problem = null;
let who = null;
let heard = 0;
let isPaused = false;
let timer;
let asking = 0;
let wait = POLL_MS;
let leave = [];
let keys = localStorage.getItem("keys") !== "off";

const read = () => {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/");
  return { page: PAGES[page] ? page : "", rest: rest.map(decodeURIComponent).join("/"), params: Object.fromEntries(new URLSearchParams(search)) };
};
const isStale = () => heard > 0 && Date.now() - heard > STALE_MS && !isPaused;

const context = () => ({
  data, state, again: refresh, mayAct: who?.role === "operator" || who?.role === "admin", isAdmin: who?.role === "admin", ...route,
  go: (changed) => {
    const params = query({ ...route.params, ...changed });
    const path = location.hash.replace(/^#\/?/, "").split("?")[0];
    location.hash = `/${path}${params ? `?${params}` : ""}`;
  },
  set: (changed) => { state = { ...state, ...changed }; draw(); },
  leaving: (done) => leave.push(done),
  entered: async () => { who = await me(); location.hash = "/"; },
});

const missing = () => {
  const all = Object.values(data).flatMap((document) => document?.missing ?? []);
  return [...new Map(all.map((one) => [one.proxy, one])).values()];
};

const freshness = () => {
  if (isPaused) return ["off", "Paused"];
  if (heard === 0) return ["off", "Asking"];
  return isStale() ? ["bad", `Stale for ${span(Math.round((Date.now() - heard) / 1000))}`] : ["ok", "Live"];
};

const drawTop = () => {
  const [tone, text] = freshness();
  const current = { o: "origins", s: "streams", x: "sessions" }[route.page] ?? route.page;
  render(top, [
    h("a", { class: "brand", href: "#/" }, "Sluicegate", who?.version && h("small", null, ` ${who.version}`)),
    h("nav", { "aria-label": "Pages" }, NAMED.map(([path, title]) => h("a", { key: title, href: `#/${path}`, "aria-current": path === current ? "page" : false }, title))),
    h("form", { role: "search", onsubmit: search }, h("label", null, h("span", { class: "offscreen" }, "Find a stream"),
      h("input", { id: "search", type: "search", name: "q", placeholder: "Find a stream  /", autocomplete: "off" }))),
    h("p", { class: "freshness" }, h("span", { class: `badge ${tone}` }, h("span", { "aria-hidden": "true" }, { ok: "●", bad: "■", off: "◆" }[tone]), ` ${text}`),
      h("button", { type: "button", onclick: pause, "aria-pressed": String(isPaused) }, "Pause"),
      h("button", { type: "button", onclick: help, "aria-label": "Keys and help" }, "?"),
      who?.role && h("span", { class: "role" }, who.role),
      who?.is_logged_in && h("button", { type: "button", onclick: async () => { await logout(); who = await me(); location.hash = "/login"; } }, "Log out")),
    missing().length > 0 && h("p", { class: "partial" }, `Not the whole: no answer of ${missing().map((one) => `${one.proxy} (${one.why})`).join(", ")}.`),
    problem && h("p", { class: "partial", role: "alert" }, problem),
  ]);
};

const draw = () => {
  drawTop();
  main.classList.toggle("stale", isStale());
  const page = PAGES[route.page];
  render(main, page.view(context()));
  const title = typeof page.title === "function" ? page.title(route) : page.title;
  document.title = `${title} – Sluicegate`;
};

/** Asks for everything that the page shows, and draws what came. One that is not there yet leaves its place empty. */
const load = async () => {
  const mine = ++asking;
  const page = PAGES[route.page];
  const asks = Object.entries(page.asks({ ...route, known: data }));
  const answers = await Promise.allSettled(asks.map(([, path]) => get(path)));
  if (mine !== asking) return;
  const wrong = [];
  answers.forEach((answer, at) => {
    const field = asks[at][0];
    const isOptional = page.optional === true || page.optional?.includes(field);
    if (answer.status === "fulfilled") data[field] = answer.value;
    else if (answer.reason instanceof Refused && answer.reason.status === 404) data[field] = null;
    else if (!isOptional) wrong.push(answer.reason);
  });
  if (wrong.some((error) => error instanceof Refused && error.status === 401)) {
    location.hash = "/login";
    return;
  }
  const unreached = wrong.some((error) => !(error instanceof Refused));
  problem = wrong.length === 0 ? null : unreached ? "The proxy does not answer. Trying again." : wrong[0].message;
  if (!unreached) heard = Date.now();
  wait = wrong.length === 0 ? POLL_MS : Math.min(SLOWEST_MS, wait * 2);
  draw();
};

async function refresh() {
  clearTimeout(timer);
  await load().catch((error) => { problem = error.message; draw(); });
  if (!isPaused && !document.hidden && route.page !== "login") timer = setTimeout(refresh, wait);
}

const open = () => {
  leave.splice(0).forEach((done) => done());
  const before = route;
  route = read();
  const isSame = before && before.page === route.page && before.rest === route.rest;
  if (!isSame) {
    data = {};
    state = {};
    problem = null;
  }
  draw();
  if (before && !isSame) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  refresh();
  if (PAGES[route.page].follows) followEvents();
};

const followEvents = () => {
  let soon;
  const stop = follow(() => {
    clearTimeout(soon);
    if (!isPaused) soon = setTimeout(refresh, 300);
  }, () => {});
  leave.push(stop);
};

const search = async (event) => {
  event.preventDefault();
  const q = event.target.elements.q.value.trim();
  if (!q) return;
  const found = await get(`streams?${query({ q, limit: 50 })}`).catch(() => null);
  event.target.reset();
  event.target.elements.q.blur();
  const named = (found?.streams ?? []).map((row) => row.stream).filter((one) => one.toLowerCase().includes(q.toLowerCase()));
  const exact = named.filter((one) => one === q || one.endsWith(`/${q}`));
  const [only] = exact.length === 1 ? exact : named.length === 1 ? named : [];
  location.hash = only ? `/s/${name(only)}` : `/streams?${query({ q })}`;
};

const pause = () => {
  isPaused = !isPaused;
  say(isPaused ? "Paused." : "Live again.");
  if (isPaused) clearTimeout(timer);
  else refresh();
  draw();
};

/** A word of a command, whatever is in it. */
const quoted = (text) => (/^[\w./:=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** The commands that tell what this page shows. */
const terminal = () => {
  const { params, rest } = route;
  const narrowed = [["sort", params.sort], ["find", params.q]].filter(([, value]) => value).map(([option, value]) => ` --${option}=${quoted(value)}`).join("");
  const command = { "": "ps", origins: "origins", o: "origins", streams: `streams${narrowed}`, s: `explain ${quoted(rest)}`, sessions: `sessions${narrowed}`,
    explain: params.stream && `explain ${quoted(params.stream)}`, events: "events -f", bans: "bans", proxies: "ps" }[route.page];
  const asked = Object.values(PAGES[route.page].asks({ ...route, known: data })).map((path) => `curl ${quoted(address(path))}`);
  return [command && `sluicegate ${command}`, ...asked].filter(Boolean);
};

const help = async () => {
  const values = await askUser({
    title: "Keys",
    lines: ["/ finds a stream. g, then f, o, s, e or x opens Fleet, Origins, Streams, Events or Sessions.", "j and k go through the rows of a table, and . to what can be done with one. p pauses. ? shows this. Esc closes.",
      "This page from a terminal:", h("pre", { tabindex: "0" }, terminal().join("\n"))],
    confirm: keys ? "Switch single keys off" : "Switch single keys on", harmless: true,
  });
  if (!values) return;
  keys = !keys;
  localStorage.setItem("keys", keys ? "on" : "off");
};

const rows = () => [...main.querySelectorAll("tbody tr th a, tbody tr th button")];
const move = (by) => {
  const all = rows();
  const at = all.indexOf(document.activeElement);
  all[Math.max(0, Math.min(all.length - 1, at + by))]?.focus();
};

/** From a row to the first thing that can be done with it. */
const act = () => document.activeElement.closest("tr")?.querySelector("td button")?.focus();

let isGoing = false;
const GOES = { f: "/", o: "/origins", s: "/streams", e: "/events", x: "/sessions" };
document.addEventListener("keydown", (event) => {
  const isField = event.target.closest?.("input, select, textarea, dialog");
  if (event.key === "Escape" && isField && !event.target.closest("dialog")) event.target.blur();
  if (!keys || isField || event.ctrlKey || event.metaKey || event.altKey) return;
  const goes = isGoing && GOES[event.key];
  isGoing = event.key === "g";
  const does = { "/": () => document.getElementById("search").focus(), p: pause, "?": help, j: () => move(1), k: () => move(-1), ".": act }[event.key];
  if (goes) location.hash = goes;
  else if (does) does();
  else return;
  event.preventDefault();
});

addEventListener("hashchange", open);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
// Between answers too, numbers grow old.
setInterval(() => { main.classList.toggle("stale", isStale()); drawTop(); }, 1000);

route = read();
who = await me().catch(() => null);
if (who && who.role === null) location.hash = "/login";
open();
