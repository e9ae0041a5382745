#!/usr/bin/env bash
# smpte-timecode (npm) 1.3.6 ends the day 86 seconds early at 29.97 frames without drop, and 72 seconds early at 23.976.
#
# Input: the time code 23:59:00:00 at 29.97 frames, once counted without dropping numbers and once with, and at 23.976. One frame is
# added. Without drop a day of time code has as many frames as at 30 and at 24 (SMPTE ST 12-1), and is longer than a real one.
# Behaviour: with drop it is 23:59:00;03 after 23:59:00;02, as it should be. Without, the count of frames starts again after a day of
# real time, which is before the end of the day that is written: one frame after 23:59:00:00 is 00:00:26:13 at 29.97, and
# 00:00:12:01 at 23.976. A playout list that is calculated with it jumps in the last minutes before midnight.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . smpte-timecode@1.3.6 >/dev/null
cat >add.cjs <<'JS'
const Timecode = require('smpte-timecode');
const next = (code, rate, drop) => Timecode(code, rate, drop).add(1).toString();
console.log([next('23:59:00;02', 29.97, true), next('23:59:00:00', 29.97, false), next('23:59:00:00', 23.976, false)].join(' '));
JS
found=$(node add.cjs)
echo "smpte-timecode 1.3.6, one frame later at 29.97 with drop, at 29.97 without, at 23.976: $found"
[[ $found == "23:59:00;03 00:00:26:13 00:00:12:01" ]]
