//! Where the body of an answer ends (RFC 9112 §6.3), for a proxy that asks again on the same connection.
//!
//! An origin that we chose is read with tolerance, but never guessed at: where two readers could see the end of a body at
//! different places, the answer is broken, or the connection is not used again.

use super::head::{HeadError, MAX_HEAD, ResponseHead, Version, length_number};

/// How the body of an answer is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// In chunks (RFC 9112 §7.1).
    Chunked,
    /// Up to the end of the connection.
    Close,
    /// This many bytes, or none.
    Length(u64),
}

impl ResponseHead {
    /// How the body is framed that follows this head as the answer to a request with `method`.
    ///
    /// # Errors
    /// [`HeadError::Length`] when it has several lengths or one that is no number, [`HeadError::TransferEncoding`] when
    /// the body has a transfer coding besides chunks.
    pub fn framing(&self, method: &str) -> Result<Framing, HeadError> {
        if method == "HEAD" || matches!(self.status, 100..200 | 204 | 304) {
            return Ok(Framing::Length(0));
        }
        let mut codings = self.headers.all("transfer-encoding");
        match (codings.next(), codings.next()) {
            (None, _) => {}
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => {
                return Ok(Framing::Chunked);
            }
            _ => return Err(HeadError::TransferEncoding),
        }
        let mut lengths = self.headers.all("content-length");
        let Some(first) = lengths.next() else {
            return Ok(Framing::Close);
        };
        if lengths.any(|other| other != first) {
            return Err(HeadError::Length);
        }
        let length = str::from_utf8(first).ok().and_then(length_number);
        length.map(Framing::Length).ok_or(HeadError::Length)
    }

    /// Whether another request may follow on the connection after this answer, whose body is framed in this way.
    pub fn persists(&self, framing: Framing) -> bool {
        let asked = match self.version {
            Version::Http10 => self.headers.has_token("connection", "keep-alive"),
            Version::Http11 => !self.headers.has_token("connection", "close"),
        };
        let plain = match framing {
            // Both say where it ends, or one of HTTP/1.0 knows chunks: somebody is mistaken (RFC 9112 §6.1).
            Framing::Chunked => {
                self.version == Version::Http11 && !self.headers.contains("content-length")
            }
            Framing::Close => false,
            Framing::Length(_) => true,
        };
        // After a switch of protocols nothing is asked in this one.
        asked && plain && self.status != 101
    }
}

/// Finds the bytes of a body in what comes after a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyReader {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The bytes of a chunk, this many more.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    Close,
    Length(u64),
    Over,
    /// The line that says how long the next chunk is.
    Size,
    /// Lines after the last chunk, of which this many bytes came.
    Trailers(usize),
}

/// What comes next of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// As many bytes that are the body's.
    Data(usize),
    /// The body is over; what follows is not of this answer.
    End,
    /// Nothing can be said before more bytes come.
    More,
    /// As many bytes that are framing.
    Skip(usize),
}

/// Why what follows a head is not its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A chunk does not end in a line end, or the line with its length is malformed.
    #[error("a chunk is malformed")]
    Chunk,
    /// The connection ended within the body.
    #[error("the body broke off")]
    Short,
    /// The lines after the last chunk are longer than a head may be.
    #[error("the trailers are longer than {MAX_HEAD} bytes")]
    Trailers,
}

impl BodyReader {
    /// A reader of a body with this framing.
    pub const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Chunked => State::Size,
            Framing::Close => State::Close,
            Framing::Length(0) => State::Over,
            Framing::Length(length) => State::Length(length),
        };
        Self { state }
    }

    /// What `input` begins with, which is all that came and was not taken yet. What is told of has to be taken from its
    /// front before the next call.
    ///
    /// # Errors
    /// When it is not what the framing says; the error is final.
    pub fn next(&mut self, input: &[u8]) -> Result<Part, BodyError> {
        Ok(match self.state {
            State::Over => Part::End,
            _ if input.is_empty() => Part::More,
            State::Close => Part::Data(input.len()),
            State::Length(left) => {
                let (count, rest) = taken(input, left);
                self.state = match rest {
                    0 => State::Over,
                    rest => State::Length(rest),
                };
                Part::Data(count)
            }
            State::Chunk(left) => {
                let (count, rest) = taken(input, left);
                self.state = match rest {
                    0 => State::ChunkEnd,
                    rest => State::Chunk(rest),
                };
                Part::Data(count)
            }
            State::ChunkEnd => match input {
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Part::Skip(2)
                }
                [b'\r'] => Part::More,
                _ => return Err(BodyError::Chunk),
            },
            State::Size => {
                let Some(line) = line(input, MAX_SIZE_LINE).map_err(|()| BodyError::Chunk)? else {
                    return Ok(Part::More);
                };
                self.state = match size(line).ok_or(BodyError::Chunk)? {
                    0 => State::Trailers(0),
                    size => State::Chunk(size),
                };
                Part::Skip(line.len() + 2)
            }
            State::Trailers(came) => {
                let room = MAX_HEAD.saturating_sub(came);
                let Some(line) = line(input, room).map_err(|()| BodyError::Trailers)? else {
                    return Ok(Part::More);
                };
                self.state = match line {
                    [] => State::Over,
                    line => State::Trailers(came + line.len() + 2),
                };
                Part::Skip(line.len() + 2)
            }
        })
    }

    /// The connection ended.
    ///
    /// # Errors
    /// [`BodyError::Short`] when the body does not end there.
    pub fn end(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Close | State::Over => {
                self.state = State::Over;
                Ok(())
            }
            _ => Err(BodyError::Short),
        }
    }

    /// Whether the next byte, if one comes, is the body's own.
    pub const fn is_data(&self) -> bool {
        matches!(
            self.state,
            State::Chunk(_) | State::Close | State::Length(_)
        )
    }

    /// Whether nothing more belongs to the body.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// How many more bytes the body has, where that is known.
    pub const fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Over => Some(0),
            _ => None,
        }
    }
}

