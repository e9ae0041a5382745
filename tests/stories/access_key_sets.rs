//! Tokens whose keys are published by who issues them: fetched, fetched again for a key that is new, and kept while they cannot
//! be fetched.

use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use sluicegate_core::stream::Action;

use crate::access_hooks::{Backend, Manners};
use crate::house::{Manner, Stub, until_told};
use crate::sources::open;

/// Who issues tokens, with one key.
struct Issuer {
    id: &'static str,
    pair: KeyPair,
}

impl Issuer {
    fn new(id: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).expect("a pair");
        Self { id, pair }
    }

    /// Its key, as a set has it.
    fn key(&self) -> String {
        let x = Base64UrlUnpadded::encode_string(self.pair.der_bytes());
        format!(
            r#"{{"kty":"OKP","crv":"Ed25519","kid":"{}","x":"{x}"}}"#,
            self.id
        )
    }

    fn token(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let end = now.expect("after 1970").as_secs() + 600;
        let part = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        let header = part(&format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, self.id));
        let claims = part(&format!(
            r#"{{"exp":{end},"action":"play","path":"live/*"}}"#
        ));
        let signed = format!("{header}.{claims}");
        let signature = self.pair.sign(signed.as_bytes()).expect("a signature");
        let signature = Base64UrlUnpadded::encode_string(&signature);
        format!("{signed}.{signature}")
    }
}

fn set(keys: &[&Issuer]) -> Manners {
    let keys: Vec<String> = keys.iter().map(|issuer| issuer.key()).collect();
    Manners::answers(200, &format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
}

#[tokio::test]
async fn published_keys_are_fetched_and_kept_while_they_cannot_be() {
    let (one, two) = (Issuer::new("one"), Issuer::new("two"));
    let backend = Backend::start(Manners::answers(503, "")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let lists = format!(
        "[[check]]\nname = \"tokens\"\nkind = \"jwt\"\njwks_url = \"http://{}/keys\"\n[[access]]\nall = [\"tokens\"]\n",
        backend.at
    );
    let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let play = async |issuer: &Issuer| {
        let name = format!("live/a?token={}", issuer.token());
        house.ask(Action::Play, &name).await
    };
    let early = play(&one).await;
    assert_eq!(early.code(), "NetStream.Play.Failed");
    assert_eq!(origin.connections(), 0, "nobody is let in unchecked");
    backend.becomes(set(&[&one]));
    until_told("the keys are there", async || {
        play(&one).await.has_started()
    })
    .await;

    let asked = backend.asked().len();
    for _ in 0..5 {
        let unknown = play(&two).await;
        assert_eq!(unknown.code(), "NetStream.Play.Failed");
    }
    assert!(
        backend.asked().len() <= asked + 1,
        "one question for all tokens of ten seconds"
    );
    backend.becomes(set(&[&one, &two]));
    until_told("the new key is there", async || {
        play(&two).await.has_started()
    })
    .await;
    backend.becomes(Manners::answers(200, "<html>"));
    assert!(play(&one).await.has_started(), "the last good set counts");
}
