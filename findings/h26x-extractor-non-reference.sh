#!/usr/bin/env bash
# h26x-extractor (PyPI) 0.11.2 reads the slice headers of pictures that no other refers to from the wrong bit.
#
# Input: H.264 by x264 with B pictures and a deblocking of -2 and -1 in each slice header. How references are marked stands in
# the header only if the picture is one, which nal_ref_idc says (ITU-T H.264, 7.3.3).
# Behaviour: in I and P pictures the two values are right. In B pictures, whose nal_ref_idc is 0, they are 0 and 0: a bit of the
# marking is read that is not there, and everything after it is another number. Two pictures of three are described wrong in
# this stream, with values that could be true.
# Needs: python3 with venv, ffmpeg. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check h26x-extractor==0.11.2
ffmpeg -nostdin -loglevel error -f lavfi -i testsrc=size=64x64:rate=5 -t 4 -pix_fmt yuv420p -c:v libx264 -bf 2 \
  -x264-params deblock=-2,-1:weightp=0:b-pyramid=none:ref=1 -f h264 a.264
python/bin/python - <<'PY'
import re

from h26x_extractor.h26x_parser import H26xParser

found = []
parser = H26xParser("a.264")
parser.set_callback("slice", lambda unit, *_: found.append((unit.slice_alpha_c0_offset_div2, unit.slice_beta_offset_div2)))
parser.parse()
heads = [unit[0] for unit in re.split(b"\x00\x00\x00?\x01", open("a.264", "rb").read())[1:] if unit[0] & 31 in (1, 5)]
referred = {offsets for offsets, head in zip(found, heads, strict=True) if head >> 5 & 3}
other = {offsets for offsets, head in zip(found, heads, strict=True) if not head >> 5 & 3}
print("h26x-extractor 0.11.2 reads the deblocking of", len(found), "slices as", referred, "and, where nal_ref_idc is 0, as", other)
assert referred == {(-2, -1)}
assert other == {(0, 0)}
PY
