//! What an origin may say in its registration, and where it is then dialled.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluicegate_core::fleet::attributes::Attributes;
use sluicegate_core::fleet::origin::{
    AddressError, AddressRules, Endpoint, EndpointError, Host, MAX_REGISTRATION, Origin,
    RegistrationError, Target, Transport, parse_registration,
};
use sluicegate_core::stream::Service;

/// cause, text, written form; read as an endpoint of RTMP
#[rustfmt::skip]
const ENDPOINTS: &[(&str, &str, &str)] = &[
    ("a port", "1935", "tcp://:1935"),
    ("a port behind a colon", ":1935", "tcp://:1935"),
    ("every IPv4 address", "0.0.0.0:1935", "tcp://:1935"),
    ("every IPv6 address", "[::]:1935", "tcp://:1935"),
    ("an IPv4 address", "192.168.1.10:1935", "tcp://192.168.1.10:1935"),
    ("an IPv6 address", "[2001:db8::1]:1935", "tcp://[2001:db8::1]:1935"),
    ("a v4-mapped address", "[::ffff:10.0.0.1]:1935", "tcp://10.0.0.1:1935"),
    ("every v4-mapped address", "[::ffff:0.0.0.0]:1935", "tcp://:1935"),
    ("a name", "host.name:1935", "tcp://host.name:1935"),
    ("a name in upper case, rooted", "Host.Name.:1935", "tcp://host.name:1935"),
    ("a name without a dot", "origin-1:1935", "tcp://origin-1:1935"),
    ("tcp and a port", "tcp://1935", "tcp://:1935"),
    ("tcp and a colon", "tcp://:1935", "tcp://:1935"),
    ("tcp and an address", "TCP://10.0.0.1:1935", "tcp://10.0.0.1:1935"),
    ("tcp and an IPv6 address", "tcp://[::1]:1935", "tcp://[::1]:1935"),
    ("the older form", "tcp:0.0.0.0:1935", "tcp://:1935"),
    ("the older form with an address", "tcp:10.0.0.1:1935", "tcp://10.0.0.1:1935"),
    ("the older form with IPv6", "tcp:[::1]:1935", "tcp://[::1]:1935"),
    ("white space around it", " 1935 ", "tcp://:1935"),
    ("the highest port", "65535", "tcp://:65535"),
    ("TLS and a port", "tls://1936", "tls://:1936"),
    ("TLS and a name", "TLS://Host.Name:1936", "tls://host.name:1936"),
    ("the service's scheme", "rtmp://10.0.0.1:1936", "tcp://10.0.0.1:1936"),
    ("the service's scheme, without a port", "rtmp://10.0.0.1", "tcp://10.0.0.1:1935"),
    ("its scheme with TLS", "rtmps://host.name:1936", "tls://host.name:1936"),
    ("its scheme with TLS, without a port", "rtmps://host.name", "tls://host.name:443"),
    ("its scheme with TLS and IPv6, without a port", "RTMPS://[::1]", "tls://[::1]:443"),
    ("its scheme with a port alone", "rtmps://1936", "tls://:1936"),
];

