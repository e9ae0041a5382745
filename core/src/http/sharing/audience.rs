//! Who an answer is for, by its head.

use super::{Share, is_compared};

/// Who an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The one who asked.
    Asker,
    /// Everybody who asks, for this many seconds if the origin set a limit.
    Everybody(Option<u64>),
    /// Those who asked before it was there; it is not kept.
    Meanwhile,
}

impl Audience {
    /// Reads it from the head of an answer, as its origin sent it. Names of headers are compared without case.
    ///
    /// A refusal or an error is the asker's, and so is what is `private`, sets a cookie, varies on more than what
    /// [`Sharing::common`](super::Sharing::common) compares, or has a `Cache-Control` that cannot be read. `no-store` and `no-cache` make it
    /// the asker's too, save under [`Share::All`]: then it is not kept. Under [`Share::Said`] the rest is
    /// everybody's where it says `public`, or `s-maxage` or else `max-age` above 0 (RFC 9111 §5.2.2).
    pub fn of<'a>(
        share: Share,
        status: u16,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        if share == Share::Off || !(200..300).contains(&status) {
            return Self::Asker;
        }
        let mut said = CacheControl::default();
        let mut age = 0;
        for (name, value) in headers {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("age") {
                age = seconds(value).unwrap_or(u64::MAX).max(age);
            } else if is("pragma") {
                said.not_kept |= names(value).any(|name| name == "no-cache");
            } else if is("set-cookie")
                || is("cache-control") && !said.read(value)
                || is("vary") && names(value).any(|name| !is_compared(&name))
            {
                return Self::Asker;
            }
        }
        let limit = said.s_maxage.or(said.max_age);
        let is_said = said.public || limit.is_some_and(|limit| limit > 0);
        match share {
            _ if said.private => Self::Asker,
            Share::Said if said.not_kept || !is_said => Self::Asker,
            _ if said.not_kept => Self::Meanwhile,
            _ => match limit.map(|limit| limit.saturating_sub(age)) {
                Some(0) => Self::Meanwhile,
                limit => Self::Everybody(limit),
            },
        }
    }
}

/// What `Cache-Control` says of sharing.
#[derive(Default)]
struct CacheControl {
    max_age: Option<u64>,
    not_kept: bool,
    private: bool,
    public: bool,
    s_maxage: Option<u64>,
}

impl CacheControl {
    /// Adds the directives of one header; `false` if they cannot be told apart. Of a limit said twice the smaller one
    /// counts, and one that is no number is 0 (RFC 9111 §4.2.1).
    fn read(&mut self, value: &[u8]) -> bool {
        let Some(directives) = directives(value) else {
            return false;
        };
        for directive in directives {
            let (name, argument) = match directive.iter().position(|byte| *byte == b'=') {
                Some(at) => directive.split_at(at),
                None => (directive, &[][..]),
            };
            let limit = |known: Option<u64>| {
                let argument = argument.strip_prefix(b"=").unwrap_or_default();
                let limit = seconds(unquoted(argument.trim_ascii())).unwrap_or(0);
                Some(known.map_or(limit, |known| known.min(limit)))
            };
            match name.trim_ascii().to_ascii_lowercase().as_slice() {
                b"max-age" => self.max_age = limit(self.max_age),
                b"no-cache" | b"no-store" => self.not_kept = true,
                b"private" => self.private = true,
                b"public" if argument.is_empty() => self.public = true,
                b"s-maxage" => self.s_maxage = limit(self.s_maxage),
                _ => {}
            }
        }
        true
    }
}

/// The members of a list, split at commas outside quotes; `None` if a quote stays open.
fn directives(value: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut quoted, mut escaped) = (false, false);
    let members = value.split(|byte| {
        let splits = *byte == b',' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        splits
    });
    let members = members.map(<[u8]>::trim_ascii).collect();
    (!quoted).then_some(members)
}

