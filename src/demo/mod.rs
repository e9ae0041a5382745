//! `sluicegate demo`: the proxy with two small embedded origins and a clip that never ends, so that a first run needs
//! nothing installed.
//!
//! | file | what it is |
//! | --- | --- |
//! | [`clip`] | the embedded clip as an endless stream of messages |
//! | [`origin`] | the embedded origin; in-process tests use it too. It is never offered as a media server |
//! | `origins` | the demo's two origins, which its page kills and starts again |
//! | [`page`] | the page that plays the stream in a browser, and one for WebRTC |
//! | [`publisher`] | publishes the clip to an RTMP address, at its own pace |

pub mod clip;
pub mod origin;
mod origins;
pub mod page;
pub mod publisher;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use hyper::header::HeaderValue;
use sluicegate_core::media::fanout::Mode;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::origins::Origins;
use self::publisher::keep_publishing;
use crate::config::{Environment, Loaded, Settings};
use crate::listener::http::{Pages, Switches};
use crate::logging;
use crate::output::print;
use crate::proxy::Proxy;
use crate::server::{Server, own_names};

/// Starts everything, prints where to look, and runs until `stop`. The proxy listens where `environment` says, and
/// otherwise on its default ports.
///
/// # Errors
/// A port that cannot be bound, settings that cannot be read, or a stream that finds no origin.
pub async fn run(stop: CancellationToken, environment: &Environment) -> anyhow::Result<()> {
    let Loaded {
        mut settings,
        effective,
        ..
    } = Settings::load_for(&[], None, environment)?;
    logging::start(settings.log.format, tracing::Level::WARN).context("no thread for the log")?;
    let policy = settings.placement.policy.to_owned();
    // Everybody may watch the demo's clip, and its origins are asked for it once.
    settings.fanout.modes.general = Mode::Open;
    settings.fanout.public = true;
    let names = own_names(&settings);
    let server = Server::bind(settings)?.showing(&effective);
    let at = server.addresses();
    let [rtmp, http, api, system] = [at.rtmp, at.http, at.api, at.system].map(|address| {
        address.context("the demo needs RTMP, HTTP, the API port and the system API")
    });
    let (rtmp, http, api, system) = (rtmp?, http?, api?, system?);
    let policy_of_pages = page::content_security_policy(api.port());
    let (owner, switched) = mpsc::channel(1);
    let server = server.with_pages(Pages {
        find: page::asset,
        content_security_policy: HeaderValue::try_from(policy_of_pages)?,
        switches: Some(Switches {
            path: "/demo/origins",
            names,
            owner,
        }),
    });
    let fingerprint = server.fingerprint();
    let proxy = server.proxy().clone();
    let origins = Origins::start(&proxy, system.port()).await?;
    let addresses = origins.addresses();
    let serving = tokio::spawn(server.serve(stop.clone()));
    let publishing = {
        let (rtmp, stop) = (reachable(rtmp), stop.clone());
        tokio::spawn(async move { keep_publishing(rtmp, "live", "demo", &stop).await })
    };
    let switching = tokio::spawn(origins.switch(switched));
    let origin = placed(&proxy).await.context("the clip found no origin")?;
    let facts = DemoFacts {
        api,
        fingerprint,
        http,
        origin,
        origins: addresses,
        policy,
        rtmp,
        stream: "live/demo".to_owned(),
        system,
    };
    print(banner(&facts))?;
    serving.await?;
    publishing.await?;
    switching.abort();
    Ok(())
}

