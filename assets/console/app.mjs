// The shell: which page is open, asking for what it shows, and telling how old that is.

import { ask as askUser, dismiss, say, toast } from "./actions.mjs";
import { Refused, address, follow, get, logout, me, name, query } from "./data.mjs";
import { h, render } from "./dom.mjs";
import { isInUtc, many, span, switchTimes } from "./format.mjs";
import { NAMED, PAGES } from "./pages.mjs";

const POLL_MS = 2000;
const SOONEST_MS = 1000;
const SLOWEST_MS = 10_000;
const ALARMS_MS = 15_000;
const STALE_MS = 5000;
const top = document.getElementById("top");
const main = document.getElementById("main");

let route;
let data = {};
let state = {};
let visit = 0;
let problem = null;
let who = null;
let heard = 0;
let isPaused = false;
let timer;
let asking = 0;
let inFlight = 0;
let asked = 0;
let isDue = false;
let wait = POLL_MS;
let leave = [];
let unfollow = null;
let totals = null;
let news = [];
let alarms = 0;
/** What each document was asked by, and where somebody was who has to log in first. */
let askedBy = {};
let wanted = "";
let keys = localStorage.getItem("keys") !== "off";

/** A part of an address; one that nobody encoded is taken as it is. */
const decoded = (part) => {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
};
const read = () => {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/");
  return { page: Object.hasOwn(PAGES, page) ? page : "", rest: rest.map(decoded).join("/"), params: Object.fromEntries(new URLSearchParams(search)) };
};
const isStale = () => heard > 0 && Date.now() - heard > STALE_MS && !isPaused;

/** Changes what a page keeps for as long as it is open; too late, it changes nothing. */
const setter = () => {
  const mine = visit;
  return (changed) => {
    if (mine !== visit) return;
    state = { ...state, ...changed };
    draw();
  };
};

const context = () => ({
  data, state, totals: unfollow && totals, again: refresh, mayAct: who?.role === "operator" || who?.role === "admin", isAdmin: who?.role === "admin", ...route,
  go: (changed) => {
    const params = query({ ...route.params, ...changed });
    const path = location.hash.replace(/^#\/?/, "").split("?")[0];
    location.hash = `/${path}${params ? `?${params}` : ""}`;
  },
  set: setter(),
  leaving: (done) => leave.push(done),
  entered: async () => {
    who = await me();
    location.hash = wanted || "/";
    wanted = "";
  },
});

/** Whoever has to log in goes on afterwards where they were. */
const toLogin = () => {
  if (route.page !== "login") wanted = location.hash;
  location.hash = "/login";
};

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
    h("nav", { "aria-label": "Pages" }, NAMED.map(([path, title]) => h("a", { key: title, href: `#/${path}`, "aria-current": path === current ? "page" : false },
      title, path === "" && alarms > 0 && h("span", { title: `${many(alarms, "alarm")}: Fleet says what to do` }, h("span", { "aria-hidden": "true" }, " ■"), ` ${alarms}`)))),
    h("form", { role: "search", onsubmit: search }, h("label", null, h("span", { class: "offscreen" }, "Find a stream"),
      h("input", { id: "search", type: "search", name: "q", placeholder: "Find a stream  /", autocomplete: "off" }))),
    h("p", { class: "freshness" }, h("span", { class: `badge ${tone}` }, h("span", { "aria-hidden": "true" }, { ok: "●", bad: "■", off: "◆" }[tone]), ` ${text}`),
      h("button", { type: "button", onclick: pause, "aria-pressed": String(isPaused) }, "Pause"),
      h("button", { type: "button", onclick: () => { switchTimes(); draw(); }, "aria-pressed": String(isInUtc()),
        title: isInUtc() ? "Times are in UTC" : "Times are those of this browser" }, "UTC"),
      h("button", { type: "button", onclick: help, "aria-label": "Keys and help" }, "?"),
      who?.role && h("span", { class: "role" }, who.role),
      who?.is_logged_in && h("button", { type: "button", onclick: async () => { await logout(); who = await me(); location.hash = "/login"; } }, "Log out")),
    missing().length > 0 && h("p", { class: "partial" }, `Incomplete: no answer from ${missing().map((one) => `${one.proxy} (${one.why})`).join(", ")}.`),
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
  const answers = await Promise.allSettled(asks.map(([, from]) => (typeof from === "string" ? get(from) : from())));
  if (mine !== asking) return;
  const wrong = [];
  answers.forEach((answer, at) => {
    const [field, from] = asks[at];
    if (answer.status === "fulfilled") [data[field], askedBy[field]] = [answer.value, from];
    else if (answer.reason instanceof Refused && answer.reason.status === 404) data[field] = null;
    else if (answer.reason instanceof Refused && page.mayFail?.(field)) data[field] = { why: answer.reason.message };
    else {
      // What was asked before is no answer to another question.
      if (askedBy[field] !== from) delete data[field];
      wrong.push(answer.reason);
    }
  });
  if (wrong.some((error) => error instanceof Refused && error.status === 401)) {
    toLogin();
    return;
  }
  const unreached = wrong.some((error) => !(error instanceof Refused));
  problem = wrong.length === 0 ? null : unreached ? "The proxy does not answer. Trying again." : wrong[0].message;
  if (!unreached) heard = Date.now();
  wait = wrong.length === 0 ? POLL_MS : Math.min(SLOWEST_MS, wait * 2);
  draw();
};

