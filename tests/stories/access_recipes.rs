//! The recipes of `docs/access.md`: each example file lets in whom it says, and nobody else.

use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use sluicegate_core::access::signed::ours::{Terms, sign};
use sluicegate_core::stream::Action;
use tempfile::TempDir;

use crate::house::{House, Manner, Stub};
use crate::http_pieces::{Packager, Reply};
use crate::sources::open;

/// A proxy with the settings of an example, and an origin.
async fn cooked(recipe: &str) -> (House, Stub, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let house = open(&folder.path().join("sluicegate.toml"), recipe).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    (house, origin, folder)
}

/// Whether a client that asks for this over RTMP is let in.
async fn may(house: &House, action: Action, stream: &str) -> bool {
    house.ask(action, stream).await.has_started()
}

#[tokio::test]
async fn only_my_encoders_may_publish() {
    let (house, _origin, _folder) =
        cooked(include_str!("../../examples/access-encoders.toml")).await;
    let key = "an-example-key-make-your-own";
    assert!(may(&house, Action::Publish, &format!("live/a?key={key}-1")).await);
    assert!(may(&house, Action::Publish, &format!("live/b?key={key}-2")).await);
    assert!(!may(&house, Action::Publish, &format!("live/c?key={key}-3")).await);
    assert!(!may(&house, Action::Publish, "live/c").await);
    assert!(may(&house, Action::Play, "live/a").await);
}

#[tokio::test]
async fn viewers_come_with_signed_links() {
    // Here all come from the studio's network, which may everything.
    let recipe = include_str!("../../examples/access-signed-links.toml");
    let elsewhere = recipe.replace("\"127.0.0.0/8\", \"::1\", ", "");
    let (house, _origin, _folder) = cooked(&elsewhere).await;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    // The client's tcUrl says rtmp://example, which has no dot.
    let stream = "__defaultVhost__/live/a".parse().expect("a stream");
    let link = |end: u64| {
        let terms = Terms {
            action: Action::Play,
            stream: &stream,
            end,
            viewer: None,
            address: None,
        };
        sign(&terms, "an-example-secret-make-your-own")
    };
    let (good, over) = (link(now + 3600), link(now - 1));
    assert!(may(&house, Action::Play, &format!("live/a?{good}")).await);
    assert!(
        !may(&house, Action::Play, &format!("live/a?{over}")).await,
        "its end has come"
    );
    assert!(
        !may(&house, Action::Play, &format!("live/b?{good}")).await,
        "another stream"
    );
    assert!(!may(&house, Action::Publish, &format!("live/a?{good}")).await);

    let studio = cooked(recipe).await.0;
    let origin = Stub::start(Manner::Grants).await;
    studio.register("two", origin.at);
    assert!(
        may(&studio, Action::Publish, "live/a").await,
        "the studio's network"
    );
}

#[tokio::test]
async fn people_sign_in_with_a_password_from_our_networks() {
    let recipe = include_str!("../../examples/access-passwords.toml");
    let (house, _origin, _folder) = cooked(recipe).await;
    assert!(
        may(
            &house,
            Action::Publish,
            "live/a?user=ann&pass=an-example-password"
        )
        .await
    );
    assert!(!may(&house, Action::Publish, "live/b?user=ann&pass=other").await);
    assert!(
        !may(
            &house,
            Action::Publish,
            "live/b?user=bob&pass=an-example-password"
        )
        .await
    );
    assert!(may(&house, Action::Play, "live/a").await);
    let elsewhere = recipe.replace("\"127.0.0.0/8\", ", "");
    let (house, _origin, _folder) = cooked(&elsewhere).await;
    assert!(
        !may(
            &house,
            Action::Publish,
            "live/a?user=ann&pass=an-example-password"
        )
        .await
    );
    assert!(!may(&house, Action::Play, "live/a").await);
    assert!(
        may(&house, Action::Play, "live/test-card").await,
        "for everybody"
    );
}

/// A token of the example's secret.
fn token(claims: &str) -> String {
    let part = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    let signed = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(claims));
    let secret = b"an-example-secret-of-at-least-32-bytes";
    let mut hash = <Hmac<Sha256> as Mac>::new_from_slice(secret).expect("a key");
    hash.update(signed.as_bytes());
    let sign = Base64UrlUnpadded::encode_string(&hash.finalize().into_bytes());
    format!("{signed}.{sign}")
}

#[tokio::test]
async fn tokens_of_an_identity_provider_say_what_is_allowed() {
    let (house, _origin, _folder) = cooked(include_str!("../../examples/access-jwt.toml")).await;
    let publish = token(
        r#"{"exp":9000000000,"mediamtx_permissions":[{"action":"publish","path":"live/cam1"}]}"#,
    );
    assert!(
        may(
            &house,
            Action::Publish,
            &format!("live/cam1?token={publish}")
        )
        .await
    );
    assert!(
        !may(
            &house,
            Action::Publish,
            &format!("live/cam2?token={publish}")
        )
        .await
    );
    assert!(!may(&house, Action::Play, &format!("live/cam1?token={publish}")).await);
    let over = token(r#"{"exp":1,"mediamtx_permissions":[{"action":"publish"}]}"#);
    assert!(!may(&house, Action::Publish, &format!("live/cam1?token={over}")).await);
    let packager =
        Packager::join(&house, "web", |_: &str, _: &str| Reply::ok("", "#EXTM3U\n")).await;
    let read =
        token(r#"{"exp":9000000000,"mediamtx_permissions":[{"action":"read","path":"~^web"}]}"#);
    let path = format!("/web/a.m3u8?token={read}");
    assert_eq!(crate::house::get(house.at.http, &path).await.0, 200);
    assert_eq!(
        packager.targets(),
        ["/web/a.m3u8"],
        "the origin does not get the token"
    );
}

#[tokio::test]
async fn srs_hooks_go_on_unchanged() {
    let recipe = include_str!("../../examples/access-srs-hooks.toml");
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Packager::start(|target: &str, _: &str| match target {
        "/api/v1/streams" => Reply {
            close: true,
            ..Reply::ok("", r#"{"code":0}"#)
        },
        _ => Reply {
            close: true,
            ..Reply::ok("", r#"{"code":403}"#)
        },
    })
    .await;
    let lists = recipe.replace("127.0.0.1:8085", &backend.at.to_string());
    let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    assert!(may(&house, Action::Publish, "live/a").await);
    assert!(!may(&house, Action::Play, "live/a").await);
}