/// The origin on which the clip was placed, as soon as its publisher is joined there.
async fn placed(proxy: &Proxy) -> Option<String> {
    let waiting = async {
        loop {
            let published = proxy
                .registry()
                .placements()
                .into_iter()
                .find(|row| row.publishers > 0);
            if let Some(row) = published {
                return row.origin;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PLACED_WITHIN, waiting).await.ok()
}

/// What to print once the demo runs.
#[derive(Debug, Clone)]
pub struct DemoFacts {
    /// The address of the API listener, where WebRTC calls are made.
    pub api: SocketAddr,
    /// The SHA-256 of the proxy's certificate, where TLS is served.
    pub fingerprint: Option<String>,
    /// The address of the HTTP streaming listener, where the page is.
    pub http: SocketAddr,
    /// The name of the one of `origins` that got the stream.
    pub origin: String,
    /// The name and the RTMP address of each embedded origin.
    pub origins: Vec<(String, SocketAddr)>,
    /// The name of the placement policy that chose the origin.
    pub policy: String,
    /// The address of the RTMP listener.
    pub rtmp: SocketAddr,
    /// The stream to which the clip is published, as `app/stream`.
    pub stream: String,
    /// The address of the system API.
    pub system: SocketAddr,
}

/// The text that `sluicegate demo` prints when everything runs: which origin holds the stream and why, where to publish
/// and play with each protocol, where to look, and what to try next. It ends with a newline.
pub fn banner(facts: &DemoFacts) -> String {
    let DemoFacts { origin, stream, .. } = facts;
    let app = stream.split('/').next().unwrap_or_default();
    let [rtmp, http, system] = [facts.rtmp, facts.http, facts.system].map(reachable);
    let origins: Vec<String> = facts
        .origins
        .iter()
        .map(|(name, address)| format!("{name} ({})", reachable(*address)))
        .collect();
    let reason = reason(facts);
    let mut text = String::new();
    let mut line = |word: &str, rest: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {word:<9} {rest}");
    };
    line(
        "origins",
        &format!("{}: embedded, for this demo only", origins.join(", ")),
    );
    line(
        "stream",
        &format!("{stream}: colour bars and a tone, 25 frames per second, a keyframe each second"),
    );
    line("placed", &format!("on {origin}: {reason}"));
    line("", "");
    line(
        "RTMP",
        &format!("play rtmp://{rtmp}/{stream}    publish rtmp://{rtmp}/{app}/mine"),
    );
    line("HTTP-FLV", &format!("play http://{http}/{stream}.flv"));
    line("", "");
    line("page", &format!("http://{http}/"));
    line("console", &format!("http://{system}/console/"));
    line(
        "WebRTC",
        &format!(
            "{}    publishes and plays once an origin with WebRTC registers",
            webrtc_page(http, reachable(facts.api))
        ),
    );
    if let Some(fingerprint) = &facts.fingerprint {
        line(
            "TLS",
            &format!("https://{http}/    rtmps://{rtmp}/{stream}    and at every other port"),
        );
        line("", &format!("certificate {fingerprint}"));
    }
    line("metrics", &format!("http://{system}/metrics"));
    line(
        "health",
        &format!("http://{system}/livez http://{system}/readyz"),
    );
    line("", "");
    line(
        "try",
        &format!("ffplay -fflags nobuffer rtmp://{rtmp}/{stream}"),
    );
    line(
        "",
        &format!(
            "OBS: service Custom, server rtmp://{rtmp}/{app}, stream key mine; then http://{http}/?stream={app}/mine"
        ),
    );
    line("", &format!("curl http://{system}/api/v1/origins"));
    line("", &format!("curl http://{system}/api/v1/streams"));
    line("stop", "Ctrl-C");
    text.lines()
        .flat_map(|line| [line.trim_end(), "\n"])
        .collect()
}

/// The address of the WebRTC page. The page calls the default API port of the machine that serves it, unless its
/// address names another.
fn webrtc_page(http: SocketAddr, api: SocketAddr) -> String {
    let mut url = format!("http://{http}/webrtc/");
    if api.port() != API_PORT {
        let _ = write!(url, "?api=http://{api}");
    }
    url
}

fn reason(facts: &DemoFacts) -> String {
    let count = facts.origins.len();
    match facts.policy.as_str() {
        "least_streams" => {
            format!("no other of the {count} origins had fewer streams (policy least_streams)")
        }
        "rendezvous" => {
            format!(
                "its hash with {} is the highest of {count}, on every proxy alike (policy rendezvous)",
                facts.stream
            )
        }
        policy => format!("policy {policy} put it first of {count}"),
    }
}

/// The address to type on this machine: a listener on every address is reached on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        // For a dual-stack listener, IPv4 is what players are most likely to support.
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) | IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

