//! The options of `sluicegate register`.

use super::{RegisterError, Registration, SystemApi};
use crate::config::{Environment, parse_duration};
use crate::value::Secret;
use clap::Args;
use sluicegate_core::fleet::attributes::{Attributes, Given};
use sluicegate_core::fleet::origin::{Endpoint, EndpointError, Endpoints, Host, Origin};
use sluicegate_core::stream::Service;
use std::sync::Arc;
use std::time::Duration;

/// Which origin to register, and with which proxies.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub struct RegisterArguments {
    /// A name for the origin that stays the same across restarts.
    #[arg(long, value_name = "ID")]
    server: String,
    /// The address or host name at which proxies reach the origin.
    #[arg(long, value_name = "ADDR")]
    ip: Host,
    #[command(flatten)]
    endpoints: EndpointArguments,
    #[command(flatten)]
    attributes: AttributeArguments,
    /// The system API of a proxy, such as http://10.0.0.1:12025; repeat it for several.
    #[arg(long, value_name = "URL", required = true)]
    to: Vec<SystemApi>,
    /// A label for people, shown in place of the id.
    #[arg(long, value_name = "LABEL")]
    device_id: Option<String>,
    /// Keep running: probe the origin repeatedly, and report it only while it answers.
    ///
    /// RTMP has to send the first byte of its handshake; other services over TCP have to
    /// accept a connection. Without this option the origin is registered once, without a
    /// probe, and the proxy forgets it after its ttl.
    #[arg(long, verbatim_doc_comment)]
    while_answers: bool,
    /// How often to report the origin.
    #[arg(long, value_name = "DURATION", default_value = "9s", value_parser = parse_period, requires = "while_answers")]
    every: Duration,
    /// The bearer token proxies ask for; in PROXY_HTTP_API_AUTH_TOKEN, or in a file, other users can't see it.
    #[arg(long, value_name = "TOKEN", value_parser = |text: &str| Ok::<_, EndpointError>(Secret::new(text)))]
    token: Option<Secret>,
}

/// What the origin offers.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct EndpointArguments {
    /// RTMP port, or ip:port.
    #[arg(long, value_name = "PORT", value_parser = |text: &str| Endpoint::parse(text, Service::Rtmp))]
    rtmp: Option<Endpoint>,
    /// HTTP streaming port (FLV, TS, HLS).
    #[arg(long, value_name = "PORT", value_parser = |text: &str| Endpoint::parse(text, Service::Http))]
    http: Option<Endpoint>,
    /// HTTP API port (WHIP, WHEP).
    #[arg(long, value_name = "PORT", value_parser = |text: &str| Endpoint::parse(text, Service::Api))]
    api: Option<Endpoint>,
    /// SRT port (UDP).
    #[arg(long, value_name = "PORT", value_parser = |text: &str| Endpoint::parse(text, Service::Srt))]
    srt: Option<Endpoint>,
    /// WebRTC port (UDP).
    #[arg(long, value_name = "PORT", value_parser = |text: &str| Endpoint::parse(text, Service::Rtc))]
    rtc: Option<Endpoint>,
    /// RTSP port.
    #[arg(long, value_name = "PORT", value_parser = |text: &str| Endpoint::parse(text, Service::Rtsp))]
    rtsp: Option<Endpoint>,
}

/// The origin's limits, and where it is.
#[derive(Debug, Args)]
struct AttributeArguments {
    /// Share of new streams relative to other origins, 0 to 10000; 100 is the default.
    #[arg(long, value_name = "NUMBER")]
    weight: Option<String>,
    /// The zone of the origin.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// A label that placement rules can match; repeat it for several.
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// Maximum concurrent streams.
    #[arg(long, value_name = "NUMBER")]
    max_streams: Option<String>,
    /// Maximum concurrent sessions.
    #[arg(long, value_name = "NUMBER")]
    max_sessions: Option<String>,
    /// Maximum megabits per second, sent and received together.
    #[arg(long, value_name = "NUMBER")]
    max_mbps: Option<String>,
    /// The kind of server, which decides how it is asked for a stream: srs, mediamtx, ome, nginx-rtmp or go2rtc.
    #[arg(long, value_name = "SERVER")]
    dialect: Option<String>,
    /// Segments at the start of a path that the origin does not know; it gets only streams that begin with them.
    #[arg(long, value_name = "PATH")]
    strip: Option<String>,
    /// Segments to put before every path.
    #[arg(long, value_name = "PATH")]
    prepend: Option<String>,
}

impl AttributeArguments {
    fn read(&self) -> Result<Attributes, RegisterError> {
        let mut given = Given::default();
        let single = [
            ("weight", &self.weight),
            ("zone", &self.zone),
            ("max_streams", &self.max_streams),
            ("max_sessions", &self.max_sessions),
            ("max_mbps", &self.max_mbps),
            ("dialect", &self.dialect),
            ("strip", &self.strip),
            ("prepend", &self.prepend),
        ];
        let single = single
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let labels = self.label.iter().map(|label| ("label", label));
        for (name, value) in single.chain(labels) {
            given
                .name(name, value)
                .map_err(|error| RegisterError::Attribute(name, error))?;
        }
        let mut attributes = Attributes::default();
        given.lay_over(&mut attributes);
        Ok(attributes)
    }
}

