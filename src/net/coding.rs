//! Content codings (RFC 9110 §8.4) of what is read here, and was asked for without one.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;

/// What is sent in a coding though it was asked for as it is, in none: some servers have files in one only, and some compress
/// whatever they send. `Ok(None)` where it is in none. More than `most` bytes are not read.
///
/// # Errors
/// Why it cannot be read.
pub fn decoded(
    headers: &HeaderMap,
    body: &Bytes,
    most: usize,
) -> Result<Option<Bytes>, &'static str> {
    let codings: Vec<&[u8]> = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|codings| codings.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
        .collect();
    let is = |coding: &[u8], names: &[&str]| {
        let mut names = names.iter();
        names.any(|name| coding.eq_ignore_ascii_case(name.as_bytes()))
    };
    let mut decoder: Box<dyn Read> = match codings.as_slice() {
        [] => return Ok(None),
        [coding] if is(coding, &["gzip", "x-gzip"]) => Box::new(MultiGzDecoder::new(&**body)),
        [coding] if is(coding, &["deflate"]) => Box::new(ZlibDecoder::new(&**body)),
        _ => return Err("its origin's answer is in a coding that was not asked for"),
    };
    let mut plain = Vec::new();
    // One byte more than there may be tells a body that is too long.
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    match decoder.as_mut().take(limit).read_to_end(&mut plain) {
        Ok(length) if length <= most => Ok(Some(plain.into())),
        Ok(_) => Err("its origin's answer is too long when it is decoded"),
        Err(_) => Err("its origin's answer is not in the coding that it says"),
    }
}
