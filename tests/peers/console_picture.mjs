// Looks at the pictures of streams in the console in headless Chromium, and prints one line of JSON for each: what went wrong,
// and by which way the picture came.
//
//   node console_picture.mjs CHROMIUM PROFILE_FOLDER CONSOLE_URL STREAM…
import { openBrowser, say } from "./console_browser.mjs";

const [chromium, profile, base, ...streams] = process.argv.slice(2);
const { heard, tell, evaluate, until, open, stop } = await openBrowser(chromium, profile);

// A picture of one colour is no picture, so colours are counted.
const colours = () => {
  const video = document.querySelector("video");
  const canvas = Object.assign(document.createElement("canvas"), { width: 32, height: 18 });
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, 32, 18);
  const { data } = context.getImageData(0, 0, 32, 18);
  const found = new Set();
  for (let at = 0; at < data.length; at += 4) found.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
  return found.size;
};
// The ids of the sessions of a list in which somebody looks at a stream.
const looks = (list, stream) => evaluate(`fetch(new URL("../api/v1/${list}", document.baseURI)).then((answer) => answer.json())
  .then(({ data }) => data.sessions.filter((row) => row.preview && row.stream.endsWith(${JSON.stringify(`/${stream}`)})).map((row) => row.id))`);
const end = (id) => evaluate(`fetch(new URL("../api/v1/sessions/${id}", document.baseURI), { method: "DELETE", headers: { "X-Sluicegate": "1" } })
  .then((answer) => answer.status)`);
const press = (text) => evaluate(`[...document.querySelectorAll("button")].find((one) => one.textContent === ${JSON.stringify(text)}).click()`);

await tell("Page.navigate", { url: base });
await until("the console is there", "document.querySelector('header .badge.ok') && document.querySelector('main h1')");
for (const stream of streams) {
  heard.problems = [];
  heard.hosts = new Set();
  let wrong = null;
  let way = null;
  try {
    await open(`/s/${stream}`);
    await until("the page of the stream", "[...document.querySelectorAll('button')].some((one) => one.textContent === 'Show it for a minute')");
    await press("Show it for a minute");
    await until("frames", "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 25", 40_000);
    await until("a picture in colours", `(${colours})() > 4`);
    way = await evaluate("document.querySelector('.picture p').textContent");
    await until("its row", "[...document.querySelectorAll('tbody tr')].some((row) => row.textContent.includes('preview'))");
    await press("Stop");
    await until("it is stopped", "!document.querySelector('video')");
    // The proxy ends the next, as it does after a minute. That is no reason to try another way.
    const before = await looks("sessions/ended", stream);
    await press("Show it for a minute");
    await until("frames of the next", "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 25", 40_000);
    const [id, ...more] = await looks("sessions", stream);
    if (more.length > 0) throw new Error(`there are ${more.length} looks more than one`);
    const status = await end(id);
    if (status !== 200) throw new Error(`the end of the look: ${status}`);
    await until("it says that it is over", "document.querySelector('.picture [role=alert]')", 40_000);
    const told = await evaluate("document.querySelector('.picture [role=alert]').textContent");
    if (told !== "The minute is over, or the stream has ended.") throw new Error(told);
    const ended = (await looks("sessions/ended", stream)).filter((one) => !before.includes(one));
    if (String(ended) !== String([id])) throw new Error(`of ${id}, these looks were begun: ${ended}`);
  } catch (error) {
    wrong = error.message;
  }
  // A page that sees its call end says so to a proxy that need not know: the browser notes the 404.
  heard.problems = heard.problems.filter((problem) => !/status of 404 .*\/api\/v1\/sessions\//.test(problem));
  say({ stream, way, problems: wrong ? [wrong, ...heard.problems] : heard.problems, hosts: [...heard.hosts] });
}
say({ done: true });
stop();
