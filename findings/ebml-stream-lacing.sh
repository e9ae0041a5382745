#!/usr/bin/env bash
# ebml-stream (npm) 1.0.3 reads from the wrong bits of a block how many frames it holds.
#
# Input: simple blocks of Matroska with one frame, with two frames in each of the three kinds of lacing, and with one that is not to
# be shown. RFC 9559, 10.2: bit 0x08 is "invisible", and 0x06 is the lacing: 2 Xiph, 4 fixed size, 6 EBML.
# Behaviour: the lacing is taken from 0x0c and the visibility from 0x10. Xiph lacing is none, fixed size and EBML are Xiph, and a
# hidden frame is one with EBML lacing. ebml-block 1.1.2, from npm too, reads all five. What ebml-stream writes has the same
# bits, so two frames that it laces by EBML are one for others, and not to be shown.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . ebml-stream@1.0.3 ebml-block@1.1.2 >/dev/null
cat >read.cjs <<'JS'
const { BlockLacing, EbmlStreamDecoder, SimpleBlock } = require('ebml-stream');
const block = require('ebml-block');
const inputs = [
  [0x80, 1, 2, 3, 4], [0x82, 1, 2, 1, 2, 3, 4], [0x84, 1, 1, 2, 3, 4], [0x86, 1, 0x82, 1, 2, 3, 4], [0x88, 1, 2, 3, 4],
];
const name = (lacing, hidden) => lacing + (hidden ? ' hidden' : '');
(async () => {
  const seen = [];
  for (const input of inputs) {
    const bytes = Buffer.from([0x81, 0, 0, ...input]);
    const decoder = new EbmlStreamDecoder();
    decoder.end(Buffer.concat([Buffer.from([0xa3, 0x80 | bytes.length]), bytes]));
    for await (const tag of decoder) seen.push(name(BlockLacing[tag.lacing], tag.invisible));
  }
  const others = inputs.map((input) => block(Buffer.from([0x81, 0, 0, ...input])));
  console.log(seen.join(', '));
  console.log(others.map(({ frames, invisible }) => name(frames.length, invisible)).join(', '));
  const written = new SimpleBlock();
  Object.assign(written, { track: 1, value: 0, lacing: BlockLacing.EBML, payload: Buffer.from([1, 0x82, 1, 2, 3, 4]) });
  const { frames, invisible } = block(written.encodeContent());
  console.log(name(frames.length, invisible));
})();
JS
{ read -r seen; read -r other; read -r written; } < <(node read.cjs)
echo "ebml-stream 1.0.3, lacing of one frame / two by Xiph / fixed size / EBML / one hidden: $seen"
echo "ebml-block 1.1.2, frames: $other; of two frames that ebml-stream wrote with EBML lacing: $written"
[[ $seen == "None, None, Xiph, Xiph, EBML" && $other == "1, 2, 2, 2, 1 hidden" && $written == "1 hidden" ]]
