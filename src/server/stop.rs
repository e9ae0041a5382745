//! The end: nothing new is accepted, sessions may finish, and what is left is ended.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::Shutdown;
use crate::proxy::{self, Proxy};

/// Lets the `tasks` of clients finish within the grace time, ends those that are left one after the other, and then what
/// goes on until `end`.
pub(super) async fn drain(
    proxy: &Proxy,
    tasks: &TaskTracker,
    shutdown: &Shutdown,
    end: &CancellationToken,
) {
    proxy.stop();
    let (open, grace) = (proxy.sessions().len(), shutdown.grace);
    info!(sessions = open, ?grace, "stopping: nothing new is accepted");
    tasks.close();
    if timeout(grace, tasks.wait()).await.is_err() {
        let (left, within) = (proxy.sessions().len(), time_to_end(shutdown));
        warn!(
            sessions = left,
            ?within,
            "the grace time is over: ending what is left"
        );
        let ending = async {
            proxy::drain::end_within(proxy, within).await;
            sleep(LAST_MOMENT).await;
        };
        tokio::select! {
            () = tasks.wait() => {}
            () = ending => {}
        }
    }
    end.cancel();
    if let Some(cluster) = proxy.cluster() {
        cluster.leave().await;
    }
    info!("stopped");
}

/// How long there is for ending sessions one after the other.
fn time_to_end(shutdown: &Shutdown) -> Duration {
    if shutdown.force.is_zero() {
        return UNFORCED;
    }
    shutdown
        .force
        .saturating_sub(shutdown.grace)
        .saturating_sub(LAST_MOMENT)
}

/// How long ended sessions may take to close.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// How long ending sessions may take where no time is set for the end of the process.
const UNFORCED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_ended_between_the_grace_time_and_the_last_moment() {
        let seconds = Duration::from_secs;
        for (grace, force, expected) in [
            (20, 30, 8),
            (120, 150, 28),
            (20, 21, 0),
            (30, 20, 0),
            (20, 0, 60),
        ] {
            let shutdown = Shutdown {
                grace: seconds(grace),
                force: seconds(force),
            };
            assert_eq!(time_to_end(&shutdown), seconds(expected), "{grace} {force}");
        }
    }
}
