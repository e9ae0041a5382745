//! The command line: the verbs and options of `sluicegate`, and its help.

pub mod operate;
pub mod register;
pub mod sign;
pub mod tap;

use crate::cli::operate::{
    Ask, BanArguments, DisableArguments, DrainArguments, EventArguments, ExplainArguments,
    ListArguments, MoveArguments, Named, Numbered, RebalanceArguments, UnbanArguments, Whom,
};
use crate::cli::register::RegisterArguments;
use crate::cli::sign::{KeyArguments, SignArguments};
use crate::cli::tap::TapArguments;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

/// One address in front of a fleet of live media origin servers.
///
/// Encoders and players connect to Sluicegate. It finds the origin that holds the stream
/// they ask for and joins the two, while origins come and go.
///
/// It carries RTMP, RTSP, SRT, WebRTC (WHIP and WHEP), HTTP-FLV, HTTP-TS, AAC, MP3, HLS
/// (also Low-Latency HLS) and MPEG-DASH. It can replace the SRS origin-cluster proxy
/// without a change to origins, encoders or players.
#[derive(Debug, Parser)]
#[command(name = "sluicegate", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
#[command(verbatim_doc_comment)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    run: SettingsFile,
}

impl Cli {
    /// The arguments of this process. Ends the process if they ask for help or make no sense.
    pub fn read() -> Self {
        Self::try_parse().unwrap_or_else(|said| {
            if said.use_stderr() {
                said.exit();
            }
            let printed = said.print().and_then(|()| io::stdout().flush());
            let failed = printed
                .err()
                .filter(|error| error.kind() != ErrorKind::BrokenPipe);
            if let Some(error) = &failed {
                eprintln!("sluicegate: cannot write: {error}");
            }
            std::process::exit(i32::from(failed.is_some()))
        })
    }

    /// What to do. Without a verb, run the proxy.
    pub fn verb(self) -> Verb {
        self.verb.unwrap_or(Verb::Run {
            config: self.run.config,
            tls_self_signed: self.run.tls_self_signed,
        })
    }

    /// The completion script for `shell`.
    pub fn completions(shell: Shell) -> Vec<u8> {
        completions(shell)
    }
}

