#!/usr/bin/env bash
# One second video track that FFmpeg 8 writes into FLV is two unknown streams to FFmpeg 7.0.
#
# Input: FLV with two H.264 tracks and one AAC track, written by av 18.1.0 of PyPI (libavformat 62.12): the second track as
# multitrack messages of enhanced RTMP v2, as its specification says.
# Behaviour: libavformat 61.1 (av 13.1.0), which reads the first version of enhanced RTMP, opens the file without an error and makes
# four streams of it instead of three. The first picture and the sound are whole. The second picture is split over two streams
# without a codec: one has its header and its end, the other its frames. A server that counts on old players to skip what they
# do not know shows them streams that never play.
# Needs: python3 (3.9 to 3.12) with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
for version in 18.1.0 13.1.0; do
  python3 -m venv "$version"
  "$version/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "av==$version" numpy==2.3.5
done
18.1.0/bin/python - <<'PY'
import av
import numpy

av.logging.set_level(av.logging.PANIC)
with av.open("two.flv", "w", format="flv") as container:
    videos = [container.add_stream("libx264", rate=25) for _ in range(2)]
    for video in videos:
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
    audio = container.add_stream("aac", rate=48000)
    audio.layout = "mono"
    for number in range(50):
        for video in videos:
            picture = av.VideoFrame.from_ndarray(numpy.full((96, 64), number, dtype=numpy.uint8), format="yuv420p")
            picture.pts = number
            container.mux(video.encode(picture))
        sound = av.AudioFrame.from_ndarray(numpy.zeros((1, 1024), dtype=numpy.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 48000, number * 1024
        container.mux(audio.encode(sound))
    for stream in [*videos, audio]:
        container.mux(stream.encode())
PY
cat >read.py <<'PY'
import collections

import av

av.logging.set_level(av.logging.PANIC)
with av.open("two.flv") as container:
    codecs = sorted(f"{stream.type} {getattr(stream.codec_context, 'name', None)}" for stream in container.streams)
    counts = collections.Counter(packet.stream.index for packet in container.demux())
    without = sorted(counts[s.index] for s in container.streams if getattr(s.codec_context, "name", None) is None)
print(", ".join(codecs), "/", without)
PY
new=$(18.1.0/bin/python read.py)
old=$(13.1.0/bin/python read.py 2>/dev/null)
echo "libavformat 62.12 reads: $new"
echo "libavformat 61.1 reads:  $old"
[[ $new == "audio aac, video h264, video h264 / []" ]]
[[ $old == "audio aac, video None, video None, video h264 / [2, 51]" ]]
