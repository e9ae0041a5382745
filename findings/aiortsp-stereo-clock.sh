#!/usr/bin/env bash
# aiortsp (PyPI) 1.4.0 takes the number of channels for the clock of an audio track.
#
# Input: the description of an RTSP stream with AAC in stereo, a=rtpmap:97 MPEG4-GENERIC/48000/2. Behind the clock rate may stand
# the number of channels (RFC 8866, 6.6), and for AAC and Opus it does (RFC 3640, 4.1; RFC 7587, 7).
# Behaviour: media_clock_rate("audio") is 2, and the name of the encoding is MPEG4-GENERIC/48000. Mono audio, whose line has no
# third part, is read right. Times that a client computes from the timestamps of stereo audio are 24000 times too long.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check aiortsp==1.4.0
python/bin/python - <<'PY'
from aiortsp.rtsp.sdp import SDP


def read(encoding):
    description = SDP("\r\n".join([
        "v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "t=0 0", "m=audio 0 RTP/AVP 97", "a=rtpmap:97 " + encoding, "a=control:audio", "",
    ]))
    return description.get_media("audio")["attributes"]["rtpmap"]["encoding"], description.media_clock_rate("audio")


mono, stereo = read("MPEG4-GENERIC/48000"), read("MPEG4-GENERIC/48000/2")
print("aiortsp 1.4.0, mono:", mono, "stereo:", stereo)
assert mono == ("MPEG4-GENERIC", 48000) and stereo == ("MPEG4-GENERIC/48000", 2)
PY
