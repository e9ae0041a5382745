// Each state is one badge, and each badge has one next step. The first row that fits counts.

import { count, many, rate, span } from "./format.mjs";

/** `runbook`: the alert whose entry says more. */
const badge = (tone, text, next = "", runbook = null) => ({ tone, text, next, runbook });

/** The limits of an origin, each with what is used of it. */
const limitsOf = (row) => [
  ["streams", row.streams, row.max_streams],
  ["sessions", row.legs ?? row.sessions, row.max_sessions],
  ["Mbit/s", Math.round(row.bps / 1e6), row.max_mbps],
].filter(([, , most]) => most);
/** The limit that an origin has reached, if it has reached one. */
export const fullOf = (row) => limitsOf(row).find(([, used, most]) => used >= most);

/** How an origin is, and what to do about it. */
export const ofOrigin = (row) => {
  const { drain, notes = [] } = row;
  if (row.state === "failing" && row.duty !== "disabled") {
    const why = notes[0] ? `: ${notes[0].what}` : "";
    return badge("bad", `Failing${why}`, "Read its notes: can the proxy reach it? Probe it now.", "SluicegateOriginDown");
  }
  if (row.state === "suspect") {
    const missed = row.heartbeats_missed ? ` (${row.heartbeats_missed} missed)` : "";
    return badge("bad", `Silent ${span(row.last_seen_seconds)}${missed}`, "Check the host and its heartbeat.", "SluicegateOriginDown");
  }
  if (drain?.done) return badge("off", "Drained, safe to stop", "Stop it, or undrain it.");
  if (drain) {
    const left = drain.publishers + drain.players;
    const ends = drain.deadline_seconds === null ? "" : `, ends in ${span(drain.deadline_seconds)}`;
    return badge("warn", `Draining, ${count(left)} left${ends}`, "Undrain it to take it back.");
  }
  if (row.duty === "disabled") return badge("off", "Disabled", "Enable it to use it again.");
  if (row.weight === 0) return badge("off", "Up, with a weight of 0", "It gets no new streams: give it a weight to use it.");
  const limits = limitsOf(row);
  const full = fullOf(row);
  if (full) return badge("warn", `Full ${count(full[1])}/${count(full[2])} ${full[0]}`, "Raise its limit, or add an origin.");
  const used = Math.max(0, ...limits.map(([, now, most]) => now / most));
  return badge("ok", limits.length ? `Up, ${Math.round(used * 100)} % used` : "Up");
};

/** How a stream is, and what to do about it. */
export const ofStream = (row) => {
  switch (row.state) {
    case "in_two_places":
      return badge("bad", `In two places: ${[row.origin, ...row.also_on].join(", ")}`, "It is published to each of them: end it where it does not belong.", "SluicegateClaimConflicts");
    case "held":
      return badge("bad", "Held: no origin has it", "Its origin is lost, and its publisher waits for another: look at the origins.");
    case "stalled":
      return badge("bad", `Stalled ${span(row.silent_seconds)}`, "The publisher sends nothing: look at the encoder, or end it.");
    case "waiting":
      return badge("warn", `Waiting for a publisher, ${many(row.players, "viewer")}`, "Give the encoder its publish link.");
    case "late_keyframes":
      return badge("warn", `Late keyframes ${span(row.keyframe_seconds)}`, "Whoever comes waits that long for a picture: set the keyframe interval of its encoder to 2 s.");
    case "idle":
      return badge("off", "Idle", "Nobody publishes or plays it, and its place is kept for a while. What happened says how it ended.");
    default:
      return badge("ok", row.bps_in ? `Live ${rate(row.bps_in)}` : "Live");
  }
};

const REFUSED_LATELY_MS = 120_000;
/** The same for a stream that nobody has, because who wanted it was refused a moment ago; null where nobody was. `events` are newest first. */
export const ofRefused = (events, now) => {
  const last = events.find(({ kind }) => kind === "refused" || kind === "published");
  return last?.kind === "refused" && now - last.at < REFUSED_LATELY_MS
    ? badge("bad", last.count > 1 ? `Refused ${count(last.count)} times` : "Refused", `What happened says why: ${last.what}`, "SluicegateRefusals") : null;
};

/** How a stream is that is placed nowhere; `explained` says where it would go. */
export const ofNowhere = (explained) => (explained && !explained.origin
  ? badge("bad", "No origin", "No origin may take it: see below why not.", "SluicegateNoOrigin")
  : badge("off", "Placed nowhere", "See below where it would go."));

/** How a session is, and what to do about it. */
export const ofSession = (row) => {
  switch (row.state) {
    case "relaying":
      if (!row.silent_seconds) return badge("ok", "Relaying");
      return row.action === "publish" ? badge("bad", `Stalled ${span(row.silent_seconds)}`, "The publisher sends nothing: look at the encoder, or end it.")
        : badge("warn", `Nothing for ${span(row.silent_seconds)}`, "Nothing goes to the viewer: how is its stream, and does the viewer read?");
    case "waiting":
      return badge("warn", "Waiting for media", row.action === "publish"
        ? "Its encoder has sent nothing yet: look at the encoder." : "Its origin has sent nothing yet: does anybody publish the stream?");
    case "connecting":
      return badge("warn", "Connecting", "No origin has answered yet: Explain says which may.");
    case "held":
      return badge("warn", "Held: its origin is lost", "It waits for another origin: Origins says how they are.");
    default:
      return badge("off", row.state);
  }
};

/** How a proxy is. */
export const ofProxy = (row) => {
  if (row.why) return badge("bad", "Does not answer", `${row.why}. One that is gone leaves the list by itself.`);
  if (row.draining === undefined) return badge("off", "Asking…");
  const left = row.publishers + row.players;
  if (row.drain?.done || (row.draining && left === 0)) return badge("off", "Drained, safe to stop", "Stop or update it, or undrain it.");
  if (row.draining) return badge("warn", `Draining, ${count(left)} left`, "Wait, or undrain it.");
  return badge("ok", "Taking streams");
};
