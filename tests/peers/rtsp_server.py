#!/usr/bin/python3
"""An RTSP origin made of gst-rtsp-server: test pictures to play, mounts to record to, digest credentials if asked.

Prints `listening`, and for each mount that is recorded to how many frames were decoded there.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

VIDEO = (
    "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate={rate}/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={rate} bitrate=100"
    " ! rtph264pay name=pay0 pt=96 config-interval=1"
)
SOUND = "audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay1 pt=8"


class Recorder(GstRtspServer.RTSPMediaFactory):
    """A mount that decodes what is published there, and says how much."""

    def __init__(self, path, tracks):
        super().__init__()
        self.path = path
        parts = [
            f"decodebin name=depay{track} ! fakesink name=sink{track} signal-handoffs=true sync=false"
            for track in range(tracks)
        ]
        self.set_launch("( " + " ".join(parts) + " )")
        self.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
        self.set_latency(200)
        self.connect("media-configure", self.configured)

    def configured(self, _factory, media):
        sink = media.get_element().get_child_by_name("sink0")
        seen = [0]

        def handoff(*_):
            seen[0] += 1
            print("recorded", self.path, seen[0], flush=True)

        sink.connect("handoff", handoff)
        media.connect("unprepared", lambda *_: print("ended", self.path, flush=True))


def player(arguments):
    factory = GstRtspServer.RTSPMediaFactory()
    parts = [VIDEO.format(rate=arguments.rate)] + ([SOUND] if arguments.sound else [])
    factory.set_launch("( " + " ".join(parts) + " )")
    factory.set_shared(True)
    return factory


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("--play", nargs="*", default=[], help="mounts with a test picture")
    parser.add_argument("--record", nargs="*", default=[], help="mounts to publish to")
    parser.add_argument("--tracks", type=int, default=2, help="tracks of a publisher")
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--sound", action="store_true")
    parser.add_argument("--user", help="name:password, asked for by digest")
    arguments = parser.parse_args()

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(arguments.port)
    permissions = None
    if arguments.user:
        name, password = arguments.user.split(":")
        auth = GstRtspServer.RTSPAuth()
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_digest(name, password, token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
    mounts = server.get_mount_points()
    for path in arguments.play:
        factory = player(arguments)
        if permissions:
            factory.set_permissions(permissions)
        mounts.add_factory("/" + path, factory)
    for path in arguments.record:
        factory = Recorder(path, arguments.tracks)
        if permissions:
            factory.set_permissions(permissions)
        mounts.add_factory("/" + path, factory)
    if server.attach(None) == 0:
        sys.exit("the port is taken")
    print("listening", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
