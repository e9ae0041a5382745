// Looks at every page of the console in headless Chromium, and prints one line of JSON for each: what went wrong, whom
// it asked, what axe-core found. Then it does some of an operator's work by keyboard alone. With a folder it also writes
// a picture of each page.
//
//   node console.mjs CHROMIUM PROFILE_FOLDER CONSOLE_URL AXE_SCRIPT ORIGIN [PICTURES]
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { openBrowser, pause, say, tellStories } from "./console_browser.mjs";

const [chromium, profile, base, axe, origin, pictures] = process.argv.slice(2);
// A slash separates attributes as well as a space does.
const HOSTILE = "__defaultVhost__/live/<img/src=x/onerror=alert(1)>";
const TAGS = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"];

const { heard, tell, evaluate, until, open, key, type, tabTo } = await openBrowser(chromium, profile);
const size = (width, height) => tell("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
const scheme = (value) => tell("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] });

const name = (stream) => stream.split("/").map(encodeURIComponent).join("/");

await size(1280, 900);
await tell("Page.navigate", { url: base });
await until("the console is there", "document.querySelector('header .badge.ok') && document.querySelector('main h1')");
await evaluate(readFileSync(axe, "utf8"));
const session = await until("a session", `(window.found ??= (fetch('../api/v1/sessions?action=publish&stream=live/demo').then((answer) => answer.json()).then((json) => { window.first = json.data.sessions[0]?.id; }), true)) && window.first`);
const PAGES = [
  ["fleet", "/", "document.querySelectorAll('.totals .line').length === 7 && document.querySelectorAll('.times li').length >= 2 && document.querySelectorAll('tbody tr').length >= 2"],
  ["origins", "/origins", "document.querySelectorAll('tbody tr').length >= 2"],
  ["origin", `/o/${origin}`, "document.querySelector('.facts')"],
  ["streams", "/streams?sort=-rate", "document.querySelectorAll('tbody tr').length >= 2"],
  ["stream", "/s/live/demo", "document.querySelectorAll('.totals .line').length === 3 && document.querySelectorAll('.links li').length > 5 && document.querySelectorAll('tbody tr').length > 1"],
  ["hostile stream", `/s/${name(HOSTILE)}`, "document.querySelector('h1').textContent.includes('onerror')"],
  ["sessions", "/sessions", "document.querySelectorAll('tbody tr').length >= 2"],
  ["ended sessions", "/sessions?tab=ended", "document.querySelector('caption').textContent.includes('ended')"],
  ["session", `/x/${session}`, "document.querySelectorAll('.chain li').length >= 3"],
  ["explain", "/explain?stream=live/new", "document.querySelectorAll('tbody tr').length >= 1"],
  ["events", "/events", "document.querySelectorAll('tbody tr').length >= 1"],
  ["bans", "/bans", "document.querySelector('input[name=reason]')"],
  ["proxies", "/proxies", "document.querySelectorAll('tbody tr').length === 1"],
  ["settings", "/settings", "document.querySelectorAll('tbody tr').length > 50"],
  ["login", "/login", "document.querySelector('input[type=password]')"],
];
const picture = async (label, colours) => {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  const { data } = await tell("Page.captureScreenshot", { format: "png" });
  writeFileSync(`${pictures}/${label.replaceAll(" ", "-")}-${colours}.png`, Buffer.from(data, "base64"));
};
for (const [label, hash, shown] of PAGES) {
  const line = { page: label, problems: [], hosts: [], axe: [], wide: [] };
  heard.problems = line.problems;
  heard.hosts = new Set();
  await evaluate(`location.hash = ${JSON.stringify(hash)}`);
  await until(`${label} is there`, shown);
  for (const colours of ["light", "dark"]) {
    await scheme(colours);
    const found = await evaluate(`axe.run(document, { runOnly: { type: "tag", values: ${JSON.stringify(TAGS)} } }).then(({ violations }) =>
      violations.map(({ id, nodes }) => id + ": " + nodes.slice(0, 3).map((node) => node.html.slice(0, 160) + " " + (node.any[0]?.message ?? "")).join(" | ")))`);
    line.axe.push(...found.map((one) => `${colours}: ${one}`));
    await picture(label, colours);
  }
  await size(320, 640);
  line.wide = await evaluate(`(() => document.documentElement.scrollWidth > 320
    ? [...document.querySelectorAll('body *')].filter((node) => node.getBoundingClientRect().right > 321 && !node.closest('.scroll')).slice(0, 3).map((node) => node.outerHTML.slice(0, 160)) : [])()`);
  if (label === "fleet" || label === "stream") await picture(`${label}-narrow`, "dark");
  await size(1280, 900);
  await scheme("light");
  line.hosts = [...heard.hosts];
  say(line);
}

// By keyboard alone.
const stories = {
  "find a stream and see how it is": async () => {
    await open("/");
    await key("/");
    await type("demo");
    await key("Enter");
    await until("the stream", "location.hash === '#/s/__defaultVhost__/live/demo' && document.querySelector('h1 .badge').textContent.includes('Live')");
  },
  "read what happened to it": async () => {
    await until("its timeline", "[...document.querySelectorAll('.kind')].some((node) => node.textContent === 'published')");
  },
  "drain an origin and take it back": async () => {
    await key("g");
    await key("o");
    await until("the origins", "document.querySelectorAll('tbody tr').length >= 2");
    await tabTo(`at.getAttribute('aria-label') === 'Drain ${origin}'`);
    await key("Enter");
    await until("it asks first", "document.querySelector('dialog[open]')");
    await tabTo("at.type === 'submit'");
    await key("Enter");
    await until("it drains", `[...document.querySelectorAll('tbody tr')].some((row) => row.textContent.includes('${origin}') && /Drain(ing|ed)/.test(row.textContent))`);
    await tabTo("at.textContent === 'Undo'");
    await key("Enter");
    await until("it is taken back", `[...document.querySelectorAll('tbody tr')].some((row) => row.textContent.includes('${origin}') && row.querySelector('.badge.ok'))`);
  },
  "ban somebody and take it back": async () => {
    const listed = "[...document.querySelectorAll('tbody tr')].some((row) => row.textContent.includes('address:192.0.2.77'))";
    await open("/bans");
    await tabTo("at.name === 'name'");
    await type("192.0.2.77");
    await tabTo("at.name === 'reason'");
    await type("a test");
    await key("Enter");
    await until("it asks first", "document.querySelector('dialog[open]')");
    await tabTo("at.type === 'submit' && at.closest('dialog')");
    await key("Enter");
    await until("it is banned", listed);
    await tabTo("at.textContent === 'Undo'");
    await key("Enter");
    await until("it may come again", `!(${listed})`);
  },
  "ask why there, and what if": async () => {
    await open("/explain");
    await tabTo("at.name === 'stream'");
    await type("live/demo");
    await key("Enter");
    await until("the reason", "document.body.innerText.includes('It goes to')");
  },
  "nothing is done by a dialog that is closed": async () => {
    await open(`/o/${origin}`);
    await tabTo(`at.getAttribute('aria-label') === 'Disable ${origin}'`);
    await key("Enter");
    await until("it asks first", "document.querySelector('dialog[open]')");
    await key("Escape");
    await until("it is closed", `!document.querySelector('dialog[open]') && document.activeElement.getAttribute('aria-label') === 'Disable ${origin}'`);
  },
  "move a stream and move it back": async () => {
    const holder = "[...document.querySelectorAll('.facts div')].find((fact) => fact.firstChild.textContent === 'Origin')?.lastChild.textContent";
    const told = (words) => `[...document.querySelectorAll('.toast')].some((note) => note.textContent.includes(${JSON.stringify(words)}))`;
    await open("/s/live/demo");
    const from = await until("where it is", holder);
    await tabTo("at.textContent === 'Move…'");
    await key("Enter");
    await until("it asks where to, and says who is ended", `/stays connected.*\\bNo viewer is ended/s.test(document.querySelector('dialog[open]').innerText)`);
    await tabTo("at.type === 'submit' && at.closest('dialog')");
    await key("Enter");
    const to = await until("it is elsewhere", `${holder} !== ${JSON.stringify(from)} && ${holder}`);
    await until("that is told", told(`is on ${to} now`));
    await tabTo("at.textContent === 'Undo'");
    await key("Enter");
    await until("it is back", `${holder} === ${JSON.stringify(from)} && ${told(`is on ${from} now`)}`);
  },
  "see the picture": async () => {
    await open("/s/live/demo");
    await tabTo("at.textContent === 'Show it for a minute'");
    await key("Enter");
    await until("a picture", "document.querySelector('video')?.getVideoPlaybackQuality().totalVideoFrames > 10");
    await picture("picture", "light");
    await until("its row says that it is no viewer", "[...document.querySelectorAll('tbody tr')].some((row) => row.textContent.includes('HTTP-FLV preview'))");
    await tabTo("at.textContent === 'Stop'");
    await key("Enter");
    await until("it is stopped", "!document.querySelector('video')");
  },
};
await tellStories(stories, heard);
say({ done: true });
// Whoever started this ends it; meanwhile the page tells how it is when the proxy goes away.
for (;;) {
  const badge = await evaluate("document.querySelector('.freshness .badge')?.textContent.trim() ?? ''");
  say({ badge });
  await pause(500);
}
