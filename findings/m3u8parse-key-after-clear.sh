#!/usr/bin/env bash
# m3u8parse (npm) 5.0.2 says that encrypted segments are clear once a clear one stood before them.
#
# Input: a media playlist of version 6 in which an advertisement without encryption (EXT-X-KEY:METHOD=NONE) stands between two
# segments of a film with FairPlay keys (KEYFORMAT com.apple.streamingkeydelivery). A key tag applies to every segment from it on,
# up to the next one of the same KEYFORMAT (RFC 8216, 4.3.2.4), so the last two segments have the second key.
# Behaviour: keysForMsn() goes back past that key, meets METHOD=NONE, which is of another KEYFORMAT, and answers that the segment
# has no key. Without KEYFORMAT, which means identity, the answer is right. A recorder writes encrypted segments as clear ones after
# the first break.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund m3u8parse@5.0.2 >/dev/null
cat >read.js <<'JS'
import parse from 'm3u8parse';
const keys = (format) => {
  const key = (number) => `#EXT-X-KEY:METHOD=SAMPLE-AES,URI="key:${number}"${format}`;
  const playlist = parse([
    '#EXTM3U', '#EXT-X-VERSION:6', '#EXT-X-TARGETDURATION:4', '#EXT-X-MEDIA-SEQUENCE:10', key(1), '#EXTINF:4,', '10.ts',
    '#EXT-X-DISCONTINUITY', '#EXT-X-KEY:METHOD=NONE', '#EXTINF:4,', 'ad.ts', '#EXT-X-DISCONTINUITY', key(2), '#EXTINF:4,', '12.ts',
    '#EXTINF:4,', '13.ts',
  ].join('\n') + '\n');
  return [10, 11, 12, 13].map((number) => playlist.keysForMsn(number)?.[0].get('uri', 'string') ?? 'clear').join(' ');
};
console.log(keys(',KEYFORMAT="com.apple.streamingkeydelivery",KEYFORMATVERSIONS="1"') + ' / ' + keys(''));
JS
read=$(node read.js)
echo "m3u8parse 5.0.2, FairPlay / without KEYFORMAT: $read"
[[ $read == 'key:1 clear clear clear / key:1 clear key:2 key:2' ]]
