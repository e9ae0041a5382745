//! One connection to a Redis of any kind.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{
    MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo, SingleNodeRoutingInfo,
};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue,
    IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult,
    ScriptInvocation, TlsCertificates, TlsMode,
};
use sluicegate_core::fleet::origin::Host;

use super::{Address, Server, Topology};

/// A connection, cheap to clone and shared by all calls.
#[derive(Clone)]
pub(super) enum Connection {
    Cluster(ClusterConnection),
    Single(MultiplexedConnection),
}

/// A node of a cluster, by the name that the connection uses for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    host: String,
    port: u16,
}

/// Makes connections.
pub(super) enum Connector {
    Cluster(Box<ClusterClient>),
    Sentinel(Box<SentinelClient>),
    Single(Box<Client>),
}

impl Connector {
    /// A connector; reads the certificates.
    pub(super) fn new(address: &Address) -> Result<Self, String> {
        let certificates = certificates(address)?;
        Self::build(address, certificates).map_err(|error| error.to_string())
    }

    fn build(address: &Address, certificates: Option<TlsCertificates>) -> RedisResult<Self> {
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(address.database.into())
            .set_lib_name("sluicegate", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &address.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &address.password {
            settings = settings.set_password(password);
        }
        let nodes = || address.servers.iter().map(|server| place(server, address));
        match &address.topology {
            Topology::Single => {
                let place = nodes().next().ok_or_else(nowhere)?;
                let info = place.into_connection_info()?.set_redis_settings(settings);
                Ok(Self::Single(Box::new(match certificates {
                    Some(certificates) => Client::build_with_tls(info, certificates)?,
                    None => Client::open(info)?,
                })))
            }
            Topology::Cluster => {
                let mut client = ClusterClient::builder(nodes())
                    .use_protocol(ProtocolVersion::RESP3)
                    .connection_timeout(CONNECT)
                    .retries(CLUSTER_RETRIES);
                if let Some(username) = &address.username {
                    client = client.username(username);
                }
                if let Some(password) = &address.password {
                    client = client.password(password);
                }
                if let Some(certificates) = certificates {
                    client = client.tls(TlsMode::Secure).certs(certificates);
                }
                Ok(Self::Cluster(Box::new(client.build()?)))
            }
            Topology::Sentinel(primary) => {
                let kind = SentinelServerType::Master;
                let mut client = SentinelClientBuilder::new(nodes(), primary, kind)?
                    .set_client_to_redis_protocol(ProtocolVersion::RESP3)
                    .set_client_to_redis_db(address.database.into());
                if let Some(username) = &address.username {
                    client = client.set_client_to_redis_username(username);
                }
                if let Some(password) = &address.password {
                    client = client.set_client_to_redis_password(password);
                }
                if let Some(certificates) = certificates {
                    client = client
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                        .set_client_to_sentinel_certificates(certificates);
                }
                Ok(Self::Sentinel(Box::new(client.build()?)))
            }
        }
    }

    /// Connects. `config` is for a single server, which can push messages.
    pub(super) async fn connect(
        &mut self,
        config: AsyncConnectionConfig,
    ) -> RedisResult<Connection> {
        Ok(match self {
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
            Self::Sentinel(client) => {
                Connection::Single(client.get_async_connection_with_config(&config).await?)
            }
            Self::Single(client) => {
                let link = client.get_multiplexed_async_connection_with_config(&config);
                Connection::Single(link.await?)
            }
        })
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cluster(_) => "Cluster",
            Self::Single(_) => "Single",
        })
    }
}

impl Connection {
    pub(super) async fn call<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Cluster(link) => command.query_async(link).await,
            Self::Single(link) => command.query_async(link).await,
        }
    }

    /// Calls one node of a cluster, or the single server.
    pub(super) async fn call_at<T: FromRedisValue>(
        &mut self,
        node: Option<&Node>,
        command: &Cmd,
    ) -> RedisResult<T> {
        let (Self::Cluster(link), Some(node)) = (&mut *self, node) else {
            return self.call(command).await;
        };
        let route = SingleNodeRoutingInfo::ByAddress {
            host: node.host.clone(),
            port: node.port,
        };
        let route = RoutingInfo::SingleNode(route);
        let value = link.route_command(command.clone(), route).await?;
        Ok(redis::from_redis_value(value)?)
    }

    /// Makes all calls at once; their keys may be on different nodes.
    pub(super) async fn each<T: FromRedisValue>(
        &mut self,
        commands: impl Iterator<Item = Cmd>,
    ) -> RedisResult<Vec<T>> {
        match self {
            Self::Cluster(link) => {
                let calls = commands.map(|command| {
                    let mut link = link.clone();
                    async move { command.query_async(&mut link).await }
                });
                try_join_all(calls).await
            }
            Self::Single(link) => {
                let mut pipeline = redis::pipe();
                for command in commands {
                    pipeline.add_command(command);
                }
                if pipeline.is_empty() {
                    return Ok(Vec::new());
                }
                pipeline.query_async(link).await
            }
        }
    }

    pub(super) async fn invoke<T: FromRedisValue>(
        &mut self,
        script: &ScriptInvocation<'_>,
    ) -> RedisResult<T> {
        match self {
            Self::Cluster(link) => script.invoke_async(link).await,
            Self::Single(link) => script.invoke_async(link).await,
        }
    }

    /// The nodes that hold keys; for a single server, itself. `None` while one of them is not connected, because a list
    /// would then be incomplete.
    pub(super) async fn primaries(&mut self) -> RedisResult<Option<Vec<Option<Node>>>> {
        let Self::Cluster(link) = self else {
            return Ok(Some(vec![None]));
        };
        let mut command = redis::cmd("CLUSTER");
        command.arg("NODES");
        // All nodes are asked, so that the answers have the names that the connection knows. A call to any other name
        // would break the connection, and with it all other calls.
        let everywhere = RoutingInfo::MultiNode((
            MultipleNodeRoutingInfo::AllMasters,
            Some(ResponsePolicy::Special),
        ));
        let views = link.route_command(command, everywhere).await?;
        let views: HashMap<String, String> = redis::from_redis_value(views)?;
        let whole = views.values().map(|view| holders(view)).max();
        let named = views.keys().filter_map(|name| Node::named(name));
        let nodes: Vec<Option<Node>> = named.map(Some).collect();
        Ok((whole.is_some_and(|whole| nodes.len() >= whole)).then_some(nodes))
    }
}

