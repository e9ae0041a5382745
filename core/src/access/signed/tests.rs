use super::*;
use crate::access::credentials::Credentials;
use crate::access::signed::nginx::{ExpressionError, Nginx};
use crate::access::verdict::Verdict;
use crate::stream::{Action, Protocol, StreamUrl};
use proptest::prelude::*;

/// 2027-01-15T08:00:00Z, when the worked examples end.
const END: u64 = 1_800_000_000;

struct Asked {
    stream: StreamUrl,
    action: Action,
    client: &'static str,
    credentials: Credentials,
}

impl Asked {
    fn url(url: &str) -> Self {
        let path = url.split_once("://").map_or(url, |(_, rest)| rest);
        let path = path.split_once('/').map_or("", |(_, path)| path);
        let path = path
            .split('?')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".m3u8");
        let query = url.split_once('?').map(|(_, query)| query.into());
        Self {
            stream: format!("media.example/{path}").parse().unwrap(),
            action: Action::Play,
            client: "192.0.2.10",
            credentials: Credentials {
                query,
                url: Some(url.into()),
                ..Credentials::default()
            },
        }
    }

    fn judged(&self, scheme: &Scheme, secret: &str, now: u64) -> Result<Grant, Why> {
        let signed = Signed {
            scheme: scheme.clone(),
            secrets: vec!["another-secret".into(), secret.into()],
        };
        let question = Question {
            stream: &self.stream,
            action: self.action,
            protocol: Protocol::Rtmp,
            client: self.client.parse().unwrap(),
            credentials: &self.credentials,
        };
        match signed.check(&question, now) {
            Verdict::Yes(grant) => Ok(grant),
            Verdict::No(denial) => Err(denial.why),
            Verdict::Later(_) => panic!("nobody is asked"),
        }
    }
}

/// Each worked example: it holds until its end, and not with another secret, another stream or without its signature.
fn holds(cause: &str, scheme: &Scheme, secret: &str, url: &str, end: u64) {
    let asked = Asked::url(url);
    let grant = asked.judged(scheme, secret, end - 1);
    assert_eq!(
        grant.map(|grant| grant.valid_until),
        Ok(Some(end)),
        "{cause}"
    );
    assert_eq!(
        asked.judged(scheme, secret, end + 1),
        Err(Why::Expired),
        "{cause}: after its end"
    );
    assert_eq!(
        asked.judged(scheme, "other", end - 1),
        Err(Why::Unknown),
        "{cause}: another secret"
    );
    let elsewhere = Asked::url(&url.replace("cam1", "cam2"));
    assert_eq!(
        elsewhere.judged(scheme, secret, end - 1),
        Err(Why::Unknown),
        "{cause}: another stream"
    );
    let (bare, _) = url.split_once('?').unwrap();
    assert_eq!(
        Asked::url(bare).judged(scheme, secret, 0),
        Err(Why::Unknown),
        "{cause}: not signed"
    );
}

#[test]
fn worked_examples_of_nginx() {
    let nginx = |expression: &str| Scheme::Nginx(Nginx::new(expression, "md5", "expires").unwrap());
    let by_uri = nginx("$secure_link_expires$uri$remote_addr $secret");
    let url = "http://media.example/live/cam1.m3u8?md5=NDGvXgeFS8RtB8X5ZMA24Q&expires=1800000000";
    holds("by URI", &by_uri, "link-secret", url, END);
    let mut elsewhere = Asked::url(url);
    elsewhere.client = "192.0.2.11";
    assert_eq!(
        elsewhere.judged(&by_uri, "link-secret", 0),
        Err(Why::Unknown),
        "another client"
    );

    let by_folder = nginx("${secure_link_expires}$folder $secret");
    let url =
        "http://media.example/live/cam1/index.m3u8?md5=QKH-u1GGZgojXxaEVcdxKQ&expires=1800000000";
    holds("by folder", &by_folder, "link-secret", url, END);

    // Pasted from nginx with the secret in it.
    let whole = nginx("$arg_expires$uri$remote_addr link-secret");
    let asked =
        Asked::url("http://h.example/live/cam1.m3u8?md5=NDGvXgeFS8RtB8X5ZMA24Q&expires=1800000000");
    assert!(asked.judged(&whole, "unused", 0).is_ok());
}

