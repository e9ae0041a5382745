#!/usr/bin/env bash
# @plussub/srt-vtt-parser (npm) 2.0.5 takes minutes for hours if a subtitle has a position.
#
# Input: WebVTT cues from 1 s to 3 s, written as 00:01.000 --> 00:03.000, since hours may be left out (WebVTT, 4.1). One has no
# settings, one has "align:start", one has "line:0 position:50%".
# Behaviour: the first ends at 3000 ms. The colons of the settings are counted with those of the time: the end of the second is not
# a number, and that of the third is 180000 ms, three minutes instead of three seconds. With hours all are read right, so a
# subtitle stands on the picture or vanishes depending on where it is placed.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund @plussub/srt-vtt-parser@2.0.5 >/dev/null
cat >read.js <<'JS'
import { parse } from '@plussub/srt-vtt-parser';
const read = (hours) => ['', ' align:start', ' line:0 position:50%'].map((settings) => {
  const [{ from, to }] = parse(`WEBVTT\n\n${hours}00:01.000 --> ${hours}00:03.000${settings}\nwords\n`).entries;
  return `${from}-${to}`;
});
console.log(`${read('').join(' ')} / ${read('00:').join(' ')}`);
JS
found=$(node read.js)
echo "@plussub/srt-vtt-parser 2.0.5, from 1 s to 3 s without hours / with hours: $found"
[[ $found == "1000-3000 1000-NaN 1000-180000 / 1000-3000 1000-3000 1000-3000" ]]
