"""What the WebRTC peers share: a picture that moves, and addresses that stay on this machine."""
import asyncio
import fractions

import aioice.ice
from aiortc import MediaStreamTrack
from av import VideoFrame

RATE, WIDTH, HEIGHT = 15, 160, 120


def only_loopback():
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


class Picture(MediaStreamTrack):
    """Colours that change, fifteen times a second."""
    kind = "video"

    def __init__(self):
        super().__init__()
        self.count = 0
        self.start = None

    async def recv(self):
        loop = asyncio.get_running_loop()
        self.start = self.start if self.start is not None else loop.time()
        self.count += 1
        await asyncio.sleep(max(0, self.start + self.count / RATE - loop.time()))
        frame = VideoFrame(WIDTH, HEIGHT, "rgb24")
        row = b"".join(bytes(((x + self.count * 4) % 256, (x * 2) % 256, (self.count * 7) % 256)) for x in range(WIDTH))
        plane = frame.planes[0]
        plane.update(row.ljust(plane.line_size, b"\0") * HEIGHT)
        frame.pts, frame.time_base = self.count * (90000 // RATE), fractions.Fraction(1, 90000)
        return frame
