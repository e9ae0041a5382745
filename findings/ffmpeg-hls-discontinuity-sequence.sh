#!/usr/bin/env bash
# FFmpeg 9.0.2 (in imageio-ffmpeg 0.8.1 of PyPI) removes discontinuities from a live playlist without counting them.
#
# Input: a live playlist of four segments that goes on over two restarts of the encoder (-hls_flags append_list). Each restart
# writes EXT-X-DISCONTINUITY. When such a segment leaves, EXT-X-DISCONTINUITY-SEQUENCE has to grow by one (RFC 8216, 6.2.2), by
# which players keep the renditions of a stream in step.
# Behaviour: while the break is among the four segments, the tag is there. When both are gone, nothing in the playlist says that
# there were any. A player that reloads counts other discontinuities than one that has just come, and a server that combines
# such playlists has to count for itself.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1
ffmpeg=$(python/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')
version=$("$ffmpeg" -version | head -1 | cut -d' ' -f3)
# publish SECONDS: one run of the encoder, which goes on with the playlist of the run before.
publish() {
  "$ffmpeg" -nostdin -loglevel error -f lavfi -i testsrc=size=64x64:rate=10 -t "$1" -c:v libx264 -g 10 -pix_fmt yuv420p \
    -f hls -hls_time 1 -hls_list_size 4 -hls_flags append_list+omit_endlist -hls_segment_filename '%03d.ts' a.m3u8
}
publish 3
publish 3
before=$(grep -E 'DISCONTINUITY|SEQUENCE' a.m3u8 | tr '\n' ' ')
publish 8
after=$(grep -E 'DISCONTINUITY|SEQUENCE' a.m3u8 | tr '\n' ' ')
echo "FFmpeg $version, while the break is in the playlist: $before/ when both breaks have left it: $after"
[[ $before == "#EXT-X-MEDIA-SEQUENCE:2 #EXT-X-DISCONTINUITY " && $after == "#EXT-X-MEDIA-SEQUENCE:10 " ]]
