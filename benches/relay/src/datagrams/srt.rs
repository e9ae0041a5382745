//! SRT callers, joined to their origin as libsrt does it.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};

use super::{Flow, client};

/// Speaks both sides of the handshake.
pub(super) fn open(relay: SocketAddr, origin: &UdpSocket, index: usize) -> Result<Flow> {
    let client = client(relay, origin)?;
    let mut buffer = [0; 2048];
    let id = u32::try_from(index)? + 1;
    client.send(&handshake(0, 4, 2, 1, id, 0, &[]))?;
    let length = client.recv(&mut buffer)?;
    let cookie = word(&buffer[..length], 44)?;
    let asked = [REQUEST, &stream_id(&format!("live/{index}"))].concat();
    client.send(&handshake(0, 5, 5, CONCLUSION, id, cookie, &asked))?;
    let (length, link) = origin.recv_from(&mut buffer)?;
    let relay_id = word(&buffer[..length], 40)?;
    origin.send_to(&handshake(relay_id, 5, 0x4a17, 1, 7, 99, &[]), link)?;
    origin.recv_from(&mut buffer)?;
    let mut agreed = REQUEST.to_vec();
    agreed[1] = 2;
    origin.send_to(
        &handshake(relay_id, 5, 1, CONCLUSION, id, 99, &agreed),
        link,
    )?;
    let length = client.recv(&mut buffer)?;
    let step = word(&buffer[..length], 36)?;
    ensure!(step == CONCLUSION, "the relay refused a caller: {step}");
    Ok(Flow {
        client,
        relay_id,
        link,
    })
}

/// A full acknowledgement of all packets before `next`, to the socket `to` (SRT §3.2.4).
pub(super) fn acknowledgement(to: u32, next: u32) -> Vec<u8> {
    // The number of the acknowledgement, the time, round-trip times, free buffers, and rates.
    let words = [
        0x8002_0000,
        1,
        0,
        to,
        next,
        100,
        10,
        8192,
        2000,
        2000,
        2_664_000,
    ];
    words
        .iter()
        .flat_map(|word: &u32| word.to_be_bytes())
        .collect()
}

fn handshake(
    to: u32,
    version: u32,
    extension: u32,
    step: u32,
    id: u32,
    cookie: u32,
    extensions: &[u8],
) -> Vec<u8> {
    let words = [
        0x8000_0000,
        0,
        0,
        to,
        version,
        extension,
        1,
        1500,
        8192,
        step,
        id,
        cookie,
        0,
        0,
        0,
        0,
    ];
    let mut packet: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    packet.extend(extensions);
    packet
}

fn stream_id(text: &str) -> Vec<u8> {
    let words = u8::try_from(text.len().div_ceil(4)).unwrap_or(u8::MAX);
    let mut extension = vec![0, 5, 0, words];
    for chunk in text.as_bytes().chunks(4) {
        let mut word = [0; 4];
        for (place, byte) in word.iter_mut().rev().zip(chunk) {
            *place = *byte;
        }
        extension.extend(word);
    }
    extension
}

fn word(packet: &[u8], at: usize) -> Result<u32> {
    let bytes = packet.get(at..at + 4).context("a short handshake")?;
    Ok(u32::from_be_bytes(bytes.try_into()?))
}

const CONCLUSION: u32 = 0xffff_ffff;
/// The handshake extension.
const REQUEST: &[u8] = &[0, 1, 0, 3, 0, 1, 5, 1, 0, 0, 0, 0xbf, 0, 120, 0, 120];
