//! The origin decides about tokens: a client's query reaches it, and its refusal reaches the client.

use crate::support::http::{Answer, Server};
use crate::support::{NginxRtmp, NodeMediaServer, Player, Proxy, Publisher, Registrar, machine};

#[test]
fn a_publishers_token_reaches_the_origins_callback_which_may_refuse_it() {
    let _turn = machine::share();
    let callback = Server::start(|asked| {
        Answer::status(if asked.body.contains("token=right") {
            200
        } else {
            403
        })
    });
    let origin = NginxRtmp::with(
        "guarded",
        &format!("on_publish http://{}/publish;", callback.address),
    );
    let proxy = Proxy::start("");
    let _registrar = Registrar::start(&proxy, &origin);

    let publisher = Publisher::clip(&proxy.rtmp_url("live/a?token=right&user=o%20b")).start();
    publisher.wait_frames(5);
    let asked = callback.wait_asked("the callback", |asked| asked.target == "/publish");
    let fields: Vec<&str> = asked.body.split('&').collect();
    for field in ["name=a", "token=right", "user=o%20b"] {
        assert!(fields.contains(&field), "{field} in {}", asked.body);
    }
    Player::frames(&proxy.rtmp_url("live/a"), 25);

    let ended = Publisher::clip(&proxy.rtmp_url("live/b?token=wrong"))
        .start()
        .wait_end();
    assert!(
        !ended.status.success() && ended.errors.contains("Server error"),
        "{}",
        ended.errors
    );
    proxy.wait_log("refused", |record| {
        record["stream"]
            .as_str()
            .is_some_and(|stream| stream.ends_with("/live/b"))
    });
}

#[test]
fn a_players_token_reaches_the_origin_over_rtmp_and_flv() {
    let _turn = machine::share();
    let callback = Server::start(|_| Answer::status(200));
    let notify = format!("http://{}/notify", callback.address);
    let origin = NodeMediaServer::with("notifying", &["--notify-url", &notify]);
    let proxy = Proxy::start("");
    let _registrar = Registrar::start(&proxy, &origin);
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a?token=p")).start();
    publisher.wait_frames(5);

    Player::frames(&format!("{}?token=r", proxy.rtmp_url("live/a")), 25);
    Player::frames(
        &format!("{}?token=f&user=o%20b", proxy.flv_url("live/a")),
        25,
    );
    for (action, token) in [("postPublish", "p"), ("postPlay", "r"), ("postPlay", "f")] {
        callback.wait_asked(&format!("{action} with token {token}"), |asked| {
            let told: serde_json::Value = serde_json::from_str(&asked.body).expect("it sends JSON");
            told["action"] == action && told["name"] == "a" && told["query"]["token"] == token
        });
    }
}