/// cause, text, problem; read as an endpoint of RTMP
#[rustfmt::skip]
const REFUSED_ENDPOINTS: &[(&str, &str, EndpointError)] = &[
    ("port 0", "0", EndpointError::Port),
    ("port 0 of an address", "10.0.0.1:0", EndpointError::Port),
    ("a port above 65535", "65536", EndpointError::Port),
    ("a port that wraps to 1935", "67471", EndpointError::Port),
    ("a signed port", "+1935", EndpointError::Port),
    ("a negative port", "-1", EndpointError::Port),
    ("no port", "10.0.0.1:", EndpointError::Port),
    ("an address alone", "10.0.0.1", EndpointError::Port),
    ("a path behind it", "tcp://10.0.0.1:1935/live", EndpointError::Port),
    ("nothing", "", EndpointError::Port),
    ("IPv6 without brackets", "::1:1935", EndpointError::Brackets),
    ("an open bracket", "[::1:1935", EndpointError::Host),
    ("an IPv6 zone", "[fe80::1%eth0]:1935", EndpointError::Host),
    ("a name with a space", "a b:1935", EndpointError::Host),
    ("a user", "user@host:1935", EndpointError::Host),
    ("an empty label", "a..b:1935", EndpointError::Host),
    ("an address in short form", "127.1:1935", EndpointError::Host),
    ("an address as one number", "2852039166:80", EndpointError::Host),
    ("an address in hexadecimal", "0xa9fea9fe:80", EndpointError::Host),
    ("an address partly in hexadecimal", "169.254.0XA9.0xfe:80", EndpointError::Host),
    ("an address with too large a number", "1.2.3.256:80", EndpointError::Host),
    ("the scheme of another service", "https://10.0.0.1:1935", EndpointError::Scheme),
    ("TLS without a port", "tls://host.name", EndpointError::Port),
    ("the older form with TLS", "tls:10.0.0.1:1935", EndpointError::Brackets),
    ("a path behind a scheme", "rtmps://host.name/live", EndpointError::Host),
    ("UDP for RTMP", "udp://1935", EndpointError::Transport(Service::Rtmp, Transport::Tcp)),
    ("UDP in the older form", "udp:0.0.0.0:1935", EndpointError::Transport(Service::Rtmp, Transport::Tcp)),
];

/// cause, host, problem
#[rustfmt::skip]
const SPECIAL: &[(&str, &str, AddressError)] = &[
    ("every address", "0.0.0.0", AddressError::Unspecified),
    ("every IPv6 address", "::", AddressError::Unspecified),
    ("multicast", "224.0.0.1", AddressError::Multicast),
    ("IPv6 multicast", "ff02::1", AddressError::Multicast),
    ("broadcast", "255.255.255.255", AddressError::Broadcast),
    ("link-local", "169.254.1.1", AddressError::LinkLocal),
    ("IPv6 link-local", "fe80::1", AddressError::LinkLocal),
    ("AWS metadata", "169.254.169.254", AddressError::Metadata),
    ("AWS metadata, IPv6", "fd00:ec2::254", AddressError::Metadata),
    ("AWS metadata, v4-mapped", "::ffff:169.254.169.254", AddressError::Metadata),
    ("AWS metadata, v4-mapped in hexadecimal", "[::ffff:a9fe:a9fe]", AddressError::Metadata),
    ("Alibaba metadata", "100.100.100.200", AddressError::Metadata),
    ("Google metadata", "metadata.google.internal", AddressError::Metadata),
    ("Google metadata in upper case, rooted", "Metadata.Google.Internal.", AddressError::Metadata),
    ("v4-mapped multicast", "::ffff:224.0.0.1", AddressError::Multicast),
    ("v4-mapped broadcast", "::ffff:255.255.255.255", AddressError::Broadcast),
];

#[test]
fn every_form_of_endpoint_is_read() {
    for (cause, text, expected) in ENDPOINTS {
        let endpoint = Endpoint::parse(text, Service::Rtmp).map(|endpoint| endpoint.to_string());
        assert_eq!(endpoint.as_deref(), Ok(*expected), "{cause}");
    }
}

#[test]
fn what_is_no_endpoint_is_refused() {
    for (cause, text, expected) in REFUSED_ENDPOINTS {
        assert_eq!(
            Endpoint::parse(text, Service::Rtmp),
            Err(*expected),
            "{cause}"
        );
    }
}

#[test]
fn a_service_has_its_usual_transport() {
    for (service, text, expected) in [
        (Service::Api, "1985", "tcp://:1985"),
        (Service::Http, "8080", "tcp://:8080"),
        (Service::Rtsp, "8554", "tcp://:8554"),
        (Service::Srt, "10080", "udp://:10080"),
        (Service::Srt, "[::]:10080", "udp://:10080"),
        (Service::Srt, "udp://0.0.0.0:10080", "udp://:10080"),
        (Service::Rtc, "8000", "udp://:8000"),
        (Service::Rtc, "udp://8000", "udp://:8000"),
        (Service::Rtc, "udp://[::]:8000", "udp://:8000"),
        (Service::Rtc, "tcp://8000", "tcp://:8000"),
        (Service::Rtc, "udp:0.0.0.0:8000", "udp://:8000"),
        (Service::Api, "https://api.example", "tls://api.example:443"),
        (Service::Http, "https://8443", "tls://:8443"),
        (Service::Rtsp, "rtsps://[::1]", "tls://[::1]:322"),
        (Service::Rtsp, "rtsp://camera", "tcp://camera:554"),
    ] {
        let endpoint = Endpoint::parse(text, service).map(|endpoint| endpoint.to_string());
        assert_eq!(endpoint.as_deref(), Ok(expected), "{service} {text}");
    }
}

