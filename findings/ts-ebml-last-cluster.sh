#!/usr/bin/env bash
# ts-ebml (npm) 3.0.2 says that a live recording of three seconds lasts four.
#
# Input: three seconds of VP8 and Opus in clusters of one second, as FFmpeg writes them live. The time of a block is relative to its
# cluster (RFC 9559, 10.1 and 11.2), and the last cluster has the end of the sound alone, which is always a little longer.
# Behaviour: the time of the last picture, which is relative to the cluster before, is added to that of the last cluster: nearly one
# second too much. Where the last cluster has pictures too, the length is right. The library is there to write the missing length
# into such recordings, so players then show a bar that ends a second after the stream.
# Needs: node, npm, ffmpeg. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . ts-ebml@3.0.2 >/dev/null
record() {
    ffmpeg -nostdin -loglevel error -f lavfi -i testsrc=size=64x48:rate=25 -f lavfi -i sine -t 3 -c:v libvpx -g 25 -c:a libopus \
        -f webm -live 1 -cluster_time_limit "$1" "$1.webm"
}
record 1000
record 1300
cat >read.cjs <<'JS'
const { readFileSync } = require('fs');
const { Decoder, Reader, tools } = require('ts-ebml');
console.warn = () => {};
const read = (name) => {
  const bytes = readFileSync(name);
  const elements = new Decoder().decode(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const reader = new Reader();
  elements.forEach((element) => reader.read(element));
  reader.stop();
  const last = elements.findLastIndex((element) => element.name === 'Cluster' && !element.isEnd);
  const blocks = elements.slice(last).filter((element) => /^(Simple)?Block$/.test(element.name));
  const tracks = new Set(blocks.map((block) => tools.ebmlBlock(block.data).trackNumber));
  return `${Math.round(reader.duration / 100) / 10} s with ${[...tracks].sort()}`;
};
console.log(`${read('1000.webm')} / ${read('1300.webm')}`);
JS
found=$(node read.cjs)
echo "ts-ebml 3.0.2, length and tracks of the last cluster (1 is the picture, 2 the sound): $found"
[[ $found == "4 s with 2 / 3 s with 1,2" ]]
