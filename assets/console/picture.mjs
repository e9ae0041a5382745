// A picture of a stream, for operators: a viewer of the proxy's own, which ends after a minute.

import { look, lookOver } from "./data.mjs";
import { h } from "./dom.mjs";
import { codecsOf, initialisation } from "./fragments.mjs";
import { stream as short } from "./format.mjs";

const button = (text, onclick) => h("button", { type: "button", onclick }, text);

/** The picture of the stream that a page is about. */
export const picture = (context) => {
  const { mayAct, state, rest, set } = context;
  const shown = () => [
    h("video", { key: state.playing, muted: true, playsinline: true, "aria-label": `Picture of ${short(rest)}`, once: (node) => play(context, node) }),
    state.way && h("p", { class: "empty" }, `By ${state.way}.`),
    button("Stop", () => { state.stop?.(); set({ playing: null, stop: null, way: null, problem: null }); }),
  ];
  const offered = () => (!mayAct ? h("p", { class: "empty" }, "A picture is for operators.")
    : !["MediaSource", "RTCPeerConnection"].some((one) => one in window) ? h("p", { class: "empty" }, "This browser plays no streams.")
      : button("Show it for a minute", () => set({ playing: Date.now(), way: null, problem: null })));
  return h("section", { key: "picture", class: "picture" }, h("h2", null, "Picture"),
    state.playing ? shown() : offered(),
    state.problem && h("p", { role: "alert" }, state.problem));
};

const PATIENCE_MS = 8000;
const hasPicture = (video) => video.getVideoPlaybackQuality().totalVideoFrames > 0;

/** Tries one way after the other, until one has a picture. What comes by WebRTC need not be anything else at its origin. */
const play = async (context, video) => {
  video.muted = true;
  const end = new AbortController();
  context.leaving(() => end.abort());
  context.set({ stop: () => end.abort() });
  const byCall = ["WebRTC", asCall];
  const byBody = ["FLV or HLS", asBody];
  const ways = context.data.stream?.protocols.includes("webrtc") ? [byCall, byBody] : [byBody, byCall];
  const problems = [];
  for (const [title, way] of ways) {
    const own = new AbortController();
    try {
      const told = (name) => context.set({ way: name });
      await within(PATIENCE_MS, video, way(context.rest, video, AbortSignal.any([end.signal, own.signal]), told));
      problems.splice(0, problems.length, "The minute is over, or the stream has ended.");
      break;
    } catch (error) {
      problems.push(`No picture by ${title}: ${error.message}.`);
    } finally {
      own.abort();
      video.removeAttribute("src");
      video.srcObject = null;
    }
    if (end.signal.aborted) return;
  }
  if (!end.signal.aborted) context.set({ playing: null, stop: null, way: null, problem: problems.join(" ") });
};

/** What `showing` comes to, unless there is no picture after a while. */
const within = (millis, video, showing) => new Promise((resolve, reject) => {
  // A player that ends takes its pictures from the count.
  let had = false;
  const see = () => { had ||= hasPicture(video); };
  video.addEventListener("timeupdate", see);
  const late = setTimeout(() => {
    see();
    if (!had) reject(new Error(`none came within ${millis / 1000} seconds`));
  }, millis);
  showing.then(() => (had || hasPicture(video) ? resolve() : reject(new Error("it ended before one came"))), reject).finally(() => {
    clearTimeout(late);
    video.removeEventListener("timeupdate", see);
  });
});

/** By one answer without end, of the kind that the origin of the stream can give. */
const asBody = async (stream, video, signal, told) => {
  if (!("MediaSource" in window)) throw new Error("this browser has no Media Source");
  const response = await look("GET", stream, { signal });
  const kind = response.headers.get("Content-Type");
  told({ "video/x-flv": "FLV", "video/mp2t": "HLS", "video/mp4": "HLS" }[kind]);
  const shows = kind === "video/mp4" ? asFragments : asPackets;
  await shows(response.body.getReader(), video, signal, kind === "video/mp2t" ? "mpegts" : "flv");
};

const loaded = () => window.mpegts ?? new Promise((resolve, reject) => {
  const script = Object.assign(document.createElement("script"), { src: "mpegts.js", onload: resolve, onerror: reject });
  document.head.append(script);
});

