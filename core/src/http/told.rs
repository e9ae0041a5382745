//! The scheme by which a client asked a proxy in front of us, as that proxy tells it.

use super::head::Headers;

impl Headers {
    /// Whether a proxy in front says that its client came with TLS: by `X-Forwarded-Proto`, else by `Forwarded` (RFC 7239
    /// §5.4); `None` where it says nothing. Only a trusted proxy is to be believed.
    pub fn told_secure(&self) -> Option<bool> {
        let told = match self.text("x-forwarded-proto") {
            Some(list) => list.split(',').next().map(str::trim),
            None => proto(self.text("forwarded")?),
        };
        let scheme = told.filter(|scheme| !scheme.is_empty())?;
        let secure = ["https", "wss"];
        Some(secure.iter().any(|of| of.eq_ignore_ascii_case(scheme)))
    }
}

/// The `proto` of the first element, which is about the client itself.
fn proto(forwarded: &str) -> Option<&str> {
    let mut rest = forwarded;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            // A quoted pair cannot be part of a scheme, but may stand in another value.
            Some(quoted) => quoted.split_at_checked(quoted_end(quoted)?)?,
            None => after.split_at_checked(after.find([';', ',']).unwrap_or(after.len()))?,
        };
        if name.trim().eq_ignore_ascii_case("proto") {
            return Some(value.trim());
        }
        let after = after.strip_prefix('"').unwrap_or(after).trim_start();
        rest = after.strip_prefix(';')?;
    }
}

/// Where a quoted string ends that began before `text`.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_the_client() {
        let rows = [
            (
                "by the usual header",
                "X-Forwarded-Proto",
                "https",
                Some(true),
            ),
            ("in capitals", "x-forwarded-proto", "HTTPS", Some(true)),
            (
                "the first of several",
                "X-Forwarded-Proto",
                "http, https",
                Some(false),
            ),
            ("nothing", "X-Forwarded-Proto", "", None),
            (
                "RFC 7239",
                "Forwarded",
                "for=192.0.2.60;proto=https;by=203.0.113.43",
                Some(true),
            ),
            (
                "with white space",
                "Forwarded",
                "for=192.0.2.60 ; Proto = https",
                Some(true),
            ),
            ("quoted", "Forwarded", "proto=\"https\"", Some(true)),
            ("a WebSocket", "Forwarded", "proto=wss", Some(true)),
            (
                "without TLS",
                "Forwarded",
                "for=_gazonk;proto=http",
                Some(false),
            ),
            (
                "of the first element",
                "Forwarded",
                "for=192.0.2.43;proto=https, for=10.0.0.1;proto=http",
                Some(true),
            ),
            (
                "of a later element",
                "Forwarded",
                "for=192.0.2.43, for=10.0.0.1;proto=https",
                None,
            ),
            (
                "within quotes",
                "Forwarded",
                "for=\"[2001:db8::1];proto=https\"",
                None,
            ),
            (
                "after quotes",
                "Forwarded",
                "for=\"[2001:db8:cafe::17]:4711\";proto=https",
                Some(true),
            ),
            (
                "after a quoted quote",
                "Forwarded",
                "host=\"a\\\";proto=http\";proto=https",
                Some(true),
            ),
            ("quotes without an end", "Forwarded", "proto=\"https", None),
            ("no value", "Forwarded", "proto=", None),
            ("no pair", "Forwarded", "proto", None),
            ("empty", "Forwarded", "", None),
        ];
        for (cause, name, value, expected) in rows {
            let mut headers = Headers::default();
            headers.push(name, value);
            assert_eq!(headers.told_secure(), expected, "{cause}");
        }
        let mut both = Headers::default();
        both.push("Forwarded", "proto=http");
        both.push("X-Forwarded-Proto", "https");
        assert_eq!(both.told_secure(), Some(true), "the usual header counts");
    }
}
