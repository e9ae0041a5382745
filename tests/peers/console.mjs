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

// The feeds that are open, by their requests.
const feeds = new Set();
let unchanged = 0;
const { heard, tell, evaluate, until, open, key, type, tabTo } = await openBrowser(chromium, profile, {
  hear: ({ method, params }) => {
    if (method === "Network.requestWillBeSent" && params.request.url.endsWith("/api/v1/feed")) feeds.add(params.requestId);
    if (method === "Network.responseReceivedExtraInfo" && params.statusCode === 304) unchanged += 1;
    if (method === "Network.loadingFailed" || method === "Network.loadingFinished") feeds.delete(params.requestId);
  },
});
const size = (width, height) => tell("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
const scheme = (value) => tell("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] });

const name = (stream) => stream.split("/").map(encodeURIComponent).join("/");

await size(1280, 900);
await tell("Page.navigate", { url: base });
await until("the console is there", "document.querySelector('header .badge.ok') && document.querySelector('main h1')");
await evaluate(readFileSync(axe, "utf8"));
const session = await until("a session", `(window.found ??= (fetch('../api/v1/sessions?action=publish&stream=live/demo').then((answer) => answer.json()).then((json) => { window.first = json.data.sessions[0]?.id; }), true)) && window.first`);
const PAGES = [
  ["fleet", "/", "document.querySelectorAll('.totals .line').length === 7 && document.body.innerText.includes('Store ● in memory') && document.querySelectorAll('.times li').length >= 2 && document.querySelectorAll('tbody tr').length >= 2"],
  ["origins", "/origins", "document.querySelectorAll('tbody tr').length >= 2"],
  ["origin", `/o/${origin}`, "document.querySelector('.facts')"],
  ["streams", "/streams?sort=-rate", "document.querySelectorAll('tbody tr').length >= 2"],
  ["stream", "/s/live/demo", "document.querySelectorAll('.totals .line').length === 3 && document.querySelectorAll('.links li').length > 5 && document.querySelectorAll('tbody tr').length > 1"],
  ["hostile stream", `/s/${name(HOSTILE)}`, "document.querySelector('h1').textContent.includes('onerror')"],
  ["sessions", "/sessions", "document.querySelectorAll('tbody tr').length >= 2"],
  ["ended sessions", "/sessions?tab=ended", "document.querySelector('caption').textContent.includes('ended')"],
  ["session", `/x/${session}`, "document.querySelectorAll('.chain li').length >= 3"],
  ["explain", "/explain?stream=live/new&protocol=rtmp", "document.querySelectorAll('tbody').length >= 2 && document.querySelectorAll('tbody tr').length >= 6"],
  ["runbook", "/runbook/SluicegateNoOrigin", "document.querySelector('main .prose code')"],
  ["events", "/events", "document.querySelectorAll('tbody tr').length >= 1"],
  ["bans", "/bans", "document.querySelector('input[name=reason]')"],
  ["proxies", "/proxies", "document.querySelectorAll('tbody tr').length === 1 && document.querySelector('tbody time')"],
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

/** What somebody else does meanwhile. */
const elsewhere = (method, path, body) => evaluate(`fetch(${JSON.stringify(`../api/v1/${path}`)}, { method: ${JSON.stringify(method)}, headers: { "X-Sluicegate": "1", "Content-Type": "application/json" },
  body: ${JSON.stringify(body && JSON.stringify(body))} }).then((answer) => answer.status)`);
const dutyOf = (id) => evaluate(`fetch(${JSON.stringify(`../api/v1/origins/${id}`)}).then((answer) => answer.json()).then((json) => json.data.duty)`);
const is = (found, expected) => { if (found !== expected) throw new Error(`${JSON.stringify(found)}, not ${JSON.stringify(expected)}`); };
const OTHER = "demo-b";
const told = (words) => `[...document.querySelectorAll('.toast')].some((note) => note.textContent.includes(${JSON.stringify(words)}))`;
const submit = async () => {
  await tabTo("at.type === 'submit' && at.closest('dialog')");
  await key("Enter");
};

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
    await until("the reason", "[...document.querySelectorAll('tbody tr')].some((row) => /RTMP.*demo-[ab].*it is placed there/.test(row.innerText.replaceAll('\\n', ' ')))");
  },
  "hear why a name is none, and nothing of another stream": async () => {
    await open("/explain?stream=live/demo");
    await until("an answer", "document.querySelectorAll('tbody tr').length > 0");
    await open("/explain?stream=demo");
    await until("the words alone", "document.querySelector('.partial')?.textContent.includes('is not app/name') && !document.querySelector('main table')");
    heard.problems = heard.problems.filter((problem) => !problem.includes("status of 400"));
  },
  "an address that is half of one opens a page": async () => {
    await open("/s/live/50%");
    await until("the stream", "document.querySelector('h1').textContent.includes('live/50%')");
    await open("/constructor");
    await until("the fleet", "document.querySelector('h1').textContent === 'Fleet'");
    heard.problems = heard.problems.filter((problem) => !problem.includes("status of 404"));
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
  "probe an origin and hear what each service says": async () => {
    await open("/origins");
    await tabTo(`at.getAttribute('aria-label') === 'Probe ${origin} now'`);
    await key("Enter");
    await until("each service", "['It is up now', 'HTTP at', 'RTMP at', 'answers in'].every((words) => document.querySelector('dialog[open]').innerText.includes(words))");
    await key("Escape");
    await until("it is closed", "!document.querySelector('dialog[open]')");
  },
  "a page that is stale changes nothing": async () => {
    await open(`/o/${OTHER}`);
    await until("it is there", "document.querySelector('.facts')");
    await key("p");
    is(await elsewhere("POST", `origins/${OTHER}/drain`), 200);
    await tabTo(`at.getAttribute('aria-label') === 'Disable ${OTHER}'`);
    await key("Enter");
    await until("it asks first", "document.querySelector('dialog[open]')");
    heard.problems = [];
    await submit();
    await until("it is told in words", told(`Not done: ${OTHER} is draining now, not active as was expected`));
    is(await dutyOf(OTHER), "draining");
    heard.problems = heard.problems.filter((problem) => !problem.includes("status of 409"));
    await evaluate("document.activeElement.blur()");
    await key("p");
    await until("live again", "document.querySelector('header .badge.ok')");
    is(await elsewhere("POST", `origins/${OTHER}/undrain`), 200);
  },
  "the last origin is drained only by whoever wants it twice": async () => {
    is(await elsewhere("POST", `origins/${OTHER}/drain`), 200);
    await open("/origins");
    await tabTo(`at.getAttribute('aria-label') === 'Drain ${origin}'`);
    await key("Enter");
    await until("it asks first", "/No other origin takes streams/.test(document.querySelector('dialog[open]').innerText)");
    await submit();
    await until("it asks again, with what is refused", `new RegExp('Drain ${origin} all the same.*is the last one', 's').test(document.querySelector('dialog[open]').innerText)`);
    is(await dutyOf(origin), "active");
    await tabTo("at.name === 'typed'");
    await type(origin);
    await key("Enter");
    await until("it drains", told(`${origin} drains.`));
    is(await dutyOf(origin), "draining");
    // Each badge leads to what is to be done.
    await open("/s/live/nobody");
    await until("the runbook is one step away", "document.querySelector('.next a[href=\"#/runbook/SluicegateNoOrigin\"]')");
    await tabTo("at.hash === '#/runbook/SluicegateNoOrigin'");
    await key("Enter");
    await until("its entry", "document.querySelector('h1').textContent === 'SluicegateNoOrigin' && document.querySelector('main .prose code')");
    for (const id of [origin, OTHER]) is(await elsewhere("POST", `origins/${id}/undrain`), 200);
    heard.problems = heard.problems.filter((problem) => !problem.includes("status of 409") && !problem.includes("status of 404"));
  },
  "drain several, hear which one was not, and take all back": async () => {
    await open("/origins");
    await until("the origins", "document.querySelectorAll('tbody tr').length >= 2");
    for (const id of [origin, OTHER]) {
      await tabTo(`at.closest('tbody th') && at.textContent === '${id}'`);
      await key("x");
    }
    await until("two are chosen", "document.querySelector('.count').textContent === '2 origins chosen'");
    await tabTo("at.textContent === 'Drain…' && at.closest('.buttons')");
    await key("Enter");
    await until("it asks once", "/Drain 2 origins.*demo-a, demo-b/s.test(document.querySelector('dialog[open]').innerText)");
    await submit();
    await until("how many are, and which is not", `${told(`Origins that drain: 1 of 2. Not ${OTHER}: ${OTHER} is the last one`)} && document.getElementById('said').textContent.includes('1 of 2')`);
    await until("that one is still chosen", "document.querySelector('.count').textContent === '1 origin chosen'");
    is(await dutyOf(origin), "draining");
    await tabTo("at.textContent === 'Undo' && at.closest('.toast').textContent.includes('Origins that drain')");
    await key("Enter");
    await until("it is taken back", told("Origins that take streams again: 1 of 1."));
    is(await dutyOf(origin), "active");
    heard.problems = heard.problems.filter((problem) => !problem.includes("status of 409"));
  },
  "read the numbers of the charts, in UTC": async () => {
    await open("/");
    for (const words of ["Values of the last", "States as a table"]) {
      await tabTo(`at.matches('.quiet') && at.textContent.includes('${words}')`);
      await key("Enter");
    }
    await until("a row each minute and a row for each state", `['Totals, each minute', 'States of origins'].every((caption) =>
      [...document.querySelectorAll('table')].find((table) => table.caption.textContent === caption)?.querySelectorAll('tbody tr time').length >= 1)`);
    await tabTo("at.textContent === 'UTC'");
    await key("Enter");
    await until("the clock is UTC", "/local time$/.test(document.querySelector('tbody time').title) && localStorage.getItem('times') === 'utc'");
    await key("Enter");
    await until("and is not", "/UTC$/.test(document.querySelector('tbody time').title)");
  },
  "ask what the origins say": async () => {
    await open("/s/live/demo");
    await tabTo("at.textContent === 'Ask it'");
    await key("Enter");
    await until("why they are not asked", "document.body.innerText.includes('Not set up. Origins are asked where')");
  },
  "hear on any page of an origin that comes": async () => {
    await open("/settings");
    const registration = { ip: "127.0.0.1", server: "late", service: "s", pid: "1", rtmp: ["1"] };
    is(await elsewhere("POST", "srs/register", registration), 200);
    await until("it is told", "[...document.querySelectorAll('.toast')].some((note) => /: up \\(new\\)/.test(note.textContent))");
    const id = await evaluate("fetch('../api/v1/origins').then((answer) => answer.json()).then((json) => json.data.origins.find((one) => one.server === 'late').id)");
    is(await elsewhere("DELETE", `origins/${encodeURIComponent(id)}`), 200);
  },
  "one feed is open and none while nobody looks, and a list that stays the same is not sent again": async () => {
    const isHidden = (value) => evaluate(`Object.defineProperty(document, "hidden", { configurable: true, get: () => ${value} }); document.dispatchEvent(new Event("visibilitychange"))`);
    const count = async (expected) => { for (let tries = 0; feeds.size !== expected && tries < 100; tries += 1) await pause(50); is(feeds.size, expected); };
    for (const page of ["/", "/events", "/streams"]) await open(page);
    await count(1);
    await open("/sessions?tab=ended");
    const before = unchanged;
    for (let tries = 0; unchanged === before && tries < 200; tries += 1) await pause(50);
    if (unchanged === before) throw new Error("a list that stays the same is sent again");
    await isHidden(true);
    await count(0);
    await isHidden(false);
    await count(1);
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
  "end a session, and read what it was and why it ended": async () => {
    await open("/sessions?action=publish&stream=live/demo");
    await tabTo("at.closest('tbody th')");
    await key("Enter");
    await tabTo("at.textContent === 'End session…'");
    await key("Enter");
    await submit();
    await until("it has ended, and says what it was", "document.querySelector('h1 .badge').textContent.includes('Ended') && document.querySelector('.chain') && document.querySelector('.facts')");
    await tabTo("at.textContent === 'Why it ended'");
    await key("Enter");
    await until("why", "[...document.querySelectorAll('tbody tr')].some((row) => row.textContent.includes('kicked'))");
    heard.problems = heard.problems.filter((problem) => !problem.includes("status of 404"));
  },
  "end several sessions at once": async () => {
    const ids = "[...document.querySelectorAll('tbody th')].map((cell) => cell.textContent).sort().join()";
    await open("/sessions?action=publish");
    const before = await until("who publishes", `document.querySelectorAll('tbody tr').length >= 2 && ${ids}`);
    await tabTo("at.getAttribute('aria-label') === 'Choose all rows that are shown'");
    await key(" ");
    await until("all are chosen", "document.querySelectorAll('tbody input:checked').length >= 2");
    await tabTo("at.textContent === 'End…' && at.closest('.buttons')");
    await key("Enter");
    await submit();
    await until("they are ended", "[...document.querySelectorAll('.toast')].some((note) => /Sessions that are ended: (\\d+) of \\1\\./.test(note.textContent))");
    await until("others have come, or nobody", `${ids} !== ${JSON.stringify(before)}`);
    await until("nothing is chosen", "document.querySelector('.count').textContent === '0 sessions chosen'");
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
