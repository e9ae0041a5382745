#!/usr/bin/env bash
# media-muncher (PyPI) 2.2.0 takes the compatibility of HEVC for its profile: Main is High Throughput 10.
#
# Input: the codecs of a playlist as encoders write them: hvc1.1.6.L93.B0, the profile Main, and hvc1.2.4.L153.B0, Main 10. The
# first number is the profile, in front of which a letter may stand for its space; the second is a set of flags in hexadecimal
# that says with which profiles the stream is compatible (ISO/IEC 14496-15, E.3).
# Behaviour: the first number is read as the space and the flags as the profile, so that Main is "High Throughput 10" and Main 10 is
# "Range Extensions". Tier and level are right. Without constraints at the end, which may be left out, nothing is read.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check media-muncher==2.2.0
python/bin/python - <<'PY'
from media_muncher.codecstrings import CodecStringParser


def read(codec):
    found = CodecStringParser.parse_codec_string(codec)
    return found.get("profile"), found.get("tier"), found.get("level")


main, main_10, short = read("hvc1.1.6.L93.B0"), read("hvc1.2.4.L153.B0"), read("hvc1.1.6.L93")
print("media-muncher 2.2.0, Main:", main, "/ Main 10:", main_10, "/ Main without constraints:", short)
assert main == ("High Throughput 10", "Main", "3.1")
assert main_10 == ("Range Extensions", "Main", "5.1") and short == (None, None, None)
PY
