use super::*;
use crate::access::credentials::Credentials;
use crate::stream::{Action, Protocol, StreamUrl};
use hmac::{Hmac, Mac};
use proptest::prelude::*;
use sha2::Sha256;

const END: u64 = 1_800_000_000;
const ES256: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImsxIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJtdHgiLCJleHAiOjE4MDAwMDAwMDAsIm1lZGlhbXR4X3Blcm1pc3Npb25zIjpbeyJhY3Rpb24iOiJwdWJsaXNoIiwicGF0aCI6ImNhbTEifSx7ImFjdGlvbiI6InJlYWQiLCJwYXRoIjoifl5jYW0ifV19.R7k93yr2lB_NhKZn7n-9anMXeiIcoW-5GX8lU4splT9bF05AxojQK6o7oEAN3eW7WlmldZIVzLyJyfdey92A9g";
const ED25519: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImsyIn0.eyJzdWIiOiJwdWIxIiwiZXhwIjoxODAwMDAwMDAwLCJwYXRoIjoibGl2ZS9jYW0xIn0.99OYLpO9OmpM-wwGwjA4EQ10rQ5X1FnwnMHOwYPHQJpyHAMp7_kvVpfuwuzWQs1B-95dO77PK6hgrKbcJKxcDQ";
const SET: &str = r#"{"keys":[
    {"kty":"EC","crv":"P-256","alg":"ES256","kid":"k1","x":"TQaMQ6CKaAgbDwVtTvVDBQ2PbmCBRtKjjL4DUcSA-uw","y":"95U3LejI-iBQjhlq2cHmmV9Kyh9u3ei3E-nHSaVbddg"},
    {"kty":"OKP","crv":"Ed25519","kid":"k2","x":"Vn5wDudDbiMDstwssYvpvbfoxEGKEbvQmuY_G09ndgE"},
    {"kty":"RSA","use":"enc","kid":"k3","n":"AQAB","e":"AQAB"}
]}"#;
const SECRET: &str = "lk-secret-0123456789abcdef012345";

fn jwt(keys: JwtKeys, claims: Claims) -> Jwt {
    Jwt {
        keys,
        published_at: None,
        issuer: None,
        audience: None,
        claims,
        parameters: vec!["token".into(), "jwt".into()],
    }
}

fn asked(jwt: &Jwt, token: &str, action: Action, stream: &str) -> Result<Grant, Why> {
    let stream: StreamUrl = format!("__defaultVhost__/{stream}").parse().unwrap();
    let credentials = Credentials {
        bearer: Some(token.into()),
        ..Credentials::default()
    };
    let question = Question {
        stream: &stream,
        action,
        protocol: Protocol::Rtsp,
        client: "192.0.2.10".parse().unwrap(),
        credentials: &credentials,
    };
    match jwt.check_own(&question, END - 1) {
        Verdict::Yes(grant) => Ok(grant),
        Verdict::No(denial) => Err(denial.why),
        Verdict::Later(_) => panic!("nobody is asked"),
    }
}

/// A token with these parts, signed with HS256.
fn signed(header: &str, payload: &str) -> String {
    let part = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    let signed = format!("{}.{}", part(header), part(payload));
    let mut hash = <Hmac<Sha256> as Mac>::new_from_slice(SECRET.as_bytes()).unwrap();
    hash.update(signed.as_bytes());
    let signature = Base64UrlUnpadded::encode_string(&hash.finalize().into_bytes());
    format!("{signed}.{signature}")
}

