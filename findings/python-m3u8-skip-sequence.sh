#!/usr/bin/env bash
# m3u8 (PyPI) 6.0.0 numbers the segments of a delta playlist as if none had been skipped.
#
# Input: a playlist delta update (RFC 8216bis, 4.4.5.2): EXT-X-MEDIA-SEQUENCE:10, EXT-X-SKIP:SKIPPED-SEGMENTS=3, then the segment
# 13.ts. EXT-X-MEDIA-SEQUENCE counts the skipped segments, so 13.ts has number 13.
# Behaviour: the segment's media_sequence is 10. The library reads EXT-X-SKIP (playlist.skip) but does not count it. A monitor
# that follows a live stream with _HLS_skip=YES sees the sequence jump back at every reload. Segments encrypted with an
# implicit IV would be decrypted with that of another segment.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check m3u8==6.0.0
python/bin/python - <<'PY'
import m3u8

text = "\n".join([
    "#EXTM3U", "#EXT-X-VERSION:9", "#EXT-X-TARGETDURATION:4", "#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=24",
    "#EXT-X-MEDIA-SEQUENCE:10", "#EXT-X-SKIP:SKIPPED-SEGMENTS=3", "#EXTINF:4,", "13.ts", "",
])
playlist = m3u8.loads(text)
segment = playlist.segments[0]
print("m3u8 6.0.0:", segment.uri, "is number", segment.media_sequence, "after", playlist.skip.skipped_segments, "skipped")
assert (segment.uri, segment.media_sequence, playlist.skip.skipped_segments) == ("13.ts", 10, 3)
PY
