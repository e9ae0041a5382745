#!/usr/bin/env bash
# aiortc (PyPI) 1.16.0 refuses a video because of a space after a semicolon.
#
# Input: two WebRTC offers of H.264 that differ in one thing: in a=fmtp, the second has a space after each semicolon. RFC 6184,
# 8.2.1 asks for a list of parameters separated by semicolons; the examples of RFC 7587, 7 have the spaces.
# Behaviour: the first offer is answered with the codec. Of the second the space becomes part of the parameters' names, so that
# packetization-mode and profile-level-id count as absent, no codec is left, and setRemoteDescription() fails with a message that
# speaks of send parameters.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check aiortc==1.16.0
python/bin/python - <<'PY'
import asyncio

from aiortc import RTCPeerConnection, RTCSessionDescription


async def answer(separator):
    parameters = separator.join(["level-asymmetry-allowed=1", "packetization-mode=1", "profile-level-id=42e01f"])
    offer = "\r\n".join([
        "v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "t=0 0", "a=group:BUNDLE 0", "a=ice-ufrag:abcd",
        "a=ice-pwd:abcdefghijklmnopqrstuv", "a=fingerprint:sha-256 " + ":".join(["AB"] * 32), "a=setup:actpass",
        "m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", "a=mid:0", "a=sendonly", "a=rtcp-mux",
        "a=rtpmap:96 H264/90000", "a=fmtp:96 " + parameters, "",
    ])
    connection = RTCPeerConnection()
    try:
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        description = await connection.createAnswer()
        return next(line for line in description.sdp.splitlines() if line.startswith("a=rtpmap"))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        await connection.close()


without, spaced = asyncio.run(answer(";")), asyncio.run(answer("; "))
print("aiortc 1.16.0 without spaces:", without, "/ with spaces:", spaced)
assert without == "a=rtpmap:96 H264/90000"
assert spaced == "OperationError: Failed to set remote video description send parameters"
PY