#[test]
fn worked_example_of_mediamtx() {
    let mut jwt = jwt(
        JwtKeys::of_set(SET).unwrap(),
        Claims::MediaMtx("mediamtx_permissions".into()),
    );
    let rows = [
        (
            "publish its own",
            Action::Publish,
            "__defaultApp__/cam1",
            Ok(Some(END)),
        ),
        (
            "publish another",
            Action::Publish,
            "__defaultApp__/cam2",
            Err(Why::Forbidden),
        ),
        (
            "read by expression",
            Action::Play,
            "__defaultApp__/cam2",
            Ok(Some(END)),
        ),
        (
            "read what does not begin so",
            Action::Play,
            "__defaultApp__/webcam",
            Err(Why::Forbidden),
        ),
        ("read in an app", Action::Play, "cam/a", Ok(Some(END))),
    ];
    for (cause, action, stream, expected) in rows {
        let judged = asked(&jwt, ES256, action, stream).map(|grant| grant.valid_until);
        assert_eq!(judged, expected, "{cause}");
    }
    assert_eq!(jwt.verify_own(ES256, END), Err(TokenError::Expired));
    jwt.issuer = Some("https://id.example".into());
    jwt.audience = Some("mtx".into());
    assert!(jwt.verify_own(ES256, 0).is_ok(), "its issuer and audience");
    jwt.audience = Some("other".into());
    assert_eq!(jwt.verify_own(ES256, 0), Err(TokenError::Foreign));
}

#[test]
fn worked_examples_of_other_keys() {
    let set = jwt(JwtKeys::of_set(SET).unwrap(), Claims::Ours);
    let claims = set.verify_own(ED25519, 0).unwrap();
    assert_eq!(claims["path"], "live/cam1");
    let judged = asked(&set, ED25519, Action::Publish, "live/cam1");
    assert_eq!(
        judged,
        Err(Why::Forbidden),
        "no action in it: nothing is allowed"
    );
    let livekit = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJBUEl0ZXN0MSIsInN1YiI6InZpZXdlcjciLCJuYmYiOjE3OTk5OTY0MDAsImV4cCI6MTgwMDAwMDAwMCwidmlkZW8iOnsicm9vbUpvaW4iOnRydWUsInJvb20iOiJjYW0xIiwiY2FuUHVibGlzaCI6ZmFsc2UsImNhblN1YnNjcmliZSI6dHJ1ZX19.1sM2icwEgcIioa59JEfBaT-uuUBN1TVOQ57-WyWvULU";
    let hs256 = jwt(JwtKeys::of_secrets([SECRET]).unwrap(), Claims::Ours);
    assert_eq!(
        hs256.verify_own(livekit, END - 1).unwrap()["sub"],
        "viewer7"
    );
    assert_eq!(
        hs256.verify_own(livekit, 1_799_996_400 - 31),
        Err(TokenError::NotYet),
        "before nbf"
    );
    assert!(
        hs256.verify_own(livekit, 1_799_996_400 - 30).is_ok(),
        "its clock may be ahead of ours"
    );
}

