#!/usr/bin/env bash
# node-video-lib (npm) 2.5.0 says 44.1 kHz for every AAC sound in FLV, and writes that into the MP4 that it makes.
#
# Input: AAC of 48 kHz in FLV, and the same in MP4. The rate in the tag of FLV is 44 kHz for AAC whatever the sound is; the true
# one is in the AAC itself (FLV 10.1, E.4.2.1).
# Behaviour: in MP4 the rate is 48000. In FLV it is 44100, though the description of the AAC, which has the true one, is read
# too. The MP4 that the library makes of the FLV says 44100 in its track: a player that goes by it plays one and a half
# semitones too low.
# Needs: node, npm, ffmpeg. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . node-video-lib@2.5.0 >/dev/null
ffmpeg -nostdin -loglevel error -f lavfi -i sine=sample_rate=48000 -t 1 -c:a aac -f flv a.flv
ffmpeg -nostdin -loglevel error -i a.flv -c copy -f mp4 a.mp4
cat >read.cjs <<'JS'
const fs = require('fs');
const { MovieParser, MP4Builder } = require('node-video-lib');
const read = (name) => MovieParser.parse(fs.openSync(name, 'r'));
const rate = (name) => read(name).audioTrack().sampleRate;
MP4Builder.build(read('a.flv'), fs.openSync('a.flv', 'r'), fs.openSync('b.mp4', 'w'));
console.log(`${rate('a.mp4')} ${rate('a.flv')} ${rate('b.mp4')}`);
JS
found=$(node read.cjs)
echo "node-video-lib 2.5.0, rate of a sound in MP4, of the same in FLV, and of the MP4 that it makes of the FLV: $found"
[[ $found == "48000 44100 44100" ]]
