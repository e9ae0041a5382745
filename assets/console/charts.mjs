// Charts as SVG, each with a sentence for those who do not see it.

import { h } from "./dom.mjs";

/** A line of values, the newest at the right. */
export const sparkline = (values, sentence) => {
  const [width, height] = [120, 28];
  // Never up to the top: a line there looks as if it belonged to the number above it.
  const most = Math.max(1, ...values) * 1.25;
  const step = width / Math.max(1, values.length - 1);
  const points = values.map((value, at) => `${(at * step).toFixed(1)},${(height - 2 - (value / most) * (height - 4)).toFixed(1)}`);
  return h("svg:svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": sentence, preserveAspectRatio: "none" },
    values.length > 1 && [h("svg:polygon", { points: `0,${height} ${points.join(" ")} ${width},${height}`, class: "area" }),
      h("svg:polyline", { points: points.join(" "), class: "line" })]);
};

const NAMES = { u: "up", s: "suspect", f: "failing", d: "draining", x: "disabled", "-": "not known" };

/** A letter for each step, as what was for how many steps from which on. */
const runsOf = (states) => {
  const runs = [];
  [...states].forEach((state, from) => {
    const last = runs.at(-1);
    if (last?.state === state) last.length += 1;
    else runs.push({ state, name: NAMES[state] ?? state, from, length: 1 });
  });
  return runs;
};

/** The same as rows for a table, newest first. `until` is when the last step ended, in milliseconds. */
export const timesOf = ({ id, states, step_seconds: step }, until) => runsOf(states).reverse().map(({ name, from, length }) => ({
  id, name, at: until - (states.length - from) * step * 1000, seconds: length * step,
}));

/** How an origin was: one bar, one colour and height for each state. */
export const timeline = (id, states) => {
  const runs = runsOf(states);
  const all = Math.max(1, states.length);
  let at = 0;
  const bars = runs.map(({ state, length }, number) => {
    const [x, width] = [(at / all) * 600, (length / all) * 600];
    at += length;
    const low = { u: 6, d: 3, x: 8, "-": 10 }[state] ?? 0;
    return h("svg:rect", { key: number, class: `state-${state === "-" ? "none" : state}`, x: x.toFixed(1), y: low, width: width.toFixed(1), height: 16 - low });
  });
  const minutes = (steps) => `${Math.max(1, Math.round(steps / 2))} min`;
  const sentence = runs.map(({ name, length }) => `${name} ${minutes(length)}`).slice(-6).join(", then ");
  return h("svg:svg", { class: "timeline", viewBox: "0 0 600 16", preserveAspectRatio: "none", role: "img", "aria-label": `${id}: ${sentence}` }, bars);
};

/** What carried the stream, from left to right: boxes with what lies between them. */
export const chain = (boxes) => h("ol", { class: "chain", "aria-label": "The way of this session" },
  boxes.map((box, at) => h("li", { key: at, class: box.failed ? "failed" : "" },
    box.edge && h("span", { class: "edge" }, box.edge),
    h("span", { class: "box" }, h("b", null, box.what), " ", h("span", { class: "name" }, box.name)))));
