use serde_json::{Value, json};

use super::*;
use crate::access::credentials::{Basic, Credentials, SrtUser};
use crate::access::keys::line;

fn read(document: &Value) -> Rules {
    Rules::read(document, &|_| Ok(())).unwrap_or_else(|problems| panic!("{problems:?}"))
}

struct Asked {
    stream: StreamUrl,
    action: Action,
    protocol: Protocol,
    client: &'static str,
    credentials: Credentials,
}

fn publish(stream: &str) -> Asked {
    Asked {
        stream: stream.parse().unwrap(),
        action: Action::Publish,
        protocol: Protocol::Rtmp,
        client: "10.0.0.1",
        credentials: Credentials::default(),
    }
}

impl Asked {
    fn question(&self) -> Question<'_> {
        Question {
            stream: &self.stream,
            action: self.action,
            protocol: self.protocol,
            client: self.client.parse().unwrap(),
            credentials: &self.credentials,
        }
    }

    fn judged(&self, rules: &Rules) -> Verdict {
        let question = self.question();
        let Some((_, rule)) = rules.deciding(&question) else {
            return Verdict::Yes(Grant::default());
        };
        let (mut trial, checks) = rules.trial(rule);
        for check in checks {
            match check.examine(&question, 0) {
                Step::Answer(answer) => trial.hear(answer),
                Step::Ask | Step::Keys | Step::Password { .. } => panic!("nobody is asked here"),
            }
        }
        trial.verdict()
    }

    fn why(&self, rules: &Rules) -> Option<Why> {
        match self.judged(rules) {
            Verdict::Yes(_) => None,
            Verdict::No(denial) => Some(denial.why),
            Verdict::Later(_) => panic!("nobody is asked"),
        }
    }
}

#[test]
fn the_first_rule_that_fits_decides() {
    let rules = read(&json!({"access": [
        {"app": "live", "stream": "cam-*", "action": "publish", "network": "10.0.0.0/8", "decide": "allow"},
        {"app": ["live", "vod"], "action": "publish", "decide": "deny"},
        {"vhost": "private.example", "protocol": ["http"], "decide": "deny"},
    ]}));
    let mut elsewhere = publish("a.example/live/cam-1");
    elsewhere.client = "192.0.2.1";
    let mut player = publish("private.example/live/a");
    player.action = Action::Play;
    let mut http = publish("private.example/other/a");
    http.protocol = Protocol::HttpSegments;
    let rows = [
        ("the first", publish("a.example/live/cam-1"), Some(1), None),
        (
            "another stream",
            publish("a.example/live/a"),
            Some(2),
            Some(Why::Forbidden),
        ),
        ("another network", elsewhere, Some(2), Some(Why::Forbidden)),
        (
            "another protocol",
            publish("private.example/other/a"),
            None,
            None,
        ),
        ("a protocol of a group", http, Some(3), Some(Why::Forbidden)),
        ("another action", player, None, None),
        ("no rule", publish("a.example/other/a"), None, None),
    ];
    for (cause, asked, rule, why) in rows {
        let question = asked.question();
        let deciding = rules.deciding(&question).map(|(number, _)| number);
        assert_eq!(deciding, rule, "{cause}");
        assert_eq!(asked.why(&rules), why, "{cause}");
    }
    let stream = "a.example/live/cam-1".parse().unwrap();
    assert!(rules.may_judge(&stream, Action::Publish));
    assert!(!rules.may_judge(&stream, Action::Play));
}