/// The hashes are what `openssl md5` makes of the end, the path in question and the secret, as the manual of nginx shows.
#[test]
fn a_path_is_signed_as_nginx_has_it() {
    let scheme = Nginx::new("$secure_link_expires$uri $secret", "md5", "expires").unwrap();
    let scheme = Scheme::Nginx(scheme);
    // A description; the path that is asked for; the hash; whether nginx lets it in.
    let rows = [
        (
            "a letter of two bytes",
            "/ng/%C3%A4.m3u8",
            "JizfyyZMLO_BI5ZZb_iGEw",
            true,
        ),
        (
            "in small digits",
            "/ng/%c3%a4.m3u8",
            "JizfyyZMLO_BI5ZZb_iGEw",
            true,
        ),
        (
            "the raw path is none",
            "/ng/%C3%A4.m3u8",
            "4khXF8lhCLPQn0etodY-Sg",
            false,
        ),
        (
            "an escaped plus",
            "/ng/x%2By.m3u8",
            "ArqcV2UYEre1bugLDuRKPQ",
            true,
        ),
        ("a plus", "/ng/x+y.m3u8", "ArqcV2UYEre1bugLDuRKPQ", true),
        (
            "a plus is no space",
            "/ng/x+y.m3u8",
            "gfDepo-MzTWQ3FyiKPCDjA",
            false,
        ),
        ("a space", "/ng/x%20y.m3u8", "gfDepo-MzTWQ3FyiKPCDjA", true),
        (
            "two slashes",
            "/ng//dd.m3u8",
            "GqgyxdIz3A9dYwVfAKMthA",
            true,
        ),
        (
            "an escaped slash",
            "/ng%2Fdd.m3u8",
            "GqgyxdIz3A9dYwVfAKMthA",
            true,
        ),
        (
            "an escaped percent sign",
            "/ng/%2541.m3u8",
            "28H4bMvYavUXoERvXXAhaA",
            true,
        ),
        (
            "it is decoded once",
            "/ng/%2541.m3u8",
            "hnPIud9q3EoBSN8JfutvnQ",
            false,
        ),
        (
            "an escaped question mark",
            "/ng/a%3Fb.m3u8",
            "M-FKUBaHIDcEudQ5uW76uw",
            true,
        ),
        (
            "no escape",
            "/ng/a%zz.m3u8",
            "0HixLk-RZaWvT8arczMuGQ",
            false,
        ),
        ("half an escape", "/ng/a%2", "WlI-Q3lMD9f3d-1ryJiumw", false),
        ("a zero", "/ng/a%00.m3u8", "d8UIcQ5Go7U8wKGi6u-ydw", false),
    ];
    for (cause, path, hash, good) in rows {
        let mut asked = Asked::url("http://media.example/ng/cam1");
        let url = format!("http://media.example{path}?md5={hash}&expires={END}");
        asked.credentials = Credentials::of_target(&url);
        let judged = asked.judged(&scheme, "link-secret", END - 1);
        assert_eq!(judged.is_ok(), good, "{cause}");
    }
}

#[test]
fn an_expression_covers_the_end() {
    let rows = [
        ("no end", "$uri secret", ExpressionError::Endless),
        (
            "a variable of nginx",
            "$secure_link_expires$request_id",
            ExpressionError::Unknown,
        ),
        (
            "no name",
            "$secure_link_expires$ x",
            ExpressionError::Unknown,
        ),
    ];
    for (cause, expression, expected) in rows {
        assert_eq!(
            Nginx::new(expression, "md5", "expires"),
            Err(expected),
            "{cause}"
        );
    }
}

