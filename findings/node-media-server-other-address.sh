#!/usr/bin/env bash
# node-media-server (npm) 4.4.3 takes a publisher that comes back from another address, and shows its stream to nobody.
#
# Input: FFmpeg publishes live/a by RTMP, ends, and publishes it again within the ten seconds for which the server keeps a stream
# for its publisher; no player watches meanwhile. Once both come from one address, once the second comes from another, as behind two
# proxies or a NAT with several addresses.
# Behaviour: both times the second publisher is accepted and sends on. A player that comes then gets the stream in the first
# case. In the second it is accepted too, and gets the thirteen bytes that every FLV stream begins with and nothing after them, for
# as long as that publisher goes on.
# Needs: node, npm, ffmpeg, curl. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . node-media-server@4.4.3 >/dev/null
cat >path.cjs <<'JS'
// A way to the server on which connections come from another address.
const net = require('net');
const [rtmp, port] = process.argv.slice(2).map(Number);
net.createServer((near) => {
  const far = net.connect({ host: '127.0.0.1', port: rtmp, localAddress: '127.0.0.2' });
  near.pipe(far).pipe(near);
  for (const end of [near, far]) end.on('error', () => {}).on('close', () => { near.destroy(); far.destroy(); });
}).listen(port, '127.0.0.1');
JS
free() { node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})'; }
rtmp=$(free) http=$(free) path=$(free)
cat >config.json <<JSON
{"bind":"127.0.0.1","rtmp":{"port":$rtmp,"chunk_size":60000,"gop_cache":true,"ping":30,"ping_timeout":60},
 "http":{"port":$http,"allow_origin":"*"}}
JSON
node node_modules/node-media-server/bin/app.js --config config.json --no-admin >server.log 2>&1 &
node path.cjs "$rtmp" "$path" &
until curl -s -o /dev/null "http://127.0.0.1:$http/" && (exec 3<>"/dev/tcp/127.0.0.1/$path") 2>/dev/null; do sleep 0.2; done

# publish PORT NAME SECONDS
publish() {
  ffmpeg -nostdin -loglevel error -re -f lavfi -i testsrc=size=64x64:rate=10 -t "$3" -c:v libx264 -g 10 -pix_fmt yuv420p \
    -f flv "rtmp://127.0.0.1:$1/live/$2"
}
# Bytes that a player of NAME gets in four seconds.
watched() { { curl -s --max-time 4 "http://127.0.0.1:$http/live/$1.flv" || true; } | wc -c; }

publish "$rtmp" same 1
publish "$rtmp" same 8 &
sleep 2
same=$(watched same)
publish "$rtmp" other 1
publish "$path" other 8 2>other.log &
publisher=$!
sleep 2
other=$(watched other)
still=no
kill -0 "$publisher" 2>/dev/null && still=yes
echo "node-media-server 4.4.3: $same bytes after a return from the same address, $other from another (publisher on air: $still)"
((same > 1000 && other == 13)) && [[ $still == yes && ! -s other.log ]]