#[test]
fn a_key_may_stand_wherever_a_protocol_has_room_for_one() {
    let key = line("encoder-1", b"salt", "secret-1");
    let rules = read(&json!({
        "check": [{"name": "encoders", "kind": "keys", "keys": [key]}],
        "access": [{"all": ["encoders"]}],
    }));
    let basic = |user: &str, password: &str| Basic {
        user: user.into(),
        password: password.into(),
    };
    let none = Credentials::default;
    let rows = [
        ("nothing", none(), Some(Why::Unknown)),
        (
            "bearer",
            Credentials {
                bearer: Some("secret-1".into()),
                ..none()
            },
            None,
        ),
        (
            "another bearer",
            Credentials {
                bearer: Some("secret-2".into()),
                ..none()
            },
            Some(Why::Unknown),
        ),
        (
            "a password",
            Credentials {
                basic: Some(basic("x", "secret-1")),
                ..none()
            },
            None,
        ),
        (
            "an SRT key",
            Credentials {
                srt: Some(SrtUser {
                    user: None,
                    key: Some("secret-1".into()),
                }),
                ..none()
            },
            None,
        ),
        (
            "a query",
            Credentials {
                query: Some("key=secret-1&x=1".into()),
                ..none()
            },
            None,
        ),
        (
            "another parameter",
            Credentials {
                query: Some("token=secret-1".into()),
                ..none()
            },
            Some(Why::Unknown),
        ),
        (
            "two of them",
            Credentials {
                query: Some("key=secret-2&key=secret-1".into()),
                ..none()
            },
            Some(Why::Unknown),
        ),
        (
            "a cookie",
            Credentials {
                cookie: Some("a=b; key=secret-1".into()),
                ..none()
            },
            None,
        ),
    ];
    for (cause, credentials, expected) in rows {
        let mut asked = publish("a.example/live/a");
        asked.credentials = credentials;
        assert_eq!(asked.why(&rules), expected, "{cause}");
    }
    let mut asked = publish("a.example/live/a");
    asked.credentials.query = Some("key=secret-1".into());
    let Verdict::Yes(grant) = asked.judged(&rules) else {
        panic!("it may");
    };
    assert_eq!(grant.who.viewer.as_deref(), Some("encoder-1"));
    assert_eq!(grant.used, ["key".into()]);
}

#[test]
fn a_password_that_nobody_has_takes_as_long() {
    let hash = "$argon2id$v=19$m=16,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAAAAAAAAAAAAAAAAAAAA";
    let rules = read(&json!({
        "check": [{"name": "staff", "kind": "passwords", "users": format!("# people\nann:{hash}\n")}],
        "access": [{"any": "staff"}],
    }));
    let examine = |user: &str| {
        let mut asked = publish("a.example/live/a");
        asked.credentials.query = Some(format!("user={user}&pass=x").into());
        rules.checks[0].examine(&asked.question(), 0)
    };
    let Step::Password { then, .. } = examine("ann") else {
        panic!("compared");
    };
    assert!(matches!(*then, Verdict::Yes(_)));
    let Step::Password { then, .. } = examine("bob") else {
        panic!("compared too");
    };
    assert_eq!(*then, wrong_password());
}

#[test]
fn rules_are_said_in_plain_words() {
    let key = line("encoder-1", b"salt", "secret-1");
    let rules = read(&json!({
        "check": [
            {"name": "encoders", "kind": "keys", "keys": key},
            {"name": "office", "kind": "networks", "networks": ["10.0.0.0/8"]},
            {"name": "links", "kind": "signed", "secrets": ["hidden"]},
        ],
        "access": [
            {"app": "live", "action": "publish", "protocol": ["rtmp", "srt"], "all": ["encoders", "office"]},
            {"stream": ["a-*", "b"], "network": "192.0.2.0/24", "any": ["links"], "take_out": true},
            {"decide": "deny"},
        ],
    }));
    let words: Vec<String> = rules.in_words().collect();
    assert_eq!(
        words,
        [
            "who wants to publish app live over rtmp or srt may if all of encoders (the one key), office (from 10.0.0.0/8) says yes",
            "who wants to publish or play stream a-* or b from 192.0.2.0/24 may if links (an address signed as sluicegate) says yes; what was shown is kept from the origin",
            "who wants to publish or play any stream may not",
        ]
    );
    let printed = format!("{rules:?}");
    assert!(
        !printed.contains("hidden") && !printed.contains("secret-1"),
        "{printed}"
    );
}

#[test]
fn the_hosts_of_rules_have_no_case() {
    let rules = read(&json!({"access": [{"vhost": "TV.Example.com", "decide": "deny"}]}));
    let why = |stream: &str| publish(stream).why(&rules);
    assert_eq!(why("tv.example.com/live/a"), Some(Why::Forbidden));
    assert_eq!(why("cam.example.com/live/a"), None);
    let words: Vec<String> = rules.in_words().collect();
    assert_eq!(
        words,
        ["who wants to publish or play vhost tv.example.com may not"]
    );
}