#[test]
fn worked_examples_of_tencent() {
    let scheme = |sha256, life| Scheme::Tencent(tencent::Tencent { sha256, life });
    let md5 =
        "rtmp://media.example/live/cam1?txSecret=2879d6e1a941d7f95ef820f7c61295d4&txTime=6B49D200";
    holds("MD5", &scheme(false, 0), "tx-key-1", md5, END);
    holds(
        "with the life of the key",
        &scheme(false, 300),
        "tx-key-1",
        md5,
        END + 300,
    );
    let sha256 = "rtmp://media.example/live/cam1?txSecret=1bbb53acaac1d5e006cbbe7437aef5166183fdb5dd1d9e3323b1980e884f785a&txTime=6B49D200";
    holds("SHA-256", &scheme(true, 0), "tx-key-1", sha256, END);
    let decimal = "rtmp://media.example/live/cam1?txSecret=0ea703f53ec12769c58adca5554e89f8&txTime=1800000000";
    holds(
        "a time in decimal",
        &scheme(false, 0),
        "tx-key-1",
        decimal,
        END,
    );
    assert_eq!(
        Asked::url(md5).judged(&scheme(true, 0), "tx-key-1", 0),
        Err(Why::Unknown),
        "MD5 where SHA-256 is set"
    );
}

#[test]
fn worked_examples_of_alibaba() {
    let scheme = Scheme::Alibaba(alibaba::Alibaba {
        life: 1800,
        parameter: "auth_key".into(),
    });
    let hls = "http://media.example/live/cam1.m3u8?auth_key=1800000000-0-0-675447b638ef7e00e30234b7f0fb498f";
    holds("HLS", &scheme, "ali-key-1", hls, END + 1800);
    let rtmp =
        "rtmp://media.example/live/cam1?auth_key=1800000000-0-0-0a733cb437de4664108510fd31424eeb";
    holds("RTMP", &scheme, "ali-key-1", rtmp, END + 1800);
}

#[test]
fn worked_examples_of_ome() {
    let scheme = Scheme::Ome(ome::Ome {
        policy: "policy".into(),
        signature: "signature".into(),
    });
    let policy = "policy=eyJ1cmxfZXhwaXJlIjoxODAwMDAwMDAwMDAwfQ";
    let rows = [
        (
            "RTMP",
            "rtmp://media.example:1935/app/cam1",
            "vNiZgReLgouaD3FauFabe65qVuk",
        ),
        (
            "LL-HLS",
            "https://media.example:3334/app/cam1/master.m3u8",
            "PZgVAtlW_M2tJt0Q6MUX7LpYn-s",
        ),
        (
            "SRT",
            "srt://media.example/app/cam1",
            "xKrSRtbV5KMRuQnmGlEizFQMIa4",
        ),
    ];
    for (cause, url, signature) in rows {
        let url = format!("{url}?{policy}&signature={signature}");
        holds(cause, &scheme, "policy-key-1", &url, END);
    }
    let first = "rtmp://media.example:1935/app/cam1?signature=vNiZgReLgouaD3FauFabe65qVuk&policy=eyJ1cmxfZXhwaXJlIjoxODAwMDAwMDAwMDAwfQ";
    assert!(
        Asked::url(first).judged(&scheme, "policy-key-1", 0).is_ok(),
        "in another order"
    );
}

proptest! {
    /// Whatever a client writes is a verdict, and never a yes.
    #[test]
    fn any_query_is_judged(
        value in "[a-zA-Z0-9_=%-]{0,60}",
        other in "[a-zA-Z0-9_=%-]{0,60}",
    ) {
        let schemes = [
            (Scheme::Ours, ["sgsign", "sgend"]),
            (Scheme::Nginx(Nginx::new("$secure_link_expires$uri $secret", "md5", "expires").unwrap()), ["md5", "expires"]),
            (Scheme::Tencent(tencent::Tencent { sha256: false, life: 0 }), ["txSecret", "txTime"]),
            (Scheme::Alibaba(alibaba::Alibaba { life: 0, parameter: "auth_key".into() }), ["auth_key", "x"]),
            (Scheme::Ome(ome::Ome { policy: "policy".into(), signature: "signature".into() }), ["signature", "policy"]),
        ];
        for (scheme, [one, two]) in schemes {
            let asked = Asked::url(&format!("rtmp://h.example/live/cam1?{one}={value}&{two}={other}"));
            prop_assert!(asked.judged(&scheme, "a-secret", 0).is_err());
        }
    }
}

