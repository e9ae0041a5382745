//! Laws of what is shared: a viewer gets what they would have got alone, and what is reported has no link of ours.

use proptest::prelude::*;
use sluicegate_core::http::cmcd;
use sluicegate_core::http::head::{Forwarded, RequestHead};
use sluicegate_core::http::link::take;
use sluicegate_core::http::sharing::{Audience, Share, Sharing};

/// One viewer: what they send, and from where.
#[derive(Debug, Clone)]
struct Viewer {
    target: String,
    headers: Vec<(&'static str, String)>,
    address: u8,
}

/// A part of a request that an origin may judge by.
#[derive(Debug, Clone, Copy)]
enum Part {
    Address,
    Header(&'static str),
    Order,
    Query,
}

const NAMES: [&str; 14] = [
    "Accept",
    "Authorization",
    "CMCD-Session",
    "Cookie",
    "If-None-Match",
    "Origin",
    "Range",
    "Referer",
    "User-Agent",
    "X-Auth-Token",
    "X-Forwarded-For",
    "X-Real-IP",
    "Forwarded",
    "X-Who-Knows",
];

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        Just(Part::Address),
        proptest::sample::select(&NAMES[..]).prop_map(Part::Header),
        Just(Part::Order),
        Just(Part::Query),
    ]
}

fn viewer() -> impl Strategy<Value = Viewer> {
    let value = proptest::sample::select(vec!["alice", "bob", "1", "*"]);
    let header = (
        proptest::sample::select(&NAMES[..]),
        value.prop_map(str::to_owned),
    );
    let query =
        proptest::sample::select(vec!["", "?t=a", "?t=b", "?CMCD=a", "?CMCD=b&t=a", "?uid=1"]);
    (query, prop::collection::vec(header, 0..3), 1..4_u8).prop_map(|(query, headers, address)| {
        let target = format!("/live/a.m3u8{query}");
        Viewer {
            target,
            headers,
            address,
        }
    })
}

/// What an origin says of an answer that it gives.
fn word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "",
        "Vary: X-Auth-Token",
        "Cache-Control: private",
        "Cache-Control: no-store",
        "Cache-Control: no-cache, max-age=9",
        "Cache-Control: max-age=0",
        "Cache-Control: public",
        "Cache-Control: max-age=9",
        "Cache-Control: private, s-maxage=9",
    ])
}

impl Viewer {
    /// The request as it goes to the origin.
    fn head(&self, trusted: bool) -> RequestHead {
        let mut text = format!("GET {} HTTP/1.1\r\nHost: example.com\r\n", self.target);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let head = RequestHead::parse(text.as_bytes())
            .expect("a head")
            .expect("whole")
            .0;
        let mut head = head.for_origin(&Forwarded {
            client: [127, 0, 0, self.address].into(),
            secure: false,
            trusted,
        });
        head.headers.remove("connection");
        head
    }
}

/// An answer: a status, what its origin says of it, and what it shows of the one who asked.
type Answer = (u16, &'static str, String);

/// An origin that judges by one part of a request. It counts who came, too.
fn origin(part: Part, word: &'static str, head: &RequestHead, order: usize) -> Answer {
    let seen = match part {
        Part::Address => head.headers.text("x-forwarded-for").map(str::to_owned),
        Part::Header(name) => {
            let values = head
                .headers
                .all(name)
                .map(|value| value.escape_ascii().to_string());
            Some(values.collect::<Vec<_>>().join("|"))
        }
        Part::Order => Some(order.to_string()),
        Part::Query => Some(head.target.clone()),
    };
    let seen = seen.unwrap_or_default();
    let status = if seen.contains("bob") || seen.is_empty() {
        403
    } else {
        200
    };
    (status, word, seen)
}

fn audience(share: Share, answer: &Answer) -> Audience {
    let header = answer
        .1
        .split_once(": ")
        .map(|(name, value)| (name, value.as_bytes()));
    Audience::of(share, answer.0, header.into_iter())
}

/// The proxy, in small: the second may get what the first got.
fn serve(
    share: Share,
    first: &RequestHead,
    second: &RequestHead,
    ask: impl Fn(&RequestHead, usize) -> Answer,
) -> (Answer, Answer) {
    let sharing = Sharing::default();
    let one = ask(first, 0);
    let common = sharing.common(share, first);
    let shared = common.is_some()
        && common == sharing.common(share, second)
        && audience(share, &one) != Audience::Asker;
    let other = if shared { one.clone() } else { ask(second, 1) };
    (one, other)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn each_gets_what_they_would_have_got_alone(
        one in viewer(),
        other in viewer(),
        part in part(),
        word in word(),
        trusted: bool,
        share in proptest::sample::select(vec![Share::Off, Share::Said, Share::All]),
    ) {
        let (first, second) = (one.head(trusted), other.head(trusted));
        let ask = |head: &RequestHead, order: usize| origin(part, word, head, order);
        let (got, also) = serve(share, &first, &second, ask);
        prop_assert_eq!(&got, &ask(&first, 0));
        let alone = ask(&second, 1);
        let everybodys = matches!(word, "Cache-Control: public" | "Cache-Control: max-age=9");
        if share == Share::Off || (share == Share::Said && !everybodys) {
            prop_assert_eq!(&also, &alone);
        }
        // A refusal is nobody else's, whatever is set.
        if also != alone {
            prop_assert_eq!(also.0, 200);
        }
        // Whatever is set, credentials and unknown headers are never mixed.
        if let Part::Header("Authorization" | "Cookie" | "X-Auth-Token" | "X-Who-Knows") = part {
            prop_assert_eq!(&also, &alone);
        }
        if word == "Cache-Control: private" || word == "Vary: X-Auth-Token" {
            prop_assert_eq!(&also, &alone);
        }
    }

    #[test]
    fn what_is_reported_is_as_the_origin_named_it(
        path in "[a-z/]{1,12}",
        pairs in prop::collection::vec("[a-w]{1,4}=[a-z0-9]{0,4}", 0..3),
        link in "[A-Za-z0-9_-]{1,20}",
        at in 0..4_usize,
        levels in 0..4_usize,
    ) {
        let mut with = pairs.clone();
        with.insert(at.min(pairs.len()), format!("spbhid={link}"));
        let uri = format!("{path}?{}", with.join("&"));
        let mut named = take(&uri).0.into_owned();
        let mut reported = uri;
        for _ in 0..levels {
            (named, reported) = (escaped(&named), escaped(&reported));
        }
        let value = format!("bl=100,nor=\"{reported}\",sid=\"x\"");
        prop_assert_eq!(cmcd::without_links(&value), format!("bl=100,nor=\"{named}\",sid=\"x\""));
    }

    #[test]
    fn any_text_is_read(text in ".{0,80}", more in "(spbhid|%3D|=|%26|&|\\?|%3F|%25|é|x){0,12}") {
        let text = format!("{text}{more}");
        let _ = cmcd::of_target(&text);
        let out = cmcd::without_links(&text);
        prop_assert!(out.len() <= text.len());
    }
}

fn escaped(text: &str) -> String {
    let letter = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}
