"""A WebRTC origin on aiortc: WHIP and WHEP by HTTP, and all media by one UDP port, as SRS has it.

    rtc_origin.py HTTP_PORT UDP_PORT

A player of a stream that is published here gets what the publisher sends, and else a test picture. Each event is one
line of JSON; GET /state says how each call is doing.
"""
import asyncio
import json
import secrets
import sys

import aioice.ice
import aioice.stun
from aiohttp import web
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRelay

from rtc_track import Picture, only_loopback

HTTP_PORT, UDP_PORT = int(sys.argv[1]), int(sys.argv[2])


def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


class Port(asyncio.DatagramProtocol):
    """The one UDP port: a check says by its username whose it is, and its address belongs to that call then."""

    def __init__(self):
        self.by_name, self.by_address = {}, {}

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        if data[0] < 4:
            try:
                message = aioice.stun.parse_message(data)
            except ValueError:
                return
            name = message.attributes.get("USERNAME", "").partition(":")[0]
            if name in self.by_name:
                self.by_address[address] = self.by_name[name]
        protocol = self.by_address.get(address)
        if protocol:
            protocol.datagram_received(data, address)

    def error_received(self, error):
        pass


class Share(asyncio.DatagramTransport):
    """A call's part of the port."""

    def __init__(self, port, protocol, name):
        super().__init__()
        self.port, self.protocol, self.name = port, protocol, name

    def get_extra_info(self, name, default=None):
        return ("127.0.0.1", UDP_PORT) if name == "sockname" else default

    def sendto(self, data, address=None):
        self.port.transport.sendto(data, address)

    def close(self):
        self.port.by_name.pop(self.name, None)
        for address in [a for a, p in self.port.by_address.items() if p is self.protocol]:
            del self.port.by_address[address]
        self.protocol.connection_lost(None)


async def one_port(connection, component, addresses, timeout=5):
    protocol = aioice.ice.StunProtocol(connection)
    share = Share(PORT, protocol, connection.local_username)
    protocol.connection_made(share)
    protocol.local_candidate = aioice.ice.Candidate(
        foundation="1", component=component, transport="udp",
        priority=aioice.ice.candidate_priority(component, "host"), host="127.0.0.1", port=UDP_PORT, type="host")
    connection._protocols.append(protocol)
    PORT.by_name[connection.local_username] = protocol
    return [protocol.local_candidate]


class Counted(MediaStreamTrack):
    """A publisher's pictures, counted as they are decoded."""
    kind = "video"

    def __init__(self, track, call):
        super().__init__()
        self.track, self.call = track, call

    async def recv(self):
        frame = await self.track.recv()
        self.call["frames"] += 1
        return frame


PORT = Port()
RELAY = MediaRelay()
CALLS, PUBLISHED = {}, {}


async def drain(track):
    try:
        while True:
            await track.recv()
    except Exception:
        pass


async def offered(request, action):
    if "no" in request.query:
        return web.Response(status=int(request.query["no"]), text="no", headers={"WWW-Authenticate": "Bearer"})
    sdp = await request.text()
    stream = request.query.get("stream", "livestream")
    candidates = [line for line in sdp.splitlines() if line.startswith("a=candidate")]
    say("offer", action=action, stream=stream, candidates=candidates, headers=dict(request.headers))
    connection = RTCPeerConnection()
    call = {"id": secrets.token_hex(4), "action": action, "stream": stream, "frames": 0, "state": "new"}
    CALLS[call["id"]] = (call, connection)

    @connection.on("connectionstatechange")
    async def changed():
        call["state"] = connection.connectionState
        say("state", id=call["id"], action=action, stream=stream, state=call["state"])
        if call["state"] in ("failed", "closed"):
            await end(call["id"])

    @connection.on("track")
    def track(track):
        if track.kind == "video":
            counted = Counted(track, call)
            PUBLISHED[stream] = counted
            asyncio.ensure_future(drain(RELAY.subscribe(counted)))
        else:
            asyncio.ensure_future(drain(track))

    await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
    if action == "play":
        source = PUBLISHED.get(stream)
        picture = RELAY.subscribe(source) if source else Picture()
        for transceiver in connection.getTransceivers():
            if transceiver.kind == "video":
                transceiver.direction = "sendonly"
                transceiver.sender.replaceTrack(picture)
            else:
                transceiver.direction = "inactive"
    await connection.setLocalDescription(await connection.createAnswer())
    location = request.query.get("location") or f"/rtc/v1/whip/?action=delete&token={call['id']}"
    headers = {"Location": location, "ETag": '"1"', "Link": "<stun:stun.example.com>; rel=ice-server"}
    return web.Response(
        status=201, text=connection.localDescription.sdp, content_type="application/sdp", headers=headers)


async def end(id):
    call, connection = CALLS.pop(id, (None, None))
    if connection:
        say("end", id=id, action=call["action"], stream=call["stream"])
        await connection.close()
    return call


async def deleted(request):
    say("delete", target=str(request.rel_url))
    call = await end(request.query.get("token"))
    return web.Response(status=200 if call else 404)


async def state(request):
    addresses = len(PORT.by_address)
    return web.json_response({"calls": [call for call, _ in CALLS.values()], "addresses": addresses})


async def json_play(request):
    body = await request.json()
    fake = type("Request", (), {
        "query": {"stream": body["streamurl"].rsplit("/", 1)[1]}, "headers": request.headers,
        "text": lambda self: asyncio.sleep(0, body["sdp"])})()
    answer = await offered(fake, "play")
    return web.json_response({"code": 0, "sdp": answer.text, "sessionid": "1"})


async def main():
    loop = asyncio.get_running_loop()
    only_loopback()
    aioice.ice.Connection.get_component_candidates = one_port
    await loop.create_datagram_endpoint(lambda: PORT, local_addr=("127.0.0.1", UDP_PORT))
    app = web.Application()
    app.router.add_post("/rtc/v1/whip/", lambda request: offered(request, "publish"))
    app.router.add_post("/rtc/v1/whep/", lambda request: offered(request, "play"))
    app.router.add_post("/{app}/{stream}/whep", lambda request: offered(request, "play"))
    app.router.add_post("/rtc/v1/play/", json_play)
    app.router.add_delete("/rtc/v1/whip/", deleted)
    app.router.add_get("/state", state)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", HTTP_PORT).start()
    say("ready")
    await asyncio.Event().wait()


asyncio.run(main())
