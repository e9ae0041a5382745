#!/usr/bin/env bash
# mpd-parser (npm, the DASH parser of video.js) 1.4.0 finds no segment in a live manifest that other players play.
#
# Input: a dynamic manifest, ten minutes after its start, whose SegmentTimeline is one entry that repeats until further notice
# (S@r="-1", ISO/IEC 23009-1, 5.3.9.6), with a time shift buffer of 60 s.
# Behaviour: what comes out depends on how segments are named, which has nothing to do with the timeline. Named video-$Number$.m4s
# there are segments up to now. Named $Number$.m4s, with nothing in front of the number, or by $Time$, there is not a single one,
# and no error or warning says why.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund mpd-parser@1.4.0 >/dev/null
cat >read.js <<'JS'
import { parse } from 'mpd-parser';
const manifest = (media) => `<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic" availabilityStartTime="2026-11-28T10:00:00Z"
 publishTime="2026-11-28T10:10:00Z" minimumUpdatePeriod="PT2S" timeShiftBufferDepth="PT60S" minBufferTime="PT2S"
 profiles="urn:mpeg:dash:profile:isoff-live:2011"><Period id="a" start="PT0S"><AdaptationSet contentType="video"
 mimeType="video/mp4"><SegmentTemplate timescale="1000" startNumber="1" media="${media}"><SegmentTimeline>
 <S t="0" d="4000" r="-1"/></SegmentTimeline></SegmentTemplate><Representation id="v" bandwidth="2000000" width="640"
 height="360" codecs="avc1.64001f"/></AdaptationSet></Period></MPD>`;
const count = (media) =>
  parse(manifest(media), { manifestUri: 'https://origin.example/a.mpd', NOW: Date.parse('2026-11-28T10:10:00Z') })
    .playlists[0].segments.length;
const names = ['video-$Number$.m4s', '$Number$.m4s', 'video-$Time$.m4s'];
console.log(names.map((name) => (count(name) > 0 ? 'some' : 'none')).join(' '));
JS
read=$(node read.js)
echo "mpd-parser 1.4.0, by number after a prefix, by number alone, by time: $read"
[[ $read == "some none none" ]]
