//! Measures what a check at the gate costs: `cargo bench -p sluicegate-core --bench access`. A command, not a timed test: it
//! prints the median time of one verdict, which is all processor time here, beside what it should be within.
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::hint::black_box;
use std::time::Instant;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};
use sluicegate_core::access::bans::{Ban, Bans, Suspect};
use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::access::digests;
use sluicegate_core::access::identity::Identity;
use sluicegate_core::access::jwt::JwtKeys;
use sluicegate_core::access::keys::line;
use sluicegate_core::access::question::Question;
use sluicegate_core::access::rules::{Rules, Step};
use sluicegate_core::access::signed::ours::{Terms, sign};
use sluicegate_core::access::tally::Tally;
use sluicegate_core::access::verdict::Verdict;
use sluicegate_core::stream::{Action, Protocol, StreamUrl};

fn main() {
    let stream = StreamUrl::new("", "live", "a").expect("a name");
    let terms = Terms {
        action: Action::Play,
        stream: &stream,
        end: END,
        viewer: Some("seven"),
        address: None,
    };
    let signed = format!("/live/a?{}", sign(&terms, "a-secret-of-the-operator"));
    let keys: Vec<String> = (0..10)
        .map(|number| {
            line(
                &format!("key-{number}"),
                b"salt",
                &format!("a-key-{number}"),
            )
        })
        .collect();
    measure(
        "generated key, the last of ten",
        20,
        &stream,
        json!({"kind": "keys", "keys": keys}),
        "/live/a?key=a-key-9",
    );
    measure(
        "signed address (HMAC-SHA-256)",
        20,
        &stream,
        json!({"kind": "signed", "secrets": ["a-secret-of-the-operator"]}),
        &signed,
    );
    measure(
        "HS256 token",
        20,
        &stream,
        json!({"kind": "jwt", "secrets": [SECRET]}),
        &format!("/live/a?token={}", hs256()),
    );
    for (what, check, target) in others_signed() {
        measure(what, 20, &stream, check, &target);
    }
    measure(
        "Digest, the password itself",
        20,
        &stream,
        json!({"kind": "digest", "users": [digests::line("seven", "a-password")]}),
        "/live/a?user=seven&pass=a-password",
    );
    for (what, most, set, token) in tokens() {
        assert!(JwtKeys::of_set(&set).is_ok(), "{what}");
        let check = json!({"kind": "jwt", "jwks": set});
        measure(
            what,
            most,
            &stream,
            check,
            &format!("/live/a?token={token}"),
        );
    }
    table_look_ups(&stream);
}

/// What a request costs where nothing has to be verified: the key under which a verdict is kept, bans and limits.
fn table_look_ups(stream: &StreamUrl) {
    let credentials = Credentials::of_target("/live/a?token=0123456789");
    let question = question(stream, &credentials);
    timed("the key of a kept verdict", 5, || {
        black_box(question.key(&[7; 32]));
    });
    let mut bans = Bans::default();
    for number in 0..1_000 {
        let ban = Ban {
            target: format!("viewer:{number}").parse().expect("a target"),
            until: END,
            at: 1,
            lifted: false,
            reason: "".into(),
        };
        bans.take(ban, 0);
    }
    let who = Identity::viewer("seven");
    let suspect = Suspect {
        client: question.client,
        stream: stream.as_str(),
        called: stream.as_str(),
        who: &who,
    };
    timed("a look among 1,000 bans", 5, || {
        assert!(bans.meeting(black_box(&suspect), 1).is_none());
    });
    let limits =
        json!({"limit": [{"per": "stream", "viewers": 1000}, {"per": "viewer", "sessions": 2}]});
    let rules = Rules::read(&limits, &|_| Ok(())).expect("limits");
    let mut tally = Tally::default();
    tally.take(rules.limits().to_vec());
    timed("two limits, in and out", 5, || {
        let counted = tally.enter(&[question], &who, None, 0).expect("room");
        tally.leave(counted.ticket.expect("it is counted"));
    });
}