/** FLV or MPEG-TS, by the player that is part of the console. */
const asPackets = async (reader, video, signal, type) => {
  await loaded();
  if (signal.aborted) return;
  const { BaseLoader, Events, createPlayer } = window.mpegts;
  /** Hands the player what was asked for already. */
  class Loader extends BaseLoader {
    constructor() {
      super("fetched");
    }

    async open() {
      let received = 0;
      for (;;) {
        const { value, done } = await reader.read().catch(() => ({ done: true }));
        if (done || signal.aborted) break;
        const from = received;
        received += value.byteLength;
        this._onDataArrival?.(value.slice().buffer, from, received);
      }
      if (!signal.aborted) this._onComplete?.(0, received);
    }

    abort() {}
  }
  const player = createPlayer({ type, isLive: true, url: location.href }, { enableStashBuffer: false, lazyLoad: false, liveSync: true, customLoader: Loader });
  await new Promise((resolve, reject) => {
    player.on(Events.ERROR, () => reject(new Error("this browser does not play its codecs")));
    player.on(Events.LOADING_COMPLETE, resolve);
    signal.addEventListener("abort", resolve);
    player.attachMediaElement(video);
    player.load();
    video.play().catch(() => {});
  }).finally(() => player.destroy());
};

/** Fragmented MP4, which the browser itself reads. */
const asFragments = async (reader, video, signal) => {
  const source = new MediaSource();
  const isOpen = new Promise((resolve) => source.addEventListener("sourceopen", resolve, { once: true }));
  const url = URL.createObjectURL(source);
  video.src = url;
  await isOpen;
  URL.revokeObjectURL(url);
  const taken = (buffer, bytes) => new Promise((resolve, reject) => {
    buffer.onupdateend = resolve;
    buffer.onerror = () => reject(new Error("this browser does not read its segments"));
    buffer.appendBuffer(bytes);
  });
  let buffer = null;
  let start = new Uint8Array();
  while (!signal.aborted) {
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    if (done) return;
    let bytes = value;
    if (!buffer) {
      bytes = start = new Uint8Array([...start, ...value]);
      const described = initialisation(start);
      if (!described) continue;
      const kind = `video/mp4; codecs="${codecsOf(described).join(", ")}"`;
      if (!MediaSource.isTypeSupported(kind)) throw new Error(`this browser does not play ${kind}`);
      buffer = source.addSourceBuffer(kind);
    }
    await taken(buffer, bytes);
    // The times of a stream begin with it, and not with whoever looks.
    if (video.buffered.length > 0 && video.currentTime < video.buffered.start(0)) {
      video.currentTime = video.buffered.start(0);
      video.play().catch(() => {});
    }
  }
};

/** By a call, whose media comes to the proxy's own port for it. */
const asCall = async (stream, video, signal, told) => {
  if (!("RTCPeerConnection" in window)) throw new Error("this browser has no WebRTC");
  const call = new RTCPeerConnection();
  let session = null;
  try {
    for (const kind of ["video", "audio"]) call.addTransceiver(kind, { direction: "recvonly" });
    call.ontrack = ({ track }) => {
      if (track.kind !== "video") return;
      video.srcObject = new MediaStream([track]);
      video.play().catch(() => {});
    };
    await call.setLocalDescription();
    const response = await look("POST", stream, { signal, body: call.localDescription.sdp, headers: { "Content-Type": "application/sdp" } });
    told("WebRTC");
    session = new URL(response.headers.get("Location"), response.url);
    await call.setRemoteDescription({ type: "answer", sdp: await response.text() });
    // One that was aborted before tells nobody who listens from here on.
    signal.throwIfAborted();
    await new Promise((resolve, reject) => {
      signal.addEventListener("abort", resolve);
      let stood = false;
      call.onconnectionstatechange = () => {
        const now = call.connectionState;
        stood ||= now === "connected";
        if (now === "failed" && !stood) reject(new Error("its media does not come through: is the port of rtc.listen open?"));
        // The proxy has ended it, or the way between has.
        if (now === "disconnected" || (now === "failed" && stood)) resolve();
      };
    });
  } finally {
    call.close();
    if (session) lookOver(session);
  }
};
