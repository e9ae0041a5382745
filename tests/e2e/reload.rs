//! The list of origins in the settings file changes while streams play.

use std::time::Duration;

use crate::support::{NginxRtmp, Origin, Player, Proxy, Publisher, machine, wait_for};

fn entry(origin: &NginxRtmp) -> String {
    let (id, port) = (origin.name(), origin.rtmp().port());
    format!("[[origin]]\nid = \"{id}\"\nip = \"127.0.0.1\"\nrtmp = {port}\n")
}

fn duty(proxy: &Proxy, origin: &NginxRtmp) -> Option<String> {
    let rows = proxy.origins();
    let row = rows.iter().find(|row| row["id"] == origin.name())?;
    row["duty"].as_str().map(str::to_owned)
}

#[test]
fn a_signal_and_a_change_of_the_file_both_reload_the_list_and_cut_nobody() {
    let _turn = machine::share();
    let [one, two, three] = ["one", "two", "three"].map(NginxRtmp::start);
    let proxy = Proxy::start(&entry(&one));
    let mut publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    let player = Player::open(&proxy.rtmp_url("live/a"));
    player.wait_frames(25);

    // With a signal: the new origin joins, and the missing one drains under its live stream.
    proxy.rewrite(&entry(&two));
    proxy.hang_up();
    let said = proxy.wait_log("the lists of origins changed", |_| true);
    assert_eq!(said["origins"], 1);
    assert_eq!(duty(&proxy, &one).as_deref(), Some("draining"));
    let mut second = Publisher::clip(&proxy.rtmp_url("live/b")).start();
    second.wait_frames(5);
    assert_eq!(proxy.origin_of("live/b").as_deref(), Some("two"));
    player.wait_more(25);

    // A file with a mistake: one sentence says where, and nothing else happens.
    proxy.rewrite(&format!("{}[[origin]]\nid = \"broken\"\n", entry(&three)));
    proxy.hang_up();
    let refused = "the lists of origins and the access rules are kept: the file does not hold";
    let said = proxy.wait_log(refused, |_| true);
    assert_eq!(said["level"], "WARN");
    let words = said["error"].as_str().expect("a sentence").to_owned();
    assert!(
        words.contains("[[origin]] 2: ip: missing or empty"),
        "{words}"
    );
    proxy.rewrite("[[origin]\n");
    proxy.hang_up();
    proxy.wait_log(refused, |record| record["error"] != words.as_str());
    assert_eq!(duty(&proxy, &two).as_deref(), Some("active"));
    assert_eq!(duty(&proxy, &three), None);
    player.wait_more(25);

    // Without a signal: the proxy checks the file by itself.
    proxy.rewrite(&(entry(&two) + &entry(&three)));
    wait_for("the third origin", Duration::from_secs(40), || {
        duty(&proxy, &three)
    });
    player.wait_more(25);

    assert!(publisher.is_running() && second.is_running());
    assert_eq!(proxy.log("session ended").len(), 0, "nobody was cut");

    // The drain ends with the last session, and the origin is gone.
    drop(player);
    publisher.stop();
    wait_for("the end of the drain", Duration::from_secs(40), || {
        duty(&proxy, &one).is_none().then_some(())
    });

    // What changes is called by its name.
    let rule = "[[access]]\napp = \"private\"\ndecide = \"deny\"\n";
    let lists = entry(&two) + &entry(&three) + rule;
    proxy.rewrite(&lists);
    proxy.hang_up();
    let said = proxy.wait_log("the access rules, checks or limits changed", |_| true);
    assert_eq!(said["rules"], 1);

    // A file that a check names counts as a part of it; a mistake elsewhere is told before the next start finds it.
    let folder = tempfile::tempdir().expect("a folder");
    let networks = folder.path().join("networks");
    let write = |network: &str| std::fs::write(&networks, network).expect("room");
    write("10.0.0.0/8\n");
    let rules = format!(
        "[[check]]\nname = \"house\"\nkind = \"networks\"\nnetworks_file = \"{}\"\n\
         [[access]]\napp = \"private\"\nall = [\"house\"]\n",
        networks.display()
    );
    let lists = entry(&two) + &entry(&three) + &rules;
    let changed = |times: usize| {
        wait_for("the rules are read again", Duration::from_secs(20), || {
            let said = proxy.log("the access rules, checks or limits changed");
            (said.len() == times).then_some(())
        });
    };
    proxy.rewrite(&lists);
    changed(2);
    write("10.1.0.0/16\n");
    changed(3);
    proxy.rewrite(&format!("{lists}[sesion]\nmax = 5\n"));
    let told = "its lists are read, but the next start will refuse the file";
    let said = proxy.wait_log(told, |_| true);
    let words = said["error"].as_str().expect("a sentence");
    assert!(words.contains("sesion"), "{words}");
    proxy.rewrite(&lists);

    // With a signal but without a change, the proxy says that it checked, and what it does not reload.
    proxy.hang_up();
    proxy.wait_log(
        "the lists of origins and the access rules are as before; other settings are read at the next start",
        |_| true,
    );
}
