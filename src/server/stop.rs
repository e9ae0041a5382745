//! The end: nothing new is accepted, sessions may finish, and what is left is ended.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::proxy::Proxy;
use crate::sessions::EndReason;

/// Lets the `tasks` of clients finish within `grace`, ends those that are left, and then what goes on until `end`.
pub(super) async fn drain(
    proxy: &Proxy,
    tasks: &TaskTracker,
    grace: Duration,
    end: &CancellationToken,
) {
    proxy.stop();
    let open = proxy.sessions().len();
    info!(sessions = open, ?grace, "stopping: nothing new is accepted");
    tasks.close();
    if timeout(grace, tasks.wait()).await.is_err() {
        let sessions = proxy.sessions();
        warn!(
            sessions = sessions.len(),
            "the grace time is over: ending what is left"
        );
        sessions.end_all(EndReason::Drained);
        let _ = timeout(LAST_MOMENT, tasks.wait()).await;
    }
    end.cancel();
    if let Some(cluster) = proxy.cluster() {
        cluster.leave().await;
    }
    info!("stopped");
}

/// How long ended sessions may take to close.
const LAST_MOMENT: Duration = Duration::from_secs(2);