impl Node {
    /// Reads `host:port`; the connection writes an IPv6 address without brackets.
    fn named(name: &str) -> Option<Self> {
        let (host, port) = name.rsplit_once(':')?;
        Some(Self {
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }
}

/// How many nodes hold slots, according to an answer to `CLUSTER NODES`: lines of `id place flags primary ping pong
/// epoch link slots…`. A primary without slots holds no key; it may be a replica that is not known as one yet.
fn holders(view: &str) -> usize {
    let holds = |line: &&str| {
        let mut words = line.split(' ');
        let primary = words
            .nth(2)
            .is_some_and(|flags| flags.split(',').any(|flag| flag == "master"));
        primary && words.nth(5).is_some_and(|slots| !slots.is_empty())
    };
    view.lines().filter(holds).count()
}

fn place(server: &Server, address: &Address) -> ConnectionAddr {
    let host = match &server.host {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => name.clone(),
    };
    if address.tls.is_none() {
        return ConnectionAddr::Tcp(host, server.port);
    }
    ConnectionAddr::TcpTls {
        host,
        port: server.port,
        insecure: false,
        tls_params: None,
    }
}

fn certificates(address: &Address) -> Result<Option<TlsCertificates>, String> {
    let Some(tls) = &address.tls else {
        return Ok(None);
    };
    let root_cert = match &tls.authorities {
        None => None,
        Some(path) => {
            let pem = std::fs::read(path);
            Some(pem.map_err(|error| format!("{}: {error}", path.display()))?)
        }
    };
    Ok(Some(TlsCertificates {
        client_tls: None,
        root_cert,
    }))
}

fn nowhere() -> RedisError {
    (ErrorKind::InvalidClientConfig, "no server is named").into()
}

/// How long a server may take to accept a connection before it counts as gone.
const CONNECT: Duration = Duration::from_secs(1);
/// Maximum redirections while slots move; a call has its own deadline anyway.
const CLUSTER_RETRIES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_with_slots_are_counted() {
        let rows = [
            (
                "a primary",
                "07c3 127.0.0.1:1@2 myself,master - 0 1426 1 connected 0-5460",
                1,
            ),
            (
                "of one slot",
                "07c3 127.0.0.1:1@2,name master - 0 1426 1 connected 7",
                1,
            ),
            (
                "one that failed, and is missed",
                "07c3 127.0.0.1:1@2 master,fail - 0 1426 1 disconnected 0-9",
                1,
            ),
            (
                "a replica",
                "e7d1 127.0.0.1:1@2 slave 07c3 0 1426 4 connected",
                0,
            ),
            (
                "a replica that is not known as one",
                "e7d1 127.0.0.1:1@2 master - 0 1426 4 connected",
                0,
            ),
            (
                "a stranger in a handshake",
                "e7d1 :0@0 handshake - 0 0 0 disconnected",
                0,
            ),
            ("nothing", "", 0),
        ];
        for (cause, view, expected) in rows {
            assert_eq!(holders(view), expected, "{cause}");
        }
        let all: Vec<&str> = rows.iter().map(|(_, view, _)| *view).collect();
        assert_eq!(holders(&all.join("\n")), 3);
    }

    #[test]
    fn a_node_is_called_as_the_connection_calls_it() {
        let node = |host: &str, port| {
            let host = host.to_owned();
            Some(Node { host, port })
        };
        assert_eq!(Node::named("127.0.0.1:7000"), node("127.0.0.1", 7000));
        assert_eq!(Node::named("2001:db8::1:7000"), node("2001:db8::1", 7000));
        assert_eq!(Node::named("cache-1.example:1"), node("cache-1.example", 1));
        assert_eq!(Node::named("nowhere"), None);
    }
}
