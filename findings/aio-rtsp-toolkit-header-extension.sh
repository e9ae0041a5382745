#!/usr/bin/env bash
# aio-rtsp-toolkit (PyPI) 0.1.4 gives a header extension of RTP to the decoder.
#
# Input: an RTP packet with a header extension of one word, which says after its mark how long it is (RFC 3550, 5.3.1); cameras
# write the time of a recorded picture there. A second packet has a contributing source (RFC 3550, 5.1).
# Behaviour: the client reads the bit of the extension and the count of the sources, and begins the payload after twelve bytes all
# the same: eight bytes of extension, or four of the source, stand in front of the media. The padding at the end is taken off.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check aio-rtsp-toolkit==0.1.4
python/bin/python - <<'PY'
from aio_rtsp_toolkit.protocol import RtspProtocol

client = RtspProtocol("rtsp://origin.example/live")


def read(first, before, after=b""):
    packet = client.parse_rtp(bytes([first, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]) + before + b"media" + after)
    return bytes(packet.payload)


plain, padded = read(0x80, b""), read(0xA0, b"", b"\x00\x00\x03")
extended = read(0x90, b"\xab\xac\x00\x01\x01\x02\x03\x04")
source = read(0x81, b"\x00\x00\x00\x02")
print("aio-rtsp-toolkit 0.1.4, plain:", plain, "padded:", padded, "with an extension:", extended, "with a source:", source)
assert plain == padded == b"media"
assert extended == b"\xab\xac\x00\x01\x01\x02\x03\x04media" and source == b"\x00\x00\x00\x02media"
PY
