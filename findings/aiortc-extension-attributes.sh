#!/usr/bin/env bash
# aiortc (PyPI) 1.16.0 cannot read a session description that says how a header extension is set up.
#
# Input: a session description with a=extmap:3 urn:ietf:params:rtp-hdrext:smpte-tc 25@600/24, the time codes of a studio. RFC 5484
# puts the rate of the codes after the URI, where RFC 8285, 5 and 8 allow attributes of the extension.
# Behaviour: SessionDescription.parse() takes the line for two words and fails with "too many values to unpack" of Python. An
# unknown extension without attributes is read. So what an endpoint must leave out if it does not know it ends the whole session.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check aiortc==1.16.0
python/bin/python - <<'PY'
from aiortc.sdp import SessionDescription


def read(extension):
    text = "\r\n".join([
        "v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "t=0 0", "m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0",
        "a=rtpmap:96 H264/90000", "a=extmap:3 " + extension, "",
    ])
    try:
        return str([header.uri for header in SessionDescription.parse(text).media[0].rtp.headerExtensions])
    except Exception as error:
        return f"{type(error).__name__}: {error}"


bare, attributes = read("urn:x-unknown:extension"), read("urn:ietf:params:rtp-hdrext:smpte-tc 25@600/24")
print("aiortc 1.16.0 without attributes:", bare, "/ with:", attributes)
assert bare == "['urn:x-unknown:extension']"
assert attributes.startswith("ValueError: too many values to unpack")
PY
