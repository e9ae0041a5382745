//! Settings as people write them: layers, names, wrong values, the examples and the reference.

use sluicegate::config::{
    ConfigError, Environment, Loaded, LogFormat, PassedSocket, Settings, Source, TABLE, check,
};
use sluicegate::value::{Listen, Opening};
use sluicegate_core::fleet::origin::Endpoint;
use sluicegate_core::stream::{Service, VhostRule};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[test]
fn defaults_are_the_documented_ones() {
    let loaded = load("", &[], "").unwrap();
    let settings = loaded.settings;
    assert_eq!(settings.rtmp.listen, Opening::Default(listen("11935")));
    assert_eq!(settings.http.listen, Opening::Default(listen("18080")));
    assert_eq!(settings.api.listen, Opening::Default(listen("11985")));
    assert_eq!(settings.system.listen, listen("12025"));
    assert_eq!(settings.rtsp.listen, Opening::Default(listen("18554")));
    let udp_ports = settings.rtsp.udp_ports.unwrap();
    assert_eq!((udp_ports.first, udp_ports.last), (22_000, 29_999));
    assert_eq!(settings.origins.ttl, Duration::from_secs(300));
    assert!(!settings.default_origin.enabled);
    let endpoints = settings.default_origin.endpoints;
    for (service, text) in [
        (Service::Api, "1985"),
        (Service::Http, "8080"),
        (Service::Rtc, "8000"),
        (Service::Rtmp, "1935"),
        (Service::Srt, "10080"),
    ] {
        assert_eq!(
            endpoints.of(service),
            [Endpoint::parse(text, service).unwrap()],
            "{service}"
        );
    }
    assert!(endpoints.rtsp.is_empty());
    assert_eq!(settings.placement.policy, "rendezvous");
    assert_eq!(settings.placement.vhosts, VhostRule::Ignored);
    assert_eq!(settings.session.max, 9000);
    assert_eq!(settings.log.format, LogFormat::Auto);
    assert!(
        loaded
            .effective
            .iter()
            .all(|entry| entry.source == Source::Default)
    );
    assert_eq!(loaded.effective.len(), TABLE.len());
}

#[test]
fn a_later_layer_wins() {
    let file = "[rtmp]\nlisten = 1\n";
    let own = "SLUICEGATE_RTMP__LISTEN";
    let upstream = "PROXY_RTMP_SERVER";
    for (cause, file, dotenv, process, port, source) in [
        ("the default", "", "", vec![], "11935", "default"),
        (
            "the file over the default",
            file,
            "",
            vec![],
            "1",
            "settings.toml:2",
        ),
        (
            ".env over the file",
            file,
            "PROXY_RTMP_SERVER=2",
            vec![],
            "2",
            ".env PROXY_RTMP_SERVER",
        ),
        (
            "the process over .env",
            file,
            "PROXY_RTMP_SERVER=2",
            vec![(upstream, "3")],
            "3",
            "environment PROXY_RTMP_SERVER",
        ),
        (
            "our name over theirs",
            file,
            "",
            vec![(upstream, "3"), (own, "4")],
            "4",
            "environment SLUICEGATE_RTMP__LISTEN",
        ),
        (
            "our name in .env over theirs there",
            "",
            "PROXY_RTMP_SERVER=3\nSLUICEGATE_RTMP__LISTEN=4",
            vec![],
            "4",
            ".env SLUICEGATE_RTMP__LISTEN",
        ),
        (
            "their name in the process over ours in .env",
            "",
            "SLUICEGATE_RTMP__LISTEN=4",
            vec![(upstream, "3")],
            "3",
            "environment PROXY_RTMP_SERVER",
        ),
        (
            "an empty variable of theirs is not set",
            file,
            "",
            vec![(upstream, "")],
            "1",
            "settings.toml:2",
        ),
        (
            "an empty variable of the process still hides .env",
            file,
            "PROXY_RTMP_SERVER=2",
            vec![(upstream, "")],
            "1",
            "settings.toml:2",
        ),
    ] {
        let loaded = load(file, &process, dotenv).unwrap();
        let listens = loaded.settings.rtmp.listen.listen();
        assert_eq!(listens, Some(&listen(port)), "{cause}");
        let entry = loaded
            .effective
            .iter()
            .find(|entry| entry.setting.path == "rtmp.listen");
        let shown = entry.unwrap().source.to_string();
        assert!(shown.ends_with(source), "{cause}: {shown}");
    }
}

#[test]
fn every_setting_is_read_under_each_of_its_names() {
    for setting in TABLE {
        // No setting accepts this, except that a list of origins and a plain text accept anything.
        let wrong = "\u{1}, ,-";
        let lenient = setting.allowed.contains("any text")
            || setting.allowed.contains("list of origins")
            || setting.allowed.contains("vhosts")
            || setting.allowed.contains("a directory")
            || setting.path == "default_origin.enabled";
        for name in [Some(setting.variable()), setting.env.map(str::to_owned)]
            .into_iter()
            .flatten()
        {
            let result = load("", &[(name.as_str(), wrong)], "");
            match result {
                Ok(loaded) if lenient => {
                    let entry = loaded
                        .effective
                        .iter()
                        .find(|entry| entry.setting.path == setting.path);
                    assert_eq!(entry.unwrap().source, Source::Environment(name));
                }
                Ok(_) => panic!("{name} is not read"),
                Err(error) => {
                    let shown = error.to_string();
                    assert!(
                        shown.contains(&name) && shown.contains(setting.allowed),
                        "{shown}"
                    );
                }
            }
        }
    }
}

#[test]
fn wrong_names_in_the_file_are_refused_with_line_and_suggestion() {
    for (cause, file, expected) in [
        (
            "a misspelt key",
            "\n[rtmp]\nlisen = 1",
            "settings.toml:3: unknown setting rtmp.lisen; did you mean `rtmp.listen`?",
        ),
        (
            "a misspelt section",
            "[rmtp]\nlisten = 1",
            "settings.toml:1: unknown setting [rmtp]; did you mean `[rtmp]`?",
        ),
        (
            "a key in capitals",
            "[rtmp]\nLISTEN = 1",
            "settings.toml:2: unknown setting rtmp.LISTEN; did you mean `rtmp.listen`?",
        ),
        (
            "a section in capitals",
            "[RTMP]\nlisten = 1",
            "settings.toml:1: unknown setting [RTMP]; did you mean `[rtmp]`?",
        ),
        (
            "a dotted key after a section",
            "[rtmp]\nlisten = 1\nlog.level = \"debug\"",
            "settings.toml:3: unknown setting rtmp.log; it stands in [rtmp]: write [log] with its keys below, or the dotted key",
        ),
        (
            "a misspelt list",
            "[[orgin]]\nip = \"10.0.0.1\"",
            "settings.toml:1: unknown setting [[orgin]]; did you mean `[[origin]]`?",
        ),
        (
            "a misspelt list, as a section",
            "[acess]\ndecide = \"deny\"",
            "settings.toml:1: unknown setting [acess]; did you mean `[[access]]`?",
        ),
        (
            "a misspelt list in a section",
            "[[system.token]]\nname = \"a\"",
            "settings.toml:1: unknown setting system.token; did you mean `[[system.tokens]]`?",
        ),
        (
            "a dotted key",
            "rtmp.lisen = 1",
            "settings.toml:1: unknown setting rtmp.lisen; did you mean `rtmp.listen`?",
        ),
        (
            "a key in no section",
            "tll = \"1s\"",
            "settings.toml:1: unknown setting tll; did you mean `origins.ttl`?",
        ),
        (
            "a section used as a key",
            "rtmp = 1",
            "settings.toml:1: unknown setting rtmp; it is a section: write [rtmp]",
        ),
        (
            "nothing near",
            "[colours]\nsky = 1",
            "settings.toml:1: unknown setting [colours]",
        ),
        ("no TOML", "[rtmp]\nlisten =", "settings.toml:2: not TOML: "),
        (
            "a key twice",
            "[rtmp]\nlisten = 1\nlisten = 2",
            "settings.toml:3: not TOML: duplicate key",
        ),
        (
            "a list where one value belongs",
            "[origins]\nmax = [1]",
            "settings.toml:2: origins.max: a value of the wrong kind; allowed: ",
        ),
        (
            "a table where a value belongs",
            "[rtmp.listen]\nport = 1",
            "rtmp.listen: a value of the wrong kind; allowed: ",
        ),
    ] {
        let error = load(file, &[], "").unwrap_err();
        assert_eq!(error.problems.len(), 1, "{cause}: {error}");
        assert!(error.to_string().contains(expected), "{cause}: {error}");
    }
}

