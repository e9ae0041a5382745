// Changes: each asks first, says what it will do to whom, and offers to undo it where that is possible.

import { h, render } from "./dom.mjs";
import { fullOf } from "./badges.mjs";
import { get, name, query, send } from "./data.mjs";
import { count, many, protocol, span, stream as short } from "./format.mjs";

const UNDO_MS = 15_000;
const MOST_TOASTS = 4;
const said = document.getElementById("said");
const dialog = document.getElementById("dialog");
const toasts = document.getElementById("toasts");
let shown = [];

/** Says something once, to eyes and screen readers. */
export const say = (text) => { said.textContent = text; };

const drawToasts = () => render(toasts, shown.map(({ key, text, undo }) => h("div", { key, class: "toast" },
  h("span", null, text),
  undo && h("button", { type: "button", onclick: () => { drop(key); undo(); } }, "Undo"),
  h("button", { type: "button", "aria-label": "Close this note", onclick: () => drop(key) }, "×"))));
const drop = (key) => {
  shown = shown.filter((one) => one.key !== key);
  drawToasts();
};
let last = 0;
/** A note on something: `show` is for eyes alone, `tell` says how far it is, `end` what became of it, which goes after a while unless it `stays`. */
const note = () => {
  const key = ++last;
  const show = (text, undo, stays) => {
    const own = { key, text, undo, stays };
    if (shown.some((one) => one.key === key)) shown = shown.map((one) => (one.key === key ? own : one));
    else shown = [...shown, own];
    // What stays makes room last, and what can be undone before that.
    if (shown.length > MOST_TOASTS) drop((shown.find((one) => !one.undo && !one.stays) ?? shown.find((one) => !one.stays) ?? shown[0]).key);
    drawToasts();
  };
  const tell = (text, undo, stays) => {
    show(text, undo, stays);
    say(text);
  };
  const end = (text, undo, stays) => {
    tell(text, undo, stays);
    if (!stays) setTimeout(() => drop(key), UNDO_MS);
  };
  return { show, tell, end, close: () => drop(key) };
};
export const toast = (text, undo) => note().end(text, undo);

/** Asks. Resolves with the values of the fields, or with null. `typed` has to be typed as it is; what is `harmless` looks so. */
export const ask = ({ title, lines = [], fields = [], confirm, typed, harmless }) => new Promise((resolve) => {
  // Whoever was asked something else gets no answer to that.
  dismiss();
  const before = document.activeElement;
  const finish = (value) => {
    if (dialog.open) dialog.close();
    before?.focus?.();
    resolve(value);
  };
  const onsubmit = (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    if (typed && values.typed !== typed) {
      say(`Type ${typed} to go on.`);
      event.target.elements.typed.focus();
      return;
    }
    finish(values);
  };
  dialog.oncancel = () => finish(null);
  render(dialog, []);
  render(dialog, h("form", { onsubmit },
    h("h2", { id: "dialog-title" }, title),
    lines.map((line) => (typeof line === "string" ? h("p", null, line) : line)),
    fields.map(({ name: field, label, options }) => h("label", null, label, " ",
      h("select", { name: field }, options.map(([value, text, selected]) => h("option", { value, selected }, text))))),
    typed && h("label", null, `Type ${typed} to confirm `, h("input", { name: "typed", autocomplete: "off", required: true })),
    h("p", { class: "buttons" },
      h("button", { type: "button", autofocus: Boolean(harmless), onclick: () => finish(null) }, harmless ? "Close" : "Cancel"),
      h("button", { type: "submit", class: harmless ? false : "danger" }, confirm))));
  dialog.showModal();
});

/** Whoever goes to another page wants nothing of what is asked on this one. */
export const dismiss = () => { if (dialog.open) dialog.oncancel(); };

const missingOf = (answer) => (answer.missing ?? []).map((one) => `${one.proxy} (${one.why})`).join(", ");

/** Makes a change, and says what became of it; `undo` makes the opposite one. What is refused unless it is forced is asked once more, in the
 * words of `force`. */
