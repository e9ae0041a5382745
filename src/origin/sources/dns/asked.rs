//! What DNS servers are asked for themselves.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{RData, Record};
use serde_json::{Map, Value, json};

/// The addresses of a name, by a server of its own.
pub(super) async fn addresses_by(
    name: &str,
    server: SocketAddr,
) -> Result<BTreeSet<IpAddr>, String> {
    let found = resolver(Some(server))?.lookup_ip(name).await;
    Ok(found.map_err(|error| error.to_string())?.iter().collect())
}

/// The targets of a service with the lowest priority, each with its port and weight.
pub(in crate::origin::sources) async fn targets(
    name: &str,
    server: Option<SocketAddr>,
    common: &Map<String, Value>,
) -> Result<Value, String> {
    let resolver = resolver(server)?;
    let found = resolver
        .srv_lookup(name)
        .await
        .map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    for target in best(found.answers()) {
        let host = host(target);
        // Nobody else may know the names in the answers of a server of its own, so it is asked for them too.
        let ip = match server {
            None => host.clone(),
            Some(_) => match told_along(found.additionals(), target) {
                Some(ip) => ip.to_string(),
                None => resolver
                    .lookup_ip(target.target.clone())
                    .await
                    .map_err(|error| format!("{host}: {error}"))?
                    .iter()
                    .min()
                    .ok_or_else(|| format!("{host} has no address"))?
                    .to_string(),
            },
        };
        entries.push(entry(target, &host, &ip, service_of(name), common));
    }
    Ok(Value::Array(entries))
}

/// Built again each time: the system's servers may have changed, and its cache would hide what has.
fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, String> {
    let builder = match server {
        None => TokioResolver::builder_tokio(),
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let at_its_port = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = connections.map(at_its_port).into();
            let server = NameServerConfig::new(server.ip(), true, connections);
            let config = ResolverConfig::from_name_servers(vec![server]);
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config, provider);
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            Ok(builder)
        }
    };
    builder
        .and_then(|builder| builder.build())
        .map_err(|error| error.to_string())
}

/// Those of a higher number are there for when the best are all gone, as the author of the zone decides.
fn best(answers: &[Record]) -> Vec<&SRV> {
    let targets = answers.iter().filter_map(|record| match &record.data {
        RData::SRV(target) => Some(target),
        _ => None,
    });
    let best = targets.clone().map(|target| target.priority).min();
    targets
        .filter(|target| Some(target.priority) == best)
        .collect()
}

/// The address of a target that the answer brought along; of several the least, so that it stays the same.
fn told_along(additionals: &[Record], target: &SRV) -> Option<IpAddr> {
    let addresses = additionals
        .iter()
        .filter(|record| record.name == target.target);
    addresses.filter_map(|record| record.data.ip_addr()).min()
}

fn host(target: &SRV) -> String {
    let host = target.target.to_utf8();
    host.trim_end_matches('.').to_owned()
}

fn entry(target: &SRV, host: &str, ip: &str, service: &str, common: &Map<String, Value>) -> Value {
    let mut entry = json!({"id": format!("{host}:{}", target.port), "ip": ip});
    entry[service] = json!([target.port.to_string()]);
    // 0 is "no preference" there, and "never" here.
    if target.weight > 0 && !common.contains_key("weight") {
        entry["weight"] = json!(target.weight);
    }
    entry
}

/// Which service the ports are of, by the first label: `_http._tcp.example` is HTTP, any other is RTMP.
fn service_of(name: &str) -> &'static str {
    let label = name.split('.').next().unwrap_or_default();
    match label {
        "_api" => "api",
        "_http" => "http",
        "_rtsp" => "rtsp",
        "_srt" => "srt",
        _ => "rtmp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluicegate_core::fleet::listed::parse_list;
    use sluicegate_core::fleet::origin::AddressRules;
    use sluicegate_core::stream::Service;

    #[test]
    fn the_best_targets_of_a_service_are_origins() {
        let answer = |priority, weight, port, target: &str| {
            let target = SRV::new(priority, weight, port, target.parse().expect("a name"));
            let name = "_rtmp._tcp.origins.example.".parse().expect("a name");
            Record::from_rdata(name, 5, RData::SRV(target))
        };
        let answers = [
            answer(10, 60, 1935, "one.example."),
            answer(20, 60, 1935, "spare.example."),
            answer(10, 0, 19350, "two.example."),
        ];
        let list = |name: &str| {
            let entries = best(&answers).into_iter().map(|target| {
                let host = host(target);
                entry(target, &host, &host, service_of(name), &Map::new())
            });
            let document = Value::Array(entries.collect());
            parse_list(&document, &Map::new(), &AddressRules::default()).expect("a list")
        };
        let listed = list("_rtmp._tcp.origins.example");
        let told: Vec<(String, u32, String)> = listed
            .iter()
            .map(|(id, origin)| {
                let target = origin.target(Service::Rtmp).expect("RTMP");
                (id.to_string(), origin.attributes.weight, target.to_string())
            })
            .collect();
        let one = "one.example:1935".to_owned();
        let two = "two.example:19350".to_owned();
        assert_eq!(told, [(one.clone(), 60, one), (two.clone(), 100, two)]);
        assert!(
            list("_http._tcp.origins.example")[0]
                .1
                .target(Service::Http)
                .is_some()
        );
    }
}
