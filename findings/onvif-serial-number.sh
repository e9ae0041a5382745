#!/usr/bin/env bash
# onvif (npm) 0.8.3 gives a camera another serial number and another firmware than it has.
#
# Input: a camera on 127.0.0.1 that answers GetDeviceInformation, whose values are all text (ONVIF Core, tds:GetDeviceInformation):
# firmware 5.10, serial number 408001234567891234 and model 600.
# Behaviour: what looks like a number is made one: the firmware is 5.1, and the last digits of the serial number are others. A
# serial number with a letter in it, or with 0 in front, is right. A recorder that tells its cameras apart by serial number takes
# two for one if they differ at the end.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . onvif@0.8.3 >/dev/null
cat >ask.cjs <<'JS'
const http = require('http');
const { Cam } = require('onvif');
const answer = `<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:tds="http://www.onvif.org/ver10/device/wsdl"><s:Body>
<tds:GetDeviceInformationResponse><tds:Manufacturer>Example</tds:Manufacturer><tds:Model>600</tds:Model>
<tds:FirmwareVersion>5.10</tds:FirmwareVersion><tds:SerialNumber>408001234567891234</tds:SerialNumber>
<tds:HardwareId>A</tds:HardwareId></tds:GetDeviceInformationResponse></s:Body></s:Envelope>`;
const camera = http.createServer((request, response) => response.end(answer));
camera.listen(0, '127.0.0.1', () => {
  const client = new Cam({ hostname: '127.0.0.1', port: camera.address().port, autoconnect: false });
  client.getDeviceInformation((error, found) => {
    if (error) throw error;
    console.log(JSON.stringify([found.firmwareVersion, found.serialNumber, found.model]));
    process.exit();
  });
});
JS
found=$(node ask.cjs)
echo "onvif 0.8.3, of firmware 5.10, serial number 408001234567891234 and model 600: $found"
[[ $found == "[5.1,408001234567891260,600]" ]]