#[test]
fn the_key_says_how_a_token_is_signed() {
    let hs256 = |header: &str| {
        let jwt = jwt(JwtKeys::of_secrets([SECRET]).unwrap(), Claims::Ours);
        jwt.verify_own(&signed(header, r#"{"exp":1800000000}"#), 0)
            .map(drop)
    };
    let rows = [
        ("HS256", r#"{"alg":"HS256"}"#, Ok(())),
        (
            "a name for the only secret",
            r#"{"alg":"HS256","kid":"a"}"#,
            Ok(()),
        ),
        ("no algorithm", r#"{"typ":"JWT"}"#, Err(TokenError::Form)),
        ("none", r#"{"alg":"none"}"#, Err(TokenError::Wrong)),
        (
            "another algorithm",
            r#"{"alg":"HS512"}"#,
            Err(TokenError::Wrong),
        ),
        (
            "an algorithm that is no text",
            r#"{"alg":1}"#,
            Err(TokenError::Form),
        ),
        (
            "a critical parameter",
            r#"{"alg":"HS256","crit":["b64"]}"#,
            Err(TokenError::Form),
        ),
        (
            "an encrypted one inside",
            r#"{"alg":"HS256","enc":"A256GCM"}"#,
            Err(TokenError::Form),
        ),
        (
            "where to fetch a key",
            r#"{"alg":"HS256","jku":"https://a.example/"}"#,
            Ok(()),
        ),
        ("not an object", r#""HS256""#, Err(TokenError::Form)),
    ];
    for (cause, header, expected) in rows {
        assert_eq!(hs256(header), expected, "{cause}");
    }
    // The public key of ES256 is no secret of HS256.
    let set = jwt(JwtKeys::of_set(SET).unwrap(), Claims::Ours);
    let token = signed(r#"{"alg":"HS256","kid":"k1"}"#, r#"{"exp":1800000000}"#);
    assert_eq!(set.verify_own(&token, 0), Err(TokenError::Wrong));
    // A token that names another key is not tried with the one that signed it.
    let other = SET.replace("\"k1\"", "\"k9\"");
    let other = jwt(JwtKeys::of_set(&other).unwrap(), Claims::Ours);
    assert_eq!(other.verify_own(ES256, 0), Err(TokenError::Wrong));
    let mut altered = ES256.to_owned();
    altered.replace_range(60..61, "X");
    assert_eq!(set.verify_own(&altered, 0), Err(TokenError::Wrong));
}

#[test]
fn every_token_has_an_end_and_every_time_is_a_number() {
    let verify = |payload: &str, now: u64| {
        let jwt = jwt(JwtKeys::of_secrets([SECRET]).unwrap(), Claims::Ours);
        jwt.verify_own(&signed(r#"{"alg":"HS256"}"#, payload), now)
            .map(drop)
    };
    let rows = [
        ("an end", r#"{"exp":100}"#, 99, Ok(())),
        ("over", r#"{"exp":100}"#, 100, Err(TokenError::Expired)),
        ("a fraction", r#"{"exp":100.9}"#, 99, Ok(())),
        ("no end", r#"{"sub":"a"}"#, 0, Err(TokenError::Claim)),
        (
            "an end that is text",
            r#"{"exp":"100"}"#,
            0,
            Err(TokenError::Claim),
        ),
        (
            "an end that is nothing",
            r#"{"exp":null}"#,
            0,
            Err(TokenError::Claim),
        ),
        (
            "an end before 1970",
            r#"{"exp":-1}"#,
            0,
            Err(TokenError::Claim),
        ),
        (
            "an end beyond any calendar",
            r#"{"exp":1e300}"#,
            0,
            Err(TokenError::Claim),
        ),
        (
            "a beginning that is text",
            r#"{"exp":100,"nbf":"50"}"#,
            60,
            Err(TokenError::Claim),
        ),
        (
            "not begun",
            r#"{"exp":100,"nbf":50}"#,
            19,
            Err(TokenError::NotYet),
        ),
        ("begun soon", r#"{"exp":100,"nbf":50}"#, 20, Ok(())),
        (
            "issued in the future",
            r#"{"exp":100,"iat":60}"#,
            20,
            Err(TokenError::NotYet),
        ),
        ("claims that are a list", "[1]", 0, Err(TokenError::Form)),
    ];
    for (cause, payload, now, expected) in rows {
        assert_eq!(verify(payload, now), expected, "{cause}");
    }
}

#[test]
fn what_is_no_token_costs_little() {
    let jwt = jwt(JwtKeys::of_secrets([SECRET]).unwrap(), Claims::Ours);
    let rows = [
        ("empty", String::new(), TokenError::Form),
        ("one part", "abc".to_owned(), TokenError::Form),
        (
            "five parts, encrypted",
            "a.b.c.d.e".to_owned(),
            TokenError::Form,
        ),
        ("dots only", "..".to_owned(), TokenError::Form),
        ("many dots", ".".repeat(MOST_BYTES), TokenError::Form),
        ("too long", "a".repeat(MOST_BYTES + 1), TokenError::Long),
        (
            "padding",
            format!("{}=", signed(r#"{"alg":"HS256"}"#, r#"{"exp":1}"#)),
            TokenError::Form,
        ),
    ];
    for (cause, token, expected) in rows {
        assert_eq!(jwt.verify_own(&token, 0), Err(expected), "{cause}");
    }
}

proptest! {
    /// Whatever a client shows is a verdict, and never a yes.
    #[test]
    fn any_text_is_judged(text in "[a-zA-Z0-9._=-]{0,200}", parts in proptest::collection::vec("[ -~]{0,40}", 3)) {
        let jwt = jwt(JwtKeys::of_secrets([SECRET]).unwrap(), Claims::Ours);
        prop_assert!(jwt.verify_own(&text, 0).is_err());
        let encoded: Vec<String> = parts.iter().map(|part| Base64UrlUnpadded::encode_string(part.as_bytes())).collect();
        prop_assert!(jwt.verify_own(&encoded.join("."), 0).is_err());
    }
}

#[test]
fn our_claims_name_action_and_path() {
    let jwt = jwt(JwtKeys::of_secrets([SECRET]).unwrap(), Claims::Ours);
    let rows = [
        ("both", r#""action":"play","path":"live/*""#, Ok(())),
        (
            "lists",
            r#""action":["publish","play"],"path":["vod/*","live/a"]"#,
            Ok(()),
        ),
        (
            "another action",
            r#""action":"publish","path":"live/*""#,
            Err(Why::Forbidden),
        ),
        (
            "another path",
            r#""action":"play","path":"vod/*""#,
            Err(Why::Forbidden),
        ),
        ("no path", r#""action":"play""#, Err(Why::Forbidden)),
        ("no action", r#""path":"*""#, Err(Why::Forbidden)),
        (
            "a path that is a number",
            r#""action":"play","path":1"#,
            Err(Why::Forbidden),
        ),
        (
            "another vhost",
            r#""action":"play","path":"*","vhost":"a.example""#,
            Err(Why::Forbidden),
        ),
    ];
    for (cause, claims, expected) in rows {
        let token = signed(
            r#"{"alg":"HS256"}"#,
            &format!(r#"{{"exp":1800000000,{claims}}}"#),
        );
        let judged = asked(&jwt, &token, Action::Play, "live/a").map(drop);
        assert_eq!(judged, expected, "{cause}");
    }
}

#[test]
fn permissions_of_mediamtx_are_read_as_it_reads_them() {
    let jwt = jwt(
        JwtKeys::of_secrets([SECRET]).unwrap(),
        Claims::MediaMtx("mediamtx_permissions".into()),
    );
    let long = format!(r#"[{{"action":"read","path":"~{}"}}]"#, "a?".repeat(200));
    let grown = r#"[{"action":"read","path":"~(a{1000}){1000}|live"}]"#;
    let rows = [
        ("every path", r#"[{"action":"read","path":""}]"#, Ok(())),
        ("no path named", r#"[{"action":"read"}]"#, Ok(())),
        (
            "as text",
            r#""[{\"action\":\"read\",\"path\":\"live/a\"}]""#,
            Ok(()),
        ),
        ("text that is no list", r#""read""#, Err(Why::Forbidden)),
        (
            "an action it may not",
            r#"[{"action":"publish"}]"#,
            Err(Why::Forbidden),
        ),
        (
            "a path that is a number",
            r#"[{"action":"read","path":1}]"#,
            Err(Why::Forbidden),
        ),
        (
            "a beginning is not the path",
            r#"[{"action":"read","path":"live"}]"#,
            Err(Why::Forbidden),
        ),
        (
            "no expression",
            r#"[{"action":"read","path":"~("}]"#,
            Err(Why::Forbidden),
        ),
        (
            "an alternative is anchored",
            r#"[{"action":"read","path":"~x|a$"}]"#,
            Err(Why::Forbidden),
        ),
        ("an expression too long", &long, Err(Why::Forbidden)),
        ("an expression that grows", grown, Err(Why::Forbidden)),
    ];
    for (cause, permissions, expected) in rows {
        let payload = format!(r#"{{"exp":1800000000,"mediamtx_permissions":{permissions}}}"#);
        let token = signed(r#"{"alg":"HS256"}"#, &payload);
        let judged = asked(&jwt, &token, Action::Play, "live/a").map(drop);
        assert_eq!(judged, expected, "{cause}");
    }
}

#[test]
fn a_set_of_keys_is_whole_or_refused() {
    let rows = [
        ("no JSON", "keys", KeySetError::Form),
        ("no keys", "{}", KeySetError::Form),
        (
            "none for signatures",
            r#"{"keys":[{"kty":"RSA","use":"enc"}]}"#,
            KeySetError::Empty,
        ),
        (
            "another kind",
            r#"{"keys":[{"kty":"AKP"}]}"#,
            KeySetError::Key(1),
        ),
        (
            "an algorithm of another kind",
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"HS256","x":"Vn5wDudDbiMDstwssYvpvbfoxEGKEbvQmuY_G09ndgE"}]}"#,
            KeySetError::Key(1),
        ),
        (
            "a short secret",
            r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#,
            KeySetError::Key(1),
        ),
        (
            "a short modulus",
            r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#,
            KeySetError::Key(1),
        ),
    ];
    for (cause, document, expected) in rows {
        assert_eq!(JwtKeys::of_set(document), Err(expected), "{cause}");
    }
    assert_eq!(JwtKeys::of_secrets(["short"]), Err(KeySetError::Weak));
    assert_eq!(
        format!("{:?}", JwtKeys::of_secrets([SECRET]).unwrap()),
        "JwtKeys(1)"
    );
}

impl Jwt {
    fn verify_own(&self, token: &str, now: u64) -> Result<Map<String, Value>, TokenError> {
        self.verify(token, &JwtKeys::default(), now)
    }

    fn check_own(&self, question: &Question<'_>, now: u64) -> Verdict {
        self.check(question, &JwtKeys::default(), now)
    }
}

#[test]
fn keys_that_are_published_count_beside_those_of_the_settings() {
    let with_more = SET.replace(
        r#"{"keys":["#,
        r#"{"keys":[{"kty":"EC","crv":"P-521","kid":"new","x":"AA","y":"AA"},{"kty":"oct","kid":"k9","k":"bGstc2VjcmV0LTAxMjM0NTY3ODlhYmNkZWYwMTIzNDU"},"#,
    );
    let published = JwtKeys::of_published_set(&with_more).unwrap();
    assert_eq!(
        published.count(),
        2,
        "what is not understood, and secrets, are passed over"
    );
    assert!(published.knows("k1") && !published.knows("k9"));
    let none = JwtKeys::default();
    let jwt = jwt(none.clone(), Claims::Ours);
    assert!(jwt.verify(ED25519, &published, 0).is_ok());
    assert_eq!(jwt.verify(ED25519, &none, 0), Err(TokenError::Wrong));
    let forged = signed(r#"{"alg":"HS256","kid":"k9"}"#, r#"{"exp":1800000000}"#);
    assert_eq!(jwt.verify(&forged, &published, 0), Err(TokenError::Wrong));
    for (set, error) in [
        ("{}", KeySetError::Form),
        (r#"{"keys":[]}"#, KeySetError::Empty),
        (r#"{"keys":[{"kty":"oct","k":"AA"}]}"#, KeySetError::Empty),
    ] {
        assert_eq!(JwtKeys::of_published_set(set), Err(error), "{set}");
    }
    let stream: StreamUrl = "h.example/live/cam1".parse().unwrap();
    let names_unknown = |token: &str, keys: &JwtKeys| {
        let credentials = Credentials {
            bearer: Some(token.into()),
            ..Credentials::default()
        };
        let question = Question {
            stream: &stream,
            action: Action::Publish,
            protocol: Protocol::Rtmp,
            client: "192.0.2.10".parse().unwrap(),
            credentials: &credentials,
        };
        jwt.names_unknown_key(&question, keys)
    };
    assert!(names_unknown(ED25519, &none) && !names_unknown(ED25519, &published));
    for (cause, token) in [
        ("no name", &*signed(r#"{"alg":"HS256"}"#, "{}")),
        ("no token", "x"),
    ] {
        assert!(!names_unknown(token, &none), "{cause}");
    }
}
