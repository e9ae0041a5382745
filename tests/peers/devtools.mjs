// Headless Chromium over the DevTools protocol on its pipe, which needs no package.
import { spawn } from "node:child_process";

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--mute-audio",
  "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--allow-loopback-in-peer-connection",
  "--disable-features=WebRtcHideLocalIpsWithMdns", "--autoplay-policy=no-user-gesture-required", "--remote-debugging-pipe",
];

/** Starts the browser. `ask` sends a command and resolves with its result; `hear` gets every event. */
export const start = (chromium, profile, { hosts, flag, hear }) => {
  const more = [...(hosts ? [`--host-resolver-rules=${hosts}`] : []), ...(flag ? [flag] : [])];
  const browser = spawn(chromium, [...FLAGS, `--user-data-dir=${profile}`, ...more, "about:blank"],
    { stdio: ["ignore", "ignore", "inherit", "pipe", "pipe"] });
  const stop = () => { browser.kill("SIGKILL"); process.exit(); };
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, stop);
  browser.on("exit", (code) => { console.error(`the browser ended: ${code}`); process.exit(1); });

  // Messages are JSON, each followed by a zero byte: ours go to descriptor 3, answers come from descriptor 4.
  const [, , , input, output] = browser.stdio;
  const waiting = new Map();
  let last = 0;
  let rest = "";
  output.setEncoding("utf8");
  output.on("data", (text) => {
    const messages = (rest + text).split("\0");
    rest = messages.pop();
    for (const message of messages.map((message) => JSON.parse(message))) {
      if (message.method) hear(message);
      const answer = waiting.get(message.id);
      waiting.delete(message.id);
      if (answer) answer(message);
    }
  });
  const ask = (method, params = {}, sessionId) => new Promise((resolve, reject) => {
    const id = ++last;
    waiting.set(id, ({ error, result }) => (error ? reject(new Error(`${method}: ${error.message}`)) : resolve(result)));
    input.write(JSON.stringify({ id, method, params, sessionId }) + "\0");
  });
  return { ask, stop };
};

/** Opens a page, and returns the session to speak with it. */
export const openPage = async (ask) => {
  const { targetId } = await ask("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await ask("Target.attachToTarget", { targetId, flatten: true });
  await ask("Runtime.enable", {}, sessionId);
  return sessionId;
};
