// Opens one page in headless Chromium and prints, several times a second, one line of JSON about its first video
// element. It speaks the DevTools protocol over the browser's pipe, so it needs no package. HOSTS says what names
// stand for, as `MAP a.test 127.0.0.1`; SCRIPT is run once in the page that has come, and what it returns is printed as
// `said` from then on. An empty one counts as none. The browser gets FLAG as well.
//
//   node browser.mjs CHROMIUM PROFILE_FOLDER URL [HOSTS [SCRIPT [FLAG]]]
import { spawn } from "node:child_process";

const [chromium, profile, url, hosts, script, flag] = process.argv.slice(2);
const POLL_MS = 100;

const browser = spawn(chromium, [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--mute-audio",
  "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--allow-loopback-in-peer-connection",
  "--disable-features=WebRtcHideLocalIpsWithMdns", "--autoplay-policy=no-user-gesture-required", "--remote-debugging-pipe", `--user-data-dir=${profile}`,
  ...(hosts ? [`--host-resolver-rules=${hosts}`] : []), ...(flag ? [flag] : []), "about:blank",
], { stdio: ["ignore", "ignore", "inherit", "pipe", "pipe"] });

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
    if (message.method === "Runtime.exceptionThrown") {
      console.error(message.params.exceptionDetails.exception?.description ?? message.params.exceptionDetails.text);
    } else if (message.method === "Runtime.consoleAPICalled") {
      console.error(message.params.args.map((argument) => argument.value ?? argument.description).join(" "));
    }
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

// Runs in the page. A picture of one colour is no picture, so colours are counted.
const look = () => {
  const video = document.querySelector("video");
  const url = document.readyState === "complete" ? location.href : "";
  if (!video) return { frames: 0, title: document.title, url };
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [32, 18];
  const context = canvas.getContext("2d");
  const colours = new Set();
  if (video.videoWidth > 0) {
    context.drawImage(video, 0, 0, 32, 18);
    const { data } = context.getImageData(0, 0, 32, 18);
    for (let at = 0; at < data.length; at += 4) colours.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
  }
  const problem = document.querySelector("[role=alert]:not([hidden])");
  return {
    frames: video.getVideoPlaybackQuality().totalVideoFrames,
    time: video.currentTime,
    width: video.videoWidth,
    height: video.videoHeight,
    colours: colours.size,
    title: document.title,
    url,
    call: window.callStats ?? null,
    problem: problem ? problem.textContent.trim() : null,
  };
};

const { targetId } = await ask("Target.createTarget", { url: "about:blank" });
const { sessionId } = await ask("Target.attachToTarget", { targetId, flatten: true });
await ask("Runtime.enable", {}, sessionId);
await ask("Page.navigate", { url }, sessionId);
const evaluate = async (expression) => {
  const how = { expression, returnByValue: true, awaitPromise: true };
  return (await ask("Runtime.evaluate", how, sessionId)).result.value;
};
let said;
for (;;) {
  const seen = await evaluate(`(${look})()`);
  if (script && said === undefined && seen?.url.startsWith(url)) said = await evaluate(`(async () => { ${script} })()`);
  if (seen) console.log(JSON.stringify({ ...seen, said }));
  await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}