#[test]
fn datagrams_are_no_bytes_for_tls() {
    for (service, text, expected) in [
        (
            Service::Srt,
            "tls://1",
            EndpointError::Transport(Service::Srt, Transport::Udp),
        ),
        (
            Service::Rtc,
            "tls://1",
            EndpointError::Transport(Service::Rtc, Transport::Udp),
        ),
        (Service::Srt, "srt://1", EndpointError::Scheme),
    ] {
        assert_eq!(
            Endpoint::parse(text, service),
            Err(expected),
            "{service} {text}"
        );
    }
}

#[test]
fn special_addresses_are_refused_unless_allowed() {
    for (cause, text, expected) in SPECIAL {
        let host: Host = text.parse().unwrap();
        assert_eq!(
            AddressRules::default().check(&host),
            Err(*expected),
            "{cause}"
        );
        assert_eq!(
            AddressRules {
                allow_special: true
            }
            .check(&host),
            Ok(()),
            "{cause}"
        );
    }
    for text in [
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "192.168.1.1",
        "fd00::1",
        "8.8.8.8",
        "localhost",
        "origin.lan",
    ] {
        let host: Host = text.parse().unwrap();
        assert_eq!(AddressRules::default().check(&host), Ok(()), "{text}");
    }
}

#[test]
fn an_srs_heartbeat_is_an_origin() {
    let body = br#"{
        "device_id": "origin1", "ip": "10.0.0.7", "server": "vid-0xk989d", "service": "382k456r", "pid": "49294",
        "rtmp": ["19351", "[::]:19351"], "http": ["8081"], "api": ["19851"], "srt": ["10081"],
        "rtc": ["udp://8001", "udp://[::]:8001", "tcp://8001"],
        "summaries": {"code": 0, "data": {"ok": true, "self": {"pid": 49294, "mem_percent": 0.1}}}
    }"#;
    let origin = register(body).unwrap();
    assert_eq!(origin.instance(), "vid-0xk989d-382k456r-49294");
    assert_eq!(origin.label(), "origin1");
    assert_eq!(origin.endpoints.services(), 5);
    let targets =
        Service::ALL.map(|service| origin.target(service).map(|target| target.to_string()));
    let expected = [
        "10.0.0.7:19851",
        "10.0.0.7:8081",
        "10.0.0.7:8001",
        "10.0.0.7:19351",
        "",
        "10.0.0.7:10081",
    ];
    assert_eq!(targets.map(Option::unwrap_or_default), expected);
}

#[test]
fn a_registration_is_read_with_tolerance() {
    type Holds = fn(&Origin) -> bool;
    let cases: [(&str, Value, Holds); 11] = [
        ("a number as pid", json!({"pid": 42}), |origin| {
            origin.pid == "42"
        }),
        ("a number as service", json!({"service": 7}), |origin| {
            origin.service == "7"
        }),
        ("numbers as ports", json!({"rtmp": [1935]}), |origin| {
            origin.endpoints.rtmp.len() == 1
        }),
        ("lists that are null", json!({"http": null}), |origin| {
            origin.endpoints.http.is_empty()
        }),
        (
            "no RTMP but HTTP",
            json!({"rtmp": [], "http": ["80"]}),
            |origin| origin.endpoints.services() == 1,
        ),
        ("no device id", json!({"device_id": null}), |origin| {
            origin.label() == "vid-1"
        }),
        ("an empty device id", json!({"device_id": ""}), |origin| {
            origin.device_id.is_none()
        }),
        (
            "white space around an id",
            json!({"server": " vid-9\n"}),
            |origin| origin.server == "vid-9",
        ),
        ("a hostname as ip", json!({"ip": "Origin.LAN"}), |origin| {
            origin.ip == "origin.lan".parse().unwrap()
        }),
        (
            "an IPv6 address in brackets",
            json!({"ip": "[::1]"}),
            |origin| origin.ip == "::1".parse().unwrap(),
        ),
        (
            "a field nobody knows",
            json!({"x": {"y": [1, {}]}}),
            |origin| origin.pid == "1",
        ),
    ];
    for (cause, changes, holds) in cases {
        let origin =
            register(&document(&changes)).unwrap_or_else(|error| panic!("{cause}: {error}"));
        assert!(holds(&origin), "{cause}: {origin:?}");
    }
}

