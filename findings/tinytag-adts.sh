#!/usr/bin/env bash
# tinytag (PyPI) 2.3.2 takes a stream of AAC for MP3, and says that ten seconds last less than one.
#
# Input: ten seconds of AAC at 48 kHz in ADTS, as internet radio and the packed audio of HLS have it. Its frames begin with the same
# twelve bits as those of MP3; the two bits of the layer, which are never 0 in MP3 (ISO/IEC 11172-3, 2.4.2.3), tell them apart.
# Behaviour: instead of an error for a format that it does not know, there is a length of a few tenths of a second or some seconds,
# a sampling rate and a bit rate, all made of bytes that mean something else. mutagen 1.48.1 says AAC, 48000 Hz and ten seconds.
# Needs: python3 with venv, ffmpeg. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check tinytag==2.3.2 mutagen==1.48.1
ffmpeg -nostdin -loglevel error -f lavfi -i sine=sample_rate=48000 -t 10 -ac 2 -b:a 128k -c:a aac -f adts a.aac
cat >read.py <<'PY'
import mutagen
import tinytag

tag, info = tinytag.TinyTag.get("a.aac"), mutagen.File("a.aac").info
print("tinytag 2.3.2:", tag.duration, "s,", tag.samplerate, "Hz / mutagen:", info.length, "s,", info.sample_rate, "Hz")
assert tag.duration < 9 and 9.9 < info.length < 10.2 and info.sample_rate == 48000
PY
python/bin/python read.py
