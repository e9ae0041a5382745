//! Stamps: letters after a link that say that a playlist or manifest of its stream listed the path.
//!
//! A link says which stream of which origin it is for, and nothing of the path that it stands behind. On the port of its
//! media an origin may have more than media: pages about itself, and interfaces that change things. A path that ends as
//! media does is asked of origins in any case. Any other path needs a reason to belong to the link's stream: it lies in the
//! stream's folder, or the origin listed it, which the rewritten URI then shows:
//!
//! ```text
//! spbhid=<link>.<stamp>                       the path as it was listed
//! spbhid=<link>.<stamp>.<before>.<after>.<n>  a template of DASH: as many bytes before its first and after its last
//!                                             `$` are as they were listed, with n slashes between them
//! ```
//!
//! Where links let their viewers in, this goes for media as well: what is named like another stream's (`live/small.m3u8` in the
//! playlist of `live/a`) is that viewer's if the origin listed it, and not because of its link.
//!
//! A stamp is a keyed hash over the stream, the origin and the path, so it is the same for all viewers and at all proxies of
//! a cluster. Without the link that it follows it is worth nothing.

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::Mac;

use super::link::{Link, LinkKey, put_stream, put_text};
use super::segment::{Owners, without_dot_segments};
use crate::fleet::origin::OriginId;
use crate::stream::StreamUrl;

/// What a page's stamps are made with: those of one stream at one origin.
#[derive(Debug, Clone, Copy)]
pub struct Stamping<'a> {
    /// The key of the cluster.
    pub key: &'a LinkKey,
    /// The stream that the page's links are for.
    pub stream: &'a StreamUrl,
    /// The origin that they are for.
    pub origin: &'a OriginId,
    /// Whether the page's links let somebody in.
    pub lets_in: bool,
}

impl Stamping<'_> {
    /// Whether the resolved `path` names a file of the stream itself. Other streams may have files of the same form.
    pub(super) fn owns(&self, path: &[u8]) -> bool {
        let path = std::str::from_utf8(path).ok();
        let owners = path.and_then(|path| Owners::of(None, path).ok());
        let is_within = |name: &StreamUrl| {
            let rest = name.path().strip_prefix(self.stream.path());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        owners.is_some_and(|owners| owners.own().any(is_within))
    }

    /// The stamp of `path`, which is resolved. A path with two or more `$` is a template.
    pub(super) fn stamp(&self, path: &[u8]) -> String {
        let (shape, lengths) = match template_of(path) {
            None => (Shape::exactly(path), String::new()),
            Some(shape) => {
                let (before, after) = (shape.before.len(), shape.after.len());
                let lengths = format!(".{before}.{after}.{}", shape.slashes.unwrap_or_default());
                (shape, lengths)
            }
        };
        let hash = shape.hash(self.key, self.stream, self.origin);
        let hash = hash.finalize().into_bytes();
        let text = Base64UrlUnpadded::encode_string(hash.get(..STAMP).unwrap_or_default());
        text + &lengths
    }
}

/// Whether `stamp` says that a page of the stream and the origin of `link` listed the path of `target`.
pub fn is_listed(key: &LinkKey, link: &Link, stamp: &str, target: &str) -> bool {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let path = resolved(b"/", path.as_bytes());
    let Some((text, shape)) = read(stamp, &path) else {
        return false;
    };
    let Ok(stamp) = Base64UrlUnpadded::decode_vec(text) else {
        return false;
    };
    stamp.len() == STAMP
        && key.all().any(|key| {
            let hash = shape.hash(key, &link.stream, &link.origin);
            hash.verify_truncated_left(&stamp).is_ok()
        })
}

/// The absolute path that `uri` leads to from a page in `folder`: as clients ask for it, whichever of its letters they
/// escape.
pub(super) fn resolved(folder: &[u8], uri: &[u8]) -> Vec<u8> {
    let whole = match uri {
        [b'/', ..] => uri.to_vec(),
        _ => [folder, uri].concat(),
    };
    without_dot_segments(&unescaped(&whole))
}

