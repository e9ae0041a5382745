// Logs in to the console of one of two proxies, out, and in again, in headless Chromium and by keyboard alone; then tells
// twice a second what the page shows, while the test does things to the proxies.
//
//   node console_cluster.mjs CHROMIUM PROFILE_FOLDER CONSOLE_URL TOKEN OLD_PASS
import { openBrowser, pause, say, tellStories } from "./console_browser.mjs";

const [chromium, profile, base, token, old] = process.argv.slice(2);
const { heard, tell, evaluate, until, open, key, type, tabTo } = await openBrowser(chromium, profile);
const status = (method, path, headers) => evaluate(
  `fetch(${JSON.stringify(path)}, { method: ${JSON.stringify(method)}, headers: ${JSON.stringify(headers)} }).then((answer) => answer.status)`);
const login = async (typed) => {
  await until("the login", "location.hash === '#/login' && document.querySelector('input[type=password]')");
  await tabTo("at.name === 'token'");
  await type(typed);
  await key("Enter");
};
const isIn = "location.hash === '#/' && document.querySelector('.totals') && document.querySelector('header .badge.ok')";

await tell("Page.navigate", { url: base });
await tellStories({
  "who has not logged in sees the login and nothing else": async () => {
    await until("the login", "location.hash === '#/login'");
    if (await status("GET", "../api/v1/origins", {}) !== 401) throw new Error("anybody may look");
  },
  "a wrong token is refused in words": async () => {
    await login("guess");
    await until("the words", "document.querySelector('[role=alert]')?.textContent.includes('nobody has that token')");
    await evaluate("document.querySelector('input[type=password]').value = ''");
  },
  "the token opens the fleet": async () => {
    await login(token);
    await until("the fleet", isIn);
  },
  "both proxies are there": async () => {
    await open("/proxies");
    await until("two rows", "document.querySelectorAll('tbody tr').length === 2 && document.querySelectorAll('tbody .badge.ok').length === 2");
  },
  "a page without the header of the console changes nothing": async () => {
    for (const [headers, expected] of [[{}, 401], [{ "X-Sluicegate": "1" }, 200]]) {
      const answer = await status("POST", "../api/v1/proxy/undrain", headers);
      if (answer !== expected) throw new Error(`${JSON.stringify(headers)}: ${answer}`);
    }
  },
  "who logs out is out": async () => {
    await tabTo("at.textContent === 'Log out'");
    await key("Enter");
    await until("the login", "location.hash === '#/login'");
    if (await status("GET", "../api/v1/origins", {}) !== 401) throw new Error("the pass is still good");
  },
  "who was away for too long logs in again": async () => {
    await login(token);
    await until("the fleet", isIn);
    await open("/events?kind=config");
    const { hostname } = new URL(base);
    await tell("Network.setCookie", { name: "sluicegate_pass", value: old, domain: hostname, path: "/", httpOnly: true, sameSite: "Strict" });
    await login(token);
    await until("the page that was left", "location.hash === '#/events?kind=config' && document.querySelector('tbody tr') && document.querySelector('header .badge.ok')");
    await until("which proxy says so", "[...document.querySelectorAll('thead th')].some((cell) => cell.textContent === 'Proxy')");
    await open("/");
    await until("the fleet", isIn);
  },
}, heard);
say({ done: true });
for (;;) {
  say(await evaluate(`({
    badge: document.querySelector('.freshness .badge')?.textContent.trim() ?? '',
    partial: document.querySelector('.partial')?.textContent ?? '',
    title: document.querySelector('h1')?.textContent ?? '',
  })`));
  await pause(500);
}
