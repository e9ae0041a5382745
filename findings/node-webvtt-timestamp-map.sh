#!/usr/bin/env bash
# node-webvtt (npm) 1.9.4 cannot read the HLS subtitles that it writes, and reads the clock in them under a false name.
#
# Input: two cues, cut into HLS segments by the library's own hls.hlsSegment(), which writes X-TIMESTAMP-MAP=MPEGTS:900000,… after
# the signature as RFC 8216, 3.5 asks.
# Behaviour: parse() of that very text fails with "Missing blank line after signature". With { meta: true } it succeeds, but splits
# at the colon instead of the equals sign: the key is "X-TIMESTAMP-MAP=MPEGTS", so code that looks for X-TIMESTAMP-MAP finds
# nothing and shows subtitles against the wrong clock.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . node-webvtt@1.9.4 >/dev/null
cat >read.cjs <<'JS'
const webvtt = require('node-webvtt');
const cues = 'WEBVTT\n\n1\n00:00:01.000 --> 00:00:03.000\nfirst\n\n2\n00:00:04.000 --> 00:00:06.000\nsecond\n';
const [segment] = webvtt.hls.hlsSegment(cues, 10, '900000');
let said = 'read';
try {
  webvtt.parse(segment.content);
} catch (error) {
  said = error.message;
}
console.log(said + ' / ' + Object.keys(webvtt.parse(segment.content, { meta: true }).meta));
JS
seen=$(node read.cjs)
echo "node-webvtt 1.9.4: $seen"
[[ $seen == "Missing blank line after signature / X-TIMESTAMP-MAP=MPEGTS" ]]
