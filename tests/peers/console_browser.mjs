// The console in headless Chromium, and an operator's hands: what tests of it have in common.
import { openPage, start } from "./devtools.mjs";

const PATIENCE_MS = 20_000;
const STEPS = 200;
const NAMED = {
  Enter: { key: "Enter", code: "Enter", windowsVirtualKeyCode: 13, text: "\r" },
  Tab: { key: "Tab", code: "Tab", windowsVirtualKeyCode: 9 },
  " ": { key: " ", code: "Space", windowsVirtualKeyCode: 32, text: " " },
  Escape: { key: "Escape", code: "Escape", windowsVirtualKeyCode: 27 },
};

export const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));
/** A line of JSON for the test. */
export const say = (line) => console.log(JSON.stringify(line));

/** Opens an empty page, in which nothing that goes wrong is missed. */
export const openBrowser = async (chromium, profile, { hear: also = () => {} } = {}) => {
  const heard = { problems: [], hosts: new Set() };
  const hear = (event) => {
    also(event);
    const { method, params } = event;
    const { problems, hosts } = heard;
    if (method === "Runtime.exceptionThrown") problems.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Runtime.consoleAPICalled" && params.type === "error") problems.push(params.args.map((one) => one.value ?? one.description).join(" "));
    if (method === "Log.entryAdded" && params.entry.level === "error") problems.push(`${params.entry.text} ${params.entry.url ?? ""}`);
    if (method === "Network.requestWillBeSent" && !/^(data|blob):/.test(params.request.url)) hosts.add(new URL(params.request.url).host);
    if (method === "Page.javascriptDialogOpening") problems.push("a script of a stranger ran");
  };
  const { ask, stop } = start(chromium, profile, { hear });
  const page = await openPage(ask);
  const tell = (method, params) => ask(method, params, page);
  for (const domain of ["Log", "Network", "Page"]) await tell(`${domain}.enable`, {});
  await tell("Page.addScriptToEvaluateOnNewDocument", {
    source: "addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));",
  });
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await tell("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  const until = async (what, expression, patience = PATIENCE_MS) => {
    const end = Date.now() + patience;
    for (;;) {
      const value = await evaluate(`(() => { try { return ${expression}; } catch { return null; } })()`);
      if (value) return value;
      if (Date.now() > end) {
        const shown = await evaluate("document.body.innerText.slice(0, 900)");
        throw new Error(`${what}: not in time. ${JSON.stringify(shown)} ${JSON.stringify(heard.problems)}`);
      }
      await pause(50);
    }
  };
  const open = async (hash) => {
    await evaluate(`location.hash = ${JSON.stringify(hash)}`);
    await until(`${hash} shows something`, "document.querySelector('main h1') && document.querySelector('header .badge.ok')");
  };
  const key = async (text) => {
    const event = NAMED[text] ?? { key: text, text };
    await tell("Input.dispatchKeyEvent", { type: "keyDown", ...event });
    await tell("Input.dispatchKeyEvent", { type: "keyUp", ...event, text: undefined });
  };
  const type = async (text) => { for (const letter of text) await key(letter); };
  const tabTo = async (expression) => {
    for (let steps = 0; steps < STEPS; steps += 1) {
      if (await evaluate(`(() => { const at = document.activeElement; return Boolean(${expression}); })()`)) return;
      await key("Tab");
    }
    throw new Error(`nothing to tab to: ${expression}`);
  };
  return { heard, stop, tell, evaluate, until, open, key, type, tabTo };
};

/** Does each story, and tells what was wrong in it. */
export const tellStories = async (stories, heard) => {
  for (const [story, does] of Object.entries(stories)) {
    heard.problems = [];
    let wrong = null;
    await does().catch((error) => { wrong = error.message; });
    say({ story, problems: wrong ? [wrong, ...heard.problems] : heard.problems });
  }
};
