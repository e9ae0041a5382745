#!/usr/bin/env bash
# mediabunny (npm) 1.61.0 refuses a playlist in which EXT-X-MAP stands between EXTINF and the address of a segment.
#
# Input: a media playlist of fragmented MP4 by FFmpeg, as it is, with EXT-X-MAP in front of the first EXTINF, and with the two
# lines the other way round. A tag of a segment applies to the next address (RFC 8216, 4.3.2), a map to all that follow it
# (4.3.2.5), and nothing says which of them comes first.
# Behaviour: the first is read. In the second the reader forgets EXTINF at the map, as if the map had been a segment, and fails
# with "a segment must be preceded by an #EXTINF tag" at a segment that is.
# Needs: node, npm, ffmpeg. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund mediabunny@1.61.0 >/dev/null
ffmpeg -nostdin -loglevel error -f lavfi -i testsrc=size=64x64:rate=10 -t 2 -c:v libx264 -g 10 -pix_fmt yuv420p -f hls -hls_time 1 \
  -hls_list_size 0 -hls_segment_type fmp4 before.m3u8
# The same, with the tag of the map after EXTINF instead of in front of it.
awk '/^#EXT-X-MAP/ { map = $0; next } { print } /^#EXTINF/ && map { print map; map = "" }' before.m3u8 >after.m3u8
cat >read.js <<'JS'
import { ALL_FORMATS, FilePathSource, Input } from 'mediabunny';
for (const name of ['before', 'after']) {
  try {
    const input = new Input({ formats: ALL_FORMATS, source: new FilePathSource(`${name}.m3u8`) });
    const track = await input.getPrimaryVideoTrack();
    console.log(`${name}: ${await track.getCodec()}`);
  } catch (error) { console.log(`${name}: ${error.message}`); }
}
JS
read=$(node read.js)
echo "mediabunny 1.61.0 on the map in front of EXTINF and after it:"
echo "$read"
[[ $read == "before: avc"$'\n'"after: Invalid M3U8 file; a segment must be preceded by an #EXTINF tag." ]]
