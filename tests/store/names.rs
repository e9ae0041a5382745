//! What another proxy wrote down leads this proxy to no address that its own rules refuse.

use serde_json::Value;
use sluicegate_core::stream::Action;

use crate::house::{House, Manner, Names, Stub, get, until};
use crate::machine::free_port;
use crate::pair;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn names_from_the_store_are_held_to_the_rules() {
    let (near, far) = (Names::default(), Names::default());
    near.lead("origin.test", &["127.0.0.1"]);
    // Linux connects it to loopback: a connection that must not be made would arrive.
    far.lead("origin.test", &["0.0.0.0"]);
    far.lead("proxy.test", &["0.0.0.0"]);
    let port = free_port();
    let [first, second] = pair::in_a_mesh("[cluster]\nkey = \"of this test\"\n");
    let reached = format!("listen = \"127.0.0.1:{port}\"\nadvertise = \"proxy.test:{port}\"\n");
    let a = House::open_knowing(&format!("{first}[system]\n{reached}"), &near).await;
    let b = House::open_knowing(&second, &far).await;
    for (house, other) in [(&a, &b), (&b, &a)] {
        until("the other proxy", || pair::knows(house, other)).await;
    }
    let origin = Stub::start(Manner::Grants).await;
    let endpoints = format!(r#""rtmp":["{}"]"#, origin.at.port());
    a.register_at("one", "origin.test", &endpoints);
    until("its record", || b.proxy.registry().origins().len() == 1).await;
    let refused = b.ask(Action::Publish, "live/a").await;
    let words = refused.words();
    assert!(words.ends_with("no origin answered; tried one"), "{words}");
    assert_eq!(origin.connections(), 0);
    assert!(a.ask(Action::Publish, "live/b").await.has_started());

    // The key of the cluster is not shown to an address that is refused.
    let (status, body) = get(b.at.system, "/api/v1/sessions").await;
    let document: Value = serde_json::from_str(&body).expect("JSON");
    let why = document["data"]["missing"][0]["why"].as_str();
    assert_eq!(status, 200, "{body}");
    assert!(
        why.is_some_and(|why| why.contains("every address it has is refused")),
        "{body}"
    );
}
