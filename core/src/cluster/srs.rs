//! The records that proxies share in a Redis, in the keys and shapes of the SRS proxy, so that both kinds can serve one
//! fleet during a migration. The SRS proxy ignores what it does not know.

use serde_json::{Map, Value, json};

use crate::fleet::origin::{
    AddressRules, Endpoint, Origin, RegistrationError, Transport, parse_registration,
};
use crate::stream::{PlacementKey, Service};

/// The list of the keys of all origins, a JSON array.
pub const SERVERS: &str = "srs-proxy-all-servers";
/// Prefix of the key of an origin; its [instance](Origin::instance) follows.
pub const SERVER: &str = "srs-proxy-server:";
/// Prefix of the key of a placement; the placement key follows. The value is the key of an origin.
pub const PLACEMENT: &str = "srs-proxy-url:";
/// Prefix of the key of an origin that the SRS proxy cannot use, since it has no RTMP or speaks TLS: under the other
/// prefix, it would be picked.
pub const OTHER_SERVER: &str = "sluicegate-server:";

/// The list of the keys of origins that the SRS proxy cannot use.
pub const OTHER_SERVERS: &str = "sluicegate-all-servers";

/// The key of an origin.
pub fn server_key(origin: &Origin) -> String {
    let speaks_tls = |service| {
        origin
            .endpoints
            .of(service)
            .iter()
            .any(|endpoint| endpoint.tls)
    };
    let kind = if origin.endpoints.of(Service::Rtmp).is_empty()
        || Service::ALL.into_iter().any(speaks_tls)
    {
        OTHER_SERVER
    } else {
        SERVER
    };
    format!("{kind}{}", origin.instance())
}

/// The key of a placement.
pub fn placement_key(key: &PlacementKey) -> String {
    format!("{PLACEMENT}{key}")
}

/// The origin that the value of a placement names: `server`, `service` and `pid`. A prefix of the whole Redis may
/// precede it, as the SRS proxy writes it.
pub fn named_origin(value: &str) -> Option<(&str, &str, &str)> {
    let at = |kind: &str| value.find(kind).map(|at| at + kind.len());
    let instance = value.get(at(SERVER).or_else(|| at(OTHER_SERVER))?..)?;
    let (rest, pid) = instance.rsplit_once('-')?;
    // SRS ids contain dashes (`vid-0l5xp0s`); the id of a start does not.
    let (server, service) = rest.rsplit_once('-')?;
    Some((server, service, pid)).filter(|(server, _, _)| !server.is_empty())
}

/// The record of an origin at `updated_at` (RFC 3339 with nanoseconds and a zone).
pub fn server_record(origin: &Origin, updated_at: &str) -> String {
    let mut record = Map::new();
    let mut put = |name: &str, value: Value| drop(record.insert(name.to_owned(), value));
    put("ip", json!(origin.ip.to_string()));
    if let Some(device) = &origin.device_id {
        put("device_id", json!(device));
    }
    put("server_id", json!(origin.server));
    put("service_id", json!(origin.service));
    put("pid", json!(origin.pid));
    for service in Service::ALL {
        let endpoints = origin.endpoints.of(service);
        if !endpoints.is_empty() {
            let texts: Vec<String> = endpoints
                .iter()
                .map(|endpoint| written(service, endpoint))
                .collect();
            put(service.as_str(), json!(texts));
        }
    }
    let attributes = &origin.attributes;
    put("weight", json!(attributes.weight));
    if let Some(zone) = &attributes.zone {
        put("zone", json!(zone));
    }
    if !attributes.labels.is_empty() {
        put("labels", json!(attributes.labels));
    }
    let limits = [
        ("max_streams", attributes.max_streams),
        ("max_sessions", attributes.max_sessions),
        ("max_mbps", attributes.max_mbps),
    ];
    for (name, limit) in limits {
        if let Some(limit) = limit {
            put(name, json!(limit));
        }
    }
    for (name, value) in attributes.naming.written() {
        put(name, json!(value));
    }
    if let Some(report) = &origin.report {
        put("summaries", report.written());
    }
    put("update_at", json!(updated_at));
    Value::Object(record).to_string()
}

/// Writes an endpoint. The SRS proxy reads RTMP, HTTP and API endpoints as bare port numbers, and fails on anything
/// else.
fn written(service: Service, endpoint: &Endpoint) -> String {
    let is_plain = endpoint.transport == Transport::Tcp && !endpoint.tls;
    if endpoint.host.is_none() && is_plain && service != Service::Rtc {
        endpoint.port.to_string()
    } else {
        endpoint.to_string()
    }
}