/// `path` without the escapes that make no difference.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match rest {
            [b'%', high, low, after @ ..] => digit(*high)
                .zip(digit(*low))
                .map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        match escaped {
            Some((byte, after)) if byte.is_ascii_control() || b"/\\?#%".contains(&byte) => {
                out.extend(format!("%{byte:02X}").bytes());
                rest = after;
            }
            Some((byte, after)) => {
                out.push(byte);
                rest = after;
            }
            None if first == b'%' => {
                out.extend(b"%25");
                rest = after;
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

fn digit(letter: u8) -> Option<u8> {
    let value = char::from(letter).to_digit(16)?;
    u8::try_from(value).ok()
}

/// What a stamp covers of a path.
struct Shape<'a> {
    before: &'a [u8],
    after: &'a [u8],
    /// How many slashes there are between; `None` where nothing is.
    slashes: Option<usize>,
}

impl<'a> Shape<'a> {
    const fn exactly(path: &'a [u8]) -> Self {
        Self {
            before: path,
            after: b"",
            slashes: None,
        }
    }

    fn hash(&self, key: &LinkKey, stream: &StreamUrl, origin: &OriginId) -> super::link::Hash {
        let mut bytes = Vec::with_capacity(self.before.len() + 512);
        put_stream(&mut bytes, stream);
        put_text(&mut bytes, origin.as_str());
        for part in [self.before, self.after] {
            // Longer than any head of a request.
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            bytes.extend(length.to_be_bytes());
            bytes.extend(part);
        }
        let slashes = self.slashes.map_or(0, |slashes| slashes.saturating_add(1));
        bytes.extend((slashes as u64).to_be_bytes());
        let mut hash = key.stamps();
        hash.update(&bytes);
        hash
    }
}

/// The shape of a template: what is before its first and after its last `$`.
fn template_of(path: &[u8]) -> Option<Shape<'_>> {
    let first = path.iter().position(|&byte| byte == b'$')?;
    let last = path.iter().rposition(|&byte| byte == b'$')?;
    let between = path.get(first + 1..last)?;
    Some(Shape {
        before: path.get(..first)?,
        after: path.get(last + 1..)?,
        slashes: Some(slashes(between)),
    })
}

/// The hash in a stamp, and what it has to cover of `path`, which is resolved.
fn read<'s, 'p>(stamp: &'s str, path: &'p [u8]) -> Option<(&'s str, Shape<'p>)> {
    let mut parts = stamp.split('.');
    let text = parts.next()?;
    let Some(before) = parts.next() else {
        return Some((text, Shape::exactly(path)));
    };
    let number = |text: &str| text.parse::<usize>().ok();
    let (before, after, count) = (
        number(before)?,
        number(parts.next()?)?,
        number(parts.next()?)?,
    );
    let (before, rest) = path.split_at_checked(before)?;
    let (between, after) = rest.split_at_checked(rest.len().checked_sub(after)?)?;
    let fits = slashes(between) == count && parts.next().is_none();
    fits.then_some((
        text,
        Shape {
            before,
            after,
            slashes: Some(count),
        },
    ))
}

fn slashes(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b'/').count()
}

