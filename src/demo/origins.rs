//! The demo's two origins, which its page kills and starts again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use sluicegate_core::fleet::origin::{Endpoint, Endpoints, Host, Origin, OriginId, Transport};
use tokio::sync::mpsc;
use tracing::warn;

use super::origin::EmbeddedOrigin;
use crate::listener::http::SwitchRequest;
use crate::proxy::Proxy;

/// The embedded origins of the demo, in the order in which they are shown.
#[derive(Debug)]
pub(super) struct Origins {
    proxy: Proxy,
    /// The port at which the console is.
    console: u16,
    all: Vec<Named>,
}

/// One of them. It keeps its addresses while it is dead.
#[derive(Debug)]
struct Named {
    name: &'static str,
    rtmp: SocketAddr,
    http: SocketAddr,
    alive: Option<EmbeddedOrigin>,
}

/// What the page gets.
#[derive(Debug, Serialize)]
struct Document<'a> {
    console: u16,
    origins: Vec<Shown<'a>>,
}

/// An origin as the page gets it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    on: bool,
    /// The streams that are published there, as `app/stream`.
    streams: Vec<String>,
}

impl Origins {
    /// Starts them on free ports, and tells the proxy of them. The console is at the port `console`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub(super) async fn start(proxy: &Proxy, console: u16) -> io::Result<Self> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut all = Vec::new();
        for name in ["demo-a", "demo-b"] {
            let alive = EmbeddedOrigin::bind(anywhere, anywhere).await?;
            let registry = proxy.registry();
            registry.insert_permanent(OriginId::from(name), describe(name, &alive));
            all.push(Named {
                name,
                rtmp: alive.rtmp(),
                http: alive.http(),
                alive: Some(alive),
            });
        }
        Ok(Self {
            proxy: proxy.clone(),
            console,
            all,
        })
    }

    /// The name and the RTMP address of each.
    pub(super) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let origins = self.all.iter();
        origins
            .map(|origin| (origin.name.to_owned(), origin.rtmp))
            .collect()
    }

    /// Kills them and starts them again as the page asks, for as long as it can ask.
    pub(super) async fn switch(mut self, mut requests: mpsc::Receiver<SwitchRequest>) {
        while let Some(SwitchRequest { turn, shown }) = requests.recv().await {
            if let Some((name, on)) = turn {
                let Some(origin) = self.all.iter_mut().find(|origin| origin.name == name) else {
                    continue;
                };
                origin.turn(on).await;
            }
            // A page that was closed meanwhile does not want it.
            let _ = shown.send(self.list());
        }
    }

    /// All of them, and where the console is, as JSON.
    fn list(&self) -> Bytes {
        let placements = self.proxy.registry().placements();
        let shown = |origin: &Named| Shown {
            name: origin.name,
            on: origin.alive.is_some(),
            streams: placements
                .iter()
                .filter(|row| row.publishers > 0 && row.origin == origin.name)
                .filter_map(|row| Some(row.key.split_once('/')?.1.to_owned()))
                .collect(),
        };
        let document = Document {
            console: self.console,
            origins: self.all.iter().map(shown).collect(),
        };
        serde_json::to_vec(&document).unwrap_or_default().into()
    }
}

impl Named {
    /// Starts it at the addresses that it had, or kills it: every connection ends at once, and nobody is told.
    async fn turn(&mut self, on: bool) {
        match (on, self.alive.take()) {
            (true, None) => match EmbeddedOrigin::bind(self.rtmp, self.http).await {
                Ok(origin) => self.alive = Some(origin),
                Err(error) => warn!(origin = self.name, %error, "it could not start again"),
            },
            (false, Some(origin)) => origin.stop().await,
            (_, as_it_is) => self.alive = as_it_is,
        }
    }
}

/// The registration of an embedded origin.
fn describe(name: &str, origin: &EmbeddedOrigin) -> Origin {
    let endpoint = |address: SocketAddr| {
        vec![Endpoint {
            host: None,
            port: address.port(),
            transport: Transport::Tcp,
            tls: false,
        }]
    };
    Origin {
        ip: Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        server: name.to_owned(),
        service: "demo".to_owned(),
        pid: std::process::id().to_string(),
        device_id: Some(name.to_owned()),
        endpoints: Endpoints {
            http: endpoint(origin.http()),
            rtmp: endpoint(origin.rtmp()),
            ..Endpoints::default()
        },
        attributes: Arc::default(),
        report: None,
    }
}
