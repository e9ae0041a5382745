//! WebRTC media: datagrams between clients and origins, by one UDP port, and ICE over TCP on the same number.
//!
//! Calls are made by [signalling](super::whip) and found here by their bindings, as if the two were on different
//! machines. Nothing is decrypted.

mod media;
mod tcp;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use self::media::{Command, Media};
pub use self::tcp::Tcp;
use super::calls::Calls;
use crate::net::datagram::{Commands, Entries, Handle, Shard, handle};
use crate::net::workers::Workers;
use crate::proxy::Proxy;

/// The media port, bound.
#[derive(Debug)]
pub struct Rtc {
    /// The sockets of each shard.
    pub entries: Vec<Entries>,
    /// Lets calls stand that another proxy signalled.
    pub calls: Calls,
}

impl Rtc {
    /// Serves, one shard on each worker, until `end`; `tasks` keeps count of the shards.
    pub fn serve(
        self,
        workers: &Workers,
        tasks: &TaskTracker,
        end: &CancellationToken,
        proxy: &Proxy,
    ) {
        for address in self
            .entries
            .first()
            .into_iter()
            .flat_map(Entries::addresses)
        {
            info!(listener = NAME, %address, "listening");
        }
        let (handles, commands): (Vec<Handle<Command>>, Vec<Commands<Command>>) =
            self.entries.iter().map(|_| handle()).unzip();
        let handles: Arc<[Handle<Command>]> = handles.into();
        let shards = self.entries.into_iter().zip(commands).enumerate();
        for (index, (entries, commands)) in shards {
            let media = Media::new(
                index,
                proxy.clone(),
                self.calls.clone(),
                Arc::clone(&handles),
            );
            let (proxy, end) = (proxy.clone(), end.clone());
            workers.run_at(index, tasks, async move {
                let metrics = Arc::clone(proxy.metrics());
                let served = Shard::serve(NAME, entries, commands, media, &metrics, end).await;
                if let Err(error) = served {
                    error!(listener = NAME, %error, "a shard cannot serve");
                }
            });
        }
    }
}

/// The listener in logs and metrics.
const NAME: &str = "rtc";