const change = async (text, [method, path], { undo, force, again }) => {
  try {
    const answer = await send(method, path);
    const missing = missingOf(answer);
    const whole = missing ? `${text} Not by all proxies: ${missing}. Try again.` : text;
    toast(whole, undo && (() => change(undo[0], undo[1], { again })));
  } catch (error) {
    if (force && error.isForcible) {
      if (await ask({ ...force, lines: [`${error.message}.`] })) await change(text, [method, `${path}&force=true`], { undo, again });
      return;
    }
    toast(`Not done: ${error.message}.`);
  }
  again();
};

const DEADLINES = [["", "as long as they like"], ["10m", "10 minutes"], ["1h", "one hour"], ["0s", "end them now, one by one"]];

/** How many publishers and viewers an origin has, in words. */
const peopleOn = async (row) => {
  const asked = ["publish", "play"].map((action) => get(`sessions?${query({ origin: row.id, action, limit: 1 })}`));
  const [publishers, viewers] = await Promise.all(asked).catch(() => []);
  return publishers ? `${many(publishers.total, "publisher")} and ${many(viewers.total, "viewer")}` : many(row.sessions, "session");
};

/** Changes the duty of an origin, if it still is the one that is shown. */
const dutyOf = (row, verb, params = {}) => ["POST", `origins/${name(row.id)}/${verb}?${query({ ...params, expect: row.duty })}`];
const backFrom = (row, duty) => [`${row.id} takes streams again.`, dutyOf({ ...row, duty }, "undrain")];

/** How many other origins take streams and have room; null where nobody says. */
const othersThan = async (row) => {
  const all = await get("origins").catch(() => null);
  return all && all.origins.filter((one) => one.state === "up" && one.duty === "active" && one.weight !== 0 && one.id !== row.id && !fullOf(one)).length;
};

export const drainOrigin = async (row, again) => {
  const [people, others] = await Promise.all([peopleOn(row), othersThan(row)]);
  const values = await ask({
    title: `Drain ${row.id}?`,
    lines: [
      `It gets no new streams. ${people} on it may finish.`,
      others === null ? "New streams go elsewhere, if another origin takes them." : others === 0 ? "No other origin takes streams and has room: new streams will be refused." : `New streams go elsewhere: ${many(others, "other origin")} ${others === 1 ? "has" : "have"} room.`,
    ],
    fields: [{ name: "deadline", label: "Sessions may take", options: DEADLINES }],
    confirm: "Drain",
  });
  if (!values) return;
  await change(`${row.id} drains.`, dutyOf(row, "drain", { deadline: values.deadline }), {
    undo: backFrom(row, "draining"), force: { title: `Drain ${row.id} all the same?`, typed: row.id, confirm: "Drain it anyway" }, again,
  });
};

export const disableOrigin = async (row, again) => {
  const values = await ask({
    title: `Disable ${row.id}?`,
    lines: [`It gets nobody new: viewers of its ${many(row.streams, "stream")} will be refused. Sessions that are open stay.`],
    confirm: "Disable",
  });
  if (!values) return;
  await change(`${row.id} is disabled.`, dutyOf(row, "disable"), {
    undo: backFrom(row, "disabled"), force: { title: `Disable ${row.id} all the same?`, typed: row.id, confirm: "Disable it anyway" }, again,
  });
};

export const undrainOrigin = (row, again) => change(...backFrom(row, row.duty), { again });

/** Has the proxy try every service of an origin now, and shows what each said. */
export const probeOrigin = async (row, again) => {
  const told = note();
  const from = location.hash;
  told.tell(`${row.id} is probed.`);
  try {
    const answer = await send("POST", `origins/${name(row.id)}/probe`);
    told.close();
    // Somebody is asked something else by now, or has gone to another page.
    if (dialog.open || location.hash !== from) {
      toast(`${row.id} is probed: it is ${answer.state} now.`);
      return;
    }
    const stays = answer.state === "up" && answer.services.some((one) => one.judged && one.ok === false);
    const lines = [`It is ${answer.state} now${stays ? ": several probes in a row have to fail before it is taken out (health.fall), or one connection of a client" : ""}.`, h("ul", null, answer.services.map((one) => h("li", { key: one.service },
      h("b", { class: { true: "ok", false: "bad", null: "off" }[one.ok] }, `${one.service.toUpperCase()} at ${one.at} ${{ true: "answers", false: "does not answer", null: "is not asked" }[one.ok]}`),
      one.ok ? ` in ${span(one.ms / 1000)}` : "", one.reason ? `: ${one.reason}` : "", one.judged ? "" : " (its state does not go by this)")))];
    if (await ask({ title: `What ${row.id} says`, lines, confirm: "Probe again", harmless: true })) await probeOrigin(row, again);
  } catch (error) {
    told.end(`Not probed: ${error.message}`);
  }
  again();
};