/// The port that `assets/webrtc/webrtc.js` uses by default.
const API_PORT: u16 = 11_985;
/// How long the placement may take; everything is in this process, so this is generous.
const PLACED_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> DemoFacts {
        DemoFacts {
            api: "[::]:11985".parse().expect("an address"),
            fingerprint: None,
            http: "[::]:18080".parse().expect("an address"),
            origin: "demo-b".into(),
            origins: vec![
                (
                    "demo-a".into(),
                    "127.0.0.1:40001".parse().expect("an address"),
                ),
                (
                    "demo-b".into(),
                    "127.0.0.1:40002".parse().expect("an address"),
                ),
            ],
            policy: "rendezvous".into(),
            rtmp: "0.0.0.0:11935".parse().expect("an address"),
            stream: "live/demo".into(),
            system: "[::1]:12025".parse().expect("an address"),
        }
    }

    #[test]
    fn the_banner_tells_where_everything_is() {
        let expected = "  origins   demo-a (127.0.0.1:40001), demo-b (127.0.0.1:40002): embedded, for this demo only
  stream    live/demo: colour bars and a tone, 25 frames per second, a keyframe each second
  placed    on demo-b: its hash with live/demo is the highest of 2, on every proxy alike (policy rendezvous)

  RTMP      play rtmp://127.0.0.1:11935/live/demo    publish rtmp://127.0.0.1:11935/live/mine
  HTTP-FLV  play http://127.0.0.1:18080/live/demo.flv

  page      http://127.0.0.1:18080/
  console   http://[::1]:12025/console/
  WebRTC    http://127.0.0.1:18080/webrtc/    publishes and plays once an origin with WebRTC registers
  metrics   http://[::1]:12025/metrics
  health    http://[::1]:12025/livez http://[::1]:12025/readyz

  try       ffplay -fflags nobuffer rtmp://127.0.0.1:11935/live/demo
            OBS: service Custom, server rtmp://127.0.0.1:11935/live, stream key mine; then http://127.0.0.1:18080/?stream=live/mine
            curl http://[::1]:12025/api/v1/origins
            curl http://[::1]:12025/api/v1/streams
  stop      Ctrl-C
";
        assert_eq!(banner(&facts()), expected);
        let elsewhere = DemoFacts {
            api: "127.0.0.1:4000".parse().expect("an address"),
            ..facts()
        };
        let page = "http://127.0.0.1:18080/webrtc/?api=http://127.0.0.1:4000 ";
        assert!(banner(&elsewhere).contains(page));
        let encrypted = DemoFacts {
            fingerprint: Some("00:FF".to_owned()),
            ..facts()
        };
        let expected = "  TLS       https://127.0.0.1:18080/    rtmps://127.0.0.1:11935/live/demo    and at every other port
            certificate 00:FF
";
        assert!(banner(&encrypted).contains(expected));
    }

    #[test]
    fn the_reason_is_the_policys() {
        let rows = [
            ("rendezvous", "its hash with live/demo is the highest of 2"),
            (
                "least_streams",
                "no other of the 2 origins had fewer streams",
            ),
            ("nearest", "policy nearest put it first of 2"),
        ];
        for (policy, expected) in rows {
            let text = banner(&DemoFacts {
                policy: policy.into(),
                ..facts()
            });
            assert!(text.contains(&format!("on demo-b: {expected}")), "{text}");
        }
    }
}