#[test]
fn what_is_wrong_is_named_and_never_quoted() {
    let check = |check: Value| json!({"check": [check]});
    let rule = |rule: Value| json!({"access": [rule]});
    let rows = [
        (rule(json!({})), "[[access]] 1: a rule has exactly one of"),
        (
            rule(json!({"decide": "allow", "all": "x"})),
            "[[access]] 1: a rule has exactly one of",
        ),
        (
            rule(json!({"decide": "maybe"})),
            "[[access]] 1: a rule has exactly one of",
        ),
        (
            rule(json!({"all": ["x"]})),
            "[[access]] 1: all: there is no [[check]] with the name \"x\"",
        ),
        (
            rule(json!({"all": []})),
            "[[access]] 1: all: it names no check",
        ),
        (
            rule(json!({"decide": "deny", "protocol": "ftp"})),
            "[[access]] 1: protocol: none of",
        ),
        (
            rule(json!({"decide": "deny", "network": "hidden"})),
            "[[access]] 1: network: not a network",
        ),
        (
            rule(json!({"decide": "deny", "action": "hidden"})),
            "[[access]] 1: action:",
        ),
        (
            rule(json!({"decide": "deny", "apps": "x"})),
            "[[access]] 1: unknown key apps",
        ),
        (
            rule(json!({"decide": "deny", "vhost": "hidden"})),
            "[[access]] 1: vhost: no client has this vhost",
        ),
        (
            rule(json!({"decide": "deny", "app": ["live", "/hidden"]})),
            "[[access]] 1: app: an app has no slash at its beginning",
        ),
        (
            rule(json!({"decide": "deny", "stream": "live/hidden"})),
            "[[access]] 1: stream: the name of a stream has no slash",
        ),
        (
            json!({"limit": [{"per": "stream", "viewers": 1, "vhost": "tv.example.com:18080"}]}),
            "[[limit]] 1: vhost: a vhost has no port",
        ),
        (json!({"access": {"decide": "deny"}}), "[access]: a list"),
        (check(json!({"name": "x"})), "[[check]] 1: kind:"),
        (
            check(json!({"name": "x", "kind": "keys"})),
            "[[check]] 1: keys: missing",
        ),
        (
            check(json!({"name": "x", "kind": "keys", "keys": "hidden"})),
            "[[check]] 1: keys: not NAME:SALT:HASH",
        ),
        (
            check(json!({"name": "x y", "kind": "networks", "networks": "::1"})),
            "[[check]] 1: name:",
        ),
        (
            check(json!({"name": "x", "kind": "signed"})),
            "[[check]] 1: secrets: missing",
        ),
        (
            check(json!({"name": "x", "kind": "signed", "scheme": "hidden"})),
            "[[check]] 1: scheme:",
        ),
        (
            check(
                json!({"name": "x", "kind": "signed", "scheme": "nginx", "expression": "$uri hidden"}),
            ),
            "[[check]] 1: expression: the expression must hold",
        ),
        (
            check(
                json!({"name": "x", "kind": "signed", "scheme": "nginx", "secrets": "hidden", "expression": "$secure_link_expires"}),
            ),
            "[[check]] 1: secrets: the expression does not use them",
        ),
        (
            check(json!({"name": "x", "kind": "jwt"})),
            "[[check]] 1: a jwt check needs jwks, jwks_url or secrets",
        ),
        (
            check(json!({"name": "x", "kind": "jwt", "secrets": "hidden"})),
            "[[check]] 1: secrets: a secret of fewer",
        ),
        (
            check(
                json!({"name": "x", "kind": "jwt", "jwks_url": "https://u:hidden@h.example/jwks"}),
            ),
            "[[check]] 1: jwks_url: not a URL",
        ),
        (
            check(
                json!({"name": "x", "kind": "hook", "shape": "srs", "on_play": "http://h/",
                    "on_close": "http://u:hidden@h/"}),
            ),
            "[[check]] 1: on_close: not a URL",
        ),
        (
            check(json!({"name": "x", "kind": "passwords", "users": ["hidden"]})),
            "[[check]] 1: users: not NAME:HASH",
        ),
        (
            json!({"check": [
                {"name": "x", "kind": "networks", "networks": "::1"},
                {"name": "x", "kind": "networks", "networks": "::1"},
            ]}),
            "[[check]] 2: x is named twice",
        ),
    ];
    for (document, expected) in rows {
        let is_url = |text: &str| match text.contains('@') {
            true => Err("not a URL".to_owned()),
            false => Ok(()),
        };
        let problems = Rules::read(&document, &is_url).unwrap_err();
        let problem = problems[0].to_string();
        assert!(problem.starts_with(expected), "{document}: {problem}");
        assert!(!problem.contains("hidden"), "{problem}");
    }
}