export const deregisterOrigin = async (row, again) => {
  const values = await ask({
    title: `Deregister ${row.id}?`,
    lines: ["It is forgotten once nobody is on it. Its next heartbeat brings it back; Disable does not let it come back."],
    typed: row.id, confirm: "Deregister",
  });
  if (!values) return;
  await change(`${row.id} is taken out.`, ["DELETE", `origins/${name(row.id)}?${query({ expect: row.duty })}`], {
    force: { title: `Deregister ${row.id} all the same?`, typed: row.id, confirm: "Deregister it anyway" }, again,
  });
};

export const endSession = async (row, id, again) => {
  const values = await ask({
    title: `End session ${id}?`,
    lines: [`${row.client} ${row.action === "publish" ? "publishes" : "plays"} ${short(row.stream)}. It may come back at once.`],
    confirm: "End session",
  });
  if (values) await change(`Session ${id} is ended.`, ["DELETE", `sessions/${name(id)}`], { again });
};

export const endStream = async (row, again) => {
  const sessions = row.publishers + row.players;
  const values = await ask({
    title: `End ${short(row.stream)}?`,
    lines: [`${many(row.publishers, "publisher")} and ${many(row.players, "viewer")} are cut off. They may come back at once.`],
    typed: sessions > 10 ? short(row.stream) : undefined, confirm: "End all its sessions",
  });
  if (values) await change(`The sessions of ${short(row.stream)} are ended.`, ["DELETE", `streams/${name(row.stream)}`], { again });
};

/** Ends what is on one of the origins that a stream is published to. */
export const endStreamOn = async (row, origin, again) => {
  const values = await ask({
    title: `End ${short(row.stream)} on ${origin}?`,
    lines: [`Whoever publishes or plays it there is cut off, and finds it where it is then. ${[row.origin, ...row.also_on].filter((one) => one !== origin).join(", ")} stays as it is.`],
    confirm: `End it on ${origin}`,
  });
  if (values) await change(`${short(row.stream)} is ended on ${origin}.`, ["DELETE", `streams/${name(row.stream)}?${query({ origin })}`], { again });
};

const MOVED_WITHIN_MS = 60_000;
const LOOK_MS = 1000;
const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

/** Waits until the stream is at `to`; resolves with whether it is, after a minute with no. */
const arrived = async (stream, to) => {
  const end = Date.now() + MOVED_WITHIN_MS;
  while (Date.now() < end) {
    await pause(LOOK_MS);
    const row = await get(`streams/${name(stream)}`).catch(() => null);
    if (row?.origin === to) return true;
  }
  return false;
};

/** Moves a stream from one origin to another, and tells how it goes. */
const move = async ({ stream, from, to, endsViewers }, again) => {
  const told = note();
  told.tell(`${short(stream)}: ${to} is asked.`);
  const path = `moves?${query({ stream, to, expect: from, end_viewers: endsViewers || undefined })}`;
  try {
    const made = await send("POST", path);
    let is = made.state === "made";
    if (!is) {
      told.tell(`${made.to} takes ${short(stream)}. Its publisher goes over with the next keyframe, or by SRT at once.`);
      is = await arrived(stream, made.to);
    }
    // Those who were ended have come back, and would be ended once more: that is asked.
    const back = () => (endsViewers ? moveStream(stream, again, made.from)
      : move({ stream, from: made.to, to: made.from, endsViewers }, again));
    const gap = made.gap_ms ? `; nobody had it for ${span(made.gap_ms / 1000)}` : "";
    if (is) told.end(`${short(stream)} is on ${made.to} now${gap}.`, back);
    else told.end(`${short(stream)} is still on ${made.from}: no keyframe came. What happened tells how it goes on.`);
  } catch (error) {
    told.end(`Not moved: ${error.message}`);
  }
  again();
};

