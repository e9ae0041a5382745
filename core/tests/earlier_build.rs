//! What the build of 2026-11-21 wrote for other proxies, byte for byte, as it was found in a Redis. Later builds read it,
//! and write nothing else under these keys, so that a fleet can be half of one build and half of the other. What proxies
//! share since then are records, which have versions.

use sluicegate_core::cluster::mesh::{Fact, Row, Word};
use sluicegate_core::cluster::peers::{
    DUTY, DutyRecord, PROXY, PeerRecord, REPORT, ReportRecord, Wanted,
};
use sluicegate_core::cluster::srs::{
    OTHER_SERVERS, PLACEMENT, SERVERS, named_origin, parse_server_record, server_key, server_record,
};
use sluicegate_core::fleet::origin::AddressRules;
use sluicegate_core::rtc::record::{
    Authorized, CALL, CHECK, CallRecord, StandingCall, check_record, parse_check_record,
};
use sluicegate_core::rtc::sdp::Check;
use sluicegate_core::stream::{Action, StreamUrl, VhostRule};

/// An origin's key, its record, and when that was written.
const ORIGINS: &[(&str, &str, &str)] = &[
    (
        "srs-proxy-server:vid-a-s1-7",
        r#"{"device_id":"d","http":["tcp://10.0.0.8:80"],"ip":"127.0.0.1","labels":["gpu"],"max_streams":3,"pid":"7","rtc":["udp://:8000","tcp://:8000"],"rtmp":["39936"],"server_id":"vid-a","service_id":"s1","srt":["udp://:10080"],"update_at":"2026-11-28T16:36:26.654819831Z","weight":50,"zone":"eu"}"#,
        "2026-11-28T16:36:26.654819831Z",
    ),
    (
        "srs-proxy-server:vid-b-s1-8",
        r#"{"ip":"127.0.0.1","pid":"8","rtmp":["39937"],"server_id":"vid-b","service_id":"s1","update_at":"2026-11-28T16:36:26.689531935Z","weight":100}"#,
        "2026-11-28T16:36:26.689531935Z",
    ),
    (
        "sluicegate-server:camera-s-2",
        r#"{"ip":"127.0.0.1","pid":"2","rtsp":["39556"],"server_id":"camera","service_id":"s","update_at":"2026-11-28T16:36:26.666616239Z","weight":100}"#,
        "2026-11-28T16:36:26.666616239Z",
    ),
];