#[test]
fn the_first_wrong_field_is_named() {
    #[rustfmt::skip]
    let cases = [
        ("no ip", json!({"ip": null}), "ip"),
        ("an empty ip", json!({"ip": "  "}), "ip"),
        ("a number as ip", json!({"ip": 1}), "ip"),
        ("an ip with a port", json!({"ip": "10.0.0.1:1935"}), "ip"),
        ("an ip with a path", json!({"ip": "10.0.0.1/x"}), "ip"),
        ("a special ip", json!({"ip": "169.254.169.254"}), "ip"),
        ("ip before server", json!({"ip": "", "server": ""}), "ip"),
        ("no server", json!({"server": null, "service": null}), "server"),
        ("a number as server", json!({"server": 1}), "server"),
        ("a server too long", json!({"server": "x".repeat(129)}), "server"),
        ("a control character", json!({"server": "a\u{1b}[2Jb"}), "server"),
        ("no service", json!({"service": "", "pid": ""}), "service"),
        ("no pid", json!({"pid": ""}), "pid"),
        ("a truth value as pid", json!({"pid": true}), "pid"),
        ("no endpoint at all", json!({"rtmp": []}), "rtmp"),
        ("no list", json!({"rtmp": null}), "rtmp"),
        ("text for a list", json!({"rtmp": "1935"}), "rtmp"),
        ("port 0", json!({"rtmp": ["1935", "0"]}), "rtmp"),
        ("an empty endpoint", json!({"rtmp": [""]}), "rtmp"),
        ("too many endpoints", json!({"rtmp": vec!["1935"; 17]}), "rtmp"),
        ("an endpoint too long", json!({"rtmp": [format!("{}:1", "x".repeat(300))]}), "rtmp"),
        ("a special address in an endpoint", json!({"http": ["169.254.169.254:80"]}), "http"),
        ("the metadata name in an endpoint", json!({"api": ["metadata.google.internal:80"]}), "api"),
        ("an unknown scheme", json!({"rtc": ["sctp://8000"]}), "rtc"),
        ("SRT over TCP", json!({"srt": ["tcp://10080"]}), "srt"),
        ("a bad RTSP endpoint", json!({"rtsp": ["x"]}), "rtsp"),
        ("an object as device id", json!({"device_id": {}}), "device_id"),
    ];
    for (cause, changes, field) in cases {
        let error = register(&document(&changes)).expect_err(cause);
        assert_eq!(error.field, field, "{cause}: {error}");
    }
    for (cause, body, field) in [
        ("an empty body is an empty document", &b""[..], "ip"),
        ("white space", b" \n", "ip"),
        ("an empty object", b"{}", "ip"),
        ("no JSON", b"ip=10.0.0.1", "body"),
        ("half an object", b"{\"ip\": \"10.0.0.1\"", "body"),
        ("a list", b"[]", "body"),
        (
            "a list of all values",
            br#"["10.0.0.1","s","s","1",null,[],[],[],["1935"],[],[]]"#,
            "body",
        ),
        (
            "a field twice",
            br#"{"ip":"10.0.0.1","ip":"10.0.0.2"}"#,
            "body",
        ),
        ("not UTF-8", b"{\"ip\": \"\xff\"}", "body"),
        ("something behind it", b"{} {}", "body"),
    ] {
        assert_eq!(register(body).expect_err(cause).field, field, "{cause}");
    }
    let long = vec![b' '; MAX_REGISTRATION + 1];
    assert_eq!(register(&long).unwrap_err().field, "body");
    let deep = format!("{{\"x\": {}", "[".repeat(60_000));
    assert_eq!(register(deep.as_bytes()).unwrap_err().field, "body");
}