const viewersLines = (from, players) => {
  const viewers = players.sessions.filter((one) => !one.preview);
  const own = viewers.filter((one) => one.pull === null && one.protocol !== "srt").length;
  const least = players.next ? "at least " : "";
  const missing = (players.missing ?? []).map((one) => one.proxy).join(", ");
  return [own, [
    viewers.length > own && `Viewers that share a pull, or watch by SRT, go along: ${least}${count(viewers.length - own)}.`,
    own > 0 ? `Viewers with connections of their own to ${from} cannot go along, and are ended: ${least}${count(own)}. They may come back at once.`
      : "No viewer is ended.",
    missing && `Who watches through ${missing} is not known: no answer.`,
  ].filter(Boolean)];
};

/** Asks where a stream is to go, and moves it. `wanted` is where it probably goes. */
export const moveStream = async (stream, again, wanted) => {
  try {
    const [row, explained, players] = await Promise.all([get(`streams/${name(stream)}`), get(`explain?${query({ stream })}`),
      get(`sessions?${query({ stream, action: "play", limit: 200 })}`)]);
    const from = row.origin;
    if (!["rtmp", "srt"].some((one) => row.protocols.includes(one))) {
      const by = row.protocols.map(protocol).join(", ") || "another way";
      toast(`Only RTMP and SRT publishers can be moved, and ${short(stream)} is published by ${by}. Drain ${from}, and end it: it comes back elsewhere.`);
      return;
    }
    const others = explained.candidates.filter((one) => one.origin !== from);
    if (others.length === 0) {
      toast(`No other origin may take ${short(stream)}: its page says why not.`);
      return;
    }
    const [own, lines] = viewersLines(from, players);
    const values = await ask({
      title: `Move ${short(stream)}?`,
      lines: [`It is on ${from}. Its publisher stays connected, and goes on elsewhere with its next keyframe, or by SRT at once.`, ...lines],
      fields: [{ name: "to", label: "To", options: others.map((one) => [one.origin, `${one.origin}, which has ${many(one.streams, "stream")}`, one.origin === wanted]) }],
      confirm: own > 0 ? `Move, and end ${many(own, "viewer")}` : "Move",
    });
    if (values) await move({ stream, from, to: values.to, endsViewers: own > 0 }, again);
  } catch (error) {
    toast(`Not moved: ${error.message}`);
  }
};

export const drainProxy = async (row, again) => {
  const label = row.id ?? "this proxy";
  const values = await ask({
    title: `Drain ${label}?`,
    lines: [`It takes nobody new, and /readyz fails, so that a balancer takes it out. ${many(row.publishers + row.players, "session")} may finish.`],
    fields: [{ name: "deadline", label: "Sessions may take", options: DEADLINES }],
    typed: row.id ?? "drain", confirm: "Drain",
  });
  if (!values) return;
  const proxy = row.id ? { proxy: row.id } : {};
  await change(`${label} drains.`, ["POST", `proxy/drain?${query({ ...proxy, deadline: values.deadline })}`], {
    undo: [`${label} takes streams again.`, ["POST", `proxy/undrain?${query(proxy)}`]], again,
  });
};

export const undrainProxy = (row, again) => {
  const proxy = row.id ? { proxy: row.id } : {};
  return change(`${row.id ?? "This proxy"} takes streams again.`, ["POST", `proxy/undrain?${query(proxy)}`], { again });
};

/** Rows that are changed in one go. */
export const MOST_CHOSEN = 50;
const PACE_MS = 50;

/** What was not done, each reason once, with everything that it is true for. */
const failures = (failed) => {
  const reasons = Map.groupBy(failed, ({ why }) => why);
  return [...reasons].map(([why, of]) => ` Not ${of.map(({ label }) => label).join(", ")}: ${why}.`).join("");
};

/** Makes the same change to several rows, one after the other, tells how far it is, and resolves with the keys of those that are not done. */
const changeEach = async (all, { doing, done, requestOf, undo }, again) => {
  const told = note();
  const [made, failed] = [[], []];
  told.tell(`${doing}: ${count(all.length)}.`);
  for (const [at, { row, key, label }] of all.entries()) {
    told.show(`${doing}: ${count(at + 1)} of ${count(all.length)}.`);
    try {
      const missing = missingOf(await send(...requestOf(row, key)));
      if (missing) throw new Error(`not by all proxies: ${missing}`);
      made.push({ row, key, label });
    } catch (error) {
      failed.push({ key, label, why: error.message });
    }
    await pause(PACE_MS);
  }
  told.end(`${done}: ${count(made.length)} of ${count(all.length)}.${failures(failed)}`, undo && made.length > 0 && (() => changeEach(made, undo, again)), failed.length > 0);
  again();
  return failed.map(({ key }) => key);
};

