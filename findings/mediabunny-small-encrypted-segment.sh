#!/usr/bin/env bash
# mediabunny (npm) 1.61.0 cannot read an encrypted HLS recording from a disk if its segments are smaller than 64 KiB.
#
# Input: sound in segments of six seconds (AES-128: RFC 8216, 4.3.2.4), at 48 kbit/s, as radio has it, and at 160 kbit/s, and
# the former in clear. They are read by FilePathSource.
# Behaviour: the clear one and the larger one are read. The smaller one ends with "Assertion failed.": the decryption asks for
# the first 64 KiB, and the source, which does not know the length of the file before it is asked for the first time, does not
# cut that off at the end. An archive of films is read, and one of radio is not.
# Needs: node, npm, ffmpeg. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund mediabunny@1.61.0 >/dev/null
printf '\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f' >key
printf 'key\nkey\n' >key.info
# segments NAME RATE [option…]: twelve seconds of noise in segments of six.
segments() {
  ffmpeg -nostdin -loglevel error -f lavfi -i anoisesrc=r=48000 -t 12 -c:a aac -b:a "$2" -f hls -hls_time 6 \
    -hls_list_size 0 "${@:3}" "$1.m3u8"
}
segments plain-small 48k
segments small 48k -hls_key_info_file key.info
segments large 160k -hls_key_info_file key.info
(($(stat -c %s small0.ts) < 65536 && $(stat -c %s large0.ts) > 65536))
cat >read.js <<'JS'
import { ALL_FORMATS, FilePathSource, Input } from 'mediabunny';
for (const kind of ['plain-small', 'small', 'large']) {
  try {
    const track = await new Input({ formats: ALL_FORMATS, source: new FilePathSource(`${kind}.m3u8`) }).getPrimaryAudioTrack();
    console.log(`${kind}: ${await track.getCodec()}`);
  } catch (error) { console.log(`${kind}: ${error.message}`); }
}
JS
read=$(node read.js)
echo "mediabunny 1.61.0 on clear, small encrypted and large encrypted segments:"
echo "$read"
[[ $read == "plain-small: aac"$'\n'"small: Assertion failed."$'\n'"large: aac" ]]
