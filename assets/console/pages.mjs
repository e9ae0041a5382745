// The pages. Each says what it asks of the API, and draws what came.

import * as act from "./actions.mjs";
import { ofNowhere, ofOrigin, ofProxy, ofRefused, ofSession, ofStream } from "./badges.mjs";
import { chain, sparkline, timeline, timesOf } from "./charts.mjs";
import { get, login, name, query, runbook } from "./data.mjs";
import { h } from "./dom.mjs";
import { count, many, otherTime, percent, protocol, rate, size, span, stream as short, time, words } from "./format.mjs";
import { picture } from "./picture.mjs";
import { entriesOf, markdown } from "./runbook.mjs";
import { badge, table } from "./table.mjs";

const link = (to, text, props) => h("a", { href: `#/${to}`, ...props }, text);
const streamLink = (row) => link(`s/${name(row.stream)}`, short(row.stream), { class: "name" });
const originLink = (id) => (id ? link(`o/${encodeURIComponent(id)}`, id, { class: "name" }) : "–");
const sessionId = (row) => (row.proxy ? `${row.proxy}:${row.id}` : String(row.id));
const sessionLink = (row) => link(`x/${encodeURIComponent(sessionId(row))}`, sessionId(row));
const when = (millis) => h("time", { datetime: new Date(millis).toISOString(), title: otherTime(millis) }, time(millis));
const button = (text, onclick, props) => h("button", { type: "button", onclick, ...props }, text);
const runbookLink = (alert) => alert && link(`runbook/${alert}`, `Runbook: ${alert.replace("Sluicegate", "")}`);
const step = (state) => state.next && h("p", { class: "next" }, h("b", null, "Next: "), state.next, " ", runbookLink(state.runbook));
const TROUBLE = ["bad", "warn", "off", "ok"];
const troubleOf = ({ tone }) => TROUBLE.indexOf(tone);
/** The same for the row of a list that needs it most. */
const stepOf = (rows, nameOf, judge) => {
  const [row] = rows.filter((one) => judge(one).next).sort((a, b) => troubleOf(judge(a)) - troubleOf(judge(b)));
  const state = row && judge(row);
  return row && h("p", { class: "next" }, h("b", null, "Next for ", h("span", { class: "name" }, nameOf(row)), ": "), state.next, " ", runbookLink(state.runbook));
};
/** A button that shows numbers of a chart as a table, and the table. */
const asTable = ({ state, set }, { field, text, ...shown }) => h("section", { key: field },
  button([h("span", { "aria-hidden": "true" }, state[field] ? "▾ " : "▸ "), text], () => set({ [field]: !state[field] }), { class: "quiet", "aria-expanded": String(Boolean(state[field])) }),
  state[field] && table({ name: field, ...shown }));
const facts = (pairs) => h("dl", { class: "facts" }, pairs.map(([term, value]) => h("div", { key: term }, h("dt", null, term), h("dd", null, value ?? "–"))));
const right = "number";
/** A rate, where there is one, and the bytes since the start. */
const flow = (bps, bytes) => `${bps ? `${rate(bps)}, ` : ""}${size(bytes)}`;
/** What a session does; an operator who looks is no viewer. */
const does = (row) => (row.preview ? "preview" : row.action);
/** The address of a client without its port. */
const host = (client) => client.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");

// --- tables ---

const originColumns = (context) => [
  { title: "Origin", sort: "id", cell: (row) => originLink(row.id) },
  { title: "State", sort: "state", cell: (row) => badge(ofOrigin(row)) },
  { title: "Zone", sort: "zone", cell: (row) => (row.zone ? link(`origins?${query({ zone: row.zone })}`, row.zone, { class: "name" }) : "–") },
  { title: "Streams", sort: "streams", first: "-streams", class: right, cell: (row) => used(row.streams, row.max_streams) },
  { title: "Sessions", sort: "sessions", first: "-sessions", class: right, cell: (row) => (row.max_sessions ? [count(row.sessions), ", legs ", used(row.legs, row.max_sessions)] : count(row.sessions)) },
  { title: "Rate", sort: "rate", first: "-rate", class: right, cell: (row) => (row.max_mbps ? `${row.bps ? rate(row.bps) : "0"} / ${count(row.max_mbps)} Mbit/s` : rate(row.bps)) },
  { title: "CPU", sort: "load", first: "-load", class: right, cell: (row) => percent(row.cpu_percent) },
  { title: "Set-up", class: right, cell: (row) => span(row.setup_seconds) },
  { title: "Heard", sort: "heard", first: "-heard", class: right, cell: (row) => (row.permanent ? "–" : span(row.last_seen_seconds)) },
  context.mayAct && { title: "Action", cell: (row) => h("span", { class: "pair" }, originButtons(context, row).slice(0, 2)) },
].filter(Boolean);
const used = (now, most) => (most
  ? h("span", null, `${count(now)} / ${count(most)} `, h("meter", { min: 0, max: most, value: now, "aria-label": `${now} of ${most}` }))
  : count(now));

const originButtons = ({ again, mayAct }, row) => {
  if (!mayAct) return [];
  const probe = button("Probe now", () => act.probeOrigin(row, again), { "aria-label": `Probe ${row.id} now` });
  if (row.duty !== "active") {
    return [button(row.duty === "disabled" ? "Enable" : "Undrain", () => act.undrainOrigin(row, again), { "aria-label": `Take ${row.id} back` }), probe];
  }
  return [
    button("Drain…", () => act.drainOrigin(row, again), { "aria-label": `Drain ${row.id}` }), probe,
    button("Disable…", () => act.disableOrigin(row, again), { "aria-label": `Disable ${row.id}` }),
  ];
};

const streamColumns = [
  { title: "Stream", sort: "stream", cell: streamLink },
  { title: "State", cell: (row) => badge(ofStream(row)) },
  { title: "Origin", sort: "origin", cell: (row) => originLink(row.origin) },
  { title: "By", cell: (row) => row.protocols.map(protocol).join(", ") || "–" },
  { title: "In", sort: "rate", first: "-rate", class: right, cell: (row) => rate(row.bps_in) },
  { title: "Out", sort: "out", first: "-out", class: right, cell: (row) => rate(row.bps_out) },
  { title: "Viewers", sort: "players", first: "-players", class: right, cell: (row) => count(row.players) },
  { title: "Age", sort: "age", first: "-age", class: right, cell: (row) => span(row.since_seconds) },
];
const withoutSort = (columns, ...left) => columns.filter(({ title }) => !left.includes(title)).map(({ sort, ...column }) => column);