/** The first few of what is chosen, in words. */
const namesOf = (all) => `${all.slice(0, 10).map(({ label }) => label).join(", ")}${all.length > 10 ? ` and ${many(all.length - 10, "other")}` : ""}.`;

const takenBack = { doing: "Taking origins back", done: "Origins that take streams again", requestOf: (row) => dutyOf(row, "undrain") };
const backOf = (duty) => ({ ...takenBack, requestOf: (row) => dutyOf({ ...row, duty }, "undrain") });

/** Each asks first, and resolves with the keys of what is not done, or with null. */
export const drainOrigins = async (all, again) => {
  const values = await ask({
    title: `Drain ${many(all.length, "origin")}?`,
    lines: [namesOf(all), "They get no new streams, and sessions on them may finish. The last that takes streams is left out."],
    fields: [{ name: "deadline", label: "Sessions may take", options: DEADLINES }], confirm: `Drain ${count(all.length)}`,
  });
  return values && changeEach(all, { doing: "Draining origins", done: "Origins that drain", requestOf: (row) => dutyOf(row, "drain", { deadline: values.deadline }), undo: backOf("draining") }, again);
};
export const disableOrigins = async (all, again) => {
  const values = await ask({
    title: `Disable ${many(all.length, "origin")}?`,
    lines: [namesOf(all), "They get nobody new, and viewers of their streams will be refused. The last that takes streams is left out."], confirm: `Disable ${count(all.length)}`,
  });
  return values && changeEach(all, { doing: "Disabling origins", done: "Origins that are disabled", requestOf: (row) => dutyOf(row, "disable"), undo: backOf("disabled") }, again);
};
export const undrainOrigins = (all, again) => changeEach(all, takenBack, again);

export const endSessions = async (all, again) => {
  const values = await ask({
    title: `End ${many(all.length, "session")}?`,
    lines: [namesOf(all), "Whoever they belong to may come back at once."], confirm: `End ${count(all.length)}`,
  });
  return values && changeEach(all, { doing: "Ending sessions", done: "Sessions that are ended", requestOf: (row, key) => ["DELETE", `sessions/${name(key)}`] }, again);
};
export const endStreams = async (all, again) => {
  const sessions = all.reduce((sum, { row }) => sum + row.publishers + row.players, 0);
  const values = await ask({
    title: `End ${many(all.length, "stream")}?`,
    lines: [namesOf(all), `${many(sessions, "session")} of them are cut off. They may come back at once.`],
    typed: sessions > 10 ? String(sessions) : undefined, confirm: `End ${count(all.length)}`,
  });
  return values && changeEach(all, { doing: "Ending streams", done: "Streams whose sessions are ended", requestOf: (row) => ["DELETE", `streams/${name(row.stream)}`] }, again);
};

const PERIODS = [["1h", "one hour"], ["1d", "a day"], ["7d", "a week"], ["30d", "30 days"]];

/** Bans `target`, such as `address:192.0.2.1`. Resolves with whether that was done or tried. */
export const ban = async (target, reason, again) => {
  const values = await ask({
    title: `Ban ${target}?`,
    lines: ["Whoever it meets is refused at every proxy, and their sessions end now."],
    fields: [{ name: "period", label: "For", options: PERIODS }],
    confirm: "Ban",
  });
  if (!values) return false;
  await change(`${target} is banned.`, ["POST", `bans?${query({ target, for: values.period, reason })}`], {
    undo: [`${target} is not banned any more.`, ["DELETE", `bans/${encodeURIComponent(target)}`]], again,
  });
  return true;
};

export const liftBan = (row, again) => {
  const target = `${row.kind}:${row.name}`;
  return change(`${target} is not banned any more.`, ["DELETE", `bans/${row.id}`], {
    undo: [`${target} is banned again.`, ["POST", `bans?${query({ target, for: `${Math.max(1, row.seconds_left)}s`, reason: row.reason })}`]], again,
  });
};
