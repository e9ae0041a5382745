#!/usr/bin/env bash
# shaka-player (npm) 5.2.12 takes the milliseconds of a TTML subtitle for minutes.
#
# Input: a TTML document with a subtitle from 7000ms to 8000ms, one from 7s to 8s and one from 7.5m to 8m. A time is a number and
# one of the units h, m, s, ms, f and t (TTML 1, 10.3.1).
# Behaviour: the seconds and the minutes are read right. The first subtitle begins after 420000 s, nearly five days: of "ms" the m is
# read as minutes and the s as seconds without a number. No error is reported, so a recording whose packager writes milliseconds
# has no subtitles. The browser, of which the parser needs nothing, is stood in for by empty objects.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . shaka-player@5.2.12 >/dev/null
cat >read.cjs <<'JS'
const element = { style: {}, canPlayType: () => '' };
Object.assign(globalThis, {
  self: globalThis, window: globalThis, addEventListener: () => {}, location: { href: 'http://127.0.0.1/', protocol: 'http:' },
  document: { createElement: () => element, documentElement: element, addEventListener: () => {} },
});
Object.defineProperty(globalThis, 'navigator', { value: { userAgent: '', platform: '', vendor: '' }, configurable: true });
const shaka = require('shaka-player/dist/shaka-player.compiled.js');
const subtitle = (begin, end) => `<p begin="${begin}" end="${end}">words</p>`;
const body = subtitle('7000ms', '8000ms') + subtitle('7s', '8s') + subtitle('7.5m', '8m');
const document = `<tt xmlns="http://www.w3.org/ns/ttml" xml:lang="en"><body><div>${body}</div></body></tt>`;
const time = { periodStart: 0, segmentStart: null, segmentEnd: 1e6, vttOffset: 0 };
const times = (cue) => (cue.nestedCues.length ? cue.nestedCues.flatMap(times) : [`${cue.startTime}-${cue.endTime}`]);
const cues = new shaka.text.TtmlTextParser().parseMedia(new TextEncoder().encode(document), time, 'a.ttml', []);
process.stdout.write(cues.flatMap(times).join(' '));
JS
found=$(node read.cjs | tail -n 1)
echo "shaka-player 5.2.12, 7000ms to 8000ms / 7s to 8s / 7.5m to 8m, in seconds: $found"
[[ $found == "420000-480000 7-8 450-480" ]]