/// The members of a list of names, in small letters.
fn names(value: &[u8]) -> impl Iterator<Item = String> {
    let members = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let members = members.filter(|member| !member.is_empty());
    members.map(|member| member.escape_ascii().to_string().to_ascii_lowercase())
}

fn unquoted(text: &[u8]) -> &[u8] {
    let inner = text
        .strip_prefix(b"\"")
        .and_then(|text| text.strip_suffix(b"\""));
    inner.unwrap_or(text)
}

/// A number of seconds; one that is too large is the largest (RFC 9111 §1.2.2).
fn seconds(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let digit = |number: u64, digit: &u8| {
        let number = number.saturating_mul(10);
        number.saturating_add(u64::from(digit.wrapping_sub(b'0')))
    };
    is_number.then(|| text.iter().fold(0, digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cause, a status, its headers; who it is for as it says, and where everything is shared.
    type Row = (
        &'static str,
        u16,
        &'static [(&'static str, &'static str)],
        Audience,
        Audience,
    );

    #[test]
    fn an_answer_is_the_askers_unless_it_says_otherwise() {
        use Audience::{Asker, Everybody, Meanwhile};
        let rows: &[Row] = &[
            ("no word", 200, &[], Asker, Everybody(None)),
            (
                "public",
                200,
                &[("Cache-Control", "public")],
                Everybody(None),
                Everybody(None),
            ),
            (
                "an age",
                200,
                &[("cache-control", "MAX-AGE=9")],
                Everybody(Some(9)),
                Everybody(Some(9)),
            ),
            (
                "an age in quotes",
                200,
                &[("Cache-Control", "max-age=\"9\"")],
                Everybody(Some(9)),
                Everybody(Some(9)),
            ),
            (
                "a part",
                206,
                &[("Cache-Control", "max-age=9")],
                Everybody(Some(9)),
                Everybody(Some(9)),
            ),
            (
                "an age for shared caches",
                200,
                &[("Cache-Control", "max-age=0, s-maxage=9")],
                Everybody(Some(9)),
                Everybody(Some(9)),
            ),
            (
                "none for shared caches",
                200,
                &[("Cache-Control", "max-age=9, s-maxage=0")],
                Asker,
                Meanwhile,
            ),
            (
                "two headers",
                200,
                &[
                    ("Cache-Control", "x"),
                    ("Cache-Control", "public, max-age=9"),
                ],
                Everybody(Some(9)),
                Everybody(Some(9)),
            ),
            (
                "two ages",
                200,
                &[("Cache-Control", "max-age=9, max-age=3")],
                Everybody(Some(3)),
                Everybody(Some(3)),
            ),
            (
                "no age at all",
                200,
                &[("Cache-Control", "max-age=0")],
                Asker,
                Meanwhile,
            ),
            (
                "public, but over",
                200,
                &[("Cache-Control", "public, max-age=0")],
                Meanwhile,
                Meanwhile,
            ),
            (
                "an age that is partly over",
                200,
                &[("Cache-Control", "max-age=9"), ("Age", "4")],
                Everybody(Some(5)),
                Everybody(Some(5)),
            ),
            (
                "an age that is over",
                200,
                &[("Cache-Control", "max-age=9"), ("Age", "9")],
                Meanwhile,
                Meanwhile,
            ),
            (
                "an age past all numbers",
                200,
                &[("Cache-Control", "max-age=99999999999999999999")],
                Everybody(Some(u64::MAX)),
                Everybody(Some(u64::MAX)),
            ),
            (
                "no number",
                200,
                &[("Cache-Control", "max-age=soon")],
                Asker,
                Meanwhile,
            ),
            (
                "a negative number",
                200,
                &[("Cache-Control", "max-age=-9")],
                Asker,
                Meanwhile,
            ),
            (
                "a fraction",
                200,
                &[("Cache-Control", "max-age=1.5")],
                Asker,
                Meanwhile,
            ),
            (
                "no value",
                200,
                &[("Cache-Control", "max-age")],
                Asker,
                Meanwhile,
            ),
            (
                "an expiry",
                200,
                &[("Expires", "Thu, 01 Jan 2099 00:00:00 GMT")],
                Asker,
                Everybody(None),
            ),
            ("a tag", 200, &[("ETag", "\"a\"")], Asker, Everybody(None)),
            (
                "what only sounds like it",
                200,
                &[("Cache-Control", "public-ish, xmax-age=9")],
                Asker,
                Everybody(None),
            ),
            (
                "private",
                200,
                &[("Cache-Control", "private")],
                Asker,
                Asker,
            ),
            (
                "private in part",
                200,
                &[("Cache-Control", "public, private=\"X-Who\"")],
                Asker,
                Asker,
            ),
            (
                "private and old",
                200,
                &[("Cache-Control", "max-age=9, Private")],
                Asker,
                Asker,
            ),
            (
                "not to be stored",
                200,
                &[("Cache-Control", "public, no-store")],
                Asker,
                Meanwhile,
            ),
            (
                "not to be used again",
                200,
                &[("Cache-Control", "max-age=9, no-cache")],
                Asker,
                Meanwhile,
            ),
            (
                "not to be used again in part",
                200,
                &[("Cache-Control", "public, no-cache=\"Set-Cookie\"")],
                Asker,
                Meanwhile,
            ),
            (
                "as HTTP/1.0 says it",
                200,
                &[("Cache-Control", "public"), ("Pragma", "no-cache")],
                Asker,
                Meanwhile,
            ),
            (
                "a cookie",
                200,
                &[("Cache-Control", "public"), ("Set-Cookie", "a=b")],
                Asker,
                Asker,
            ),
            (
                "varies on what is compared",
                200,
                &[
                    ("Cache-Control", "public"),
                    ("Vary", "Origin, accept-encoding"),
                ],
                Everybody(None),
                Everybody(None),
            ),
            (
                "varies on the player",
                200,
                &[("Cache-Control", "public"), ("Vary", "User-Agent")],
                Asker,
                Asker,
            ),
            (
                "varies on a cookie",
                200,
                &[
                    ("Cache-Control", "public"),
                    ("Vary", "Origin"),
                    ("Vary", "Cookie"),
                ],
                Asker,
                Asker,
            ),
            (
                "varies on anything",
                200,
                &[("Cache-Control", "public"), ("Vary", "*")],
                Asker,
                Asker,
            ),
            (
                "words in a quote",
                200,
                &[("Cache-Control", "x=\"a, public, max-age=9\"")],
                Asker,
                Everybody(None),
            ),
            (
                "an escaped quote in one",
                200,
                &[("Cache-Control", "x=\"a\\\", public, b\"")],
                Asker,
                Everybody(None),
            ),
            (
                "a quote without end",
                200,
                &[("Cache-Control", "public, x=\"a")],
                Asker,
                Asker,
            ),
            (
                "a redirect",
                302,
                &[("Cache-Control", "public")],
                Asker,
                Asker,
            ),
            (
                "nothing new",
                304,
                &[("Cache-Control", "public")],
                Asker,
                Asker,
            ),
            (
                "a refusal",
                403,
                &[("Cache-Control", "public, max-age=9")],
                Asker,
                Asker,
            ),
            (
                "nothing there",
                404,
                &[("Cache-Control", "public, max-age=9")],
                Asker,
                Asker,
            ),
            (
                "an error",
                500,
                &[("Cache-Control", "public")],
                Asker,
                Asker,
            ),
        ];
        for (cause, status, headers, said, all) in rows {
            let of = |share| {
                let headers = headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_bytes()));
                Audience::of(share, *status, headers)
            };
            assert_eq!(of(Share::Said), *said, "{cause}");
            assert_eq!(of(Share::All), *all, "{cause}, all");
            assert_eq!(of(Share::Off), Asker, "{cause}, off");
        }
    }
}