fn measure(what: &str, most: u64, stream: &StreamUrl, mut check: Value, target: &str) {
    check["name"] = "c".into();
    let document = json!({"check": [check], "access": [{"all": ["c"]}]});
    let rules = Rules::read(&document, &|_| Ok(())).expect("rules");
    let credentials = Credentials::of_target(target);
    let question = question(stream, &credentials);
    timed(what, most, || {
        let (_, rule) = rules.deciding(black_box(&question)).expect("a rule");
        let (_, mut checks) = rules.trial(rule);
        let check = checks.next().expect("a check");
        match check.examine(&question, NOW) {
            Step::Answer(Verdict::Yes(grant)) => drop(black_box(grant)),
            other => panic!("{what}: {other:?}"),
        }
    });
}

/// The median of many runs, each long enough for the clock.
fn timed(what: &str, most: u64, mut run: impl FnMut()) {
    let mut rounds: Vec<u128> = (0..101)
        .map(|_| {
            let began = Instant::now();
            (0..RUNS).for_each(|_| run());
            began.elapsed().as_nanos() / u128::from(RUNS)
        })
        .collect();
    rounds.sort_unstable();
    let median = rounds.get(rounds.len() / 2).copied().unwrap_or_default();
    let verdict = if median <= u128::from(most) * 1_000 {
        "ok"
    } else {
        "MISSED"
    };
    println!(
        "{what:32} {:>8}.{:02} µs   within {most:>3} µs: {verdict}",
        median / 1_000,
        median % 1_000 / 10
    );
}

fn question<'a>(stream: &'a StreamUrl, credentials: &'a Credentials) -> Question<'a> {
    Question {
        stream,
        action: Action::Play,
        protocol: Protocol::HttpFlv,
        client: "192.0.2.1".parse().expect("an address"),
        credentials,
    }
}

/// Addresses that are signed as other servers and CDNs do, each with the check that knows it.
fn others_signed() -> Vec<(&'static str, Value, String)> {
    use hmac::{Hmac, Mac};
    use md5::{Digest, Md5};
    let secret = "a-secret-of-the-operator";
    let hex = |text: String| {
        let hash = Md5::digest(text);
        hash.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let secure_link = Md5::digest(format!("{END}/live/a {secret}"));
    let secure_link = Base64UrlUnpadded::encode_string(&secure_link);
    let time = format!("{END:X}");
    let tencent = hex(format!("{secret}a{time}"));
    let alibaba = hex(format!("/live/a-{END}-0-0-{secret}"));
    let policy = json!({"url_expire": END * 1_000}).to_string();
    let policy = Base64UrlUnpadded::encode_string(policy.as_bytes());
    let signed = format!("/live/a?policy={policy}");
    let mut hash =
        <Hmac<sha1::Sha1> as Mac>::new_from_slice(secret.as_bytes()).expect("any length");
    hash.update(signed.as_bytes());
    let ome = Base64UrlUnpadded::encode_string(&hash.finalize().into_bytes());
    let check = |scheme: &str| json!({"kind": "signed", "scheme": scheme, "secrets": [secret]});
    let mut nginx = check("nginx");
    nginx["expression"] = "$secure_link_expires$uri $secret".into();
    vec![
        (
            "nginx secure_link (MD5)",
            nginx,
            format!("/live/a?md5={secure_link}&expires={END}"),
        ),
        (
            "Tencent (MD5)",
            check("tencent"),
            format!("/live/a?txSecret={tencent}&txTime={time}"),
        ),
        (
            "Alibaba A (MD5)",
            check("alibaba"),
            format!("/live/a?auth_key={END}-0-0-{alibaba}"),
        ),
        (
            "OME SignedPolicy (HMAC-SHA-1)",
            check("ome"),
            format!("{signed}&signature={ome}"),
        ),
    ]
}

fn hs256() -> String {
    use hmac::{Hmac, Mac};
    let signed = format!("{}.{}", part(&json!({"alg": "HS256"})), part(&claims()));
    let mut hash =
        <Hmac<sha2::Sha256> as Mac>::new_from_slice(SECRET.as_bytes()).expect("any length");
    hash.update(signed.as_bytes());
    let hash = Base64UrlUnpadded::encode_string(&hash.finalize().into_bytes());
    format!("{signed}.{hash}")
}

/// A token of each kind of key pair, with the set that verifies it, and the microseconds that it should be within.
fn tokens() -> Vec<(&'static str, u64, String, String)> {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    let random = SystemRandom::new();
    let set = |key: Value| json!({ "keys": [key] }).to_string();
    let token = |algorithm: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        let signed = format!("{}.{}", part(&json!({"alg": algorithm})), part(&claims()));
        let signature = Base64UrlUnpadded::encode_string(&sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    };
    let base64 = |bytes: Option<&[u8]>| Base64UrlUnpadded::encode_string(bytes.unwrap_or_default());

    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
    let document = document.expect("randomness");
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
    let pair = pair.expect("a pair");
    let point = pair.public_key().as_ref();
    let (x, y) = (base64(point.get(1..33)), base64(point.get(33..65)));
    let es256 = set(json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "x": x, "y": y}));
    let sign = |bytes: &[u8]| {
        pair.sign(&random, bytes)
            .expect("a signature")
            .as_ref()
            .to_vec()
    };
    let es256_token = token("ES256", &sign);

    let document = Ed25519KeyPair::generate_pkcs8(&random).expect("randomness");
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a pair");
    let x = base64(Some(pair.public_key().as_ref()));
    let eddsa = set(json!({"kty": "OKP", "crv": "Ed25519", "x": x}));
    let eddsa_token = token("EdDSA", &|bytes| pair.sign(bytes).as_ref().to_vec());

    let rsa = set(json!({"kty": "RSA", "alg": "RS256", "kid": "rsa", "n": RSA, "e": "AQAB"}));
    vec![
        ("RS256 token, 2048 bits", 100, rsa, RS256.to_owned()),
        ("ES256 token", 250, es256, es256_token),
        ("EdDSA token", 250, eddsa, eddsa_token),
    ]
}

