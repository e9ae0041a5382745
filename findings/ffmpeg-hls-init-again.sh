#!/usr/bin/env bash
# FFmpeg 8 (libavformat 62.12, in av 18.1.0 of PyPI) asks for the same initialization section of a live HLS stream again after each
# reload of the playlist, and stops playing where one of these requests is refused. A refused segment it passes over.
#
# Input: a live playlist of fragmented MP4 with one EXT-X-MAP (RFC 8216bis, 4.4.4.5), whose address never changes, and one segment
# more at each request. Behaviour: the section is asked for once for each reload, so eight times here in place of once. With a 503
# for one segment all others are played. With a 503 for the section once in the middle, the demuxer ends there with an error, though
# it has the section and the next answer would be good. So a server that restarts loses viewers of fragmented MP4 that stand on
# FFmpeg, and keeps those of MPEG-TS.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.3.5
python/bin/python - <<'PY'
import http.server
import threading

import av
import numpy

av.logging.set_level(av.logging.PANIC)
SEGMENTS = 10

# One second of 25 pictures each.
options = {"hls_time": "1", "hls_list_size": "0", "hls_segment_type": "fmp4", "hls_segment_filename": "%d.m4s"}
made = av.open("made.m3u8", "w", format="hls", options=options)
stream = made.add_stream("mpeg4", rate=25)
stream.width, stream.height, stream.pix_fmt, stream.codec_context.gop_size = 64, 64, "yuv420p", 25
for number in range(25 * SEGMENTS):
    picture = av.VideoFrame.from_ndarray(numpy.full((96, 64), number % 200, dtype=numpy.uint8), format="yuv420p")
    picture.pts = number
    made.mux(stream.encode(picture))
made.mux(stream.encode())
made.close()

asked, refused, listed = [], None, 0


class Server(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        global listed
        if self.path == "/live.m3u8":
            listed = min(max(listed, 2) + 1, SEGMENTS)
            lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:1", '#EXT-X-MAP:URI="init.mp4"']
            lines += [f"#EXTINF:1,\n{number}.m4s" for number in range(listed)]
            lines += ["#EXT-X-ENDLIST"] * (listed == SEGMENTS)
            body = "\n".join(lines).encode() + b"\n"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        asked.append(self.path)
        if refused == (self.path, asked.count(self.path)):
            return self.send_error(503)
        super().do_GET()

    def log_message(self, *_):
        pass


def play(refuse=None):
    global refused, listed
    asked.clear()
    refused, listed, pictures, error = refuse, 0, 0, None
    options = {"live_start_index": "0"}
    with av.open(f"http://127.0.0.1:{server.server_address[1]}/live.m3u8", options=options) as container:
        try:
            for packet in container.demux(video=0):
                pictures += packet.pts is not None
        except av.FFmpegError as failed:
            error = type(failed).__name__
    return pictures, asked.count("/init.mp4"), error


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("libavformat", av.library_versions["libavformat"])
seen = []
for what, refuse in [("nothing", None), ("a segment", ("/5.m4s", 1)), ("the section", ("/init.mp4", 4))]:
    seen.append(play(refuse))
    print(f"refused: {what}: pictures, requests for the section, error:", *seen[-1])
assert seen[0] == (250, 8, None) and seen[1] == (225, 8, None)
pictures, requests, error = seen[2]
assert pictures < 150 and requests == 5 and error == "HTTPServerError"
PY
