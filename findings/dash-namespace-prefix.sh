#!/usr/bin/env bash
# shaka-player 5.2.12 and mpd-parser 1.4.0 (npm, the DASH parser of video.js) say of a manifest that it is not XML, if its elements
# have a prefix.
#
# Input: a static manifest whose elements are written <m:MPD xmlns:m="urn:mpeg:dash:schema:mpd:2011">, as XML libraries of servers do
# unless they are told otherwise, and the same without the prefix. A prefix stands for the namespace and means nothing in itself
# (Namespaces in XML, 4 and 5); the schema of DASH asks for the namespace, and not for a way to write it.
# Behaviour: without the prefix both find the segment. With it both end with DASH_INVALID_XML, which is 4001 in shaka-player: they
# compare the names of elements with the prefix. yt-dlp 2026.10.26 of PyPI finds the segment in both.
# Needs: node, npm, python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts shaka-player@5.2.12 mpd-parser@1.4.0 >/dev/null
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check yt-dlp==2026.10.26
cat >plain.mpd <<'MPD'
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT4S" minBufferTime="PT2S"
    profiles="urn:mpeg:dash:profile:isoff-live:2011"><Period id="1"><AdaptationSet mimeType="video/mp4">
<SegmentTemplate timescale="1000" duration="4000" initialization="i.mp4" media="$Number$.m4s"/>
<Representation id="v" codecs="avc1.4d401f" bandwidth="1000000" width="640" height="360"/></AdaptationSet></Period></MPD>
MPD
sed -E 's#<(/?)([A-Z])#<\1m:\2#g; s/xmlns=/xmlns:m=/' plain.mpd >prefix.mpd
cat >read.js <<'JS'
import { readFileSync } from 'fs';
import { parse } from 'mpd-parser';
const names = ['plain.mpd', 'prefix.mpd'];
const parsed = names.map((name) => {
  try {
    return parse(readFileSync(name, 'utf8'), { manifestUri: 'http://127.0.0.1/a.mpd' }).playlists[0].segments.length;
  } catch (error) {
    return error.message;
  }
});
const element = { style: {}, canPlayType: () => '' };
Object.assign(globalThis, {
  self: globalThis, window: globalThis, addEventListener: () => {}, location: { href: 'http://127.0.0.1/', protocol: 'http:' },
  document: { createElement: () => element, documentElement: element, addEventListener: () => {} },
});
Object.defineProperty(globalThis, 'navigator', { value: { userAgent: '', platform: '', vendor: '' }, configurable: true });
const quiet = () => {};
Object.assign(console, { debug: quiet, info: quiet, warn: quiet, error: quiet });
const { default: shaka } = await import('shaka-player/dist/shaka-player.compiled.js');
shaka.polyfill.installAll();
const video = async (name) => {
  const bytes = readFileSync(name);
  const data = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  shaka.net.NetworkingEngine.registerScheme('test', (uri) => shaka.util.AbortableOperation.completed({ uri, data, headers: {} }), 3);
  const player = new shaka.Player();
  const parser = new shaka.dash.DashParser();
  parser.configure(player.getConfiguration().manifest);
  const found = await parser.start('test:a.mpd', {
    networkingEngine: player.getNetworkingEngine(), filter: async () => {}, makeTextStreamsForClosedCaptions: quiet,
    isLowLatencyMode: () => false, updateDuration: quiet, onEvent: quiet, onTimelineRegionAdded: quiet, modifyManifestRequest: quiet,
  });
  const [{ video: stream }] = found.variants;
  await stream.createSegmentIndex();
  return [...stream.segmentIndex].length;
};
const shown = [];
for (const name of names) shown.push(await video(name).catch((error) => error.code ?? error.message));
process.stdout.write(`${parsed.join(' ')} / ${shown.join(' ')}\n`);
process.exit();
JS
cat >read.py <<'PY'
from xml.etree import ElementTree

from yt_dlp import YoutubeDL

extractor = YoutubeDL({"quiet": True}).get_info_extractor("Generic")
found = []
for name in ("plain.mpd", "prefix.mpd"):
    formats, _ = extractor._parse_mpd_formats_and_subtitles(ElementTree.parse(name).getroot(), mpd_url="http://127.0.0.1/a.mpd")
    found.append(len(formats[0]["fragments"]))
print(*found)
PY
found=$(node read.js | tail -n 1)
others=$(python/bin/python read.py)
echo "mpd-parser without and with prefix / shaka-player, the same: $found / yt-dlp (with the initialization): $others"
[[ $found == "1 DASH_INVALID_XML / 1 4001" && $others == "2 2" ]]