/// A URL with this policy, signed.
fn with_policy(policy: &str) -> Asked {
    use base64ct::{Base64UrlUnpadded, Encoding};
    use hmac::{Hmac, Mac};
    let policy = Base64UrlUnpadded::encode_string(policy.as_bytes());
    let url = format!("rtmp://media.example/app/cam1?policy={policy}");
    let mut hash = <Hmac<sha1::Sha1> as Mac>::new_from_slice(b"policy-key-1").unwrap();
    hash.update(url.as_bytes());
    let sign = Base64UrlUnpadded::encode_string(&hash.finalize().into_bytes());
    Asked::url(&format!("{url}&signature={sign}"))
}

#[test]
fn a_policy_of_ome_is_followed() {
    let scheme = Scheme::Ome(ome::Ome {
        policy: "policy".into(),
        signature: "signature".into(),
    });
    let rows = [
        (
            "no end",
            r#"{"allow_ip":"192.0.2.0/24"}"#,
            Err(Why::Unknown),
        ),
        (
            "an end that is text",
            r#"{"url_expire":"1800000000000"}"#,
            Err(Why::Unknown),
        ),
        (
            "not begun",
            r#"{"url_expire":9000,"url_activate":6000}"#,
            Err(Why::Forbidden),
        ),
        (
            "begun",
            r#"{"url_expire":9000,"url_activate":5000}"#,
            Ok(None),
        ),
        (
            "the stream is over",
            r#"{"url_expire":9000,"stream_expire":5000}"#,
            Err(Why::Expired),
        ),
        (
            "until the stream is over",
            r#"{"url_expire":9000,"stream_expire":8000}"#,
            Ok(Some(8)),
        ),
        (
            "its network",
            r#"{"url_expire":9000,"allow_ip":"192.0.2.0/24"}"#,
            Ok(None),
        ),
        (
            "another network",
            r#"{"url_expire":9000,"allow_ip":"10.0.0.0/8"}"#,
            Err(Why::Forbidden),
        ),
        (
            "another client",
            r#"{"url_expire":9000,"real_ip":"192.0.2.11"}"#,
            Err(Why::Forbidden),
        ),
        ("no JSON", "url_expire=9000", Err(Why::Unknown)),
    ];
    for (cause, policy, expected) in rows {
        let judged = with_policy(policy).judged(&scheme, "policy-key-1", 5);
        assert_eq!(judged.map(|grant| grant.ends_at), expected, "{cause}");
    }
}

#[test]
fn our_own_signature_holds_for_what_it_names() {
    let stream: StreamUrl = "media.example/live/cam1".parse().unwrap();
    let terms = ours::Terms {
        action: Action::Play,
        stream: &stream,
        end: END,
        viewer: Some("viewer7"),
        address: "192.0.2.10".parse().ok(),
    };
    let query = ours::sign(&terms, "own-secret");
    let url = format!("http://media.example/live/cam1?{query}");
    holds("our own", &Scheme::Ours, "own-secret", &url, END);
    let grant = Asked::url(&url)
        .judged(&Scheme::Ours, "own-secret", 0)
        .unwrap();
    assert_eq!(grant.who.viewer.as_deref(), Some("viewer7"));
    let mut asked = Asked::url(&url);
    asked.action = Action::Publish;
    assert_eq!(
        asked.judged(&Scheme::Ours, "own-secret", 0),
        Err(Why::Unknown),
        "another action"
    );
    let mut asked = Asked::url(&url);
    asked.client = "192.0.2.11";
    assert_eq!(
        asked.judged(&Scheme::Ours, "own-secret", 0),
        Err(Why::Forbidden),
        "another client"
    );
    let asked = Asked::url(&url.replace("1800000000", "1900000000"));
    assert_eq!(
        asked.judged(&Scheme::Ours, "own-secret", 0),
        Err(Why::Unknown),
        "another end"
    );
    // Between a viewer and an address there is a line's end, so that neither can lend to the other.
    let moved = url
        .replace("&sgip=192.0.2.10", "")
        .replace("sgfor=viewer7", "sgfor=viewer7%0A192.0.2.10");
    assert_eq!(
        Asked::url(&moved).judged(&Scheme::Ours, "own-secret", 0),
        Err(Why::Unknown)
    );
}
