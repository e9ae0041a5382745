#!/usr/bin/env bash
# m3u8 (PyPI) 6.0.0 reads REQ-VIDEO-LAYOUT of a variant and writes an attribute that does not exist.
#
# Input: a multivariant playlist of version 12 whose EXT-X-STREAM-INF has REQ-VIDEO-LAYOUT="CH-STEREO" (RFC 8216bis, 4.4.6.2), as a
# stereoscopic stream for a headset has.
# Behaviour: dumps() writes REQ-VIDEO_LAYOUT=""CH-STEREO"": an underscore in the name, where only A-Z, 0-9 and the hyphen are
# allowed, and two pairs of quotes: the value is kept with the quotes it came in, unlike the attributes beside it.
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
    "#EXTM3U", "#EXT-X-VERSION:12",
    '#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="hvc1.2.20000000.L123.B0",REQ-VIDEO-LAYOUT="CH-STEREO"', "v.m3u8", "",
])
written = m3u8.loads(text).dumps()
print("m3u8 6.0.0 wrote", repr(written))
assert 'REQ-VIDEO_LAYOUT=""CH-STEREO""' in written and "REQ-VIDEO-LAYOUT" not in written
PY