/// Bytes of a hash that are kept, of which nobody can guess one: 16 letters.
const STAMP: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::origin::Target;
    use crate::http::link::split_stamp;
    use crate::http::page::Page;
    use proptest::prelude::*;

    struct Listing {
        key: LinkKey,
        link: Link,
    }

    impl Listing {
        fn of(key: &[u8], stream: &str, origin: &str) -> Self {
            Self {
                key: LinkKey::new(key),
                link: Link {
                    stream: StreamUrl::new("", "live", stream).unwrap(),
                    origin: origin.into(),
                    target: Target::plain("10.0.0.1".parse().unwrap(), 8080),
                    expires: 100,
                    viewing: None,
                },
            }
        }

        fn stamping(&self) -> Stamping<'_> {
            Stamping {
                key: &self.key,
                stream: &self.link.stream,
                origin: &self.link.origin,
                lets_in: false,
            }
        }

        fn opens(&self, stamp: &str, target: &str) -> bool {
            is_listed(&self.key, &self.link, stamp, target)
        }
    }

    /// The stamp in a rewritten URI.
    fn stamp_of(uri: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(uri).unwrap();
        let (_, link) = text.split_once("spbhid=")?;
        split_stamp(link).1.map(str::to_owned)
    }

    fn written(listing: &Listing, uri: &str) -> Option<String> {
        let page = Page {
            stamping: Some(listing.stamping()),
            ..Page::EXAMPLE
        };
        let mut out = Vec::new();
        page.write_uri(uri.as_bytes(), &mut out);
        stamp_of(&out)
    }

    #[test]
    fn a_stamp_is_for_the_path_that_was_listed() {
        let listing = Listing::of(b"k", "a", "one");
        // A description; the URI in a page in /live/; the path as a client asks for it.
        let rows = [
            ("in the folder", "12", "/live/12"),
            ("a folder up", "../keys/12", "/keys/12"),
            ("from the root", "/keys/12?a=1", "/keys/12?a=2"),
            ("in full", "http://10.0.0.1:8080/keys/12", "/keys/12"),
            ("a dot", "./x/./y", "/live/x/y"),
            ("a folder", "x/..", "/live/"),
            ("above the root", "../../../x", "/x"),
            ("a space", "a b", "/live/a%20b"),
            ("a percent sign", "5%", "/live/5%25"),
            ("an escaped ending", "a%2ets", "/live/a%2ets"),
            ("letters of two bytes", "é", "/live/%C3%A9"),
            ("escapes in other letters", "%c3%a9%7e", "/live/%C3%A9~"),
            ("an ending of no media", "assets.json", "/live/assets.json"),
            ("one dollar", "a$b", "/live/a$b"),
            ("a template", "$RepresentationID$/$Number$", "/live/v0/12"),
            ("a template with a tail", "/x/s-$Time$-t", "/x/s-900-t"),
            ("a template with a width", "s$Number%05d$", "/live/s00012"),
        ];
        let others = [
            "/stat",
            "/keys/13",
            "/live/13/14/15",
            "/x/s-900-u",
            "/x/y/s-900-t/",
            "/",
            "",
        ];
        for (cause, uri, target) in rows {
            let stamp = written(&listing, uri).expect(cause);
            assert!(listing.opens(&stamp, target), "{cause}: {stamp}");
            for other in others {
                assert!(!listing.opens(&stamp, other), "{cause}: {other}");
            }
        }
    }

    #[test]
    fn media_needs_no_stamp() {
        let listing = Listing::of(b"k", "a", "one");
        for uri in [
            "a-1.ts",
            "../v/$Number$.m4s?x=1",
            "/live/a.m3u8",
            "K.KEY",
            "https://cdn.net/12",
            "#t",
            "",
        ] {
            assert_eq!(written(&listing, uri), None, "{uri}");
        }
    }

    #[test]
    fn where_links_let_in_media_of_other_names_has_a_stamp() {
        let listing = Listing::of(b"k", "a", "one");
        let page = Page {
            stamping: Some(Stamping {
                lets_in: true,
                ..listing.stamping()
            }),
            ..Page::EXAMPLE
        };
        // A description; the URI in a page in /live/; whether it is read as the stream's own.
        let rows = [
            ("a segment", "a-1.ts", true),
            ("a file in its folder", "a/v0/1.m4s", true),
            ("its playlist", "/live/a.m3u8?x=1", true),
            ("a rendition that may be a stream", "a_720p.m3u8", false),
            ("in the folder of such", "a_720p/1.ts", false),
            ("its number, or another's", "a1.ts", false),
            ("what an origin made of it", "small.m3u8", false),
            ("another app", "../vod/a-1.ts", false),
            ("a folder of another", "b/1.m4s", false),
            ("a template", "b/$Number$.m4s", false),
        ];
        for (cause, uri, is_own) in rows {
            let mut out = Vec::new();
            page.write_uri(uri.as_bytes(), &mut out);
            let stamp = stamp_of(&out);
            assert_eq!(stamp.is_none(), is_own, "{cause}");
            let path = resolved(b"/live/", uri.replace("$Number$", "7").as_bytes());
            let path = String::from_utf8(path).unwrap();
            assert!(
                stamp.is_none_or(|stamp| listing.opens(&stamp, &path)),
                "{cause}"
            );
        }
        let mut out = Vec::new();
        page.write_uri(b"https://cdn.example/b.m3u8", &mut out);
        assert_eq!(stamp_of(&out), None, "another server's");
    }

    #[test]
    fn a_stamp_counts_for_its_stream_and_origin_only() {
        let listing = Listing::of(b"k", "a", "one");
        let stamp = written(&listing, "/keys/12").unwrap();
        for other in [
            Listing::of(b"k", "b", "one"),
            Listing::of(b"k", "a", "two"),
            Listing::of(b"l", "a", "one"),
        ] {
            assert!(!other.opens(&stamp, "/keys/12"));
        }
        let mut changing = Listing::of(b"l", "a", "one");
        changing.key = changing.key.or([LinkKey::new(b"k")]);
        assert!(changing.opens(&stamp, "/keys/12"), "an older key opens");
    }

    #[test]
    fn what_is_no_stamp_opens_nothing() {
        let listing = Listing::of(b"k", "a", "one");
        let exact = written(&listing, "/keys/12").unwrap();
        let template = written(&listing, "/keys/$Number$").unwrap();
        let (hash, _) = template.split_once('.').unwrap();
        for text in [
            "".to_owned(),
            ".".to_owned(),
            exact[1..].to_owned(),
            format!("{exact}A"),
            format!("{exact}.8.0.0"),
            format!("{exact}.0.0.2"),
            hash.to_owned(),
            format!("{hash}.1.0.0"),
            format!("{hash}.6.0"),
            format!("{hash}.6.0.0.0"),
            format!("{hash}.6.0.1"),
            format!("{hash}.99999999999999999999.0.0"),
            format!("{hash}.{}.{}.0", usize::MAX, usize::MAX),
            format!("{hash}.-6.0.0"),
        ] {
            let opens = listing.opens(&text, "/keys/12");
            assert_eq!(opens, text == exact, "{text}");
        }
        assert!(listing.opens(&exact, "/keys/12") && listing.opens(&template, "/keys/12"));
        assert!(!listing.opens(&template, "/keys/1/2"), "a folder deeper");
        assert!(!listing.opens(&template, "/key/12"));
    }

    proptest! {
        /// However a client resolves and escapes what it was listed, it is that path and no other.
        #[test]
        fn one_path_is_stamped(
            path in "(/[a-z%0-9.~é ]{0,6}){1,4}",
            other in "(/[a-z%0-9.~é ]{0,6}){1,4}",
        ) {
            let (one, two) = (resolved(b"/", path.as_bytes()), resolved(b"/", other.as_bytes()));
            prop_assert_eq!(&resolved(b"/", &one), &one, "twice is once");
            let listing = Listing::of(b"k", "a", "one");
            let stamp = listing.stamping().stamp(&one);
            prop_assert!(listing.opens(&stamp, &path));
            prop_assert_eq!(listing.opens(&stamp, &other), one == two);
        }

        #[test]
        fn any_stamp_is_read(stamp in ".{0,40}", target in ".{0,40}") {
            prop_assert!(!Listing::of(b"k", "a", "one").opens(&stamp, &target));
        }
    }
}