const sessionColumns = [
  { title: "Session", sort: "id", cell: sessionLink },
  { title: "State", cell: (row) => badge(ofSession(row)) },
  { title: "Stream", sort: "stream", cell: streamLink },
  { title: "What", cell: (row) => `${protocol(row.protocol)} ${does(row)}` },
  { title: "Client", sort: "client", cell: (row) => h("span", { class: "name" }, row.client) },
  { title: "Origin", sort: "origin", cell: (row) => originLink(row.origin) },
  { title: "Rate", sort: "rate", first: "-rate", class: right, cell: (row) => rate(row.bps_to_client + row.bps_to_origin) },
  { title: "Carried", sort: "bytes", first: "-bytes", class: right, cell: (row) => size(row.bytes_to_client + row.bytes_to_origin) },
  { title: "Age", sort: "age", first: "-age", class: right, cell: (row) => span(row.age_seconds) },
];

const endedColumns = [
  { title: "Ended", sort: "ended", first: "-ended", cell: (row) => when(row.ended_at) },
  { title: "Why", sort: "reason", cell: (row) => words(row.reason) },
  { title: "Stream", sort: "stream", cell: streamLink },
  { title: "What", cell: (row) => `${protocol(row.protocol)} ${does(row)}` },
  { title: "Client", sort: "client", cell: (row) => h("span", { class: "name" }, row.client) },
  { title: "Origin", sort: "origin", cell: (row) => originLink(row.origin) },
  { title: "Failed before", cell: (row) => row.failed.map((one) => `${one.origin}: ${one.why}`).join("; ") || "–" },
  { title: "Lasted", sort: "lasted", first: "-lasted", class: right, cell: (row) => span(row.lasted_seconds) },
  { title: "Carried", sort: "bytes", first: "-bytes", class: right, cell: (row) => size(row.bytes_to_client + row.bytes_to_origin) },
];

const eventColumns = [
  { title: "When", cell: (row) => when(row.at) },
  { title: "What", cell: (row) => h("span", { class: `kind ${toneOf(row)}` }, row.kind, row.count > 1 ? ` × ${count(row.count)}` : "") },
  { title: "Stream", cell: (row) => (row.stream ? streamLink(row) : "–") },
  { title: "Origin", cell: (row) => originLink(row.origin) },
  { title: "Who", cell: (row) => h("span", { class: "name" }, row.client ?? "–") },
  { title: "In words", cell: (row) => h("span", { class: "name" }, row.what) },
];
const TONES = { held: "warn", refused: "bad" };
/** How bad an event is; null where it is not. */
const toneOf = ({ kind, what }) => TONES[kind] ?? (kind === "origin" && /^(failing|gone|suspect)(?!.*deregistered)/.test(what) ? "bad" : "");
const eventKey = (row) => `${row.proxy ?? ""}:${row.id}`;

/** The parameters of a list, from the address of the page. */
const listQuery = (params, fixed = {}) => {
  const { tab, ...asked } = params;
  return query({ limit: 50, ...fixed, ...asked });
};

const listed = (context, { document, rows, noun, ...more }) => table({
  rows, again: context.again, sort: context.params.sort ?? more.usual,
  onSort: (sort) => context.go({ sort, after: undefined }),
  page: document && {
    total: document.total, atLeast: document.total_at_least, next: document.next, noun, isFirst: !context.params.after,
    onNext: () => context.go({ after: document.next }), onFirst: () => context.go({ after: undefined }),
  },
  ...more,
});

const filter = (context, { name: field, label, options }) => h("label", null, label, " ",
  h("select", { value: context.params[field] ?? "", onchange: ({ target }) => context.go({ [field]: target.value || undefined, after: undefined }) },
    h("option", { value: "" }, "all"), options.map((option) => h("option", { value: option, selected: context.params[field] === option }, field === "protocol" ? protocol(option) : words(option)))));

const finder = (context) => h("label", null, "Find ",
  h("input", { type: "search", value: context.params.q ?? "", onchange: ({ target }) => context.go({ q: target.value || undefined, after: undefined }) }));

