#!/usr/bin/env bash
# m3u8stream (npm) 0.8.6 leaves out one segment of each entry of a DASH timeline that repeats.
#
# Input: a static manifest of five segments, whose SegmentTimeline has five entries, or one with r="4". The attribute counts how
# often the entry is repeated after its first time (S@r, ISO/IEC 23009-1, 5.3.9.6), so both are the same.
# Behaviour: of the five entries five segments are downloaded. Of the one there are four: the number is taken for how many
# segments there are. The stream ends without an error, four seconds early, and with more runs it has a hole after each; only
# segments that are all of different lengths are complete.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . m3u8stream@0.8.6 >/dev/null
cat >read.cjs <<'JS'
const http = require('http');
const stream = require('m3u8stream');
const asked = [];
const manifest = (timeline) => `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT2S"
 mediaPresentationDuration="PT20S" profiles="urn:mpeg:dash:profile:isoff-live:2011"><Period><AdaptationSet id="0"
 mimeType="video/mp4"><Representation id="v" bandwidth="2000000" codecs="avc1.64001f"><SegmentTemplate timescale="1000"
 startNumber="1" media="$Number$.m4s"><SegmentTimeline>${timeline}</SegmentTimeline></SegmentTemplate></Representation>
 </AdaptationSet></Period></MPD>`;
const timelines = {
  written: '<S t="0" d="4000"/>' + '<S d="4000"/>'.repeat(4), repeated: '<S t="0" d="4000" r="4"/>',
};
http.createServer((request, response) => {
  const [, kind, name] = request.url.split('/');
  if (name.endsWith('.m4s')) asked.push(name);
  response.end(name.endsWith('.mpd') ? manifest(timelines[kind]) : 'x');
}).listen(0, '127.0.0.1', async function () {
  const found = {};
  for (const kind of Object.keys(timelines)) {
    asked.length = 0;
    const address = `http://127.0.0.1:${this.address().port}/${kind}/a.mpd`;
    await new Promise((end, fail) => {
      stream(address, { parser: 'dash-mpd', id: 'v' }).on('end', end).on('error', fail).resume();
    });
    found[kind] = asked.sort().join(' ');
  }
  console.log(`${found.written} / ${found.repeated}`);
  this.close();
  this.closeAllConnections();
});
JS
read=$(timeout 60 node read.cjs)
echo "m3u8stream 0.8.6 asks for, with one entry for each segment / with one that repeats: $read"
[[ $read == "1.m4s 2.m4s 3.m4s 4.m4s 5.m4s / 1.m4s 2.m4s 3.m4s 4.m4s" ]]