#[test]
fn a_refused_endpoint_is_told_apart_from_its_neighbours() {
    let error = register(&document(&json!({"http": ["8080", ":http"]}))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "http: \":http\": the port is not a number from 1 to 65535"
    );
}

#[test]
fn an_origin_is_dialled_where_it_says() {
    #[rustfmt::skip]
    let cases = [
        ("a port", "10.0.0.7", json!(["1935"]), "10.0.0.7:1935"),
        ("a wildcard", "10.0.0.7", json!(["0.0.0.0:1935"]), "10.0.0.7:1935"),
        ("a host of its own", "10.0.0.7", json!(["192.168.1.10:1935"]), "192.168.1.10:1935"),
        ("a name of its own", "10.0.0.7", json!(["media.lan:1935"]), "media.lan:1935"),
        ("an IPv6 origin", "2001:db8::7", json!(["[::]:1935"]), "[2001:db8::7]:1935"),
        ("a name", "origin.lan", json!(["1935"]), "origin.lan:1935"),
        ("the first of several", "10.0.0.7", json!(["1935", "1936"]), "10.0.0.7:1935"),
        ("the wildcard of its family", "10.0.0.7", json!(["[::]:1936", "0.0.0.0:1935"]), "10.0.0.7:1935"),
        ("the wildcard of its family, IPv6", "::1", json!(["0.0.0.0:1935", "[::]:1936"]), "[::1]:1936"),
        ("a wildcard of the other family alone", "10.0.0.7", json!(["[::]:1935"]), "10.0.0.7:1935"),
        ("an address of its family", "10.0.0.7", json!(["[2001:db8::7]:1936", "10.0.0.8:1935"]), "10.0.0.8:1935"),
        ("an address of the other family alone", "10.0.0.7", json!(["[2001:db8::7]:1936"]), "[2001:db8::7]:1936"),
        ("an address that ends like the wildcard", "::1", json!(["10.0.0.0:1", "2"]), "[::1]:2"),
        ("loopback of another machine last", "10.0.0.7", json!(["127.0.0.1:1", "2"]), "10.0.0.7:2"),
        ("loopback of this machine", "127.0.0.1", json!(["127.0.0.2:1", "2"]), "127.0.0.2:1"),
    ];
    for (cause, ip, rtmp, expected) in cases {
        let origin = register(&document(&json!({"ip": ip, "rtmp": rtmp}))).unwrap();
        let target = origin
            .target(Service::Rtmp)
            .map(|target| target.to_string());
        assert_eq!(target.as_deref(), Some(expected), "{cause}");
    }
}

/// A place that an origin names of itself may be one of these, whatever the host.
#[test]
fn what_an_origin_has_on_a_port() {
    let targets = |changes: Value, port| {
        let origin = register(&document(&changes)).unwrap();
        let targets = origin.targets_on(Service::Rtmp, port);
        let texts = targets.iter().map(|(target, hosts)| {
            let hosts = hosts.each_ref().map(ToString::to_string);
            (target.to_string(), hosts.join(" "))
        });
        texts.collect::<Vec<_>>()
    };
    let text = |target: &str, hosts: &str| (target.to_owned(), hosts.to_owned());
    let origin = json!({"ip": "10.0.0.7", "rtmp": ["media.lan:1935", "1935", "1936"]});
    let named = text("media.lan:1935", "media.lan 10.0.0.7");
    let own = text("10.0.0.7:1935", "10.0.0.7 10.0.0.7");
    assert_eq!(targets(origin.clone(), 1935), [named, own]);
    assert!(targets(origin, 1937).is_empty());
    let loopback = json!({"ip": "10.0.0.7", "rtmp": ["127.0.0.1:1935", "1936"]});
    assert!(targets(loopback, 1935).is_empty(), "it would be our own");
}

#[test]
fn webrtc_is_dialled_over_udp_only() {
    let rtc = |list: Value| {
        let origin = register(&document(&json!({"rtc": list}))).unwrap();
        origin
            .target(Service::Rtc)
            .map(|target: Target| target.to_string())
    };
    assert_eq!(
        rtc(json!(["tcp://8443", "udp://8000"])).as_deref(),
        Some("10.0.0.7:8000")
    );
    assert_eq!(rtc(json!(["tcp://8443"])), None);
    assert_eq!(rtc(json!([])), None);
}