const filters = (...all) => h("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, all);

const narrowed = (context, names) => names.filter((field) => context.params[field]).map((field) => h("span", { class: "chip", key: field },
  `${field}: ${short(context.params[field])} `, button("×", () => context.go({ [field]: undefined, after: undefined }), { "aria-label": `Without ${field}` })));

/** Rows that are chosen to be changed in one go. */
const choiceOf = ({ mayAct, state, set }, labelOf) => mayAct
  && { chosen: state.chosen ?? new Map(), most: act.MOST_CHOSEN, labelOf, onChoose: (chosen) => set({ chosen }) };

/** What can be done with them. It is always there, so that nothing jumps when a row is chosen. */
const together = ({ state, set, again }, choice, { rows = [], keyOf, noun, actions }) => {
  if (!choice) return null;
  const { chosen, labelOf } = choice;
  const now = new Map(rows.map((row) => [keyOf(row), row]));
  const all = [...chosen].map(([key, row]) => ({ key, label: labelOf(row), row: now.get(key) ?? row }));
  const isIdle = all.length === 0 || Boolean(state.isChanging);
  const make = async (action) => {
    if (isIdle) return;
    set({ isChanging: true });
    try {
      const left = await action(all, again);
      if (left) set({ chosen: new Map([...chosen].filter(([key]) => left.includes(key) && now.has(key))) });
    } finally {
      set({ isChanging: false });
    }
  };
  return h("p", { class: "buttons", key: "together" }, h("span", { class: "count" }, `${many(all.length, noun)} chosen${all.length >= choice.most ? ", which is the most" : ""}`),
    // Not `disabled`: that would take the focus from a button whose work is done.
    actions.map(([text, action]) => button(text, () => make(action), { "aria-disabled": String(isIdle) })),
    button("Choose none", () => all.length > 0 && set({ chosen: new Map() }), { "aria-disabled": String(isIdle) }));
};

// --- pages ---

const fleet = {
  title: "Fleet",
  asks: () => ({ overview: "overview", attention: "attention", history: "history", origins: "origins", streams: "streams?sort=-rate&limit=10" }),
  view: (context) => {
    const { data, again, totals } = context;
    const { overview, attention, history, origins, streams } = data;
    // The feed knows one proxy.
    const now = (overview?.proxies === 1 && totals) || (overview?.now ?? {});
    // Less than an hour after a start.
    const noted = (history?.totals.length ?? 0) * (history?.step_seconds ?? 0);
    const covered = noted > 0 ? span(noted) : "hour";
    const total = (title, field, text) => trend(title, text, (history?.totals ?? []).map((one) => one[field]), `in the last ${covered}`);
    return [
      h("h1", null, "Fleet"),
      alarms(attention, now, overview?.origins),
      h("dl", { class: "totals", "aria-live": "off" },
        total("Streams", "streams", count(now.streams)), total("Publishers", "publishers", count(now.publishers)),
        total("Viewers", "players", count(now.players)), total("In", "bps_in", rate(now.bps_in)), total("Out", "bps_out", rate(now.bps_out)),
        total("Refused a minute", "refused", count(now.refused)), total("Failovers a minute", "failovers", count(now.failovers))),
      asTable(context, { field: "values", text: `Values of the last ${covered} as a table`, again, ...valuesOf(history) }),
      refusals(overview?.refusals), storeLine(overview),
      h("section", { key: "origins" }, h("h2", null, `Origins in the last ${covered}`), originTimes(origins?.origins, history),
        asTable(context, { field: "states", text: "States as a table", again, ...statesOf(history) })),
      table({ name: "busiest", caption: "Busiest streams", columns: withoutSort(streamColumns), rows: streams?.streams,
        keyOf: (row) => `${row.stream} ${row.origin}`, empty: "No stream is placed.", again }),
    ];
  },
};

const MINUTE_MS = 60_000;
/** The totals of the last hour, one row a minute, newest first. */
const valuesOf = (history) => {
  const { totals = [], until, step_seconds: step } = history ?? {};
  const each = Math.max(1, Math.round(MINUTE_MS / 1000 / step));
  const rows = totals.map((one, number) => ({ ...one, at: until - (totals.length - 1 - number) * step * 1000 })).reverse();
  const number = (title, cell) => ({ title, class: right, cell });
  return { caption: "Totals, each minute", rows: history && rows.filter((_, number) => number % each === 0), keyOf: (row) => row.at, empty: "Nothing is noted yet.", columns: [
    { title: "When", cell: (row) => when(row.at) }, number("Streams", (row) => count(row.streams)), number("Publishers", (row) => count(row.publishers)),
    number("Viewers", (row) => count(row.players)), number("In", (row) => rate(row.bps_in)), number("Out", (row) => rate(row.bps_out)),
    number("Refused", (row) => count(row.refused)), number("Failovers", (row) => count(row.failovers))] };
};

/** How each origin was from when on. */
const statesOf = (history) => ({
  caption: "States of origins", rows: history && history.origins.slice(0, 50).flatMap((one) => timesOf(one, history.until)),
  keyOf: (row) => `${row.id} ${row.at}`, empty: "Nothing is noted yet.", columns: [{ title: "Origin", cell: (row) => originLink(row.id) },
    { title: "State", cell: (row) => row.name }, { title: "Since", cell: (row) => when(row.at) }, { title: "For", class: right, cell: (row) => span(row.seconds) }],
});

/** The store, as the proxy that is asked sees it. */
const storeLine = (overview) => {
  const { store, proxies: all } = overview ?? {};
  if (!store) return null;
  const text = store.kind === "memory" ? "in memory: this proxy is alone" : `${store.kind}, ${store.reachable ? "reachable" : "not reachable"} for ${span(store.since_seconds)}`;
  return h("p", { key: "store" }, "Store ", badge({ tone: store.reachable ? "ok" : "bad", text }), all > 1 && [", ", link("proxies", many(all, "proxy", "proxies"))],
    !store.reachable && [" ", runbookLink("SluicegateStoreStale")]);
};

/** Why requests got no session lately. */
const refusals = (reasons) => {
  const most = Object.entries(reasons ?? {}).sort(([, a], [, b]) => b - a);
  return most.length > 0 && h("p", { key: "refusals" }, "Refused in five minutes: ", most.map(([reason, times]) => `${words(reason)} ${count(times)}`).join(", "), ". ",
    link("events?kind=refused", "Events"));
};

/** A number, and how it was. */
const trend = (title, text, values, since) => h("div", { key: title, class: "total" },
  h("dt", null, title), h("dd", null, h("span", null, text), sparkline(values, `${title} ${since}: now ${text}`)));

const alarms = (attention, now, counts) => {
  const findings = attention?.findings ?? [];
  if (!attention) return h("p", { class: "calm" }, "Asking…");
  // The rule for that waits half a minute.
  if (findings.length === 0 && counts?.up === 0) return h("p", { class: "calm" }, badge({ tone: "bad", text: "No origin takes new streams" }), ": ", link("origins", "take one back or add one"));
  // Nobody knows what those have found that do not answer.
  if (findings.length === 0 && attention.partial) return h("p", { class: "calm" }, badge({ tone: "warn", text: "Nothing found" }), ", but not all proxies answer: ", link("proxies", "Proxies"));
  if (findings.length === 0) return h("p", { class: "calm" }, badge({ tone: "ok", text: "All well" }), `: ${many(now.streams, "stream")}, ${many(attention.rules, "rule")} watched`);
  return h("ul", { class: "alarms", "aria-label": "What needs attention" }, findings.map((one) => h("li", { key: one.name + one.about, class: one.severity },
    badge({ tone: one.severity === "critical" ? "bad" : "warn", text: one.summary }),
    one.about && h("span", { class: "name" }, one.name === "SluicegateOriginDown" ? originLink(one.about) : one.about),
    h("span", null, `for ${span(one.lasts_seconds)}`, one.proxies.length ? ` at ${one.proxies.join(", ")}` : ""),
    h("p", null, one.advice, " ", LOOKS[one.name] && link(...LOOKS[one.name]), " ", runbookLink(one.name)))));
};

/** Where the reason of what needs attention is seen. */
const LOOKS = {
  SluicegateNoOrigin: ["origins", "Origins"], SluicegateFailovers: ["origins", "Origins"], SluicegateSetupSlow: ["origins", "Origins"],
  SluicegateOriginFlaps: ["events?kind=origin", "Events"], SluicegateRefusals: ["events?kind=refused", "Events"], SluicegateClaimFlood: ["events?kind=refused", "Events"],
  SluicegateStalls: ["streams?state=stalled", "Streams"], SluicegateStoreStale: ["proxies", "Proxies"], SluicegateClaimConflicts: ["streams?state=in_two_places", "Streams"],
  SluicegateCertificateExpires: ["events?kind=certificate", "Events"], SluicegateDescriptors: ["settings?q=session.max", "Settings"],
};

const originTimes = (rows, history) => (!rows ? h("p", { class: "empty" }, "Asking…") : rows.length === 0
  ? h("p", { class: "empty" }, "No origin is known. Origins report to this port. ", runbookLink("SluicegateNoOrigin"))
  : [h("ul", { class: "times" }, worstFirst(rows).slice(0, MOST_TIMES).map((row) => h("li", { key: row.id },
    originLink(row.id), badge(ofOrigin(row)),
    timeline(row.id, (history?.origins ?? []).find((one) => one.id === row.id)?.states ?? "")))),
  rows.length > MOST_TIMES && h("p", { class: "empty" }, `The other ${count(rows.length - MOST_TIMES)} are among all `, link("origins", "Origins"), ".")]);
const MOST_TIMES = 50;
/** Where not all can be shown, those that need somebody are; else each stays in its place. */
const worstFirst = (rows) => (rows.length <= MOST_TIMES ? rows
  : [...rows].sort((a, b) => troubleOf(ofOrigin(a)) - troubleOf(ofOrigin(b))));

const origins = {
  title: "Origins",
  asks: ({ params }) => ({ origins: `origins?${listQuery(params)}` }),
  view: (context) => {
    const rows = context.data.origins?.origins;
    const keyOf = (row) => row.id;
    const choice = choiceOf(context, keyOf);
    return [
      h("h1", null, "Origins"),
      filters(finder(context), filter(context, { name: "state", label: "State", options: ["up", "suspect", "failing"] }),
        filter(context, { name: "duty", label: "Duty", options: ["active", "draining", "disabled"] }), narrowed(context, ["zone"])),
      together(context, choice, { rows, keyOf, noun: "origin", actions: [["Drain…", act.drainOrigins], ["Disable…", act.disableOrigins], ["Take back", act.undrainOrigins]] }),
      listed(context, { name: "origins", caption: "Origins", isPage: true, columns: originColumns(context), document: context.data.origins, rows, keyOf, choice,
        noun: "origin", usual: "id", empty: "No origin is known, or none matches." }),
      stepOf(rows ?? [], keyOf, ofOrigin),
    ];
  },
};

const origin = {
  title: (route) => route.rest,
  asks: ({ rest }) => ({
    origin: `origins/${name(rest)}`,
    streams: `streams?${query({ origin: rest, sort: "-rate", limit: 50 })}`,
    sessions: `sessions?${query({ origin: rest, sort: "-rate", limit: 50 })}`,
    events: `events?${query({ origin: rest, limit: 20 })}`,
  }),
  view: (context) => {
    const { data, again, rest, isAdmin } = context;
    const row = data.origin;
    if (!row) {
      return [h("h1", null, rest), h("p", { class: "empty" }, row === null ? "No origin has that id; it may be forgotten. " : "Asking…", row === null && link("origins", "Origins")),
        row === null && table({ name: "events", caption: "What happened", columns: withoutSort(eventColumns, "Origin"), rows: data.events?.events, keyOf: eventKey, empty: "Nothing.", again })];
    }
    const state = ofOrigin(row);
    return [
      h("h1", null, row.id, " ", badge(state)), step(state),
      h("p", { class: "buttons" }, originButtons(context, row),
        isAdmin && button("Deregister…", () => act.deregisterOrigin(row, again))),
      facts([["Address", row.ip], ["Zone", row.zone], ["Labels", row.labels.join(", ") || "–"], ["Weight", row.weight],
        ["Streams", used(row.streams, row.max_streams)], ["Sessions", count(row.sessions)], ["Legs", used(row.legs, row.max_sessions)], ["Rate", rate(row.bps)],
        ["CPU", percent(row.cpu_percent)], ["Memory", percent(row.memory_percent)], ["Median set-up", span(row.setup_seconds)], ["Heard", row.permanent ? "does not report" : `${span(row.last_seen_seconds)} ago`],
        ["Known for", span(row.up_seconds)], ["From", row.source ?? (row.permanent ? "the settings" : "its own registration")],
        ...["rtmp", "http", "api", "srt", "rtc", "rtsp"].filter((one) => row[one].length).map((one) => [one.toUpperCase(), row[one].map((at) => at.replace(/^tcp:\/\/(?=:)/, "")).join(", ")])]),
      h("section", { key: "notes" }, h("h2", null, "Notes"), row.notes.length === 0
        ? h("p", { class: "empty" }, "Nothing happened to it lately.")
        : h("ol", { class: "notes" }, row.notes.map((note, at) => h("li", { key: at }, `${span(note.seconds_ago)} ago: ${note.what}`)))),
      table({ name: "events", caption: "What happened", columns: withoutSort(eventColumns, "Origin"), rows: data.events?.events, keyOf: eventKey, empty: "Nothing.", again }),
      table({ name: "streams", caption: `Streams on it (${count(data.streams?.total)})`, columns: withoutSort(streamColumns, "Origin"), rows: data.streams?.streams,
        keyOf: (one) => one.stream, empty: "No stream is on it.", again }),
      table({ name: "sessions", caption: `Sessions on it (${count(data.sessions?.total)})`, columns: withoutSort(sessionColumns, "Origin"), rows: data.sessions?.sessions,
        keyOf: sessionId, empty: "No session is on it.", again }),
    ];
  },
};

const streams = {
  title: "Streams",
  asks: ({ params }) => ({ streams: `streams?${listQuery(params)}` }),
  view: (context) => {
    const rows = context.data.streams?.streams;
    const keyOf = (row) => `${row.stream} ${row.origin}`;
    const choice = choiceOf(context, (row) => short(row.stream));
    return [
      h("h1", null, "Streams"),
      filters(finder(context), filter(context, { name: "state", label: "State", options: ["live", "late_keyframes", "stalled", "held", "waiting", "in_two_places", "idle"] }),
        filter(context, { name: "protocol", label: "Published by", options: ["rtmp", "rtsp", "srt", "webrtc"] }), narrowed(context, ["origin"])),
      together(context, choice, { rows, keyOf, noun: "stream", actions: [["End…", act.endStreams]] }),
      listed(context, { name: "streams", caption: "Streams", isPage: true, columns: streamColumns, document: context.data.streams, rows, keyOf, choice,
        noun: "stream", usual: "stream", empty: "No stream matches." }),
      stepOf(rows ?? [], (row) => short(row.stream), ofStream),
    ];
  },
};

const stream = {
  title: ({ rest }) => short(rest),
  asks: ({ rest, params }) => ({
    stream: `streams/${name(rest)}`,
    publishers: `sessions?${query({ stream: rest, action: "publish" })}`,
    players: `sessions?${query({ stream: rest, action: "play", sort: "-rate", limit: 20 })}`,
    ended: `sessions/ended?${query({ stream: rest, limit: 10 })}`,
    events: `events?${query({ stream: rest, limit: 20 })}`,
    explain: `explain?${query({ stream: rest, without: params.without })}`,
    links: `links?${query({ stream: rest })}`,
  }),
  view: (context) => {
    const { data, again, rest, mayAct } = context;
    const row = data.stream;
    const isUnused = !row || row.state === "idle";
    const state = row === undefined ? { tone: "off", text: "Asking…" }
      : (isUnused && ofRefused(data.events?.events ?? [], Date.now())) || (row ? ofStream(row) : ofNowhere(data.explain));
    const carried = noted(rest, row);
    return [
      h("h1", null, h("span", { class: "name" }, short(rest)), " ", badge(state)), step(state),
      !row && explained(context, data.explain),
      row && h("p", { class: "buttons" }, mayAct && row.publishers > 0 && button("Move…", () => act.moveStream(rest, again)),
        mayAct && row.also_on && [row.origin, ...row.also_on].map((one) => button(`End on ${one}…`, () => act.endStreamOn(row, one, again), { key: one })),
        mayAct && row.publishers + row.players > 0 && button("End stream…", () => act.endStream(row, again)), link(`sessions?${query({ stream: rest })}`, "All its sessions")),
      row && facts([["Origin", originLink(row.origin)], ["Publishers", count(row.publishers)],
        ["Age", span(row.since_seconds)], ["Published by", row.protocols.map(protocol).join(", ") || "–"],
        ["Keyframes", row.keyframe_seconds && `every ${span(row.keyframe_seconds)}`],
        ["Proxies", row.proxies.join(", ") || "this one"]]),
      row && h("dl", { class: "totals few", "aria-live": "off" },
        ...[["In", rate(row.bps_in), "bps_in"], ["Out", rate(row.bps_out), "bps_out"], ["Viewers", count(row.players), "players"]].map(([title, text, field]) =>
          trend(title, text, carried.map((one) => one[field]), "since this page is open"))),
      row && asTable(context, { field: "values", text: "Values as a table", again, caption: "Rates since this page is open", rows: [...carried].reverse().filter((_, number) => number % 5 === 0),
        keyOf: (one) => one.at, empty: "Nothing is noted yet.", columns: [{ title: "When", cell: (one) => when(one.at) }, { title: "In", class: right, cell: (one) => rate(one.bps_in) },
          { title: "Out", class: right, cell: (one) => rate(one.bps_out) }, { title: "Viewers", class: right, cell: (one) => count(one.players) }] }),
      row && data.publishers?.sessions.length === 1 && way(data.publishers.sessions[0]),
      row && h("div", { class: "beside" }, picture(context), said(context)),
      table({ name: "publishers", caption: "Publisher", columns: withoutSort(sessionColumns, "Stream"), rows: data.publishers?.sessions, keyOf: sessionId,
        empty: "Nobody publishes it through these proxies.", again }),
      table({ name: "players", caption: `Viewers (${count(row?.players ?? data.players?.total)})`, columns: withoutSort(sessionColumns, "Stream"), rows: data.players?.sessions, keyOf: sessionId,
        empty: "Nobody plays it.", again }),
      table({ name: "events", caption: "What happened", columns: withoutSort(eventColumns, "Stream"), rows: data.events?.events, keyOf: eventKey, empty: "Nothing lately.", again }),
      table({ name: "ended", caption: "Sessions that ended", columns: withoutSort(endedColumns, "Stream"), rows: data.ended?.sessions, keyOf: sessionId, empty: "None lately.", again }),
      row && explained(context, data.explain), linked(context, data.links),
    ];
  },
};

const MOST_NOTED = 150;
let watched = { of: null, rows: [] };
/** What a stream carried at each answer since its page is open: at most five minutes. */
const noted = (of, row) => {
  if (watched.of !== of) watched = { of, rows: [] };
  if (row && watched.last !== row) watched = { of, last: row, rows: [...watched.rows, { ...row, at: Date.now() }].slice(-MOST_NOTED) };
  return watched.rows;
};

/** The way of a session: its client, what is between, and its origin, with the times that it took. */
const way = (row) => chain([
  { what: row.preview ? "Operator" : row.action === "publish" ? "Publisher" : "Player", name: row.client },
  row.peer !== row.client && { what: "Proxy in front", name: row.peer },
  { what: "Proxy", name: row.proxy ?? "this one" },
  ...row.failed.map((one) => ({ what: "Failed", name: `${one.origin}: ${one.why}`, failed: true })),
  row.origin && { what: "Origin", name: row.origin, edge: [row.setup_seconds === null ? "connecting" : `connected in ${span(row.setup_seconds)}`,
    row.first_media_seconds !== null && `, first media after ${span(row.first_media_seconds)}`] },
].filter(Boolean));

const whatIf = (context, documents) => h("label", null, "What if an origin vanished? ",
  h("select", { value: context.params.without ?? "", onchange: ({ target }) => context.go({ without: target.value || undefined }) },
    h("option", { value: "" }, "none"),
    [...new Set(documents.flatMap(({ candidates, rejected }) => [...candidates, ...rejected]).map((one) => one.origin).concat(context.params.without ?? []))].sort()
      .map((id) => h("option", { value: id, selected: context.params.without === id }, id))));

const explained = (context, document) => document && h("section", { key: "explain" }, h("h2", null, document.claim ? "Why there?" : "Where would it go?"),
  reasons(document), whatIf(context, [document]), considered(context, document));

/** The stream is named beside it. */
const whyOf = ({ stream: of, why }) => why.replace(`${of}: `, "");
const reasons = (document) => [
  h("p", null, document.origin ? [document.claim ? "It goes to " : "It would go to ", originLink(document.origin), `: ${whyOf(document)}`]
    : `${document.claim ? "It goes" : "It would go"} nowhere: ${whyOf(document)}`),
  document.claim && h("p", null, `Placed ${span(document.claim.age_seconds)} ago${document.claim.why ? `: ${document.claim.why}` : ""}.`),
];

const considered = (context, document) => [
  table({ name: "candidates", caption: `Origins that may take it, by ${document.policy}`, rows: document.candidates, keyOf: (row) => row.origin, empty: "None.", again: context.again,
    columns: [
      { title: "Origin", cell: (row) => originLink(row.origin) }, { title: "Score", class: right, cell: (row) => row.score.toPrecision(4) },
      { title: "Weight", class: right, cell: (row) => row.weight }, { title: "Streams", class: right, cell: (row) => row.streams },
      { title: "Load", class: right, cell: (row) => percent(row.load_percent) }] }),
  document.rejected.length > 0 && table({ name: "rejected", caption: "Origins that may not", rows: document.rejected, keyOf: (row) => row.origin, empty: "None.", again: context.again,
    columns: [{ title: "Origin", cell: (row) => originLink(row.origin) }, { title: "Why not", cell: (row) => words(row.reason) }] }),
];

/** What is said for each protocol, in a table: those for which the same is said have one row. */
const byProtocol = (context, document) => {
  const all = document.protocols;
  // A stream stays where it is, also for those who ask for it by what that origin does not speak.
  const isUnspoken = (one) => one.rejected.some(({ origin, reason }) => origin === one.origin && reason === "no_service");
  const joined = (parts) => (parts.length === 0 ? "–" : parts.flatMap((part, at) => [at > 0 && ", ", part]));
  const same = Map.groupBy(all, ({ origin, why, candidates, rejected }) => JSON.stringify([origin, why, candidates, rejected]));
  const rows = [...same].map(([key, of]) => ({ ...of[0], key, protocols: of.map((one) => one.protocol) }));
  const protocolLink = (word) => link(`explain?${query({ ...context.params, protocol: word })}`, protocol(word), { "aria-current": word === context.params.protocol ? "true" : false });
  const shown = all.find((one) => one.protocol === context.params.protocol);
  return h("section", { key: "explain" },
    h("h2", null, all.some((one) => one.claim) ? "Where is it, and why?" : "Where would it go?"),
    whatIf(context, all),
    table({ name: "protocols", caption: "By each protocol", rows, keyOf: (row) => row.key, empty: "None.", again: context.again, columns: [
      { title: "Protocol", cell: (row) => joined(row.protocols.map(protocolLink)) },
      { title: "Goes to", cell: (row) => (row.origin && !isUnspoken(row) ? originLink(row.origin) : badge({ tone: "bad", text: "Nowhere" })) },
      { title: "Why", class: "prose", cell: (row) => (isUnspoken(row) ? [originLink(row.origin), ", where it is, does not speak that"] : whyOf(row)) },
      { title: "May take it, best first", cell: (row) => joined(row.candidates.map((one) => originLink(one.origin))) },
      { title: "May not", class: "prose", cell: (row) => (row.rejected.length === 0 ? "–" : [...Map.groupBy(row.rejected, (one) => one.reason)].map(([reason, of]) => h("span", { class: "reason", key: reason },
        joined(of.map((one) => originLink(one.origin))), `: ${words(reason)}`))) }] }),
    shown ? h("section", { key: shown.protocol }, h("h2", null, protocol(shown.protocol)), reasons(shown), considered(context, shown))
      : h("p", { class: "empty" }, "A protocol shows scores and loads."));
};

/** What the origins themselves say of the stream. They are asked when somebody wants to know, not all the time. */
const said = ({ rest, state, set, again }) => {
  const answer = state.said;
  const askThem = async () => set({ said: await get(`said?${query({ stream: rest })}`).catch((error) => ({ problem: error.message })) });
  return h("section", { key: "said" }, h("h2", null, "What the origin says"),
    answer && told(answer, again), button(answer ? "Ask again" : "Ask it", askThem));
};
const told = ({ problem, set_up: isSetUp, origins: all, silent }, again) => {
  if (problem) return h("p", { role: "alert" }, `No answer: ${problem}.`);
  if (!isSetUp) return h("p", null, "Not set up. Origins are asked where the API over all origins is on: set api.auth_token, api.auth_username or api.allow_from.");
  const listed = all.flatMap((one) => one.listed.map((client) => ({ ...client, origin: one.origin })));
  return [
    all.length === 0 && h("p", { class: "empty" }, "No origin lists it."),
    all.map((one) => facts([["Origin", originLink(one.origin)], ["Published there", one.published ? "yes" : "no"],
      ["Pictures", one.video && `${[one.video.codec, one.video.profile, one.video.level].filter(Boolean).join(" ")}${one.video.width && one.video.height ? `, ${one.video.width} × ${one.video.height}` : ""}`],
      ["Sound", one.audio && [[one.audio.codec, one.audio.profile].filter(Boolean).join(" "), one.audio.sample_rate && `${one.audio.sample_rate / 1000} kHz`, one.audio.channels && many(one.audio.channels, "channel")].filter(Boolean).join(", ")],
      ["Frames", one.frames !== null && count(one.frames)], ["In", one.bps_in !== null && rate(one.bps_in)], ["Out", one.bps_out !== null && rate(one.bps_out)],
      ["Clients", one.clients !== null && count(one.clients)]].map(([term, value]) => [term, value || "–"]))),
    silent.map((one) => h("p", { key: one.origin }, `No answer from ${one.origin}: ${one.why}.`)),
    listed.length > 0 && table({ name: "said", caption: "Its clients at the origin, those that come from a proxy among them", rows: listed, keyOf: (row) => `${row.origin} ${row.id}`, again, columns: [
      { title: "Client", cell: (row) => h("span", { class: "name" }, row.id) }, { title: "Origin", cell: (row) => originLink(row.origin) },
      { title: "From", cell: (row) => h("span", { class: "name" }, row.address) }, { title: "What", cell: (row) => h("span", { class: "name" }, `${row.publishes ? "publishes" : "plays"} (${row.kind})`) },
      { title: "For", class: right, cell: (row) => span(row.alive_seconds) }] }),
  ];
};

/** Links, in which the name of the stream is masked until somebody asks: it may be the key to publish with. */
const linked = (context, document) => {
  if (!document) return null;
  const secret = document.stream.split("/").at(-1);
  const mask = (url) => (context.state.shown ? url : url.replaceAll(secret, "•••"));
  const group = (action, title) => h("section", { key: action }, h("h3", null, title),
    h("ul", { class: "links" }, document.links.filter((one) => one.action === action).map((one) => h("li", { key: one.protocol },
      h("label", null, `${one.protocol} `, h("input", { readonly: true, value: mask(one.url), onfocus: ({ target }) => target.select() })),
      button("Copy", ({ target }) => copy(one.url, target), { "aria-label": `Copy the ${one.protocol} link to ${action}` })))));
  return h("section", { key: "links" }, h("h2", null, "Links"),
    button(context.state.shown ? "Hide names" : "Show names", () => context.set({ shown: !context.state.shown }), { "aria-pressed": String(Boolean(context.state.shown)) }),
    h("div", { class: "beside" }, group("publish", "Publish"), group("play", "Play")));
};

/** Copies also where pages are not given the clipboard, as over plain HTTP. */
const copy = (text, beside) => {
  const field = Object.assign(document.createElement("textarea"), { value: text, className: "offscreen" });
  beside.after(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  beside.focus();
  act.say(isCopied ? "Copied." : "This browser does not copy; select the link instead.");
};

const sessions = {
  title: "Sessions",
  asks: ({ params }) => (params.tab === "ended" ? { ended: `sessions/ended?${listQuery(params)}` } : { sessions: `sessions?${listQuery(params)}` }),
  view: (context) => {
    const isEnded = context.params.tab === "ended";
    const tab = (value, text) => link(`sessions${value ? `?tab=${value}` : ""}`, text, { "aria-current": isEnded === Boolean(value) ? "page" : false });
    const document = isEnded ? context.data.ended : context.data.sessions;
    const choice = choiceOf(context, sessionId);
    return [
      h("h1", null, "Sessions"),
      h("nav", { class: "tabs", "aria-label": "Which sessions" }, tab("", "Open"), tab("ended", "Ended")),
      filters(finder(context), filter(context, { name: "action", label: "Action", options: ["play", "publish"] }),
        filter(context, { name: "protocol", label: "Protocol", options: ["http_aac", "http_flv", "http_mp3", "http_ts", "rtmp", "rtsp", "srt", "webrtc"] }),
        !isEnded && filter(context, { name: "state", label: "State", options: ["connecting", "waiting", "relaying", "held"] }),
        narrowed(context, ["origin", "stream", "client", "proxy", "reason"])),
      !isEnded && together(context, choice, { rows: document?.sessions, keyOf: sessionId, noun: "session", actions: [["End…", act.endSessions]] }),
      listed(context, { choice: !isEnded && choice, name: isEnded ? "ended" : "sessions", caption: isEnded ? "Sessions that ended" : "Open sessions", columns: isEnded ? endedColumns : sessionColumns,
        document, rows: document?.sessions, keyOf: sessionId, noun: "session", usual: isEnded ? "-ended" : "id", empty: "No session matches." }),
      !isEnded && stepOf(document?.sessions ?? [], sessionId, ofSession),
    ];
  },
};

let seen = { of: null, row: null };
/** A session, as it was last while it was open: whoever looks at one that ends wants to know what it was. */
const lastSeen = (of, row) => {
  if (row) seen = { of, row };
  return row ?? (seen.of === of ? seen.row : null);
};

const session = {
  title: ({ rest }) => `Session ${rest}`,
  asks: ({ rest }) => ({ session: `sessions/${name(rest)}` }),
  view: ({ data, again, rest, mayAct }) => {
    if (data.session === undefined) return [h("h1", null, `Session ${rest}`), h("p", { class: "empty" }, "Asking…")];
    const row = lastSeen(rest, data.session);
    if (!row) return [h("h1", null, `Session ${rest}`), h("p", { class: "empty" }, "No session has that id; it may have ended. ", link("sessions?tab=ended", "Sessions that ended"))];
    const isOpen = data.session !== null;
    const state = isOpen ? ofSession(row) : { tone: "off", text: "Ended" };
    return [
      h("h1", null, `Session ${sessionId(row)} `, badge(state)), step(state),
      !isOpen && h("p", { class: "next" }, "This is how it was last. ",
        link(`sessions?${query({ tab: "ended", stream: row.stream, client: host(row.client) })}`, "Why it ended")),
      h("p", { class: "buttons" }, mayAct && isOpen && button("End session…", () => act.endSession(row, sessionId(row), again)),
        mayAct && button("Ban its address…", () => act.ban(`address:${host(row.client)}`, "", again))),
      way(row), row.why && h("p", null, `Why there: ${row.why}.`),
      facts([["Stream", streamLink(row)], ["Protocol", `${protocol(row.protocol)}, ${does(row)}`], ["Origin", originLink(row.origin)], ["Age", span(row.age_seconds)],
        ["To the client", flow(row.bps_to_client, row.bytes_to_client)], ["To the origin", flow(row.bps_to_origin, row.bytes_to_origin)],
        ["Stalls", count(row.stalls)], ["Keyframes", row.keyframe_seconds && `every ${span(row.keyframe_seconds)}`], ["Of this client", link(`sessions?${query({ client: host(row.client) })}`, "all its sessions")]]),
      row.holds.length > 0 && h("section", { key: "holds" }, h("h2", null, "Held"), h("ol", { class: "notes" }, row.holds.map((one, at) => h("li", { key: at }, heldAs(one))))),
    ];
  },
};

const heldAs = ({ ago_seconds: ago, from, to, reason, gap_ms: gap, dropped }) => [`${span(ago)} ago it lost `, originLink(from), ` (${words(reason)})`,
  to ? [", and goes on at ", originLink(to)] : ", and waits for another origin", gap === null ? "" : ` after ${span(gap / 1000)}`, dropped > 0 ? `; ${many(dropped, "message")} got lost` : "", "."];

const explain = {
  title: "Explain",
  asks: ({ params }) => (params.stream ? { explain: `explain?${query({ stream: params.stream, protocol: "all", without: params.without })}` } : {}),
  view: (context) => [
    h("h1", null, "Explain"),
    h("form", { class: "filters", onsubmit: (event) => { event.preventDefault(); context.go({ stream: event.target.elements.stream.value, without: undefined, protocol: undefined }); } },
      h("label", null, "Stream, as app/name ", h("input", { name: "stream", value: context.params.stream ?? "", required: true })),
      h("button", { type: "submit" }, "Explain")),
    context.data.explain && byProtocol(context, context.data.explain),
  ],
};

/** Which proxy noted an event, where there are several. */
const byProxy = (rows) => (rows?.some((row) => row.proxy)
  ? [{ title: "Proxy", cell: (row) => (row.proxy ? link(`events?${query({ proxy: row.proxy })}`, row.proxy, { class: "name" }) : "–") }] : []);

const KINDS = ["audit", "certificate", "config", "drained", "held", "lost", "moved", "origin", "published", "refused"];
const events = {
  title: "Events",
  asks: ({ params }) => ({ events: `events?${listQuery(params)}` }),
  view: (context) => [
    h("h1", null, "Events"),
    filters(finder(context), filter(context, { name: "kind", label: "Kind", options: KINDS }), narrowed(context, ["stream", "origin", "client", "proxy"])),
    listed(context, { name: "events", caption: "Events, newest first", columns: [...eventColumns, ...byProxy(context.data.events?.events)], document: context.data.events, rows: context.data.events?.events,
      keyOf: eventKey, noun: "event", usual: "-at", empty: "Nothing happened, or nothing matches." }),
  ],
};

const MOST_PEERS = 20;
const proxies = {
  title: "Proxies",
  asks: ({ known }) => ({ proxy: "proxy", ...Object.fromEntries((known?.proxy?.peers ?? []).slice(0, MOST_PEERS).map((peer) => [`peer ${peer.id}`, `proxy?${query({ proxy: peer.id })}`])) }),
  mayFail: (field) => field !== "proxy",
  view: ({ data, again, mayAct }) => {
    const own = data.proxy;
    const peers = (own?.peers ?? []).map((peer) => ({ ...peer, ...data[`peer ${peer.id}`] }));
    const rows = own && [{ ...own, isOwn: true }, ...peers];
    const buttons = (row) => (row.draining === undefined ? "–" : row.draining ? button("Undrain", () => act.undrainProxy(row, again)) : button("Drain…", () => act.drainProxy(row, again)));
    return [
      h("h1", null, "Proxies"),
      table({ name: "proxies", caption: "Proxies", isPage: true, rows, keyOf: (row) => row.id ?? "own", empty: "None.", again, columns: [
        { title: "Proxy", cell: (row) => h("span", { class: "name" }, row.id ?? "this one", row.isOwn && row.id ? " (asked)" : "") },
        { title: "State", cell: (row) => (peers.indexOf(row) < MOST_PEERS ? badge(ofProxy(row)) : "–") },
        { title: "Version", cell: (row) => row.version },
        { title: "Started", cell: (row) => (row.started ? when(Date.parse(row.started)) : "–") },
        { title: "Publishers", class: right, cell: (row) => count(row.publishers) },
        { title: "Viewers", class: right, cell: (row) => count(row.players) },
        mayAct && { title: "Action", cell: buttons }].filter(Boolean) }),
      rows && stepOf(rows, (row) => row.id ?? "this one", ofProxy),
      peers.length > MOST_PEERS && h("p", { class: "empty" }, `Only ${MOST_PEERS} of the others are asked how they are.`),
    ];
  },
};

const settings = {
  title: "Settings",
  asks: () => ({ settings: "settings" }),
  view: (context) => {
    const { q = "" } = context.params;
    const { settings: all = [], listeners = [] } = context.data.settings ?? {};
    const rows = all.filter((row) => `${row.path} ${row.doc}`.toLowerCase().includes(q.toLowerCase()));
    return [
      h("h1", null, "Settings"), h("p", null, "Read only. They are written in the settings file or the environment; secrets are never shown."),
      h("h2", null, "Listeners"), facts(listeners.map((one) => [one.name, one.address])), filters(finder(context)),
      table({ name: "settings", caption: "Settings in effect", rows: context.data.settings && rows, keyOf: (row) => row.path, empty: "No setting matches.", again: context.again, columns: [
        { title: "Setting", cell: (row) => row.path }, { title: "Value", cell: (row) => h("code", null, row.value) },
        { title: "From", cell: (row) => (row.is_default ? "default" : h("b", null, row.source)) }, { title: "What it does", class: "prose", cell: (row) => row.doc }] }),
    ];
  },
};

const MOST_BANS = 500;
const BANNED = [["address", "Address or network"], ["viewer", "Viewer or user"], ["key", "Key"], ["token", "Token (jti)"], ["stream", "Stream"]];

/** Who is banned. Whoever only looks sees the list alone. */
const bans = {
  title: "Bans",
  asks: () => ({ bans: "bans" }),
  view: (context) => {
    const { q = "" } = context.params;
    const all = context.data.bans?.bans ?? [];
    const rows = all.filter((row) => `${row.kind}:${row.name} ${row.reason}`.toLowerCase().includes(q.toLowerCase()));
    const onsubmit = async (event) => {
      event.preventDefault();
      const form = event.target;
      const { kind, name: whom, reason } = Object.fromEntries(new FormData(form));
      if (await act.ban(`${kind}:${whom.trim()}`, reason.trim(), context.again)) form.reset();
    };
    return [
      h("h1", null, "Bans"),
      context.mayAct && h("form", { class: "filters", onsubmit },
        h("label", null, "Ban ", h("select", { name: "kind" }, BANNED.map(([value, text]) => h("option", { value }, text)))),
        h("label", null, "Which ", h("input", { name: "name", autocomplete: "off", required: true })),
        h("label", null, "Why ", h("input", { name: "reason", autocomplete: "off", maxlength: 200 })),
        h("button", { type: "submit" }, "Ban…")),
      filters(finder(context)),
      rows.length > MOST_BANS && h("p", { class: "empty" }, `The ${MOST_BANS} that end first are shown, of ${count(rows.length)}: Find narrows them.`),
      table({ name: "bans", caption: `Bans that hold (${count(context.data.bans?.total)})`, rows: context.data.bans && rows.slice(0, MOST_BANS), keyOf: (row) => row.id, empty: "Nobody is banned, or none matches.", again: context.again,
        columns: [
          { title: "Who", cell: (row) => h("span", { class: "name" }, `${row.kind}:${row.name}`) },
          { title: "Why", cell: (row) => h("span", { class: "name" }, row.reason || "–") },
          { title: "Since", cell: (row) => when(row.since * 1000) },
          { title: "Until", cell: (row) => when(row.until * 1000) },
          { title: "Left", class: right, cell: (row) => span(row.seconds_left) },
          context.mayAct && { title: "Action", cell: (row) => button("Lift", () => act.liftBan(row, context.again), { "aria-label": `Lift the ban of ${row.kind}:${row.name}` }) },
        ].filter(Boolean) }),
    ];
  },
};

/** What to do about each alert. */
const book = {
  title: ({ rest }) => (rest ? `Runbook: ${rest}` : "Runbook"),
  asks: () => ({ runbook }),
  view: ({ data, rest }) => {
    const entries = data.runbook ? entriesOf(data.runbook) : [];
    const entry = entries.find(({ title }) => title === rest);
    return [
      h("h1", null, h("span", { class: "name" }, rest || "Runbook")),
      !data.runbook && h("p", { class: "empty" }, "Asking…"),
      entry && h("section", { class: "prose", key: rest }, markdown(entry.text, (alert) => link(`runbook/${alert}`, alert))),
      entry && LOOKS[rest] && h("p", null, "Where to look: ", link(...LOOKS[rest])),
      data.runbook && rest && !entry && h("p", { class: "empty" }, "There is no alert of that name."),
      data.runbook && h("section", { key: "all" }, h("h2", null, "All alerts"), h("ul", { class: "index" }, entries.map(({ title }) => h("li", { key: title },
        link(`runbook/${title}`, title, { "aria-current": title === rest ? "page" : false }))))),
    ];
  },
};

const enter = {
  title: "Log in",
  asks: () => ({}),
  view: (context) => [
    h("h1", null, "Log in"),
    h("form", { class: "login", onsubmit: async (event) => {
      event.preventDefault();
      try {
        await login(event.target.elements.token.value);
        context.entered();
      } catch (error) {
        context.set({ problem: error.message });
      }
    } },
    h("label", null, "Token (system.auth_token, or one of system.tokens) ", h("input", { name: "token", type: "password", autocomplete: "current-password", required: true })),
    context.state.problem && h("p", { role: "alert" }, context.state.problem),
    h("button", { type: "submit" }, "Log in")),
  ],
};

/** Every page by the first word of its address. */
export const PAGES = { "": fleet, origins, o: origin, streams, s: stream, sessions, x: session, explain, events, bans, proxies, settings, runbook: book, login: enter };
/** Those that the navigation names. */
export const NAMED = [["", "Fleet"], ["origins", "Origins"], ["streams", "Streams"], ["sessions", "Sessions"], ["explain", "Explain"], ["events", "Events"],
  ["bans", "Bans"], ["proxies", "Proxies"], ["settings", "Settings"]];