/// The modulus of a pair that was made for this file and thrown away, and a token that was signed with it.
const RSA: &str = "12kRUh3zXiO8dGG5J-fH6hv_UmtNryWyPiMs8Xthc-Zot8iI7Jgtt4FMeTY433lXlPjOpik7n5WhFaSX61qKbqcH0DfwzFvQtNsRw3rxR0YpAp7fevZmJPBGD5_8XAkLTuRzDyhClc5LpEzj0PI751hBUMsq8YJLkZvgbQA_fXjG0o7PA6WOiMUg-1xMn5dnPbPHmRGDVvdNiXQeNpknBDaskCP-XKUr7AMoscDjKZwroy2-XCFX4Zkhpv6-_DQHz1WH0EaO4Wr8M8-mCDKP9T8MNmgnqgDJ78tVWDRXSDFCNLry5-YtN5rFqH6IMzNzUddTTrmFkthdUtTs8YJt4w";
const RS256: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSJ9.eyJleHAiOjE4MDAwMDAwMDAsInN1YiI6InNldmVuIiwiYWN0aW9uIjoicGxheSIsInBhdGgiOiJsaXZlLyoifQ.0ArlVbyfdq4gK1dUwqmxjUDIFjrkYNgGsOk8hLl2bEAg21Lqbyd5SbwPPMowy0KpkPQCkB24j19ePSW2jAufwmO2AzZCAPD2JfhK7mqCvFcje_dO5JeicIkOusCnhhAIMu8zGv1XN0nMaFAhCRua4uGy33abDU5aTRur0FXCJW_NLi8M7KPiDXfkEfZ4eBzxhEq34P5oFA8omaDVOoTaUDvqy8pzG2PHa_B7nU3RqkUSiySLCqxLaehrB7gkF1yAhJ7RQPUSbS6WafhtuRQtYwpZrCzO0PyN6KQ7QYDnbfiJi4ZliRR4MYqyY7Vf9SIHGsfVwP4fDOjJGW7CMktD3A";

fn claims() -> Value {
    json!({"exp": END, "sub": "seven", "action": "play", "path": "live/*"})
}

fn part(value: &Value) -> String {
    Base64UrlUnpadded::encode_string(value.to_string().as_bytes())
}

const NOW: u64 = 1_700_000_000;
const END: u64 = 1_800_000_000;
const SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";
const RUNS: u32 = 20;
