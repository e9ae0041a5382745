#!/usr/bin/env bash
# dftt-timecode (PyPI) 1.0.0 drops frame numbers at 23.976 pictures a second, for which no such counting exists.
#
# Input: the time code 01:00:00:00 and frame 86400 at 23.976 (24000/1001), without drop_frame, as such pictures are counted. Dropped
# numbers exist for 30000/1001 and its multiples alone (SMPTE ST 12-1), and the library says the same of its argument.
# Behaviour: at 24 and 29.97 all is as asked. At 23.976 is_drop_frame is true although False was given, frame 86400 is called
# 01:00:03;14, and the right name of the hour is refused, since the drop of 1.6 numbers a minute that it is to fit does not exist.
# Whoever writes ad breaks or clips of a stream by such a time code cuts it more than three seconds off after an hour.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check dftt-timecode==1.0.0
python/bin/python - <<'PY'
from dftt_timecode import DfttTimecode


def hour(rate, frames):
    code = DfttTimecode(frames, "frame", fps=rate, drop_frame=False)
    try:
        back = DfttTimecode("01:00:00:00", fps=rate, drop_frame=False).framecount
    except Exception as error:
        back = type(error).__name__
    return code.smpte, code.is_drop_frame, back


seen = hour(24, 86400), hour(29.97, 108000), hour(23.976, 86400)
print("dftt-timecode 1.0.0, an hour of frames at 24, 29.97 and 23.976:", *seen)
assert seen == (
    ("01:00:00:00", False, 86400),
    ("01:00:00:00", False, 108000),
    ("01:00:03;14", True, "DFTTTimecodeInitializationError"),
)
PY