/// Reads what any proxy wrote about an origin, under the rules for registrations: anyone who can write to the Redis can
/// register. Returns `update_at` as written.
///
/// # Errors
/// [`RegistrationError`], with the field named as in a registration.
pub fn parse_server_record(
    record: &str,
    rules: &AddressRules,
) -> Result<(Origin, String), RegistrationError> {
    let mut document: Map<String, Value> = serde_json::from_str(record).unwrap_or_default();
    for (theirs, ours) in [("server_id", "server"), ("service_id", "service")] {
        if let Some(value) = document.remove(theirs) {
            document.insert(ours.to_owned(), value);
        }
    }
    let updated_at = match document.remove("update_at") {
        Some(Value::String(at)) => at,
        _ => String::new(),
    };
    let origin = parse_registration(Value::Object(document).to_string().as_bytes(), rules)?;
    Ok((origin, updated_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: AddressRules = AddressRules {
        allow_special: false,
    };

    fn origin(body: &str) -> Origin {
        parse_registration(body.as_bytes(), &RULES).unwrap()
    }

    #[test]
    fn what_the_srs_proxy_wrote_is_read() {
        let record = r#"{"ip":"10.0.0.7","device_id":"origin-7","server_id":"vid-0l5xp0s","service_id":"8m2j1x7k",
            "pid":"4711","rtmp":["19351"],"http":["8081"],"api":["tcp://:19853"],"srt":["10081"],
            "rtc":["udp://:8001"],"update_at":"2025-01-02T03:04:05.123456789+08:00"}"#;
        let (read, updated_at) = parse_server_record(record, &RULES).unwrap();
        assert_eq!(updated_at, "2025-01-02T03:04:05.123456789+08:00");
        assert_eq!(
            server_key(&read),
            "srs-proxy-server:vid-0l5xp0s-8m2j1x7k-4711"
        );
        assert_eq!(read.device_id.as_deref(), Some("origin-7"));
        let target = read.target(Service::Rtmp).unwrap();
        assert_eq!(target.to_string(), "10.0.0.7:19351");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let rows = [
            (
                "all that an origin can say",
                r#"{"ip":"10.0.0.7","server":"vid-a","service":"s1","pid":"1","device_id":"d","rtmp":["1935"],
                    "http":["10.0.0.8:80"],"rtc":["udp://:8000","tcp://:8000"],"rtsp":["554"],"weight":50,
                    "zone":"eu","labels":["gpu"],"max_streams":3,"max_mbps":900}"#,
            ),
            (
                "its load",
                r#"{"ip":"10.0.0.7","server":"vid-a","service":"s1","pid":"1","rtmp":["1935"],"summaries":{"ok":true,
                    "data":{"now_ms":5,"self":{"cpu_percent":0.07},"system":{"cpu_percent":0.123,"mem_ram_percent":0.5,
                    "srs_sample_time":7000,"srs_recv_bytes":11,"srs_send_bytes":22,"conn_srs":3}}}}"#,
            ),
            (
                "TLS",
                r#"{"ip":"10.0.0.7","server":"a","service":"s","pid":"1","rtmp":["rtmps://10.0.0.7"],"http":["https://8443"]}"#,
            ),
            (
                "a name, IPv6, RTSP alone",
                r#"{"ip":"camera.example","server":"c","service":"s","pid":"2","rtsp":["[2001:db8::1]:554"]}"#,
            ),
        ];
        for (name, body) in rows {
            let origin = origin(body);
            let record = server_record(&origin, "2026-01-01T00:00:00.000000001Z");
            let (read, _) = parse_server_record(&record, &RULES).expect(name);
            assert_eq!(read, origin, "{name}");
        }
    }

    #[test]
    fn the_srs_proxy_can_read_the_ports() {
        let body = r#"{"ip":"10.0.0.7","server":"a","service":"s","pid":"1","rtmp":["1935"],"http":["0.0.0.0:8080"],
            "api":["tcp://:1985"],"srt":["10080"],"rtc":["udp://8000","tcp://8000"]}"#;
        let record = server_record(&origin(body), "");
        for expected in [
            r#""rtmp":["1935"]"#,
            r#""http":["8080"]"#,
            r#""api":["1985"]"#,
            r#""srt":["udp://:10080"]"#,
            r#""rtc":["udp://:8000","tcp://:8000"]"#,
        ] {
            assert!(record.contains(expected), "{expected}: {record}");
        }
    }

    #[test]
    fn an_origin_without_rtmp_is_kept_from_the_srs_proxy() {
        let camera =
            origin(r#"{"ip":"10.0.0.9","server":"c","service":"s","pid":"2","rtsp":["554"]}"#);
        assert_eq!(server_key(&camera), "sluicegate-server:c-s-2");
    }

    #[test]
    fn an_origin_with_tls_is_kept_from_the_srs_proxy() {
        let secure = origin(
            r#"{"ip":"10.0.0.9","server":"c","service":"s","pid":"2","rtmp":["1935"],"http":["https://443"]}"#,
        );
        assert_eq!(server_key(&secure), "sluicegate-server:c-s-2");
    }

    #[test]
    fn the_origin_of_a_placement() {
        let rows = [
            (
                "as we write it",
                "srs-proxy-server:vid-0l5xp0s-8m2j1x7k-4711",
                Some(("vid-0l5xp0s", "8m2j1x7k", "4711")),
            ),
            (
                "behind a prefix",
                "prod:srs-proxy-server:vid-0l5xp0s-8m2j1x7k-4711",
                Some(("vid-0l5xp0s", "8m2j1x7k", "4711")),
            ),
            (
                "one of ours alone",
                "sluicegate-server:c-s-2",
                Some(("c", "s", "2")),
            ),
            ("something else", "10.0.0.1:1935", None),
            ("too few parts", "srs-proxy-server:a-b", None),
        ];
        for (name, value, expected) in rows {
            assert_eq!(named_origin(value), expected, "{name}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for record in [
            "",
            "[]",
            "{}",
            r#"{"ip":"169.254.169.254","server_id":"x","service_id":"y","pid":"1","rtmp":["1"]}"#,
        ] {
            assert!(parse_server_record(record, &RULES).is_err(), "{record}");
        }
    }
}