impl RegisterArguments {
    /// The registration that the arguments describe. Without a token among them, the environment's is used.
    ///
    /// # Errors
    /// A token that no header can carry or a file that does not hold it, or an attribute that cannot be.
    pub fn registration(self, environment: &Environment) -> Result<Registration, RegisterError> {
        let token = match self.token {
            Some(token) => token,
            None => environment.secret("system.auth_token")?.unwrap_or_default(),
        };
        if !token.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RegisterError::NotAToken);
        }
        let EndpointArguments {
            rtmp,
            http,
            api,
            srt,
            rtc,
            rtsp,
        } = self.endpoints;
        let list = |endpoint: Option<Endpoint>| endpoint.into_iter().collect();
        let origin = Origin {
            ip: self.ip,
            server: self.server,
            service: String::new(),
            pid: std::process::id().to_string(),
            device_id: self.device_id,
            endpoints: Endpoints {
                api: list(api),
                http: list(http),
                rtc: list(rtc),
                rtmp: list(rtmp),
                rtsp: list(rtsp),
                srt: list(srt),
            },
            attributes: Arc::new(self.attributes.read()?),
            report: None,
        };
        Ok(Registration {
            origin,
            to: self.to,
            token,
            while_answers: self.while_answers.then_some(self.every),
        })
    }
}

fn parse_period(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("it must be longer than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write 9s, 1m30s or 500ms")),
    }
}

const USAGE: &str = "sluicegate register --server <ID> --ip <ADDR> --rtmp <PORT> --to <URL> [--while-answers] [OPTIONS]";

const EXAMPLES: &str = "\
Examples:
  An nginx-rtmp on this machine, reported while it answers:
    sluicegate register --server nginx1 --ip 10.0.0.5 --rtmp 1935 --http 8080 \\
        --to http://10.0.0.1:12025 --while-answers
  Two proxies that ask for a token:
    PROXY_HTTP_API_AUTH_TOKEN=... sluicegate register --server nginx1 --ip 10.0.0.5 --rtmp 1935 \\
        --to http://10.0.0.1:12025 --to http://10.0.0.2:12025 --while-answers";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Register {
        #[command(flatten)]
        arguments: RegisterArguments,
    }

    fn register(rest: &str) -> Result<Registration, String> {
        let line =
            format!("register --server origin1 --ip 10.0.0.5 --to http://proxy:12025 {rest}");
        let parsed =
            Register::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        let environment = [(
            "PROXY_HTTP_API_AUTH_TOKEN".to_owned(),
            "from-environment".to_owned(),
        )];
        parsed
            .arguments
            .registration(&Environment::new(environment, ""))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn registering_wants_an_endpoint_and_a_proxy() {
        let registration = register(
            "--rtmp 1935 --rtc 8000 --to http://other:12025 --while-answers --every 500ms",
        )
        .unwrap();
        assert_eq!(registration.to.len(), 2);
        assert_eq!(registration.while_answers, Some(Duration::from_millis(500)));
        assert_eq!(registration.origin.endpoints.services(), 2);
        assert_eq!(
            registration
                .origin
                .target(Service::Rtmp)
                .unwrap()
                .to_string(),
            "10.0.0.5:1935"
        );
        assert_eq!(register("--http 10.0.0.6:80").unwrap().while_answers, None);
        for (cause, rest) in [
            ("no endpoint", ""),
            ("a port that is none", "--rtmp 0"),
            (
                "a period without its unit",
                "--rtmp 1 --while-answers --every 9",
            ),
            ("a period of nothing", "--rtmp 1 --while-answers --every 0s"),
            ("a period for a single report", "--rtmp 1 --every 9s"),
            ("a proxy without a scheme", "--rtmp 1 --to proxy:12025"),
        ] {
            assert!(register(rest).is_err(), "{cause}: {rest}");
        }
        let line = "register --server origin1 --ip 10.0.0.5 --rtmp 1935";
        assert!(
            Register::try_parse_from(line.split_whitespace()).is_err(),
            "no proxy"
        );
    }

    #[test]
    fn attributes_are_given_by_name() {
        let given =
            register("--rtmp 1 --weight 50 --zone eu-1 --label gpu --label ssd --max-streams 1");
        assert_eq!(
            given.unwrap().origin.attributes.to_string(),
            "weight 50, zone eu-1, label gpu, label ssd, at most 1 stream"
        );
        assert!(register("--rtmp 1 --weight heavy").is_err());
        assert!(register("--rtmp 1 --zone a,b").is_err());
    }

    #[test]
    fn the_token_is_an_argument_or_a_variable() {
        assert!(
            register("--rtmp 1 --token mine")
                .unwrap()
                .token
                .matches(b"mine")
        );
        assert!(
            register("--rtmp 1")
                .unwrap()
                .token
                .matches(b"from-environment")
        );
        assert!(register("--rtmp 1 --token m\u{fc}ll").is_err());
    }
}