/** Whether somebody looks at something that goes on. */
const isWatched = () => !isPaused && !document.hidden && route.page !== "login";

async function refresh() {
  clearTimeout(timer);
  [asked, isDue] = [Date.now(), false];
  inFlight += 1;
  await load().catch((error) => { problem = error.message; draw(); });
  inFlight -= 1;
  if (isWatched() && inFlight === 0) timer = setTimeout(refresh, isDue ? SOONEST_MS : wait);
}

/** Asks again before it is time to, because something happened; never while an answer is awaited, and never more than once a second. */
const refreshSoon = () => {
  isDue = true;
  if (inFlight > 0) return;
  clearTimeout(timer);
  timer = setTimeout(refresh, Math.max(300, asked + SOONEST_MS - Date.now()));
};

const open = () => {
  leave.splice(0).forEach((done) => done());
  const before = route;
  route = read();
  const isSame = before && before.page === route.page && before.rest === route.rest;
  if (!isSame) {
    data = {};
    askedBy = {};
    state = {};
    visit += 1;
    dismiss();
    problem = null;
  }
  draw();
  if (before && !isSame) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  followOrNot();
  refresh();
};

/** One feed for all pages, and none while nobody looks. */
const followOrNot = () => {
  if (isWatched()) unfollow ??= follow(onEvent, onTotals);
  else if (unfollow) {
    unfollow();
    unfollow = totals = null;
  }
};

/** How much needs attention is seen on every page. */
const countAlarms = async () => {
  const attention = isWatched() ? await get("attention").catch(() => null) : null;
  if (attention) alarms = attention.findings.length;
};

const onTotals = (latest) => {
  totals = latest;
  if (route.page === "") draw();
};

/** What is told on every page but the one that lists it: few things, that matter to whoever looks at something else. */
const TOLD = ["certificate", "config", "origin"];
const onEvent = (event) => {
  refreshSoon();
  if (!TOLD.includes(event.kind) || route.page === "events") return;
  news.push([event.origin, event.what].filter(Boolean).join(": "));
  if (news.length === 1) setTimeout(tellNews, SOONEST_MS);
};

const tellNews = () => {
  const [first, ...others] = news.splice(0);
  toast(`${first}${others.length > 0 ? `, and ${many(others.length, "other event")}` : ""}.`);
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
  followOrNot();
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
  const asks = Object.values(PAGES[route.page].asks({ ...route, known: data })).filter((from) => typeof from === "string");
  return [command && `sluicegate ${command}`, ...asks.map((path) => `curl ${quoted(address(path))}`)].filter(Boolean);
};

const help = async () => {
  const values = await askUser({
    title: "Keys",
    lines: ["/ finds a stream. g, then f, o, s, e or x opens Fleet, Origins, Streams, Events or Sessions.", "j and k go through the rows of a table, x chooses one, and . goes to what can be done with it. p pauses. ? shows this. Esc closes.",
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
const choose = () => document.activeElement.closest("tr")?.querySelector("td.choose input")?.click();

let isGoing = false;
const GOES = { f: "/", o: "/origins", s: "/streams", e: "/events", x: "/sessions" };
document.addEventListener("keydown", (event) => {
  const isField = event.target.closest?.("input, select, textarea, dialog");
  if (event.key === "Escape" && isField && !event.target.closest("dialog")) event.target.blur();
  if (!keys || isField || event.ctrlKey || event.metaKey || event.altKey) return;
  const goes = isGoing && GOES[event.key];
  isGoing = event.key === "g";
  const does = { "/": () => document.getElementById("search").focus(), p: pause, "?": help, j: () => move(1), k: () => move(-1), x: choose, ".": act }[event.key];
  if (goes) location.hash = goes;
  else if (does) does();
  else return;
  event.preventDefault();
});

addEventListener("hashchange", open);
document.addEventListener("visibilitychange", () => {
  followOrNot();
  if (isWatched()) refresh();
});
// Between answers too, numbers grow old.
setInterval(countAlarms, ALARMS_MS);
setInterval(() => { main.classList.toggle("stale", isStale()); drawTop(); }, 1000);

route = read();
who = await me().catch(() => null);
if (who && who.role === null) toLogin();
open();
countAlarms();
