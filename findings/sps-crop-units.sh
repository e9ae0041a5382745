#!/usr/bin/env bash
# mux.js 7.1.0 and xgplayer-transmuxer 3.0.24 (npm) give pictures of 4:2:2 another height than they have.
#
# Input: H.264 of 64x40, once in 4:2:0 and once in 4:2:2, as cameras and contribution encoders send it. 40 lines are coded as
# 48, and the sequence parameter set says what to cut off, in units that depend on the chroma format: two lines in 4:2:0, one in
# 4:2:2 (ITU-T H.264, 7.4.2.1.1).
# Behaviour: the first has 64x40 in both libraries. The second has 64x32: the unit is two lines whatever the format is, so twice
# as much is cut off. A picture of 1920x1080 becomes one of 1920x1072.
# Needs: node, npm, ffmpeg. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . mux.js@7.1.0 xgplayer-transmuxer@3.0.24 >/dev/null
for format in yuv420p yuv422p; do
  ffmpeg -nostdin -loglevel error -f lavfi -i testsrc=size=64x40:rate=5 -t 2 -pix_fmt "$format" -c:v libx264 -f mpegts "$format.ts"
  ffmpeg -nostdin -loglevel error -i "$format.ts" -c copy -f h264 "$format.264"
done
cat >read.cjs <<'JS'
const fs = require('fs');
const muxjs = require('mux.js');
const { TsDemuxer } = require('xgplayer-transmuxer');
const sizes = (format) => {
  let size;
  const stream = new muxjs.codecs.h264.H264Stream();
  stream.on('data', (unit) => { if (unit.config) size = `${unit.config.width}x${unit.config.height}`; });
  stream.push({ type: 'video', trackId: 256, pts: 0, dts: 0, data: new Uint8Array(fs.readFileSync(`${format}.264`)) });
  stream.flush();
  const { videoTrack } = new TsDemuxer().demux(new Uint8Array(fs.readFileSync(`${format}.ts`)), true, false);
  return `${size} ${videoTrack.width}x${videoTrack.height}`;
};
console.log(`${sizes('yuv420p')} / ${sizes('yuv422p')}`);
JS
found=$(node read.cjs)
echo "mux.js 7.1.0 and xgplayer-transmuxer 3.0.24 on a picture of 64x40 in 4:2:0 / in 4:2:2: $found"
[[ $found == "64x40 64x40 / 64x32 64x32" ]]
