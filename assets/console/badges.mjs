// Each state is one badge, and each badge has one next step. The first row that fits counts.

import { rate, span } from "./format.mjs";

const badge = (tone, text, next = "") => ({ tone, text, next });

/** How an origin is, and what to do about it. */
export const ofOrigin = (row) => {
  const { drain, notes = [] } = row;
  if (row.state === "failing" && row.duty !== "disabled") {
    const why = notes[0] ? `: ${notes[0].what}` : "";
    return badge("bad", `Failing${why}`, "Read its notes: can the proxy reach it?");
  }
  if (row.state === "suspect") {
    const missed = row.heartbeats_missed ? ` (${row.heartbeats_missed} missed)` : "";
    return badge("bad", `Silent ${span(row.last_seen_seconds)}${missed}`, "Check the host and its heartbeat.");
  }
  if (drain?.done) return badge("off", "Drained, safe to stop", "Stop it, or undrain it.");
  if (drain) {
    const left = drain.publishers + drain.players;
    const ends = drain.deadline_seconds === null ? "" : `, ends in ${span(drain.deadline_seconds)}`;
    return badge("warn", `Draining, ${left} left${ends}`, "Undrain it to take it back.");
  }
  if (row.duty === "disabled") return badge("off", "Disabled", "Enable it to use it again.");
  const limits = [
    ["streams", row.streams, row.max_streams],
    ["sessions", row.legs ?? row.sessions, row.max_sessions],
    ["Mbit/s", Math.round(row.bps / 1e6), row.max_mbps],
  ].filter(([, , most]) => most);
  const full = limits.find(([, used, most]) => used >= most);
  if (full) return badge("warn", `Full ${full[1]}/${full[2]} ${full[0]}`, `Raise its limit, or add an origin.`);
  const used = Math.max(0, ...limits.map(([, now, most]) => now / most));
  return badge("ok", limits.length ? `Up, ${Math.round(used * 100)} % used` : "Up");
};

/** How a stream is, and what to do about it. */
export const ofStream = (row) => {
  switch (row.state) {
    case "stalled":
      return badge("bad", `Stalled ${span(row.silent_seconds)}`, "The publisher sends nothing: look at the encoder, or end it.");
    case "waiting":
      return badge("warn", `Waiting for a publisher, ${row.players} viewers`, "Give the encoder its publish link.");
    case "idle":
      return badge("off", "Idle", "Nobody publishes or plays it; its place is kept for a while.");
    default:
      return badge("ok", row.bps_in ? `Live ${rate(row.bps_in)}` : "Live");
  }
};

/** How a session is. */
export const ofSession = (row) => {
  const tones = { relaying: "ok", waiting: "warn", connecting: "warn", held: "warn" };
  const texts = { relaying: "Relaying", waiting: "Waiting for media", connecting: "Connecting", held: "Held: its origin is lost" };
  return badge(tones[row.state] ?? "off", texts[row.state] ?? row.state);
};

/** How a proxy is. */
export const ofProxy = (row) => {
  const left = row.publishers + row.players;
  if (row.drain?.done || (row.draining && left === 0)) return badge("off", "Drained, safe to stop", "Stop or update it, or undrain it.");
  if (row.draining) return badge("warn", `Draining, ${left} left`, "Wait, or undrain it.");
  return badge("ok", "Taking streams");
};
