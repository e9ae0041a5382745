// Plays /<app>/<stream>.flv of the address this page came from and shows what arrives. The number of decoded frames
// is also in document.documentElement.dataset.frames, for tests. Where the page runs on the machine of the proxy, it
// kills the demo's origins and starts them again.
"use strict";

(() => {
  const RETRY_MS = 3000;
  const SHOW_MS = 250;
  const STALL_MS = 10000;
  const ORIGINS = "/demo/origins";
  const ORIGINS_MS = 500;

  const element = (id) => document.getElementById(id);
  const video = element("video");
  const root = document.documentElement;
  let player = null;
  let retry = 0;
  let path = "/live/demo.flv";
  let progress = { position: 0, at: 0 };

  // "live/mine?token=x", "/live/mine.flv" and "http://this-address/live/mine.flv" all name one stream. Null: no stream.
  const pathOf = (text) => {
    let url;
    try {
      url = new URL(text.trim().replace(/^\/*(?![a-z]+:)/i, "/"), location.origin);
    } catch {
      return null;
    }
    if (url.origin !== location.origin) return null;
    const parts = url.pathname.split("/").filter(Boolean);
    if (parts.length < 2) return null;
    const name = parts.join("/");
    return "/" + (name.endsWith(".flv") ? name : name + ".flv") + url.search;
  };

  const say = (state, text) => {
    element("state").textContent = text;
    element("state").dataset.is = state;
  };

  const complain = (text) => {
    element("problem").textContent = text;
    element("problem").hidden = text === "";
  };

  const reasonOf = (type, detail, info) => {
    const status = info && info.code > 0 ? info.code : 0;
    switch (status) {
      case 401:
      case 403: return `The server refused this viewer (${status}).`;
      case 404: return "There is no such stream here (404). Is somebody publishing it?";
      case 502: return "The origin did not answer as it should (502).";
      case 503: return "No origin can take this stream now (503).";
      case 504: return "The origin took too long to answer (504).";
    }
    if (status) return `The server answered ${status}.`;
    if (type === mpegts.ErrorTypes.NETWORK_ERROR) return "The connection failed or was cut. Is the proxy still running?";
    if (detail === mpegts.ErrorDetails.MEDIA_CODEC_UNSUPPORTED) return "This browser cannot play the stream's codecs.";
    const words = info && info.msg ? `: ${info.msg}` : "";
    return `This browser could not play what came (${detail}${words}).`;
  };

  const stop = () => {
    clearTimeout(retry);
    if (player) player.destroy();
    player = null;
  };

  const again = (reason) => {
    stop();
    say("failed", "not playing");
    complain(`${reason} Trying again in ${RETRY_MS / 1000} s.`);
    retry = setTimeout(start, RETRY_MS);
  };

  const start = () => {
    stop();
    say("starting", "starting");
    progress = { position: 0, at: performance.now() };
    const opened = mpegts.createPlayer(
      { type: "flv", isLive: true, url: new URL(path, location.origin).href },
      { enableStashBuffer: false, lazyLoad: false, liveSync: true, autoCleanupSourceBuffer: true },
    );
    player = opened;
    // A player that was replaced may still report; only the present one counts.
    const current = (handle) => (...words) => { if (player === opened) handle(...words); };
    opened.on(mpegts.Events.ERROR, current((type, detail, info) => again(reasonOf(type, detail, info))));
    opened.on(mpegts.Events.LOADING_COMPLETE, current(() => again("The stream has ended.")));
    opened.on(mpegts.Events.MEDIA_INFO, current((info) => {
      element("codecs").textContent = [info.videoCodec, info.audioCodec].filter(Boolean).join(", ") || "–";
    }));
    opened.on(mpegts.Events.STATISTICS_INFO, current((info) => {
      if (info.speed > 0) element("rate").textContent = `${Math.round(info.speed * 8)} kbit/s`;
    }));
    opened.attachMediaElement(video);
    opened.load();
    Promise.resolve(opened.play()).catch(current((problem) => {
      if (problem.name === "NotAllowedError") say("starting", "press play to start");
    }));
  };

  const open = (text) => {
    const wanted = pathOf(text);
    if (wanted === null) {
      complain("Write the application and the stream name, for example live/mine.");
      return;
    }
    path = wanted;
    const name = path.slice(1).replace(/\.flv(?=$|\?)/, "");
    element("title").textContent = name.split("?")[0];
    element("stream").value = name;
    element("address").textContent = new URL(path, location.origin).href;
    complain("");
    start();
  };

  const show = () => {
    const quality = video.getVideoPlaybackQuality();
    root.dataset.frames = String(quality.totalVideoFrames);
    element("frames").textContent = String(quality.totalVideoFrames);
    element("dropped").textContent = String(quality.droppedVideoFrames);
    if (video.videoWidth > 0) element("picture").textContent = `${video.videoWidth} × ${video.videoHeight}`;
    if (player && video.buffered.length > 0) {
      const ahead = video.buffered.end(video.buffered.length - 1) - video.currentTime;
      element("ahead").textContent = `${Math.max(0, ahead).toFixed(1)} s`;
    }
    watch();
  };

  // A publisher that comes back with other tracks leaves the decoder waiting for the ones that are gone; only a new
  // start helps. Nothing else ends a connection on which nothing comes.
  const watch = () => {
    const now = performance.now();
    if (!player || (video.paused && video.currentTime > 0) || video.currentTime !== progress.position) {
      progress = { position: video.currentTime, at: now };
    } else if (now - progress.at > STALL_MS) {
      again(`Nothing to show for ${STALL_MS / 1000} s. Is somebody publishing it?`);
    }
  };

  const complainOfSwitch = (text) => {
    element("switch-problem").textContent = text;
    element("switch-problem").hidden = text === "";
  };

  // The row of an origin, made once, so that a button keeps its focus while what it says changes.
  const rowOf = (name) => {
    const known = [...element("fleet").children].find((row) => row.dataset.name === name);
    if (known) return known;
    const row = document.createElement("li");
    row.dataset.name = name;
    const title = document.createElement("strong");
    title.textContent = name;
    const does = document.createElement("span");
    does.className = "does";
    const button = document.createElement("button");
    button.type = "button";
    button.addEventListener("click", () => turn(row, button.dataset.turns));
    row.append(title, does, button);
    element("fleet").append(row);
    return row;
  };

  const showOrigins = ({ console: port, origins }) => {
    element("console").href = `${location.protocol}//${location.hostname}:${port}/console/`;
    const playing = path.slice(1).split("?")[0].replace(/\.flv$/, "");
    for (const { name, on, streams } of origins) {
      const row = rowOf(name);
      const serves = on && streams.includes(playing);
      row.dataset.is = serves ? "serving" : on ? "waiting" : "dead";
      const others = streams.length > 0 ? `has ${streams.join(", ")}` : "has no stream";
      row.querySelector(".does").textContent = !on ? "dead" : serves ? "has this stream" : others;
      const button = row.querySelector("button");
      button.textContent = on ? "Kill this origin" : "Start it again";
      button.dataset.turns = on ? "off" : "on";
    }
    element("origins").hidden = false;
  };

  const askOrigins = async (below, method) => {
    const answer = await fetch(ORIGINS + below, { method, headers: { "X-Sluicegate": "1" }, cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()).trim() || `the server answered ${answer.status}`);
    return answer.json();
  };

  const turn = async (row, to) => {
    const button = row.querySelector("button");
    button.disabled = true;
    try {
      showOrigins(await askOrigins(`/${row.dataset.name}/${to}`, "POST"));
      complainOfSwitch("");
    } catch (problem) {
      complainOfSwitch(`${row.dataset.name} was not turned ${to}: ${problem.message}.`);
    }
    button.disabled = false;
  };

  const followOrigins = async () => {
    try {
      showOrigins(await askOrigins("", "GET"));
    } catch {
      // Elsewhere than on the proxy's own machine there is nothing to show, and a proxy that stops has no origins.
    }
    setTimeout(followOrigins, ORIGINS_MS);
  };

  video.addEventListener("playing", () => {
    say("playing", "playing");
    complain("");
  });
  video.addEventListener("waiting", () => { if (player) say("starting", "waiting for data"); });
  element("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = element("stream").value;
    history.replaceState(null, "", "/?stream=" + encodeURIComponent(text));
    open(text);
  });

  followOrigins();
  element("publish").textContent = `rtmp://${location.hostname}:11935/live/mine`;
  root.dataset.frames = "0";
  if (!window.mpegts || !mpegts.getFeatureList().mseLivePlayback) {
    say("failed", "not playing");
    complain("This browser has no Media Source Extensions. Open the address below in a player such as VLC.");
    return;
  }
  setInterval(show, SHOW_MS);
  open(new URLSearchParams(location.search).get("stream") || "live/demo");
})();
