// Looks at pages of the console in headless Chromium for a while each, where there is much to show, and prints one line of
// JSON for each: when it painted first, when its first table was there, how much it loaded, and the longest stall.
//
//   node console_scale.mjs CHROMIUM PROFILE_FOLDER CONSOLE_URL
import { openBrowser, pause, say } from "./console_browser.mjs";

const [chromium, profile, base] = process.argv.slice(2);
const LOOK_MS = 20_000;
let bytes = 0;
const { tell, evaluate, until, stop } = await openBrowser(chromium, profile, {
  hear: ({ method, params }) => {
    if (method === "Network.dataReceived") bytes += params.encodedDataLength || params.dataLength;
  },
});
await tell("Page.addScriptToEvaluateOnNewDocument", {
  source: `globalThis.stalls = [];
    new PerformanceObserver((list) => stalls.push(...list.getEntries().map((one) => one.duration))).observe({ type: "longtask", buffered: true });
    globalThis.tableAt = null;
    const look = () => { tableAt = document.querySelector("tbody tr") ? performance.now() : null; if (tableAt === null) requestAnimationFrame(look); };
    requestAnimationFrame(look);`,
});
// What the browser does before it paints anything at all is not the console's.
await tell("Page.navigate", { url: "data:text/html,<p>a page</p>" });
await until("a browser that paints", "performance.getEntriesByName('first-contentful-paint')[0]?.startTime");
for (const [page, hash] of [["fleet", "#/"], ["streams", "#/streams?sort=-rate"], ["sessions", "#/sessions?sort=-rate"], ["stream", "#/s/__defaultVhost__/live/cam-7"]]) {
  await tell("Page.navigate", { url: "about:blank" });
  await tell("Page.navigate", { url: base + hash });
  const table = await until(`${page} has a table`, "tableAt", 60_000);
  const paint = await until("the first paint", "performance.getEntriesByName('first-contentful-paint')[0]?.startTime");
  const before = bytes;
  await pause(LOOK_MS);
  const stalls = await evaluate("stalls");
  say({
    page, first_paint_ms: Math.round(paint), first_table_ms: Math.round(table),
    bytes_per_second: Math.round((bytes - before) * 1000 / LOOK_MS), longest_stall_ms: Math.round(Math.max(0, ...stalls)),
  });
}
stop();
