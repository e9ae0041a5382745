#!/usr/bin/env bash
# m3u8parse (npm) 5.0.2 has no date for segments after a discontinuity that carries one.
#
# Input: a live playlist with a break: the first segment, then one with EXT-X-DISCONTINUITY and EXT-X-PROGRAM-DATE-TIME, which gives
# the date of the first sample of that segment (RFC 8216, 4.3.2.6), then one more.
# Behaviour: dateForMsn() of the last two is null: going back, it stops at the discontinuity before it looks at the date of that
# very segment. msnForDate() reads the date and then forgets it because of the same tag, so that it finds no segment for these
# times. Where a date is most needed, because the clock of the media changes, it is not there.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund m3u8parse@5.0.2 >/dev/null
cat >read.js <<'JS'
import parse from 'm3u8parse';
const playlist = parse([
  '#EXTM3U', '#EXT-X-VERSION:6', '#EXT-X-TARGETDURATION:4', '#EXT-X-MEDIA-SEQUENCE:10',
  '#EXT-X-PROGRAM-DATE-TIME:2026-11-28T10:00:00Z', '#EXTINF:4,', '10.ts',
  '#EXT-X-DISCONTINUITY', '#EXT-X-PROGRAM-DATE-TIME:2026-11-28T11:00:00Z', '#EXTINF:4,', '11.ts', '#EXTINF:4,', '12.ts',
].join('\n') + '\n');
const dates = [10, 11, 12].map((number) => playlist.dateForMsn(number)?.toISOString().slice(11, 19) ?? 'none');
const numbers = ['10:00:01', '11:00:01', '11:00:05'].map((time) => playlist.msnForDate(new Date(`2026-11-28T${time}Z`)));
console.log([...dates, '/', ...numbers].join(' '));
JS
seen=$(node read.js)
echo "m3u8parse 5.0.2, dates of the segments / segments of the dates: $seen"
[[ $seen == "10:00:00 none none / 10 -1 -1" ]]
