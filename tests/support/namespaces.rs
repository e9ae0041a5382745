//! Network namespaces that end with a test: it runs itself again inside, where it may lay links, routes and translations
//! that nobody outside sees.

use std::env;
use std::process::{Command, Stdio};

/// Where this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum World {
    /// Among namespaces of its own.
    Inside,
    /// Outside; the test ran inside, and passed.
    Ran,
    /// Outside, and the system allows nothing else.
    NotAllowed,
}

/// Runs `test` again among namespaces of its own, unless this process is there already.
///
/// # Panics
/// When the test fails inside.
pub(crate) fn enter(test: &str) -> World {
    if is_inside() {
        return World::Inside;
    }
    let inside = |then: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["-rnm", "sh", "-c", &format!("{WORLD} && {then}")]);
        unshare
    };
    let trial = inside("ip netns add trial").stderr(Stdio::null()).status();
    if !trial.is_ok_and(|status| status.success()) {
        return World::NotAllowed;
    }
    let ran = inside("exec \"$0\" \"$@\"")
        .arg(env::current_exe().expect("this test"))
        .args(["--include-ignored", "--nocapture", "--exact", test])
        .env(INSIDE, "1")
        .output()
        .expect("it ran a moment ago");
    println!("{}", String::from_utf8_lossy(&ran.stdout));
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "in namespaces: {errors}");
    World::Ran
}

pub(crate) fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Runs `ip` with these words.
#[track_caller]
pub(crate) fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).status();
    assert!(done.is_ok_and(|status| status.success()), "ip {words}");
}

/// Set for the run of the test inside the namespaces.
const INSIDE: &str = "TEST_IN_NAMESPACES";
/// A loopback interface and a place for the names of namespaces.
const WORLD: &str = "mount -t tmpfs none /run && mkdir /run/netns && ip link set lo up";