#[test]
fn wrong_variables_are_refused_or_warned_about() {
    for (name, expected) in [
        (
            "SLUICEGATE_RTMP_LISTEN",
            "did you mean `SLUICEGATE_RTMP__LISTEN`?",
        ),
        (
            "SLUICEGATE_RTMP__LISEN",
            "environment SLUICEGATE_RTMP__LISEN: no such setting; did you mean",
        ),
    ] {
        let error = load("", &[(name, "1935")], "").unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let loaded = load(
        "",
        &[
            ("PROXY_RTMP_SERVR", "1"),
            ("PROXY_SERVICE_HOST", "10.0.0.1"),
            ("PROXY_REDIS_PORT", "tcp://10.96.0.1:6379"),
        ],
        "",
    );
    let about = |name: &str, loaded: &Loaded| loaded.warnings.iter().any(|w| w.contains(name));
    let loaded = loaded.unwrap();
    assert!(about("PROXY_RTMP_SERVR is not a setting", &loaded));
    assert!(about("did you mean `PROXY_RTMP_SERVER`?", &loaded));
    assert!(
        !about("PROXY_SERVICE_HOST", &loaded),
        "Kubernetes sets it for a Service named proxy"
    );
    load("", &[("SLUICEGATE_PORT", "tcp://10.0.0.1:1935")], "").unwrap();
    assert!(about(
        "GO_PPROF",
        &load("", &[("GO_PPROF", ":6060")], "").unwrap()
    ));
}

#[test]
fn wrong_values_say_where_what_and_what_is_allowed() {
    for (cause, file, variables, expected) in [
        (
            "a bare number is no duration",
            "",
            vec![("PROXY_ORIGIN_SERVER_TTL", "300")],
            r#"PROXY_ORIGIN_SERVER_TTL = "300": a number without a unit; allowed: a duration longer than zero"#,
        ),
        (
            "a ttl of nothing",
            "",
            vec![("PROXY_ORIGIN_SERVER_TTL", "0s")],
            r#"PROXY_ORIGIN_SERVER_TTL = "0s": zero, which is too short"#,
        ),
        (
            "a port in the file",
            "[rtmp]\n\nlisten = 70000",
            vec![],
            r#"settings.toml:3: rtmp.listen = "70000": not a port; allowed: a port, ip:port or [v6]:port"#,
        ),
        (
            "a number out of bounds",
            "[origins]\nmax = 0",
            vec![],
            "origins.max = 0: not between 1 and 100000",
        ),
        (
            "a mesh that strangers could enter",
            "[mesh]\nlisten = \"10.0.0.1:12027\"",
            vec![("PROXY_LOAD_BALANCER_TYPE", "mesh")],
            "cluster.key is missing: store.type is mesh and mesh.listen is 10.0.0.1:12027, where anyone could take part",
        ),
        (
            "an empty key among others, which would let everybody in",
            "[cluster]\nkey = [\"new\", \"\"]",
            vec![],
            r#"settings.toml:2: cluster.key = "***": not one to four keys that are not empty"#,
        ),
        (
            "more keys than a change needs",
            "",
            vec![("SLUICEGATE_CLUSTER__KEY", "a,b,c,d,e")],
            r#"SLUICEGATE_CLUSTER__KEY = "***": not one to four keys that are not empty"#,
        ),
        (
            "streams shown to everyone without a word",
            "[fanout]\nrules = [\"app=live mode=open\"]",
            vec![],
            "fanout.mode is open, where the origin is not asked about viewers: say who may play in an [[access]] rule, say fanout.public = true if anyone may watch",
        ),
        (
            "a pull's right that is shown to nobody",
            "[fanout]\npull_query = \"a b\"",
            vec![],
            r#"settings.toml:2: fanout.pull_query = "***": "#,
        ),
        (
            "a mesh that the others cannot reach",
            "[mesh]\nlisten = 12027\n[cluster]\nkey = \"k\"",
            vec![("PROXY_LOAD_BALANCER_TYPE", "mesh")],
            "mesh.advertise is missing: store.type is mesh and mesh.listen is [::]:12027, which names no address",
        ),
        (
            "a seed that is a URL",
            "[mesh]\nseeds = [\"a b\"]",
            vec![],
            "not a host, or a host and a port",
        ),
        (
            "a store's URL without the name of its primary",
            "[store]\nurl = \"redis+sentinel://gate:swordfish@a\"",
            vec![],
            "a sentinel URL ends in the name of its primary",
        ),
        (
            "upstream refuses a redis database that is no number",
            "",
            vec![("PROXY_REDIS_DB", "zero")],
            r#"PROXY_REDIS_DB = "zero": not a whole number"#,
        ),
        (
            "a network",
            "[system]\nregister_from = [\"10.0.0.0/8\", \"home\"]",
            vec![],
            r#"system.register_from = ["10.0.0.0/8", "home"]: not a network"#,
        ),
        (
            "a secret stays one",
            "[system]\nauth_token = \"hunter 2\"",
            vec![],
            r#"settings.toml:2: system.auth_token = "***": a token of other than printable"#,
        ),
        (
            "an origin can have one header only",
            "[origins]\nproxy_protocol_v1 = [\"*\"]\nproxy_protocol_v2 = [\"origin1\"]",
            vec![],
            "origins.proxy_protocol_v1 and origins.proxy_protocol_v2 name the same origin",
        ),
        (
            "a flag",
            "",
            vec![("SLUICEGATE_DEFAULT_ORIGIN__ENABLED", "yes")],
            "neither on nor off; allowed: on or off",
        ),
        (
            "an empty variable of ours is a value, and the system API cannot be closed",
            "",
            vec![("SLUICEGATE_SYSTEM__LISTEN", "")],
            r#"SLUICEGATE_SYSTEM__LISTEN = "": not an address to listen on"#,
        ),
    ] {
        let error = load(file, &variables, "").unwrap_err();
        assert_eq!(error.problems.len(), 1, "{cause}: {error}");
        assert!(error.to_string().contains(expected), "{cause}: {error}");
        assert!(!error.to_string().contains("hunter"), "{cause}: {error}");
    }
    let file = Path::new("no/such/settings.toml");
    let error = Settings::load(Some(file), &Environment::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("no/such/settings.toml: cannot be read: "),
        "{error}"
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let error = load(
        "[rtmp]\nlisen = 1\n[origins]\nttl = 5",
        &[("PROXY_HTTP_API", "x")],
        "",
    );
    assert_eq!(error.unwrap_err().to_string().lines().count(), 3);

    let file = "[rtmp]\nlisen = 1\n[[orgin]]\nip = \"10.0.0.1\"\n[[origin]]\nrtmp = 1935\n[[origin]]\nip = \"10.0.0.2\"\n\
        rmtp = 1935\n[[check]]\nname = \"x\"\nkind = \"kyes\"\n[[access]]\nall = [\"x\"]\n[[access]]\naply = \"x\"\n\
        [[system.tokens]]\nname = \"a\"\nrole = \"vewer\"\n[[system.tokens]]\nname = \"b\"\n\
        [[tls.certificates]]\nkey = \"k\"\n";
    let error = load(file, &[], "").unwrap_err().to_string();
    let expected = [
        "unknown setting rtmp.lisen; did you mean `rtmp.listen`?",
        "unknown setting [[orgin]]; did you mean `[[origin]]`?",
        "[[origin]] 1: ip: missing",
        "[[origin]] 2: unknown key rmtp; did you mean `rtmp`?",
        "[[check]] 1: kind:",
        "[[access]] 2: unknown key aply; there are",
        "[[system.tokens]] 1: role:",
        "[[system.tokens]] 2: role:",
        "[[tls.certificates]] 1: certificate: missing",
    ];
    for expected in expected {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert_eq!(error.lines().count(), expected.len(), "{error}");

    let many: String = (0..1000).map(|n| format!("[colour{n}]\n")).collect();
    let error = load(&many, &[], "").unwrap_err().to_string();
    assert_eq!(error.lines().count(), 51, "{error}");
    assert!(error.ends_with("\nand 950 more problems"), "{error}");
}

#[test]
fn a_cluster_has_one_key_or_several_while_they_change() {
    let variable = "SLUICEGATE_CLUSTER__KEY";
    for (cause, file, environment, keys) in [
        ("none", "", vec![], vec![]),
        ("one", "cluster.key = \"old\"", vec![], vec!["old"]),
        (
            "a list",
            "cluster.key = [\"new\", \"old\"]",
            vec![],
            vec!["new", "old"],
        ),
        (
            "with a comma in a list",
            "cluster.key = [\"a,b\"]",
            vec![],
            vec!["a,b"],
        ),
        (
            "a variable",
            "",
            vec![(variable, "new, old")],
            vec!["new", "old"],
        ),
    ] {
        let loaded = load(file, &environment, "").unwrap();
        let found = loaded.settings.cluster.keys;
        let found: Vec<&str> = found.iter().map(|key| key.reveal()).collect();
        assert_eq!(found, keys, "{cause}");
        for entry in loaded
            .effective
            .iter()
            .filter(|entry| entry.setting.path == "cluster.key")
        {
            let shown = if keys.is_empty() { "\"\"" } else { "\"***\"" };
            assert_eq!(entry.value, shown, "{cause}");
        }
    }
}

#[test]
fn a_secret_never_shows_in_a_syntax_error() {
    let error = load("[system]\nauth_token = hunter2", &[], "").unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("hunter2"),
        "{error:?}"
    );
}

#[test]
fn auth_wants_bearer_and_a_token() {
    let on = ("PROXY_HTTP_API_AUTH_ENABLED", "on");
    let bearer = ("PROXY_HTTP_API_AUTH_TYPE", "bearer");
    let token = ("PROXY_HTTP_API_AUTH_TOKEN", "hunter2");
    for (cause, variables, expected) in [
        (
            "no type",
            vec![on, token],
            "PROXY_HTTP_API_AUTH_TYPE (system.auth_type) is missing",
        ),
        (
            "another type",
            vec![on, ("PROXY_HTTP_API_AUTH_TYPE", "basic"), token],
            "allowed: bearer",
        ),
        (
            "no token",
            vec![on, bearer],
            "PROXY_HTTP_API_AUTH_TOKEN (system.auth_token) is missing",
        ),
        (
            "an empty token",
            vec![on, bearer, ("PROXY_HTTP_API_AUTH_TOKEN", "")],
            "is missing",
        ),
    ] {
        let error = load("", &variables, "").unwrap_err();
        assert_eq!(error.problems.len(), 1, "{cause}: {error}");
        assert!(error.to_string().contains(expected), "{cause}: {error}");
    }
    let system = load("", &[on, bearer, token], "").unwrap().settings.system;
    assert!(system.auth_enabled && system.auth_token.matches(b"hunter2"));
}

#[test]
fn open_registration_is_warned_about_with_the_line_that_closes_it() {
    let line =
        "PROXY_HTTP_API_AUTH_ENABLED=on PROXY_HTTP_API_AUTH_TYPE=bearer PROXY_HTTP_API_AUTH_TOKEN=";
    let system = "PROXY_SYSTEM_API";
    for (cause, variables, open) in [
        ("by default", vec![], true),
        (
            "one address of the network",
            vec![(system, "10.0.0.1:12025")],
            true,
        ),
        ("loopback", vec![(system, "127.0.0.1:12025")], false),
        ("loopback of IPv6", vec![(system, "[::1]:12025")], false),
        (
            "some networks only",
            vec![("SLUICEGATE_SYSTEM__REGISTER_FROM", "10.0.0.0/8, ::1")],
            false,
        ),
        (
            "with a token",
            vec![
                ("PROXY_HTTP_API_AUTH_ENABLED", "on"),
                ("PROXY_HTTP_API_AUTH_TYPE", "bearer"),
                ("PROXY_HTTP_API_AUTH_TOKEN", "hunter2"),
            ],
            false,
        ),
    ] {
        let warnings = load("", &variables, "").unwrap().warnings;
        assert_eq!(
            warnings.iter().any(|warning| warning.contains(line)),
            open,
            "{cause}"
        );
    }
}

#[test]
fn proxies_in_front_without_a_token_are_warned_about_with_the_line_that_sets_one() {
    let line =
        "PROXY_HTTP_API_AUTH_ENABLED=on PROXY_HTTP_API_AUTH_TYPE=bearer PROXY_HTTP_API_AUTH_TOKEN=";
    let http = ("SLUICEGATE_HTTP__TRUSTED_PROXIES", "127.0.0.1");
    let preface = ("SLUICEGATE_PROXY_PROTOCOL__ACCEPT_FROM", "10.0.0.0/8");
    let token = [
        ("PROXY_HTTP_API_AUTH_ENABLED", "on"),
        ("PROXY_HTTP_API_AUTH_TYPE", "bearer"),
        ("PROXY_HTTP_API_AUTH_TOKEN", "hunter2"),
    ];
    for (cause, variables, about) in [
        ("none", vec![], None),
        ("over HTTP", vec![http], Some("http.trusted_proxies")),
        (
            "over anything",
            vec![preface],
            Some("proxy_protocol.accept_from"),
        ),
        (
            "with a token",
            [vec![http, preface], token.to_vec()].concat(),
            None,
        ),
    ] {
        // Nothing else is open there.
        let loopback = ("PROXY_SYSTEM_API", "127.0.0.1:12025");
        let variables = [vec![loopback], variables].concat();
        let warnings = load("", &variables, "").unwrap().warnings;
        let found = warnings.iter().find(|warning| warning.contains(line));
        assert_eq!(found.is_some(), about.is_some(), "{cause}: {warnings:?}");
        let named = about.is_none_or(|name| found.is_some_and(|found| found.starts_with(name)));
        assert!(named, "{cause}: {warnings:?}");
    }
}

#[test]
fn the_default_origin_is_enabled_by_on_alone() {
    let name = "PROXY_DEFAULT_BACKEND_ENABLED";
    for (value, enabled, warned) in [
        ("on", true, false),
        ("off", false, false),
        ("", false, false),
        ("true", false, true),
    ] {
        let loaded = load("", &[(name, value)], "").unwrap();
        assert_eq!(loaded.settings.default_origin.enabled, enabled, "{value:?}");
        let about = |warning: &String| warning.contains(name);
        assert_eq!(loaded.warnings.iter().any(about), warned, "{value:?}");
    }
    let file = "[default_origin]\nenabled = true\nhttp = \"\"\nip = \"media.example.com\"";
    let origin = load(file, &[], "").unwrap().settings.default_origin;
    assert!(origin.enabled);
    assert_eq!(origin.ip.to_string(), "media.example.com");
    assert!(origin.endpoints.http.is_empty());
    assert_eq!(origin.endpoints.services(), 4);
}

#[test]
fn a_default_origin_of_another_kind_has_the_ports_that_are_set() {
    let dialect = ("SLUICEGATE_DEFAULT_ORIGIN__DIALECT", "nginx-rtmp");
    let http = ("PROXY_DEFAULT_BACKEND_HTTP", "8080");
    for (variables, rtmp, http, all) in [
        (&[] as &[_], 1, 1, 5),
        (&[dialect][..], 1, 0, 1),
        (&[dialect, http][..], 1, 1, 2),
        (
            &[("SLUICEGATE_DEFAULT_ORIGIN__DIALECT", "srs")][..],
            1,
            1,
            5,
        ),
    ] {
        let settings = load("", variables, "").unwrap().settings;
        let endpoints = settings.default_origin.endpoints;
        let have = (endpoints.rtmp.len(), endpoints.http.len());
        assert_eq!(have, (rtmp, http), "{variables:?}");
        assert_eq!(endpoints.services(), all, "{variables:?}");
    }
}

#[test]
fn a_default_origin_that_is_never_dialled_is_told_of() {
    let enabled = "[default_origin]\nenabled = true\nip = ";
    let allowed = "[system]\nallow_special_addresses = true\n";
    for (cause, file, warned) in [
        ("link-local", format!("{enabled}\"169.254.1.1\""), true),
        ("loopback", format!("{enabled}\"127.0.0.1\""), false),
        ("a name", format!("{enabled}\"media.example.com\""), false),
        (
            "allowed",
            format!("{allowed}{enabled}\"169.254.1.1\""),
            false,
        ),
        (
            "off",
            "[default_origin]\nip = \"169.254.1.1\"".to_owned(),
            false,
        ),
    ] {
        let warnings = load(&file, &[], "").unwrap().warnings;
        let about = |warning: &String| warning.contains("default_origin.ip is 169.254.1.1");
        assert_eq!(warnings.iter().any(about), warned, "{cause}");
    }
}

#[test]
fn a_missing_static_directory_is_a_warning() {
    let about = |loaded: Loaded| loaded.warnings.iter().any(|w| w.contains("no directory"));
    assert!(about(
        load("", &[("PROXY_STATIC_FILES", "no/such/directory")], "").unwrap()
    ));
    assert!(!about(
        load("", &[("PROXY_STATIC_FILES", "examples")], "").unwrap()
    ));
    assert!(!about(load("", &[], "").unwrap()), "the default one");
    let none = load("[http]\nstatic_files = \"\"", &[], "").unwrap();
    assert_eq!(none.settings.http.static_files, None);
    assert!(!about(none));
}

#[test]
fn where_one_setting_leaves_another_without_effect_it_is_said() {
    let rows = [
        (
            "[session]\ndial_timeout = \"5s\"\n",
            "session.setup_timeout is over when session.dial_timeout is",
        ),
        (
            "[http]\nanswer_timeout = \"1s\"\n",
            "http.answer_timeout is over before session.dial_timeout",
        ),
        (
            "[session]\nplay_wait = \"20s\"\n",
            "http.answer_timeout is longer than session.play_wait",
        ),
        (
            "[session]\ntakeover_after = \"31s\"\n",
            "session.takeover_after is longer than session.publisher_idle",
        ),
        (
            "[placement]\nask = \"http://10.0.0.9/place\"\nask_timeout = \"5s\"\n",
            "placement.ask_timeout is as long as session.setup_timeout",
        ),
        (
            "[placement]\nrebalance = true\n[hold]\npublishers = \"0s\"\n",
            "placement.rebalance moves nothing, because hold.publishers is 0s",
        ),
        (
            "[store]\ntype = \"redis\"\nurl = \"redis://10.0.0.9\"\ntimeout = \"5s\"\n",
            "store.timeout is as long as session.setup_timeout",
        ),
    ];
    let said = |file: &str| {
        let warnings = load(file, &[], "").unwrap().warnings;
        let about = |warning: &String| rows.iter().any(|(_, words)| warning.contains(words));
        warnings.into_iter().filter(about).collect::<Vec<_>>()
    };
    assert_eq!(said(""), Vec::<String>::new(), "the defaults agree");
    for (file, words) in rows {
        let said = said(file);
        assert!(
            said.len() == 1 && said[0].contains(words),
            "{file}: {said:?}"
        );
    }
}

#[test]
fn vhosts_are_a_word_or_a_list() {
    let listed =
        |names: &[&str]| VhostRule::Listed(names.iter().map(|name| (*name).to_owned()).collect());
    for (file, expected) in [
        ("vhosts = \"separate\"", VhostRule::Separate),
        (
            "vhosts = [\"A.com\", \"b.com\"]",
            listed(&["a.com", "b.com"]),
        ),
        ("vhosts = \"a.com, b.com\"", listed(&["a.com", "b.com"])),
    ] {
        let loaded = load(&format!("[placement]\n{file}"), &[], "").unwrap();
        assert_eq!(loaded.settings.placement.vhosts, expected, "{file}");
    }
}

#[test]
fn a_secret_that_nobody_filled_in_is_told() {
    let tokens = "[[system.tokens]]\nname = \"a\"\nrole = \"viewer\"\nissuer = \"i\"\naudience = \"b\"\n\
                  secrets = [\"${SECRET}-0123456789abcdef0123456789\"]\n";
    let source = "[[source]]\nurl = \"http://h.example/list\"\ntoken = \"${TOKEN}\"\n";
    for (cause, file, variables, told) in [
        (
            "a variable",
            "",
            &[("PROXY_REDIS_PASSWORD", "${REDIS_PASSWORD}")][..],
            Some("store.redis_password (environment PROXY_REDIS_PASSWORD)"),
        ),
        (
            "a list in the file",
            "[cluster]\nkey = [\"0123456789abcdef0123456789abcdef\", \"${KEY:-none}\"]\n",
            &[],
            Some("cluster.key ("),
        ),
        ("a source", source, &[], Some("[[source]] 1: token")),
        (
            "keys of tokens",
            tokens,
            &[],
            Some("[[system.tokens]] 1: secrets"),
        ),
        (
            "letters like those",
            "",
            &[("PROXY_REDIS_PASSWORD", "a${1}b$c{d}${e")],
            None,
        ),
    ] {
        let warnings = load(file, variables, "").unwrap().warnings;
        let about = |warning: &&String| warning.contains("${…}");
        let found = warnings.iter().find(about);
        assert_eq!(found.is_some(), told.is_some(), "{cause}: {warnings:?}");
        let named = told.is_none_or(|name| found.is_some_and(|found| found.contains(name)));
        assert!(named, "{cause}: {found:?}");
        let shown = found.is_some_and(|found| found.contains("KEY") || found.contains("TOKEN"));
        assert!(!shown, "{cause}: {found:?}");
    }
}

#[test]
fn a_secret_in_quotation_marks_is_told() {
    for (value, is_told) in [
        ("\"swordfish\"", true),
        ("'swordfish'", true),
        ("sword\"fish", false),
        ("\"", false),
        ("\"swordfish'", false),
    ] {
        let loaded = load("", &[("PROXY_REDIS_PASSWORD", value)], "").unwrap();
        let about = |warning: &String| warning.contains("quotation mark");
        assert_eq!(loaded.warnings.iter().any(about), is_told, "{value}");
        assert!(
            !loaded
                .warnings
                .iter()
                .any(|warning| warning.contains("fish"))
        );
    }
}

#[test]
fn check_prints_values_with_sources_and_hides_secrets() {
    let variables = [
        ("PROXY_HTTP_API_AUTH_TOKEN", "hunter2"),
        ("PROXY_REDIS_PASSWORD", "swordfish"),
    ];
    let file = write("[rtmp]\nlisten = \"127.0.0.1:1935\"\n[log]\nformat = \"json\"");
    let report = check(Some(&file), &environment(&variables, "PROXY_HTTP_API=1985")).unwrap();
    assert!(!report.contains("hunter2") && !report.contains("swordfish"));
    for expected in [
        "rtmp.listen = \"127.0.0.1:1935\"",
        "settings.toml:2",
        "api.listen = \"1985\"",
        "# .env PROXY_HTTP_API",
        "system.auth_token = \"***\"",
        "# environment PROXY_HTTP_API_AUTH_TOKEN",
        "origins.max = 1000",
        "# default",
        "warning: a token is set but not asked for",
    ] {
        assert!(report.contains(expected), "{expected}:\n{report}");
    }
    assert!(report.ends_with("\nok\n"));
    // What is printed above the warnings is a settings file again.
    let settings: String = report
        .lines()
        .take_while(|line| !line.starts_with("warning: "))
        .map(|l| format!("{l}\n"))
        .collect();
    let again = load(&settings, &[], "").unwrap().settings;
    assert_eq!(again.rtmp.listen, Opening::Set(listen("127.0.0.1:1935")));

    let error = check(None, &environment(&[("PROXY_HTTP_API", "x")], "")).unwrap_err();
    assert!(error.to_string().contains("PROXY_HTTP_API"));
}

#[test]
fn every_secret_may_be_in_a_file() {
    let held = write_secret("s3cret\n");
    let held = held.to_str().unwrap();
    let secrets: Vec<_> = TABLE.iter().filter(|setting| setting.secret).collect();
    assert!(secrets.len() >= 6, "the secrets of the table were found");
    for setting in secrets {
        // What each must look like to hold.
        let held = match setting.path {
            "store.url" => write_secret("redis://:s3cret@cache\n"),
            "origins.api_credentials" => write_secret("a=bearer:s3cret\n*=bearer:s3cret\n"),
            "cluster.key" => write_secret("s3cret\nolder\n"),
            _ => PathBuf::from(held),
        };
        let name = held.to_str().unwrap();
        let (section, key) = (setting.section(), setting.file_key().unwrap());
        let file = format!("[{section}]\n{key} = \"{name}\"\n");
        let variable = setting.file_variable().unwrap();
        // A password does not stand alone.
        let user = match setting.path {
            "api.auth_password" => vec![("SLUICEGATE_API__AUTH_USERNAME", "somebody")],
            _ => Vec::new(),
        };
        let named = [user.clone(), vec![(variable.as_str(), name)]].concat();
        for (cause, loaded, by) in [
            ("by the file", load(&file, &user, ""), "settings.toml:2"),
            ("by a variable", load("", &named, ""), variable.as_str()),
            (
                "by .env",
                load("", &user, &format!("{variable}={name}")),
                variable.as_str(),
            ),
        ] {
            let loaded =
                loaded.unwrap_or_else(|error| panic!("{}: {cause}: {error}", setting.path));
            let row = loaded
                .effective
                .iter()
                .find(|entry| entry.setting.path == setting.path);
            let row = row.unwrap();
            assert!(row.value.contains("***"), "{}: {}", setting.path, row.value);
            let source = row.source.to_string();
            assert!(
                source.starts_with(&format!("{name}, named by ")),
                "{source}"
            );
            assert!(source.ends_with(by), "{source}");
            assert!(
                !format!("{loaded:?}").contains("s3cret"),
                "{}",
                setting.path
            );
        }
    }
    let loaded = load("", &[("SLUICEGATE_CLUSTER__KEY_FILE", held)], "").unwrap();
    assert!(loaded.settings.cluster.keys[0].matches(b"s3cret"));
}

#[test]
fn a_secret_in_a_file_is_one_of_the_layers() {
    let (weak, strong) = (write_secret("weak"), write_secret("strong"));
    let (weak, strong) = (weak.to_str().unwrap(), strong.to_str().unwrap());
    let file = format!("[system]\nauth_token_file = \"{weak}\"\n");
    let named = "SLUICEGATE_SYSTEM__AUTH_TOKEN_FILE";
    let (own, upstream) = ("SLUICEGATE_SYSTEM__AUTH_TOKEN", "PROXY_HTTP_API_AUTH_TOKEN");
    for (cause, file, variables, expected) in [
        ("the file's file", file.as_str(), vec![], "weak"),
        (
            "a variable over the file's file",
            &file,
            vec![(own, "written")],
            "written",
        ),
        (
            "a variable's file over the file's",
            &file,
            vec![(named, strong)],
            "strong",
        ),
        (
            "our file over their variable",
            "",
            vec![(upstream, "theirs"), (named, strong)],
            "strong",
        ),
        (
            "an empty name names nothing",
            &file,
            vec![(named, "")],
            "weak",
        ),
        (
            "an empty value beside a file",
            "",
            vec![(own, ""), (named, strong)],
            "strong",
        ),
        (
            "an empty key beside a file",
            &format!("[system]\nauth_token = \"\"\nauth_token_file = \"{weak}\"\n"),
            vec![],
            "weak",
        ),
    ] {
        let settings = load(file, &variables, "").unwrap().settings;
        assert!(
            settings.system.auth_token.matches(expected.as_bytes()),
            "{cause}"
        );
    }
    // What is not looked at need not be there.
    let lost = "[system]\nauth_token_file = \"/nonexistent/token\"\n";
    load(lost, &[(own, "written")], "").unwrap();
    let blank = write_secret("");
    let blank = blank.to_str().unwrap();
    for (cause, file, variables, expected) in [
        (
            "a file that is not there",
            lost,
            vec![],
            "settings.toml:2: system.auth_token_file /nonexistent/token: cannot be read: No such file",
        ),
        (
            "the same by a variable",
            "",
            vec![(named, "/nonexistent/token")],
            "SLUICEGATE_SYSTEM__AUTH_TOKEN_FILE /nonexistent/token: cannot be read: No such file",
        ),
        (
            "an empty file",
            "",
            vec![(named, blank)],
            "cannot be read: it is empty",
        ),
        (
            "both in the file",
            "[system]\nauth_token = \"a\"\nauth_token_file = \"b\"\n",
            vec![],
            "system.auth_token and system.auth_token_file are both set; keep one of them",
        ),
        (
            "both in the environment",
            "",
            vec![(own, "a"), (named, strong)],
            "SLUICEGATE_SYSTEM__AUTH_TOKEN and SLUICEGATE_SYSTEM__AUTH_TOKEN_FILE are both set; keep one of them",
        ),
        (
            "not a name",
            "[system]\nauth_token_file = [\"a\"]\n",
            vec![],
            "settings.toml:2: system.auth_token_file: a value of the wrong kind; allowed: the name of a file",
        ),
        (
            "no secret",
            "[rtmp]\nlisten_file = \"a\"\n",
            vec![],
            "settings.toml:2: unknown setting rtmp.listen_file",
        ),
        (
            "a misspelt one",
            "[system]\nauth_token_fil = \"a\"\n",
            vec![],
            "did you mean `system.auth_token_file`?",
        ),
    ] {
        let error = load(file, &variables, "").unwrap_err().to_string();
        assert!(error.contains(expected), "{cause}: {error}");
    }
    // What holds a value that its setting does not take is named, and the value is not.
    let wrong = write_secret("not a token");
    let error = load("", &[(named, wrong.to_str().unwrap())], "")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(named) && error.contains("***") && !error.contains("not a token\""),
        "{error}"
    );
}

#[test]
fn commands_without_settings_find_the_token_in_a_file_too() {
    let held = write_secret("s3cret\n");
    let held = held.to_str().unwrap();
    let token = |variables: &[(&str, &str)]| environment(variables, "").secret("system.auth_token");
    let named = ("SLUICEGATE_SYSTEM__AUTH_TOKEN_FILE", held);
    assert!(token(&[named]).unwrap().unwrap().matches(b"s3cret"));
    assert!(token(&[]).unwrap().is_none());
    assert!(token(&[("SLUICEGATE_SYSTEM__AUTH_TOKEN_FILE", "/nonexistent/token")]).is_err());
    let upstream = token(&[("PROXY_HTTP_API_AUTH_TOKEN", "theirs")]).unwrap();
    assert!(upstream.unwrap().matches(b"theirs"));
}

#[test]
fn the_examples_hold() {
    let mut seen = Vec::new();
    for entry in fs::read_dir("examples").unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            Settings::load(Some(&path), &Environment::default()).unwrap();
            seen.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    seen.sort();
    for name in [
        "default-origin.toml",
        "minimal.toml",
        "reference.toml",
        "srs-origins.toml",
    ] {
        assert!(
            seen.iter().any(|file| file == name),
            "{name} is missing among {seen:?}"
        );
    }
}

#[test]
fn the_guide_tells_the_truth() {
    let guide = include_str!("../docs/settings.md");
    let blocks: Vec<&str> = guide
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        load(block, &[], "").unwrap();
    }
    let dotenv = guide
        .split("```sh\n# .env\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let loaded = load("", &[], dotenv).unwrap();
    assert_eq!(loaded.settings.http.listen, Opening::Set(listen("8080")));
    assert!(
        loaded
            .settings
            .system
            .auth_token
            .matches(b"choose-a-secret")
    );

    let known = |name: &str| {
        TABLE
            .iter()
            .any(|setting| setting.env == Some(name) || setting.variable() == name)
    };
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = guide
        .split(|c| !is_letter(c))
        .filter(|word| word.starts_with("PROXY_"));
    // Prefixes, and variables that Kubernetes sets.
    let others = ["PROXY_", "PROXY_REDIS_", "PROXY_SERVICE_HOST"];
    let unknown: Vec<&str> = names.filter(|n| !known(n) && !others.contains(n)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn an_empty_value_closes_a_listener_and_the_srs_name_stands_for_the_default() {
    for (cause, file, variables) in [
        ("a text", "[rtsp]\nlisten = \"\"", vec![]),
        ("a list", "[rtsp]\nlisten = []", vec![]),
        ("our variable", "", vec![("SLUICEGATE_RTSP__LISTEN", "")]),
    ] {
        let settings = load(file, &variables, "").unwrap().settings;
        assert_eq!(settings.rtsp.listen, Opening::Closed, "{cause}");
    }
    let settings = load("", &[("PROXY_RTSP_SERVER", "")], "").unwrap().settings;
    assert_eq!(settings.rtsp.listen, Opening::Default(listen("18554")));
    let settings = load("", &[("PROXY_RTSP_SERVER", "18554")], "")
        .unwrap()
        .settings;
    assert_eq!(settings.rtsp.listen, Opening::Set(listen("18554")));
}

#[test]
fn an_origin_that_is_the_proxy_itself_is_refused() {
    let default = "[default_origin]\nenabled = true\n";
    let listed = |ip: &str, endpoint: &str| format!("[[origin]]\nip = \"{ip}\"\n{endpoint}\n");
    for (cause, file, expected) in [
        (
            "a listed origin",
            listed("localhost", "rtmp = 11935"),
            "has rtmp at localhost:11935, which is this proxy itself (rtmp.listen)",
        ),
        (
            "datagrams",
            listed("127.0.0.1", "srt = 20080"),
            "has srt at 127.0.0.1:20080, which is this proxy itself (srt.listen)",
        ),
        (
            "the listener's very address",
            format!(
                "{}[rtmp]\nlisten = \"192.0.2.1:1935\"",
                listed("192.0.2.1", "rtmp = 1935")
            ),
            "has rtmp at 192.0.2.1:1935",
        ),
    ] {
        let error = load(&file, &[], "").expect_err(cause).to_string();
        assert!(error.contains(expected), "{cause}: {error}");
    }
    // The SRS proxy starts with that, and serves what else it has.
    let file = format!("{default}[rtmp]\nlisten = 1935");
    let warnings = load(&file, &[], "").expect("it is a warning").warnings;
    let expected =
        "default_origin has rtmp at 127.0.0.1:1935, which is this proxy itself (rtmp.listen)";
    assert!(
        warnings.iter().any(|one| one.contains(expected)),
        "{warnings:?}"
    );
    for (cause, file) in [
        ("another port", format!("{default}[rtmp]\nlisten = 1936")),
        ("it is off", "[rtmp]\nlisten = 1935\n".to_owned()),
        (
            "perhaps another machine",
            listed("192.0.2.1", "rtmp = 11935"),
        ),
        (
            "another address",
            format!(
                "{}[rtmp]\nlisten = \"192.0.2.1:1935\"",
                listed("127.0.0.1", "rtmp = 1935")
            ),
        ),
        ("another transport", listed("127.0.0.1", "rtmp = 20080")),
    ] {
        if let Err(error) = load(&file, &[], "") {
            panic!("{cause}: {error}");
        }
    }
}

#[test]
fn two_listeners_with_one_port_are_named() {
    let mesh = "[store]\ntype = \"mesh\"\n[mesh]\nlisten = \"127.0.0.1:7000\"\n";
    for (cause, file, expected) in [
        (
            "one port twice",
            "[rtmp]\nlisten = 7000\n[http]\nlisten = 7000",
            "rtmp.listen and http.listen want one port ([::]:7000); give one of them another port",
        ),
        (
            "the system API, which is always served",
            "[http]\nlisten = 12025",
            "system.listen and http.listen want one port ([::]:12025)",
        ),
        (
            "every interface and one of them",
            "[rtsp]\nlisten = \"127.0.0.1:7000\"\n[api]\nlisten = \"0.0.0.0:7000\"",
            "api.listen and rtsp.listen want one port (0.0.0.0:7000 and 127.0.0.1:7000)",
        ),
        (
            "the datagrams of two",
            "[srt]\nlisten = 7000\n[rtc]\nlisten = 7000",
            "srt.listen and rtc.listen want one port ([::]:7000)",
        ),
        (
            "media over TCP, which somebody asked for",
            "[rtc]\nlisten = 7000\ntcp = true\n[http]\nlisten = 7000",
            "http.listen and rtc.listen want one port ([::]:7000); WebRTC media is taken over TCP too",
        ),
        (
            "media over TCP at its default port, which somebody asked for",
            "[rtc]\ntcp = true\n[http]\nlisten = 18000",
            "http.listen and rtc.listen want one port ([::]:18000); WebRTC media is taken over TCP too",
        ),
        (
            "the mesh and all addresses",
            &format!("{mesh}[srt]\nlisten = 7000"),
            "srt.listen and mesh.listen want one port ([::]:7000 and 127.0.0.1:7000)",
        ),
        (
            "a port with TLS",
            "[rtmp]\nlisten = 7000\ntls_listen = 7000",
            "rtmp.listen and rtmp.tls_listen want one port",
        ),
        (
            "one setting, one address twice",
            "[rtmp]\nlisten = [7000, 7000]",
            "rtmp.listen names [::]:7000 twice",
        ),
        (
            "one setting, an address within another",
            "[rtmp]\nlisten = [\"[::]:7000\", \"0.0.0.0:7000\"]",
            "rtmp.listen names [::]:7000 and 0.0.0.0:7000, and one includes the other",
        ),
    ] {
        let error = load(file, &[], "").expect_err(cause).to_string();
        assert!(error.contains(expected), "{cause}: {error}");
    }
    for (cause, file) in [
        (
            "one for streams, one for datagrams",
            "[rtmp]\nlisten = 7000\n[srt]\nlisten = 7000",
        ),
        (
            "media over UDP alone",
            "[rtc]\nlisten = 7000\ntcp = false\n[http]\nlisten = 7000",
        ),
        (
            "two addresses",
            "[rtmp]\nlisten = \"127.0.0.1:7000\"\n[http]\nlisten = [\"127.0.0.2:7000\", \"[::1]:7000\"]",
        ),
        (
            "datagrams for one address, and for all others",
            "[srt]\nlisten = \"127.0.0.1:7000\"\n[rtc]\nlisten = 7000",
        ),
        (
            "ports that the system chooses",
            "[rtmp]\nlisten = 0\n[http]\nlisten = 0",
        ),
    ] {
        let loaded = load(file, &[], "").expect(cause);
        let told = loaded.warnings.iter().any(|it| it.contains("port"));
        assert!(!told, "{cause}: {:?}", loaded.warnings);
    }
}

#[test]
fn a_listener_at_its_default_port_gives_way_to_one_that_is_set_there() {
    let loaded = start("[http]\nlisten = 11935", &[]).unwrap();
    assert_eq!(loaded.settings.rtmp.listen, Opening::Closed);
    assert_eq!(loaded.settings.http.listen, Opening::Set(listen("11935")));
    let expected = "rtmp is not served: http.listen has its default port 11935. Move it with \
        SLUICEGATE_RTMP__LISTEN=11936 (rtmp.listen = 11936 in the settings file), or close it with \
        SLUICEGATE_RTMP__LISTEN= (rtmp.listen = \"\")";
    let told = loaded.warnings.iter().any(|warning| warning == expected);
    assert!(told, "{:?}", loaded.warnings);
}

#[test]
fn media_over_tcp_gives_way_where_nobody_asked_for_it() {
    let go = [
        ("PROXY_HTTP_SERVER", "8000"),
        ("PROXY_WEBRTC_SERVER", "8000"),
    ];
    for (cause, file, variables, has_port) in [
        (
            "two settings of the Go proxy, which takes media over UDP alone",
            "",
            &go[..],
            "http.listen has port 8000",
        ),
        (
            "the default port of media",
            "[http]\nlisten = 18000",
            &[],
            "http.listen has port 18000",
        ),
        (
            "the default port of another listener",
            "[rtc]\nlisten = 18080",
            &[],
            "http.listen has port 18080",
        ),
        (
            "a listener with TLS",
            "[rtc]\nlisten = 7000\n[rtmp]\ntls_listen = 7000\n[tls]\nself_signed = true",
            &[],
            "rtmp.tls_listen has port 7000",
        ),
        (
            "two listeners, each on an address of its own",
            "[rtc]\nlisten = 7000\n[http]\nlisten = \"127.0.0.1:7000\"\n[api]\nlisten = \"127.0.0.2:7000\"",
            &[],
            "http.listen has port 7000",
        ),
    ] {
        let environment = environment(variables, "");
        let path = write(file);
        let loaded = Settings::load_for(&[], Some(&path), &environment).expect(cause);
        let settings = &loaded.settings;
        assert!(!settings.rtc.tcp, "{cause}");
        assert_ne!(settings.rtc.listen, Opening::Closed, "{cause}");
        assert_ne!(settings.http.listen, Opening::Closed, "{cause}");
        let told = loaded.warnings.iter().filter(|it| it.contains("port"));
        let told: Vec<_> = told.collect();
        let expected = format!(
            "WebRTC media is taken over UDP alone: {has_port} for TCP. Give one of them another port, or say so with \
             SLUICEGATE_RTC__TCP=off (rtc.tcp = false in the settings file)"
        );
        assert_eq!(told, [&expected], "{cause}");
    }
    let loaded = load("[rtc]\ntcp = true\nlisten = 18080", &[], "").expect("a default gives way");
    assert_eq!(loaded.settings.http.listen, Opening::Closed);
    assert!(loaded.settings.rtc.tcp, "somebody asked for it");
}

#[test]
fn a_listener_with_sockets_from_outside_clashes_with_none() {
    let socket = |listener: &str, is_tcp, at: &str| PassedSocket {
        listener: listener.to_owned(),
        is_tcp,
        address: at.parse().unwrap(),
    };
    let rtmp = socket("rtmp", true, "0.0.0.0:1935");
    let http = socket("http", true, "0.0.0.0:80");
    let media = socket("rtc", false, "0.0.0.0:8000");
    for (cause, file, passed) in [
        (
            "one at its default port",
            "[http]\nlisten = 11935",
            vec![rtmp.clone()],
        ),
        (
            "one that is set at a default port",
            "[http]\nlisten = 11935",
            vec![http.clone()],
        ),
        (
            "two that are set",
            "[rtmp]\nlisten = 7000\n[http]\nlisten = 7000",
            vec![rtmp.clone(), http],
        ),
        (
            "one of two that are set",
            "[rtmp]\nlisten = 7000\n[http]\nlisten = 7000",
            vec![rtmp.clone()],
        ),
        (
            "one with TLS",
            "[rtmp]\ntls_listen = 7000\n[http]\nlisten = 7000\n[tls]\nself_signed = true",
            vec![socket("rtmp_tls", true, "0.0.0.0:1936")],
        ),
        (
            "media, which is taken over TCP where its datagrams arrive",
            "[rtc]\ntcp = true\n[http]\nlisten = 18000",
            vec![media.clone()],
        ),
    ] {
        let loaded = start(file, &passed).expect(cause);
        let told = loaded.warnings.iter().any(|it| it.contains("port"));
        assert!(!told, "{cause}: {:?}", loaded.warnings);
        assert_ne!(loaded.settings.rtmp.listen, Opening::Closed, "{cause}");
        assert_ne!(loaded.settings.rtc.listen, Opening::Closed, "{cause}");
    }
    for (cause, file, passed) in [
        (
            "a socket for another listener",
            "[rtsp]\nlisten = 7000\n[http]\nlisten = 7000",
            rtmp,
        ),
        (
            "datagrams that are no streams",
            "[rtmp]\nlisten = 7000\n[http]\nlisten = 7000",
            socket("rtmp", false, "0.0.0.0:1935"),
        ),
        (
            "media over TCP where its datagrams arrive",
            "[rtc]\ntcp = true\n[http]\nlisten = 8000",
            media,
        ),
    ] {
        let error = start(file, &[passed]).expect_err(cause).to_string();
        assert!(error.contains("want one port"), "{cause}: {error}");
        assert!(!error.contains("systemd"), "{cause}: {error}");
    }
    let unseen = "(sockets that systemd passes at start are not seen here; a listener that has them binds no port)";
    let warnings = load("[http]\nlisten = 11935", &[], "").unwrap().warnings;
    assert!(
        warnings.iter().any(|it| it.ends_with(unseen)),
        "{warnings:?}"
    );
    let error = load("[rtmp]\nlisten = 7000\n[http]\nlisten = 7000", &[], "").unwrap_err();
    assert!(error.to_string().ends_with(unseen), "{error}");
}

#[test]
fn a_redis_is_told_by_its_parts_or_by_a_url_that_wins() {
    let parts = [
        ("PROXY_LOAD_BALANCER_TYPE", "redis"),
        ("PROXY_REDIS_HOST", "10.0.0.6"),
        ("PROXY_REDIS_PORT", "7000"),
        ("PROXY_REDIS_PASSWORD", "p@ss"),
        ("PROXY_REDIS_DB", "3"),
        ("PROXY_REDIS_KEY_PREFIX", "prod"),
    ];
    let store = load("", &parts, "").unwrap().settings.store;
    let written = "redis://:p%40ss@10.0.0.6:7000/3";
    assert_eq!(store.redis, Some(written.parse().unwrap()));
    assert_eq!(store.prefix, "prod");
    assert_eq!(store.timeout, Duration::from_millis(300));
    let url = "rediss://gate:word@cache:6380?ca=/etc/ca.pem";
    let file = format!("[store]\nurl = \"{url}\"\nwait_at_start = true\n");
    let store = load(&file, &parts, "").unwrap().settings.store;
    assert_eq!(store.redis, Some(url.parse().unwrap()));
    assert!(store.wait_at_start);
    assert_eq!(load(&file, &[], "").unwrap().settings.store.redis, None);
    let report = check(Some(&write(&file)), &environment(&[], "")).unwrap();
    assert!(!report.contains("word@"), "{report}");
}

/// `examples/reference.toml` is generated from the table, so it cannot get out of date.
#[test]
fn the_reference_shows_every_setting_with_its_default() {
    let path = Path::new("examples/reference.toml");
    let expected = reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(path, &expected).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == expected,
        "examples/reference.toml is not what the table of settings says; \
         write it again with UPDATE_REFERENCE=1 cargo test --test settings"
    );
    let from_reference = Settings::load(Some(path), &Environment::default()).unwrap();
    let mut defaults = load("", &[], "").unwrap().settings;
    // A listener that the file names is asked for, though it is where it would be anyhow.
    for opening in [
        &mut defaults.rtmp.listen,
        &mut defaults.http.listen,
        &mut defaults.api.listen,
        &mut defaults.rtsp.listen,
        &mut defaults.srt.listen,
        &mut defaults.rtc.listen,
    ] {
        let Opening::Default(listen) = opening.clone() else {
            panic!("{opening:?} is no default");
        };
        *opening = Opening::Set(listen);
    }
    assert_eq!(from_reference.settings, defaults);
    let from_file = |source: &Source| matches!(source, Source::File { .. });
    assert!(
        from_reference
            .effective
            .iter()
            .all(|entry| from_file(&entry.source))
    );
}

fn reference() -> String {
    let mut text = String::from(
        "# Every setting with its default; a file needs only those that differ. Each key is also a variable named\n\
         # SLUICEGATE_<SECTION>__<KEY>, and some have a second name, that of the SRS proxy, in brackets. Later wins: this file,\n\
         # .env, the environment. `sluicegate check` prints each value and where it is set. A secret may be in a file of its\n\
         # own: KEY_file names that file.\n",
    );
    let mut section = "";
    for setting in TABLE {
        if setting.section() != section {
            section = setting.section();
            let _ = writeln!(text, "\n[{section}]");
        }
        let upstream = setting
            .env
            .map(|name| format!(" [{name}]"))
            .unwrap_or_default();
        let _ = writeln!(text, "# {}{upstream}", setting.doc);
        let _ = writeln!(text, "{} = {}", setting.key(), setting.default_toml());
        if let Some(key) = setting.file_key() {
            let _ = writeln!(text, "# {key} = \"\"");
        }
    }
    text
}

fn load(file: &str, process: &[(&str, &str)], dotenv: &str) -> Result<Loaded, ConfigError> {
    let path = write(file);
    Settings::load(
        (!file.is_empty()).then_some(path.as_path()),
        &environment(process, dotenv),
    )
}

/// Loads settings as a process does to which these sockets were passed.
fn start(file: &str, passed: &[PassedSocket]) -> Result<Loaded, ConfigError> {
    Settings::load_for(passed, Some(&write(file)), &environment(&[], ""))
}

fn environment(process: &[(&str, &str)], dotenv: &str) -> Environment {
    let process = process
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Environment::new(process, dotenv)
}

/// A settings file of this test process, in a directory of its own.
fn write(text: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = directory.join(format!("settings-{}-{number}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("settings.toml");
    fs::write(&path, text).unwrap();
    path
}

fn write_secret(text: &str) -> PathBuf {
    let folder = write("").parent().unwrap().to_owned();
    let path = folder.join("secret");
    fs::write(&path, text).unwrap();
    path
}

fn listen(text: &str) -> Listen {
    Listen::parse(&[text]).unwrap()
}
