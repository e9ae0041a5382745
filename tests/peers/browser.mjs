// Opens one page in headless Chromium and prints, several times a second, one line of JSON about its first video
// element. It speaks the DevTools protocol over the browser's pipe, so it needs no package. HOSTS says what names
// stand for, as `MAP a.test 127.0.0.1`; SCRIPT is run once in the page that has come, and what it returns is printed as
// `said` from then on. An empty one counts as none. The browser gets FLAG as well.
//
//   node browser.mjs CHROMIUM PROFILE_FOLDER URL [HOSTS [SCRIPT [FLAG]]]
import { openPage, start } from "./devtools.mjs";

const [chromium, profile, url, hosts, script, flag] = process.argv.slice(2);
const POLL_MS = 100;

const hear = ({ method, params }) => {
  if (method === "Runtime.exceptionThrown") {
    console.error(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
  } else if (method === "Runtime.consoleAPICalled") {
    console.error(params.args.map((argument) => argument.value ?? argument.description).join(" "));
  }
};
const { ask } = start(chromium, profile, { hosts, flag, hear });

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
    ranges: video.buffered.length,
    width: video.videoWidth,
    height: video.videoHeight,
    colours: colours.size,
    title: document.title,
    url,
    call: window.callStats ?? null,
    problem: problem ? problem.textContent.trim() : null,
  };
};

const sessionId = await openPage(ask);
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