/// A duty's record, and what it says.
#[rustfmt::skip]
const DUTIES: &[(&str, u64, Wanted)] = &[
    (r#"{"at":1795883786710,"deadline":null,"duty":"active"}"#, 1_795_883_786_710, Wanted::Active),
    (r#"{"at":1795883786710,"deadline":null,"duty":"disabled"}"#, 1_795_883_786_710, Wanted::Disabled),
    (r#"{"at":1795883786710,"deadline":null,"duty":"gone"}"#, 1_795_883_786_710, Wanted::Gone),
    (r#"{"at":1795883786710,"deadline":null,"duty":"leaving"}"#, 1_795_883_786_710, Wanted::Leaving),
    (r#"{"at":1795883786696,"deadline":1795884386696,"duty":"draining"}"#, 1_795_883_786_696, Wanted::Draining(Some(1_795_884_386_696))),
    (r#"{"at":1795883786696,"deadline":null,"duty":"draining"}"#, 1_795_883_786_696, Wanted::Draining(None)),
];

/// A row of the mesh as its proxy tells it, and what it says.
#[rustfmt::skip]
const WORDS: &[(&str, u64, u64, Option<&str>)] = &[
    ("4 7 held 60000 1760000000000 srs-proxy-server:vid-a-s1-7", 4, 7, Some("srs-proxy-server:vid-a-s1-7")),
    ("5 7 ended", 5, 7, None),
    ("6 8 removed", 6, 8, None),
];

fn stream() -> StreamUrl {
    "__defaultVhost__/live/a".parse().expect("a stream")
}

#[test]
fn origins_and_placements() {
    for (key, text, at) in ORIGINS {
        let (origin, updated_at) = parse_server_record(text, &AddressRules::default()).expect(key);
        assert_eq!(updated_at, *at, "{key}");
        assert_eq!(server_key(&origin), *key);
        assert_eq!(server_record(&origin, at), *text, "{key}");
        assert!(
            named_origin(key).is_some(),
            "{key} is the value of a placement"
        );
    }
    assert_eq!(
        (SERVERS, OTHER_SERVERS, PLACEMENT),
        (
            "srs-proxy-all-servers",
            "sluicegate-all-servers",
            "srs-proxy-url:"
        )
    );
}

#[test]
fn proxies_duties_and_reports() {
    let text = r#"{"started":"2026-11-28T16:36:25.17585794Z","system":"127.0.0.1:39025","version":"0.1.0"}"#;
    let peer = PeerRecord::parse(text).expect("a proxy");
    assert_eq!(
        peer.system.as_ref().map(ToString::to_string).as_deref(),
        Some("127.0.0.1:39025")
    );
    assert_eq!(peer.text(), text);
    for &(text, at, wanted) in DUTIES {
        let duty = DutyRecord { at, wanted };
        assert_eq!(DutyRecord::parse(text), Some(duty), "{text}");
        assert_eq!(duty.text(), text);
    }
    let text = r#"{"origin":"srs-proxy-server:vid-a-s1-7","stream":"__defaultVhost__/live/a"}"#;
    let report = ReportRecord::parse(text).expect("a report");
    assert_eq!(report.stream, stream());
    assert_eq!(report.text(), text);
    assert_eq!(
        (PROXY, DUTY, REPORT),
        (
            "sluicegate-proxy:",
            "sluicegate-duty:",
            "sluicegate-published:"
        )
    );
}

#[test]
fn calls() {
    let text = r#"{"action":"publish","carrier":"a1","client":"[2001:db8::1]:4000","fragments":["c",null],"media":"10.0.0.7:8000","origin":"srs-proxy-server:a-s-1","resource":"/rtc/v1/whip/?token=x","stream":"__defaultVhost__/live/a"}"#;
    let call = CallRecord::Stands(Box::new(StandingCall {
        carrier: "a1".to_owned(),
        client: "[2001:db8::1]:4000".parse().expect("an address"),
        action: Action::Publish,
        authorized: Authorized::No,
        bare_tags: false,
        fragments: vec![Some("c".to_owned()), None],
        media: "10.0.0.7:8000".parse().expect("an address"),
        origin: "srs-proxy-server:a-s-1".to_owned(),
        resource: Some("/rtc/v1/whip/?token=x".to_owned()),
        stream: stream(),
    }));
    for (text, record) in [(text, call), (r#"{"over":true}"#, CallRecord::Over)] {
        assert_eq!(CallRecord::parse(text).as_ref(), Some(&record));
        assert_eq!(record.text(), text);
    }
    let check = Check {
        username: "orig:clnt".to_owned(),
        password: "0123456789012345678901".to_owned(),
    };
    let text = r#"{"sluicegate_call":"id","sluicegate_pwd":"0123456789012345678901","stream_url":"__defaultVhost__/live/a","ufrag":"orig:clnt"}"#;
    assert_eq!(
        check_record(&VhostRule::default().key(&stream()), &check, "id"),
        text
    );
    let read = parse_check_record(text).expect("a check");
    assert_eq!(
        (read.call.as_str(), &read.password),
        ("id", &check.password)
    );
    assert_eq!((CALL, CHECK), ("sluicegate-call:", "srs-proxy-ufrag:"));
}

#[test]
fn rows_of_a_mesh() {
    for &(text, number, fence, value) in WORDS {
        let word = Word::parse(text).expect(text);
        assert_eq!(
            (word.number, word.row.fence, word.row.value()),
            (number, fence, value),
            "{text}"
        );
        assert_eq!(word.encode(), text);
    }
    let removed = Word::parse(WORDS[2].0).map(|word| word.row);
    let fact = Fact::Removed;
    assert_eq!(removed, Some(Row { fence: 8, fact }));
}
