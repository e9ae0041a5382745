#!/usr/bin/env bash
# mp4frag (npm) 0.7.0 stops at the clock time that a producer writes in front of a fragment.
#
# Input: fragmented MP4 of FFmpeg as mp4frag asks for it, once as it is and once with -write_prft, which puts a prft box in front of
# each moof (ISO/IEC 14496-12, 8.16.5), by which players compute the delay of a live stream.
# Behaviour: the first gives its fragments. In the second mp4frag finds the initialization, looks for moof at the start of what
# follows, and ends with an error instead of skipping a box that it does not know (ISO/IEC 14496-12, 4.2): no fragment comes out.
# Needs: node, npm, ffmpeg. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . mp4frag@0.7.0 >/dev/null
cat >read.cjs <<'JS'
const Mp4Frag = require('mp4frag');
const reader = new Mp4Frag();
let [initialized, fragments, problem] = [false, 0, 'no error'];
reader.on('initialized', () => (initialized = true)).on('segment', () => fragments++);
reader.on('error', (error) => (problem = error.message.split('.')[0]));
process.stdin.on('data', (bytes) => reader.write(bytes));
process.stdin.on('end', () => console.log(`initialized ${initialized}, ${fragments} fragment(s), ${problem}`));
JS
record() {
  ffmpeg -nostdin -loglevel error -f lavfi -i testsrc=size=64x64:rate=10 -t 3 -c:v libx264 -g 10 -pix_fmt yuv420p \
    -movflags +frag_keyframe+empty_moov+default_base_moof "$@" -f mp4 pipe:1
}
record >plain.mp4
record -write_prft wallclock >clock.mp4
plain=$(node read.cjs <plain.mp4)
clock=$(node read.cjs <clock.mp4)
grep -q prft clock.mp4
echo "mp4frag 0.7.0 without prft: $plain / with: $clock"
[[ $plain == "initialized true, 3 fragment(s), no error" && $clock == "initialized true, 0 fragment(s), moof not found" ]]