#[test]
fn a_restart_is_at_the_same_place() {
    let first = register(&document(&json!({}))).unwrap();
    let restarted = register(&document(
        &json!({"service": "svc-2", "pid": "2", "device_id": "x"}),
    ))
    .unwrap();
    let moved = register(&document(&json!({"ip": "10.0.0.8"}))).unwrap();
    let changed = register(&document(&json!({"rtmp": ["1936"]}))).unwrap();
    assert!(first.same_place(&restarted));
    assert_ne!(first.instance(), restarted.instance());
    assert!(!first.same_place(&moved));
    assert!(!first.same_place(&changed));
}

proptest! {
    #[test]
    fn an_endpoint_reads_as_it_is_written(text in endpoint_text()) {
        for service in Service::ALL {
            if let Ok(endpoint) = Endpoint::parse(&text, service) {
                prop_assert_ne!(endpoint.port, 0);
                prop_assert_eq!(Endpoint::parse(&endpoint.to_string(), service), Ok(endpoint));
            }
        }
    }

    #[test]
    fn whatever_is_registered_can_be_dialled(ip in endpoint_text(), rtmp in endpoint_text(), id in any::<String>()) {
        let body = document(&json!({"ip": ip, "rtmp": [rtmp], "server": id}));
        let Ok(origin) = register(&body) else { return Ok(()) };
        let target = origin.target(Service::Rtmp).expect("RTMP was named");
        prop_assert_eq!(AddressRules::default().check(&target.host), Ok(()));
        prop_assert!(!origin.instance().contains(char::is_control));
    }
}

fn register(body: &[u8]) -> Result<Origin, RegistrationError> {
    parse_registration(body, &AddressRules::default())
}

/// A valid registration with `changes` applied.
fn document(changes: &Value) -> Vec<u8> {
    let mut document = json!({
        "ip": "10.0.0.7", "server": "vid-1", "service": "svc-1", "pid": "1", "rtmp": ["1935"],
    });
    let fields = document.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        fields.insert(name.clone(), value.clone());
    }
    document.to_string().into_bytes()
}

fn endpoint_text() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let tokens = vec![
        "tcp", "udp", "://", ":", "[", "]", "::", "::1", "0.0.0.0", "10.0.0.1", "127.0.0.1", "::ffff:", "fe80::1",
        "169.254.169.254", "224.0.0.1", "a", "b.c", ".", "0x7f", "1935", "0", "65536", "+", " ", "%",
    ];
    prop::collection::vec(prop::sample::select(tokens), 0..6).prop_map(|tokens| tokens.concat())
}

#[test]
fn attributes_come_in_fields_of_their_own() {
    let document = |extra: Value| {
        let mut document =
            json!({"ip": "10.0.0.1", "server": "v", "service": "s", "pid": "1", "rtmp": ["1935"]});
        document
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        parse_registration(document.to_string().as_bytes(), &AddressRules::default())
    };
    let told = document(json!({
        "weight": 50, "zone": "eu-1", "labels": ["gpu", "tier=1"], "max_streams": 1, "max_sessions": "9",
        "max_mbps": null, "summaries": {"system": {"cpu_percent": 0.5}},
    }))
    .unwrap();
    assert_eq!(
        told.attributes.to_string(),
        "weight 50, zone eu-1, label gpu, label tier=1, at most 1 stream, at most 9 sessions"
    );
    assert_eq!(told.report.unwrap().cpu, Some(500));
    assert_eq!(
        *document(json!({})).unwrap().attributes,
        Attributes::default()
    );
    for (cause, extra, field) in [
        ("no number", json!({"weight": "heavy"}), "weight"),
        ("a fraction", json!({"max_streams": 1.5}), "max_streams"),
        ("no word", json!({"zone": "a b"}), "zone"),
        ("a list of no words", json!({"labels": [1]}), "labels"),
        ("an object", json!({"labels": {"gpu": true}}), "labels"),
    ] {
        assert_eq!(document(extra).unwrap_err().field, field, "{cause}");
    }
}