/// What `sluicegate` can do.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, at start")]
pub enum Verb {
    /// Run the proxy; this is what happens without a command.
    Run {
        /// Read settings from this TOML file; .env and the environment override it.
        #[arg(long, short, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Serve TLS with a certificate that is made now, for a first try.
        #[arg(long)]
        tls_self_signed: bool,
    },
    /// See Sluicegate work: a proxy, two small embedded origins and a stream to watch.
    Demo {
        /// Serve TLS too, with a certificate that is made now.
        #[arg(long)]
        tls: bool,
    },
    /// Register an origin that cannot register itself, for as long as it answers.
    Register(RegisterArguments),
    /// Show a running proxy at a glance: its state, its origins, and what they carry.
    #[command(after_help = EXIT_CODES)]
    Ps(Ask),
    /// List the origins of a running proxy, and their health.
    #[command(after_help = EXIT_CODES)]
    Origins(Ask),
    /// Ask an origin how it is, now, and print what each of its services says.
    #[command(after_help = EXIT_CODES)]
    Probe(Named),
    /// List the streams of a running proxy, and the origins that hold them.
    #[command(after_help = EXIT_CODES)]
    Streams(ListArguments),
    /// List the sessions of a running proxy.
    #[command(after_help = EXIT_CODES)]
    Sessions(ListArguments),
    /// List what happened at a running proxy, and follow what happens.
    #[command(after_help = EXIT_CODES)]
    Events(EventArguments),
    /// Tell why a stream is where it is, or where it would go.
    #[command(after_help = EXIT_CODES)]
    Explain(ExplainArguments),
    /// Move a stream to another origin; neither its publisher nor its viewers notice.
    #[command(after_help = EXIT_CODES)]
    Move(MoveArguments),
    /// Move streams away from origins that have too much to do, or show which.
    #[command(after_help = EXIT_CODES)]
    Rebalance(RebalanceArguments),
    /// Give an origin no new streams, or take the proxy itself out of service.
    #[command(after_help = EXIT_CODES)]
    Drain(DrainArguments),
    /// Undo a drain or a disabling.
    #[command(after_help = EXIT_CODES)]
    Undrain(Whom),
    /// Send no new clients to an origin, not even players of its streams.
    #[command(after_help = EXIT_CODES)]
    Disable(DisableArguments),
    /// End a session, or every session of a stream.
    #[command(after_help = EXIT_CODES)]
    Kick(Numbered),
    /// Ban an address, a viewer, a key, a token or a stream for a while, and end what it has.
    #[command(after_help = EXIT_CODES)]
    Ban(BanArguments),
    /// List who is banned, and until when.
    #[command(after_help = EXIT_CODES)]
    Bans(Ask),
    /// Lift a ban before its end.
    #[command(after_help = EXIT_CODES)]
    Unban(UnbanArguments),
    /// Record what a session carries into an FLV file.
    Tap(TapArguments),
    /// Check the settings and print each with its source; secrets stay hidden.
    Check {
        /// Read settings from this TOML file; .env and the environment override it.
        #[arg(long, short, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Sign an address, so that a client may use it for a while.
    Sign(SignArguments),
    /// Make a key for an encoder, a viewer or a user of the system API, or hash a password.
    Key(KeyArguments),
    /// Print the name and the version.
    Version,
    /// Print a completion script for a shell.
    #[command(after_help = COMPLETIONS_EXAMPLE)]
    Completions {
        /// The shell to complete for.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
struct SettingsFile {
    /// Read settings from this TOML file; .env and the environment override it.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve TLS with a certificate that is made now, for a first try.
    #[arg(long)]
    tls_self_signed: bool,
}

fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sluicegate", &mut script);
    script
}

const EXAMPLES: &str = "\
Examples:
  sluicegate demo                                  see it work; needs nothing else
  sluicegate --config sluicegate.toml              run with a settings file
  PROXY_RTMP_SERVER=1935 sluicegate                run with the variables of the SRS proxy
  sluicegate check --config sluicegate.toml        each value, and where it is set
  ffmpeg -re -i clip.flv -c copy -f flv rtmp://127.0.0.1:11935/live/a
  ffplay http://127.0.0.1:18080/live/a.flv

Read on:
  README.md                 quick starts: SRS origins, any RTMP server, OBS, FFmpeg, VLC
  docs/settings.md          files, variables, and coming from the SRS proxy
  examples/reference.toml   every setting with its default";

/// An argument that says something. An empty one comes from a variable that is not set, and would mean something else.
fn not_empty(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("it is empty"),
        _ => Ok(text.to_owned()),
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done             3  no proxy answers
  1  refused, other   4  the token is missing or wrong
  2  wrong arguments  5  no such origin, session, stream or ban";

const COMPLETIONS_EXAMPLE: &str = "\
Example:
  sluicegate completions bash > ~/.local/share/bash-completion/completions/sluicegate";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Verb, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(Cli::verb)
    }

    #[test]
    fn the_definition_is_sound_and_every_option_is_explained() {
        fn explained(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            command.get_subcommands().for_each(explained);
        }
        Cli::command().debug_assert();
        explained(&Cli::command());
    }

    #[test]
    fn the_help_names_every_protocol() {
        let help = Cli::command().render_long_help().to_string();
        for protocol in [
            "RTMP", "RTSP", "SRT", "WebRTC", "WHIP", "WHEP", "HTTP-FLV", "HTTP-TS", "AAC", "MP3",
            "HLS", "DASH",
        ] {
            assert!(help.contains(protocol), "{protocol}");
        }
    }

    #[test]
    fn running_is_the_default() {
        let config = |line: &str| match parse(line) {
            Ok(Verb::Run { config, .. }) => config,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(config("sluicegate"), None);
        for line in [
            "sluicegate --config a.toml",
            "sluicegate run --config a.toml",
            "sluicegate run -c a.toml",
        ] {
            assert_eq!(config(line), Some(PathBuf::from("a.toml")), "{line}");
        }
        assert!(matches!(
            parse("sluicegate check --config a.toml"),
            Ok(Verb::Check { .. })
        ));
        for line in [
            "sluicegate --tls-self-signed",
            "sluicegate run --tls-self-signed",
        ] {
            assert!(
                matches!(
                    parse(line),
                    Ok(Verb::Run {
                        tls_self_signed: true,
                        ..
                    })
                ),
                "{line}"
            );
        }
        assert!(parse("sluicegate rnu").is_err());
    }

    #[test]
    fn an_empty_argument_is_refused() {
        for arguments in [
            &["kick", ""][..],
            &["kick", " "],
            &["drain", ""],
            &["drain", "--proxy", ""],
            &["undrain", ""],
            &["disable", ""],
            &["probe", ""],
            &["move", ""],
            &["move", "live/a", "--to", ""],
            &["move", "live/a", "--expect", ""],
            &["explain", ""],
            &["explain", "live/a", "--without", ""],
            &["explain", "live/a", "--protocol", ""],
            &["explain", "live/a", "--as", ""],
            &["ban", "", "--for", "1h"],
            &["ban", "address:192.0.2.1", "--for", "1h", "--reason", ""],
            &["unban", ""],
            &["sessions", "--sort", ""],
            &["streams", "--find", ""],
            &["events", "--kind", ""],
            &["events", "--stream", ""],
            &["tap", "", "-o", "a.flv"],
            &["key", ""],
            &["sign", "", "--config", "a.toml"],
        ] {
            let line = ["sluicegate"].iter().chain(arguments);
            let error = Cli::try_parse_from(line).expect_err(&arguments.join(" "));
            let words = error.to_string();
            assert!(words.contains("it is empty"), "{arguments:?}: {words}");
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
        for (line, expected) in [
            ("sluicegate drain --proxy", Some("")),
            ("sluicegate drain --proxy two", Some("proxy=two")),
            ("sluicegate drain", None),
        ] {
            let query = match parse(line) {
                Ok(Verb::Drain(it)) => Some(it.whom.query()),
                _ => None,
            };
            assert_eq!(query.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn what_leaves_nobody_is_forced_of_an_origin_alone() {
        for (line, expected) in [
            ("sluicegate drain one", Some("")),
            ("sluicegate drain one --force", Some("force=true")),
            (
                "sluicegate drain one --force --deadline 10m",
                Some("deadline=10m&force=true"),
            ),
            (
                "sluicegate drain --proxy two --deadline 10m",
                Some("proxy=two&deadline=10m"),
            ),
            ("sluicegate drain --proxy --force", None),
            ("sluicegate disable one", Some("")),
            ("sluicegate disable one --force", Some("force=true")),
            ("sluicegate undrain one --force", None),
        ] {
            let query = match parse(line) {
                Ok(Verb::Disable(it)) => Some(it.query().to_owned()),
                Ok(Verb::Drain(it)) => Some(it.query()),
                _ => None,
            };
            assert_eq!(query.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn completions_know_the_options() {
        let script = String::from_utf8(completions(Shell::Bash)).unwrap();
        assert!(script.contains("--while-answers"));
    }
}
