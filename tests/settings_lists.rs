//! Lists among the settings, as people write them in a variable.

use std::fs;

use sluicegate::config::{ConfigError, Environment, Loaded, Settings, Shape, TABLE};

#[test]
fn a_list_in_a_text_is_read_as_one_or_refused_with_a_hint() {
    let name = "SLUICEGATE_HTTP__CACHE_IGNORE";
    for (cause, text, expected) in [
        (
            "as the file has it",
            r#"["CMCD", "uid"]"#,
            &["CMCD", "uid"][..],
        ),
        ("of one", r#"["CMCD"]"#, &["CMCD"]),
        (
            "with spaces around",
            " [ 'CMCD' ,\"uid\" ] ",
            &["CMCD", "uid"],
        ),
        ("of nothing", "[]", &[]),
        ("with commas", "CMCD, uid", &["CMCD", "uid"]),
        ("of a name with one bracket", "a[],uid", &["a[]", "uid"]),
    ] {
        let sharing = |loaded: Loaded| loaded.settings.http.sharing.ignored;
        let variable = load("", &[(name, text)], "").unwrap();
        assert_eq!(sharing(variable), expected, "{cause}");
        let dotenv = load("", &[], &format!("{name}='{}'", text.replace('\'', "\"")));
        assert_eq!(sharing(dotenv.unwrap()), expected, "{cause}, .env");
        let file = format!("[http]\ncache_ignore = '''{text}'''");
        assert_eq!(
            sharing(load(&file, &[], "").unwrap()),
            expected,
            "{cause}, the file"
        );
    }
    // An address in brackets has a port after them, and is no list.
    for (text, addresses) in [
        ("[::1]:1935", 1),
        ("[::1]:1935,127.0.0.1:1935", 2),
        (r#"["127.0.0.1:1935", "[::1]:1935"]"#, 2),
    ] {
        let loaded = load("", &[("SLUICEGATE_RTMP__LISTEN", text)], "").unwrap();
        let listen = loaded.settings.rtmp.listen.listen().expect("it is open");
        assert_eq!(listen.addresses().len(), addresses, "{text}");
    }
    // A secret may look like anything.
    let key = [("SLUICEGATE_CLUSTER__KEY", "[words]")];
    assert_eq!(load("", &key, "").unwrap().settings.cluster.keys.len(), 1);
}

#[test]
fn open_mode_needs_a_word_on_who_may_watch() {
    for (cause, more, loads) in [
        ("nothing is said", "", false),
        (
            "a rule about publishers",
            "[[access]]\naction = \"publish\"\ndecide = \"deny\"\n",
            false,
        ),
        (
            "a rule about players",
            "[[access]]\naction = \"play\"\ndecide = \"allow\"\n",
            true,
        ),
        (
            "a rule about everybody",
            "[[access]]\ndecide = \"allow\"\n",
            true,
        ),
        ("the setting", "public = true\n", true),
    ] {
        let file = format!("[fanout]\nmode = \"open\"\n{more}");
        assert_eq!(load(&file, &[], "").is_ok(), loads, "{cause}");
    }
}

#[test]
fn every_list_says_how_it_is_written() {
    let lists = TABLE.iter().filter(|setting| {
        setting.shape == Shape::List || (setting.shape == Shape::TextOrList && !setting.secret)
    });
    for setting in lists {
        let name = setting.variable();
        for broken in ["[a, b]", "[\"a\" \"b\"]", "[[\"a\"]]", "[a]"] {
            let error = load("", &[(name.as_str(), broken)], "")
                .unwrap_err()
                .to_string();
            let hint = "in brackets, but not a list: write it as A,B or [\"A\", \"B\"]";
            assert!(
                error.contains(&name) && error.contains(hint),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn rules_that_nobody_can_meet_stop_the_start() {
    let check =
        |kind: &str| format!("\n[[check]]\nname = \"c\"\n{kind}\n[[access]]\nall = [\"c\"]\n");
    let hook = |url: &str| {
        check(&format!(
            "kind = \"hook\"\nshape = \"srs\"\non_play = \"{url}\""
        ))
    };
    let keys = |url: &str| check(&format!("kind = \"jwt\"\njwks_url = \"{url}\""));
    for (file, expected) in [
        (
            "[[access]]\ndecide = \"allow\"\n[[access]]\nvhost = \"h.example:18080\"\ndecide = \"deny\"\n".to_owned(),
            ":3: [[access]] 2: vhost: a vhost has no port",
        ),
        (
            "[[limit]]\nper = \"app\"\nviewers = 1\nvhost = \"localhost\"\n".to_owned(),
            ":1: [[limit]] 1: vhost: no client has this vhost",
        ),
        (
            "[placement]\nrules = [\"vhost=127.0.0.1 zone=a\"]\n".to_owned(),
            ":2: placement.rules = [\"vhost=127.0.0.1 zone=a\"]: no client has this vhost",
        ),
        (
            "[placement]\nredirects = [\"app=/live via=http url=http://{ip}\"]\n".to_owned(),
            ":2: placement.redirects = [\"app=/live via=http url=http://{ip}\"]: an app has no slash",
        ),
        (
            "[hold]\nrules = [\"stream=live/a viewers=1s\"]\n".to_owned(),
            ":2: hold.rules = [\"stream=live/a viewers=1s\"]: the name of a stream has no slash",
        ),
        (
            hook("http://u:hunter2@127.0.0.1:8085/x"),
            ":2: [[check]] 1: on_play: a user and a password",
        ),
        (
            hook("http://a/x http://b/y"),
            ":2: [[check]] 1: on_play: there is a space",
        ),
        (
            hook("http://127.0.0.1:99999/x"),
            ":2: [[check]] 1: on_play: write it as",
        ),
        (hook("http:///x"), ":2: [[check]] 1: on_play: write it as"),
        (
            keys("https://u:hunter2@id.example/jwks"),
            ":2: [[check]] 1: jwks_url: a user and a password",
        ),
        (
            "[placement]\nask = \"http://u:hunter2@h/x\"\n".to_owned(),
            ":2: placement.ask = \"http://***@h/x\": a user and a password",
        ),
    ] {
        let error = load(&file, &[], "").unwrap_err().to_string();
        assert!(error.contains(expected), "{file}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let taken = "[placement]\nrules = [\"vhost=TV.Example.com app=a/* stream=?* zone=a\"]\n\
        [[access]]\nvhost = [\"*.Example.com\", \"__defaultVhost__\"]\napp = \"*/live\"\ndecide = \"deny\"\n";
    load(taken, &[], "").unwrap();
}

#[test]
fn what_a_url_may_hold_is_hidden() {
    let file = "[placement]\nask = \"http://svc.example/p?token=hunter2\"\n\
        [acme]\ndirectory = \"https://acme.example/d?key=hunter2\"\n";
    let loaded = load(file, &[], "").unwrap();
    let shown = |path: &str| {
        let mut effective = loaded.effective.iter();
        let found = effective.find(|entry| entry.setting.path == path);
        found.map(|entry| entry.value.clone()).expect("a setting")
    };
    assert_eq!(shown("placement.ask"), "\"http://svc.example/p?***\"");
    assert_eq!(shown("acme.directory"), "\"https://acme.example/d?***\"");
    let ask = loaded.settings.placement.ask.expect("it is set");
    assert_eq!(ask, "http://svc.example/p?token=hunter2");
}

fn load(file: &str, process: &[(&str, &str)], dotenv: &str) -> Result<Loaded, ConfigError> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("settings.toml");
    fs::write(&path, file).expect("a file");
    let process = process
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::load(Some(&path), &Environment::new(process, dotenv))
}
