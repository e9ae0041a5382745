// A picture of a stream, for operators: a viewer of the proxy's own, which ends after a minute.

import { address, query, refusal } from "./data.mjs";
import { h } from "./dom.mjs";
import { stream as short } from "./format.mjs";

const button = (text, onclick) => h("button", { type: "button", onclick }, text);

/** The picture of the stream that a page is about. */
export const picture = (context) => {
  const { mayAct, state, rest, set } = context;
  const shown = () => [
    h("video", { key: state.playing, muted: true, playsinline: true, "aria-label": `Picture of ${short(rest)}`, once: (node) => play(context, node) }),
    button("Stop", () => { state.stop?.(); set({ playing: null, stop: null, problem: null }); }),
  ];
  const offered = () => (!mayAct ? h("p", { class: "empty" }, "A picture is for operators.")
    : !("MediaSource" in window) ? h("p", { class: "empty" }, "This browser plays no streams.")
      : button("Show it for a minute", () => set({ playing: Date.now(), problem: null })));
  return h("section", { key: "picture", class: "picture" }, h("h2", null, "Picture"),
    state.playing ? shown() : offered(),
    state.problem && h("p", { role: "alert" }, state.problem));
};

const loaded = () => window.mpegts ?? new Promise((resolve, reject) => {
  const script = Object.assign(document.createElement("script"), { src: "mpegts.js", onload: resolve, onerror: reject });
  document.head.append(script);
});

const play = async (context, video) => {
  video.muted = true;
  const path = `preview?${query({ stream: context.rest })}`;
  await loaded();
  // Somebody may have gone on meanwhile.
  if (!video.isConnected) return;
  const { createPlayer, Events, ErrorTypes } = window.mpegts;
  const player = createPlayer({ type: "flv", isLive: true, url: address(path) },
    { enableStashBuffer: false, lazyLoad: false, liveSync: true, headers: { "X-Sluicegate": "1" } });
  let isOver = false;
  const end = (problem) => {
    if (isOver) return;
    isOver = true;
    player.destroy();
    if (problem !== undefined) context.set({ playing: null, stop: null, problem });
  };
  player.on(Events.ERROR, async (type, detail) => {
    const words = type === ErrorTypes.NETWORK_ERROR ? await refusal(path) : "this browser does not play its codecs";
    end(`No picture: ${words ?? detail}.`);
  });
  player.on(Events.LOADING_COMPLETE, () => end("The minute is over, or the stream has ended."));
  context.leaving(() => end());
  context.set({ stop: () => end() });
  player.attachMediaElement(video);
  player.load();
  video.play().catch(() => {});
};