/// How many bytes of `input` belong to `left` bytes, and how many are missing then.
fn taken(input: &[u8], left: u64) -> (usize, u64) {
    let count = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
    (count, left.saturating_sub(count as u64))
}

/// The line at the front of `input`, without its CR LF; `None` if its end has not come.
fn line(input: &[u8], most: usize) -> Result<Option<&[u8]>, ()> {
    let within = input.get(..most).unwrap_or(input);
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return match within.len() < most {
            true => Ok(None),
            false => Err(()),
        };
    };
    let line = within.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").ok_or(())?;
    match line.contains(&b'\r') {
        true => Err(()),
        false => Ok(Some(line)),
    }
}

/// The length of a chunk. Extensions after it mean nothing to us (RFC 9112 §7.1.1).
fn size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| *byte == b';');
    let (digits, extension) = line.split_at_checked(end.unwrap_or(line.len()))?;
    let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    let digits = digits.trim_ascii_end();
    let is_number = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    if !is_number || !extension.iter().all(is_text) {
        return None;
    }
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// Bytes of the line with a chunk's length. Real ones have up to ten; extensions are signatures at most.
const MAX_SIZE_LINE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> ResponseHead {
        let wire = format!("{}\r\n\r\n", text.replace('|', "\r\n"));
        ResponseHead::parse(wire.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn two_readers_see_the_end_at_one_place() {
        use Framing::{Chunked, Close, Length};
        let (length, coding) = (HeadError::Length, HeadError::TransferEncoding);
        // The cause; the method; the head; its framing, and whether the connection is used again.
        let rows = [
            (
                "a length",
                "GET",
                "HTTP/1.1 200 OK|Content-Length: 5",
                Ok((Length(5), true)),
            ),
            (
                "none",
                "GET",
                "HTTP/1.1 200 OK|Content-Length: 0",
                Ok((Length(0), true)),
            ),
            (
                "up to the end",
                "GET",
                "HTTP/1.1 200 OK",
                Ok((Close, false)),
            ),
            (
                "chunks",
                "GET",
                "HTTP/1.1 200 OK|Transfer-Encoding: Chunked",
                Ok((Chunked, true)),
            ),
            (
                "a length and chunks",
                "GET",
                "HTTP/1.1 200 OK|Content-Length: 5|Transfer-Encoding: chunked",
                Ok((Chunked, false)),
            ),
            (
                "chunks of HTTP/1.0",
                "GET",
                "HTTP/1.0 200 OK|Connection: keep-alive|Transfer-Encoding: chunked",
                Ok((Chunked, false)),
            ),
            (
                "the same length twice",
                "GET",
                "HTTP/1.1 200 OK|Content-Length: 5|Content-Length: 5",
                Ok((Length(5), true)),
            ),
            (
                "two lengths",
                "GET",
                "HTTP/1.1 200 OK|Content-Length: 5|Content-Length: 6",
                Err(length),
            ),
            (
                "two lengths in a line",
                "GET",
                "HTTP/1.1 200 OK|Content-Length: 5, 5",
                Err(length),
            ),
            (
                "a length with a sign",
                "GET",
                "HTTP/1.1 200 OK|Content-Length: +5",
                Err(length),
            ),
            (
                "an empty length",
                "GET",
                "HTTP/1.1 200 OK|Content-Length:",
                Err(length),
            ),
            (
                "a length beyond numbers",
                "GET",
                "HTTP/1.1 200 OK|Content-Length: 99999999999999999999",
                Err(length),
            ),
            (
                "another coding",
                "GET",
                "HTTP/1.1 200 OK|Transfer-Encoding: gzip, chunked",
                Err(coding),
            ),
            (
                "chunks twice",
                "GET",
                "HTTP/1.1 200 OK|Transfer-Encoding: chunked|Transfer-Encoding: chunked",
                Err(coding),
            ),
            (
                "an unknown coding",
                "GET",
                "HTTP/1.1 200 OK|Transfer-Encoding: xchunked",
                Err(coding),
            ),
            (
                "HEAD",
                "HEAD",
                "HTTP/1.1 200 OK|Content-Length: 5",
                Ok((Length(0), true)),
            ),
            (
                "nothing changed",
                "GET",
                "HTTP/1.1 304 Not Modified|Content-Length: 5",
                Ok((Length(0), true)),
            ),
            (
                "no content",
                "GET",
                "HTTP/1.1 204 No Content|Transfer-Encoding: chunked",
                Ok((Length(0), true)),
            ),
            (
                "another protocol",
                "GET",
                "HTTP/1.1 101 Switching Protocols|Upgrade: x",
                Ok((Length(0), false)),
            ),
            (
                "a close",
                "GET",
                "HTTP/1.1 200 OK|Connection: x, Close|Content-Length: 5",
                Ok((Length(5), false)),
            ),
            (
                "HTTP/1.0",
                "GET",
                "HTTP/1.0 200 OK|Content-Length: 5",
                Ok((Length(5), false)),
            ),
            (
                "HTTP/1.0, kept",
                "GET",
                "HTTP/1.0 200 OK|Connection: Keep-Alive|Content-Length: 5",
                Ok((Length(5), true)),
            ),
        ];
        for (cause, method, text, expected) in rows {
            let head = head(text);
            let framing = head.framing(method);
            let found = framing.map(|framing| (framing, head.persists(framing)));
            assert_eq!(found, expected, "{cause}");
        }
    }

    /// The body of `wire`, and what follows it; an error where it does not end.
    fn read(framing: Framing, wire: &[u8]) -> Result<(Vec<u8>, Vec<u8>), BodyError> {
        let (mut reader, mut rest, mut body) = (BodyReader::new(framing), wire, Vec::new());
        loop {
            let count = match reader.next(rest)? {
                Part::Data(count) => {
                    body.extend_from_slice(&rest[..count]);
                    count
                }
                Part::Skip(count) => count,
                Part::End => return Ok((body, rest.to_vec())),
                Part::More => return reader.end().map(|()| (body, rest.to_vec())),
            };
            rest = &rest[count..];
        }
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        use Framing::{Chunked, Close, Length};
        type Outcome = Result<(&'static str, &'static str), BodyError>;
        let rows: [(&str, Framing, &str, Outcome); 17] = [
            ("a length", Length(3), "abcd", Ok(("abc", "d"))),
            ("too short", Length(3), "ab", Err(BodyError::Short)),
            ("up to the end", Close, "abc", Ok(("abc", ""))),
            (
                "chunks",
                Chunked,
                "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nf",
                Ok(("abcde", "f")),
            ),
            (
                "hexadecimal",
                Chunked,
                "00A\r\n0123456789\r\n0\r\n\r\n",
                Ok(("0123456789", "")),
            ),
            (
                "an extension",
                Chunked,
                "3 ;a=\"b\"\r\nabc\r\n0;x\r\n\r\n",
                Ok(("abc", "")),
            ),
            (
                "trailers",
                Chunked,
                "1\r\na\r\n0\r\nX: y\r\n\r\nz",
                Ok(("a", "z")),
            ),
            (
                "broken off in a chunk",
                Chunked,
                "3\r\nab",
                Err(BodyError::Short),
            ),
            (
                "broken off after a chunk",
                Chunked,
                "3\r\nabc\r\n",
                Err(BodyError::Short),
            ),
            (
                "broken off before the empty line",
                Chunked,
                "0\r\n",
                Err(BodyError::Short),
            ),
            (
                "a chunk that goes on",
                Chunked,
                "3\r\nabcd\r\n",
                Err(BodyError::Chunk),
            ),
            ("no number", Chunked, "x\r\n", Err(BodyError::Chunk)),
            ("no length", Chunked, "\r\n", Err(BodyError::Chunk)),
            ("a sign", Chunked, "+3\r\nabc\r\n", Err(BodyError::Chunk)),
            (
                "a line end without CR",
                Chunked,
                "3\nabc\r\n",
                Err(BodyError::Chunk),
            ),
            (
                "CR within a line",
                Chunked,
                "3\r;\r\nabc\r\n",
                Err(BodyError::Chunk),
            ),
            (
                "a number beyond numbers",
                Chunked,
                "10000000000000000\r\n",
                Err(BodyError::Chunk),
            ),
        ];
        for (cause, framing, wire, expected) in rows {
            let expected = expected.map(|(body, rest)| (body.into(), rest.into()));
            assert_eq!(read(framing, wire.as_bytes()), expected, "{cause}");
        }
        let long = "3;".to_owned() + &"x".repeat(MAX_SIZE_LINE);
        assert_eq!(read(Chunked, long.as_bytes()), Err(BodyError::Chunk));
        let long = "0\r\n".to_owned() + &"X: y\r\n".repeat(MAX_HEAD / 6 + 1);
        assert_eq!(read(Chunked, long.as_bytes()), Err(BodyError::Trailers));
    }
}
