//! A player that keeps playing: its proxy is replaced by another with the same key, then its origin restarts.

use crate::support::{Balancer, Origin, Page, Player, Proxy, Tree, machine};

#[test]
fn a_player_outlives_its_proxy_and_a_restart_of_its_origin() {
    let _turn = machine::share();
    let mut tree = Tree::start("tree");
    let mut first = Proxy::start("cluster.key = \"one\"");
    first.register(&tree.registration());
    let balancer = Balancer::before(&[first.http]);
    let url = format!("http://{}/live/fmp4/master.m3u8", balancer.address);
    let page = Page::hls(&url);
    let player = Player::open(&url);
    let frames = page.wait_frames(50);
    player.wait_frames(50);

    // The new proxy knows nothing but the key and the origin.
    let second = Proxy::start("cluster.key = \"one\"");
    second.register(&tree.registration());
    balancer.change(&[second.http]);
    first.terminate();
    first.wait_end(std::time::Duration::from_secs(30));
    player.wait_more(100);
    page.wait_frames(frames + 100);
    drop((player, page));

    // A segment that is asked for while its origin restarts is refused, with the advice to ask again. Browsers do; ffmpeg ends
    // where it was the one that begins all others.
    let page = Page::hls_until_it_is_fatal(&url);
    let frames = page.wait_frames(50);
    tree.restart();
    page.wait_frames(frames + 100);
}
