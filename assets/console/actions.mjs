// Changes: each asks first, says what it will do to whom, and offers to undo it where that is possible.

import { h, render } from "./dom.mjs";
import { get, name, query, send } from "./data.mjs";
import { count, many, protocol, span, stream as short } from "./format.mjs";

const UNDO_MS = 15_000;
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
/** A note on something: `tell` says how far it is, `end` what became of it, which goes after a while. */
const note = () => {
  const key = ++last;
  const tell = (text, undo) => {
    shown = [...shown.filter((one) => one.key !== key), { key, text, undo }];
    drawToasts();
    say(text);
  };
  const end = (text, undo) => {
    tell(text, undo);
    setTimeout(() => drop(key), UNDO_MS);
  };
  return { tell, end };
};
const toast = (text, undo) => note().end(text, undo);

/** Asks. Resolves with the values of the fields, or with null. `typed` has to be typed as it is; what is `harmless` looks so. */
export const ask = ({ title, lines = [], fields = [], confirm, typed, harmless }) => new Promise((resolve) => {
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

/** Makes a change, and says what became of it; `undo` makes the opposite one. */
const change = async (text, [method, path], { undo, again }) => {
  try {
    const answer = await send(method, path);
    const missing = (answer.missing ?? []).map((one) => `${one.proxy} (${one.why})`).join(", ");
    const whole = missing ? `${text} Not by all proxies: ${missing}. Try again.` : text;
    toast(whole, undo && (() => change(undo[0], undo[1], { again })));
  } catch (error) {
    toast(`Not done: ${error.message}`);
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

/** `others`: how many other origins take streams and have room. */
export const drainOrigin = async (row, others, again) => {
  const people = await peopleOn(row);
  const values = await ask({
    title: `Drain ${row.id}?`,
    lines: [
      `It gets no new streams. ${people} on it may finish.`,
      others === 0 ? "No other origin takes streams and has room: new streams will be refused." : `New streams go elsewhere: ${many(others, "other origin")} ${others === 1 ? "has" : "have"} room.`,
    ],
    fields: [{ name: "deadline", label: "Sessions may take", options: DEADLINES }],
    confirm: "Drain",
  });
  if (!values) return;
  const path = `origins/${name(row.id)}/drain?${query({ deadline: values.deadline })}`;
  await change(`${row.id} drains.`, ["POST", path], {
    undo: [`${row.id} takes streams again.`, ["POST", `origins/${name(row.id)}/undrain`]], again,
  });
};

export const disableOrigin = async (row, again) => {
  const values = await ask({
    title: `Disable ${row.id}?`,
    lines: [`It gets nobody new: viewers of its ${many(row.streams, "stream")} will be refused. Sessions that are open stay.`],
    confirm: "Disable",
  });
  if (!values) return;
  await change(`${row.id} is disabled.`, ["POST", `origins/${name(row.id)}/disable`], {
    undo: [`${row.id} takes streams again.`, ["POST", `origins/${name(row.id)}/undrain`]], again,
  });
};

export const undrainOrigin = (row, again) => change(`${row.id} takes streams again.`, ["POST", `origins/${name(row.id)}/undrain`], { again });

export const deregisterOrigin = async (row, again) => {
  const values = await ask({
    title: `Deregister ${row.id}?`,
    lines: ["It is forgotten once nobody is on it. Its next heartbeat brings it back; Disable does not let it come back."],
    typed: row.id, confirm: "Deregister",
  });
  if (values) await change(`${row.id} is taken out.`, ["DELETE", `origins/${name(row.id)}`], { again });
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
