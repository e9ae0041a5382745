"""A WebRTC client on aiortc.

    rtc_client.py publish|play URL [REPLACED_BY]

Says each picture decoded, and each change of state, as one line of JSON. DELETEs its call at SIGUSR1.
REPLACED_BY, as host:port, stands for the address of every candidate in the answer: a relay on the way.
"""
import asyncio
import json
import signal
import sys
import time

import aiohttp
from aiortc import RTCPeerConnection, RTCSessionDescription
from yarl import URL

from rtc_track import Picture, only_loopback

ACTION, ADDRESS = sys.argv[1:3]
THROUGH = sys.argv[3].rsplit(":", 1) if len(sys.argv) > 3 else None


def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


def through(sdp):
    lines = []
    for line in sdp.splitlines():
        if line.startswith("a=candidate:"):
            words = line.split(" ")
            if words[2] != "udp":
                continue
            if THROUGH:
                words[4:6] = THROUGH
            line = " ".join(words)
        lines.append(line)
    return "\r\n".join(lines) + "\r\n"


async def watch(track, start):
    count = 0
    while True:
        frame = await track.recv()
        count += 1
        say("frame", count=count, width=frame.width, after=time.monotonic() - start)


async def main():
    only_loopback()
    connection = RTCPeerConnection()
    answered = [0.0]

    @connection.on("connectionstatechange")
    def changed():
        say("state", state=connection.connectionState)

    @connection.on("track")
    def track(track):
        asyncio.ensure_future(watch(track, answered[0]))

    if ACTION == "publish":
        connection.addTrack(Picture())
    else:
        connection.addTransceiver("video", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    headers = {"Content-Type": "application/sdp", "Authorization": "Bearer secret"}
    async with aiohttp.ClientSession() as http:
        async with http.post(ADDRESS, data=connection.localDescription.sdp, headers=headers) as response:
            sdp = await response.text()
            say("answer", status=response.status, sdp=sdp, headers={k.lower(): v for k, v in response.headers.items()})
            if response.status != 201:
                return
            location = response.url.join(URL(response.headers["Location"]))
        answered[0] = time.monotonic()
        await connection.setRemoteDescription(RTCSessionDescription(through(sdp), "answer"))
        leave = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, leave.set)
        await leave.wait()
        async with http.delete(location) as response:
            say("deleted", status=response.status)
    await connection.close()


asyncio.run(main())