fn logins(more: Value) -> Rules {
    let users = [crate::access::digests::line("pub1", "s3cret")];
    let keys = [line("encoder-1", b"salt", "secret-1")];
    read(&json!({
        "check": [
            {"name": "users", "kind": "digest", "users": users, "algorithms": ["sha-256", "md5"]},
            {"name": "keys", "kind": "keys", "keys": keys},
            {"name": "home", "kind": "networks", "networks": ["192.0.2.0/24"]},
        ],
        "access": more,
    }))
}

#[test]
fn a_client_is_asked_to_log_in_where_nothing_else_lets_it_in() {
    let rows = [
        ("all", json!([{"all": ["users"]}]), true),
        ("one of all", json!([{"all": ["keys", "users"]}]), true),
        ("any of one", json!([{"any": ["users"]}]), true),
        ("a key would do", json!([{"any": ["keys", "users"]}]), false),
        ("it is not there", json!([{"any": ["home", "users"]}]), true),
        ("no rule", json!([]), false),
        (
            "another app",
            json!([{"app": "cam", "all": ["users"]}]),
            false,
        ),
        (
            "a stream of its app",
            json!([{"stream": "b", "all": ["users"]}]),
            true,
        ),
        (
            "all others of its app",
            json!([{"stream": "b", "decide": "allow"}, {"all": ["users"]}]),
            true,
        ),
        (
            "nobody else comes that far",
            json!([{"decide": "allow"}, {"all": ["users"]}]),
            false,
        ),
        (
            "players",
            json!([{"action": "play", "all": ["users"]}]),
            false,
        ),
        (
            "another network",
            json!([{"network": "192.0.2.0/24", "all": ["users"]}]),
            false,
        ),
    ];
    for (cause, more, expected) in rows {
        let rules = logins(more);
        let asked = publish("h.example/live/-");
        assert_eq!(rules.wants_login(&asked.question()), expected, "{cause}");
    }
    let mut at_home = publish("h.example/live/-");
    at_home.client = "192.0.2.7";
    let rules = logins(json!([{"any": ["home", "users"]}]));
    assert!(!rules.wants_login(&at_home.question()), "it is there");
}

#[test]
fn a_challenge_offers_what_the_checks_take() {
    use crate::access::challenge::AnswerScheme::{Md5, Sha256};
    let rows = [
        (
            "users",
            json!([{"all": ["users"]}]),
            false,
            vec![Sha256, Md5],
        ),
        (
            "both",
            json!([{"any": ["keys", "users"]}]),
            true,
            vec![Sha256, Md5],
        ),
        ("keys", json!([{"all": ["keys"]}]), true, vec![]),
        ("neither", json!([{"all": ["home"]}]), true, vec![]),
    ];
    for (cause, more, basic, digest) in rows {
        let rules = logins(more);
        let asked = publish("h.example/live/a");
        let expected = Challenges { basic, digest };
        assert_eq!(rules.challenges(&asked.question()), expected, "{cause}");
        let takes_basic = cause != "neither";
        assert_eq!(rules.takes_basic(&asked.question()), takes_basic, "{cause}");
    }
    assert!(logins(json!([])).have_logins());
}

#[test]
fn headers_are_kept_from_origins_where_a_rule_says_so() {
    let asked = publish("h.example/live/a");
    let rules = logins(json!([{"all": ["keys"], "take_out": true}]));
    let expected = [UsedHeader::Authorization, UsedHeader::Cookie("key".into())];
    assert_eq!(rules.headers_to_take_out(&asked.question()), expected);
    let rules = logins(json!([{"all": ["keys"]}]));
    assert_eq!(rules.headers_to_take_out(&asked.question()), []);
}
