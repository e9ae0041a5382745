// Publishes by WHIP or plays by WHEP, and shows how it goes. Everything in the form may stand in the query too, and
// `action=publish` or `action=play` there starts at once.
const part = (id) => document.getElementById(id);
const form = part("form");
const query = new URLSearchParams(location.search);
let call = null;

for (const field of ["api", "app", "stream", "token", "source"]) {
  if (query.has(field)) form.elements[field].value = query.get(field);
}
form.elements.api.value ||= `${location.protocol}//${location.hostname}:11985`;

const say = (text) => { part("state").textContent = text; };
const complain = (text) => {
  part("problem").textContent = text;
  part("problem").hidden = !text;
};

const testPicture = () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [320, 180];
  const context = canvas.getContext("2d");
  let count = 0;
  const draw = () => {
    count += 1;
    for (let bar = 0; bar < 8; bar += 1) {
      context.fillStyle = `hsl(${bar * 45 + count * 3}, 80%, 50%)`;
      context.fillRect(bar * 40, 0, 40, 180);
    }
    context.fillStyle = "#fff";
    context.font = "40px monospace";
    context.fillText(String(count), 20, 100);
  };
  draw();
  setInterval(draw, 40);
  return canvas.captureStream(25);
};

const media = (source) => {
  if (source === "test") return testPicture();
  if (source === "screen") return navigator.mediaDevices.getDisplayMedia({ video: true });
  return navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360 } });
};

const start = async (action) => {
  await stop();
  complain("");
  const connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  call = { connection, action, resource: null, headers: {}, answered: 0, first: null };
  const started = call;
  connection.onconnectionstatechange = () => {
    say(connection.connectionState);
    if (connection.connectionState === "failed") complain("The connection failed. Is the media port open, by UDP?");
  };
  if (action === "publish") {
    const stream = await media(form.elements.source.value);
    part("video").srcObject = stream;
    for (const track of stream.getTracks()) connection.addTransceiver(track, { direction: "sendonly", streams: [stream] });
  } else {
    connection.addTransceiver("video", { direction: "recvonly" });
    connection.addTransceiver("audio", { direction: "recvonly" });
    const stream = new MediaStream();
    connection.ontrack = ({ track }) => {
      stream.addTrack(track);
      part("video").srcObject = stream;
    };
    part("video").requestVideoFrameCallback(() => { started.first ??= performance.now() - started.answered; });
  }
  await connection.setLocalDescription();
  const { api, app, stream, token } = form.elements;
  const address = new URL(`/rtc/v1/${action === "publish" ? "whip" : "whep"}/`, api.value);
  address.search = new URLSearchParams({ app: app.value, stream: stream.value });
  call.headers = token.value ? { Authorization: `Bearer ${token.value}` } : {};
  const response = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/sdp", ...call.headers },
    body: connection.localDescription.sdp,
  });
  const text = await response.text();
  if (response.status !== 201) throw new Error(`${response.status}: ${text.slice(0, 200)}`);
  call.resource = response.headers.get("Location") && new URL(response.headers.get("Location"), response.url);
  call.answered = performance.now();
  // `transport=tcp` tries the way that clients take whose firewall lets no UDP through.
  const tcpOnly = query.get("transport") === "tcp";
  const sdp = tcpOnly ? text.replace(/^a=candidate:\S+ \d+ udp .*\r?\n/gim, "") : text;
  await connection.setRemoteDescription({ type: "answer", sdp });
};

const stop = async () => {
  const over = call;
  call = null;
  if (!over) return;
  over.connection.close();
  say("stopped");
  if (over.resource) await fetch(over.resource, { method: "DELETE", headers: over.headers }).catch(() => {});
};

const look = async () => {
  if (!call) return;
  const { connection, action } = call;
  const reports = [...(await connection.getStats()).values()];
  const of = (type) => reports.filter((report) => report.type === type);
  const byId = (id) => reports.find((report) => report.id === id);
  const pair = byId(of("transport")[0]?.selectedCandidatePairId);
  const remote = pair && byId(pair.remoteCandidateId);
  const video = of(action === "publish" ? "outbound-rtp" : "inbound-rtp").find((report) => report.kind === "video");
  const stats = {
    action,
    state: connection.connectionState,
    remote: remote ? `${remote.address}:${remote.port}` : null,
    protocol: remote?.protocol ?? null,
    frames: (action === "publish" ? video?.framesEncoded : video?.framesDecoded) ?? 0,
    bytes: (action === "publish" ? pair?.bytesSent : pair?.bytesReceived) ?? 0,
    width: video?.frameWidth ?? 0,
    height: video?.frameHeight ?? 0,
    lost: video?.packetsLost ?? of("remote-inbound-rtp")[0]?.packetsLost ?? 0,
    trip: pair?.currentRoundTripTime ?? null,
    first: call.first,
  };
  window.callStats = stats;
  part("remote").textContent = stats.remote ? `${stats.remote} (${stats.protocol})` : "–";
  part("picture").textContent = stats.width ? `${stats.width} × ${stats.height}` : "–";
  part("frames").textContent = stats.frames;
  part("first").textContent = stats.first === null ? "–" : `${Math.round(stats.first)} ms`;
  part("bytes").textContent = stats.bytes;
  part("lost").textContent = stats.lost;
  part("trip").textContent = stats.trip === null ? "–" : `${Math.round(stats.trip * 1000)} ms`;
};

const begin = (action) => start(action).catch((error) => { complain(error.message); say("failed"); });
form.addEventListener("submit", (event) => {
  event.preventDefault();
  begin(event.submitter.value);
});
part("stop").addEventListener("click", stop);
addEventListener("pagehide", stop);
setInterval(() => {
  part("stop").disabled = !call;
  look().catch((error) => complain(error.message));
}, 200);
if (query.has("action")) begin(query.get("action"));
