//! The `sluicegate` program: arguments in, exit code out.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluicegate::cli::operate::Command;
use sluicegate::cli::{Cli, Verb};
use sluicegate::cli::{register, sign, tap};
use sluicegate::config::{self, Environment, Loaded, Settings};
use sluicegate::output::print;
use sluicegate::server::{Inherited, Server, Sockets, too_little_room};
use sluicegate::systemd::Systemd;
use sluicegate::{demo, logging, stream_names};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

fn main() -> ExitCode {
    let code = obey(Cli::read().verb());
    logging::finish();
    code
}

fn obey(verb: Verb) -> ExitCode {
    match verb {
        Verb::Check { config } => printed(check(config.as_deref())),
        Verb::Completions { shell } => said(print(Cli::completions(shell)).map_err(not_written)),
        Verb::Disable(it) => operate(Command::Disable(it)),
        Verb::Probe(it) => operate(Command::Probe(it)),
        Verb::Drain(it) => operate(Command::Drain(it)),
        Verb::Events(it) => operate(Command::Events(it)),
        Verb::Explain(it) => operate(Command::Explain(it)),
        Verb::Move(it) => operate(Command::Move(it)),
        Verb::Rebalance(it) => operate(Command::Rebalance(it)),
        Verb::Ban(it) => operate(Command::Ban(it)),
        Verb::Bans(ask) => operate(Command::Bans(ask)),
        Verb::Unban(it) => operate(Command::Unban(it)),
        Verb::Kick(it) => operate(Command::Kick(it)),
        Verb::Origins(it) => operate(Command::Origins(it)),
        Verb::Ps(it) => operate(Command::Ps(it)),
        Verb::Sessions(it) => operate(Command::Sessions(it)),
        Verb::Streams(it) => operate(Command::Streams(it)),
        Verb::Undrain(it) => operate(Command::Undrain(it)),
        Verb::Demo { tls } => said(demo(tls)),
        Verb::Register(arguments) => said(block_on(register::run(arguments))),
        Verb::Run {
            config,
            tls_self_signed,
        } => said(run(config.as_deref(), tls_self_signed)),
        Verb::Key(arguments) => printed(sign::key(&arguments).map_err(Into::into)),
        Verb::Sign(arguments) => printed(
            Environment::read()
                .map_err(Into::into)
                .and_then(|environment| {
                    Ok(format!("{}\n", sign::signed(&arguments, &environment)?))
                }),
        ),
        Verb::Tap(arguments) => said(block_on(tap::run(arguments))),
        Verb::Version => printed(Ok(format!("sluicegate {}\n", env!("CARGO_PKG_VERSION")))),
    }
}

/// Prints what came out.
fn printed(outcome: anyhow::Result<String>) -> ExitCode {
    said(outcome.and_then(|text| print(text).map_err(not_written)))
}

fn not_written(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("cannot write")
}

/// Ends with one sentence on standard error if something went wrong.
fn said<T>(outcome: anyhow::Result<T>) -> ExitCode {
    match outcome {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluicegate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Asks a running proxy; its exit codes are those of [`operate::OperateError`](sluicegate::cli::operate::OperateError).
fn operate(question: Command) -> ExitCode {
    let mut code = ExitCode::FAILURE;
    let asked = block_on(async {
        code = sluicegate::cli::operate::run(question, &Environment::read()?).await;
        Ok(())
    });
    match asked {
        Ok(()) => code,
        Err(_) => said(asked),
    }
}

fn check(file: Option<&Path>) -> anyhow::Result<String> {
    Ok(config::check(file, &Environment::read()?)?)
}

fn run(file: Option<&Path>, tls_self_signed: bool) -> anyhow::Result<()> {
    let environment = environment(tls_self_signed)?;
    let inherited = Inherited::from_environment()?;
    let Loaded {
        settings,
        effective,
        warnings,
    } = Settings::load_for(&inherited.sockets(), file, &environment)?;
    stream_names::decide(settings.log.stream_names);
    logging::start(settings.log.format, settings.log.level).context("no thread for the log")?;
    for warning in warnings {
        warn!("{warning}");
    }
    std::panic::set_hook(Box::new(
        |panic| error!(%panic, "a bug: this panic ends one connection or one task"),
    ));
    raise_descriptors();
    if let Some(room) = too_little_room(&settings) {
        let sessions = settings.session.max;
        warn!(
            room,
            sessions,
            "too few file descriptors for session.max: clients beyond the room wait; raise the limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
    block_on(async {
        let force = settings.shutdown.force;
        let systemd = Systemd::from_environment().unwrap_or_else(|error| {
            warn!(%error, "systemd waits for word and cannot be told: NOTIFY_SOCKET cannot be used");
            Systemd::default()
        });
        let sockets = Sockets::inherit(&settings, inherited)?;
        let server = Server::new(settings, sockets)?
            .with_systemd(systemd)
            .showing(&effective);
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone(), force)?);
        server.serve(stop).await;
        Ok(())
    })
}

/// The environment, with a certificate of our own if that was asked for.
fn environment(tls_self_signed: bool) -> anyhow::Result<Environment> {
    let environment = Environment::read()?;
    Ok(if tls_self_signed {
        environment.with("tls.self_signed", "on")
    } else {
        environment
    })
}

fn demo(tls: bool) -> anyhow::Result<()> {
    block_on(async {
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone(), Duration::ZERO)?);
        demo::run(stop, &environment(tls)?).await
    })
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // Connections have workers of their own; what is left here is accepting them, clocks and signals.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(work);
    // Dropping it would wait for lookups of names that nobody answers.
    runtime.shutdown_background();
    outcome
}

/// The usual soft limit of 1024 is there for programs that use `select`.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
}

/// Cancels `stop` at the first SIGTERM, SIGINT or SIGQUIT, and ends the process at a second one, or when `force` has passed since
/// the first. Some servers finish their sessions at SIGQUIT alone, so scripts send it. The signals by which other servers open
/// their logs again do no harm.
fn stop_on_signal(
    stop: CancellationToken,
    force: Duration,
) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut reopen = [
        ("SIGUSR1", signal(SignalKind::user_defined1())?),
        ("SIGUSR2", signal(SignalKind::user_defined2())?),
    ];
    Ok(async move {
        let mut next = async || loop {
            let [(one, first), (other, second)] = &mut reopen;
            let ignored = tokio::select! {
                _ = terminate.recv() => return "SIGTERM",
                _ = interrupt.recv() => return "SIGINT",
                _ = quit.recv() => return "SIGQUIT",
                _ = first.recv() => *one,
                _ = second.recv() => *other,
            };
            info!(
                signal = ignored,
                "ignored: log lines go to standard output, and there is no file to open again"
            );
        };
        let first = next().await;
        info!(signal = first, "stopping");
        stop.cancel();
        tokio::select! {
            signal = next() => warn!(signal, "a second signal: ending at once"),
            () = tokio::time::sleep(force), if !force.is_zero() => {
                warn!(after = ?force, "sessions did not finish in time: ending");
            }
        }
        logging::finish();
        std::process::exit(1);
    })
}
