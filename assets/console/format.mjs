// Numbers and times for people.

const scaled = (value, step, units, digits = 1) => {
  let at = 0;
  while (value >= step && at < units.length - 1) {
    value /= step;
    at += 1;
  }
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(digits)} ${units[at]}`;
};

export const count = (value) => value?.toLocaleString("en") ?? "–";
/** A number of things: 1 stream, 2 streams. */
export const many = (value, noun, nouns = `${noun}s`) => `${count(value)} ${value === 1 ? noun : nouns}`;
export const rate = (bps) => (bps ? scaled(bps, 1000, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]) : "–");
export const size = (bytes) => scaled(bytes ?? 0, 1000, ["B", "kB", "MB", "GB", "TB"]);
export const percent = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)} %`);

/** A span of time: 31 s, 12 min, 3 h 20 min, 5 d. */
export const span = (seconds) => {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
};

// Swedish dates and times are those of ISO 8601.
const clock = (timeZone) => new Intl.DateTimeFormat("sv", { timeZone, dateStyle: "short", timeStyle: "medium" });
const [LOCAL, UTC] = [clock(), clock("UTC")];
let isUtc = localStorage.getItem("times") === "utc";

/** Whether times are shown in UTC rather than in the time zone of this browser. */
export const isInUtc = () => isUtc;
export const switchTimes = () => {
  isUtc = !isUtc;
  localStorage.setItem("times", isUtc ? "utc" : "local");
};

/** A time of day, with the date unless it is today. */
export const time = (millis) => {
  const shown = isUtc ? UTC : LOCAL;
  const [day, ofDay] = shown.format(millis).split(" ");
  return shown.format(Date.now()).startsWith(day) ? ofDay : `${day} ${ofDay}`;
};
/** The same where the clock is the other one. */
export const otherTime = (millis) => (isUtc ? `${LOCAL.format(millis)} local time` : `${UTC.format(millis)} UTC`);

/** A stream without the vhost that most have. */
export const stream = (name) => (name ?? "").replace(/^__defaultVhost__\//, "");
const PROTOCOLS = { dash: "DASH", hls: "HLS", http_aac: "AAC", http_flv: "HTTP-FLV", http_mp3: "MP3", http_segments: "HLS/DASH", http_ts: "HTTP-TS", rtmp: "RTMP", rtsp: "RTSP", srt: "SRT", webrtc: "WebRTC" };
export const protocol = (word) => PROTOCOLS[word] ?? word;
export const words = (name) => name.replaceAll("_", " ");
