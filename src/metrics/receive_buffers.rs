//! Datagrams that found the receive buffer of a socket full, as the kernel counts them in `/proc/net/udp`. The counts
//! are read at each scrape. Without that file, the metric is missing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::ListenerLabel;

/// The sockets whose losses are counted, by inode.
#[derive(Debug, Clone, Default)]
pub struct ReceiveBuffers {
    sockets: Arc<Mutex<BTreeMap<u64, Socket>>>,
    /// `sluicegate_datagrams_overflowed_total`: datagrams that found a full receive buffer, by listener.
    pub(super) overflowed: Family<ListenerLabel, Counter>,
}

#[derive(Debug)]
struct Socket {
    total: Counter,
    /// The kernel's count when it was last read; `None` for a socket that was used elsewhere before.
    seen: Option<u64>,
}

/// A socket is counted for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Counted {
    buffers: ReceiveBuffers,
    inode: Option<u64>,
}

impl ReceiveBuffers {
    /// Counts the losses of a socket of `listener` from now on; a `fresh` socket has lost nothing before.
    pub(crate) fn count(&self, socket: &impl AsFd, listener: &'static str, fresh: bool) -> Counted {
        let descriptor = socket.as_fd().as_raw_fd();
        let metadata = fs::metadata(format!("/proc/self/fd/{descriptor}"));
        let inode = metadata.ok().map(|metadata| metadata.ino());
        if let Some(inode) = inode {
            let total = self
                .overflowed
                .get_or_create(&ListenerLabel { listener })
                .clone();
            let seen = fresh.then_some(0);
            self.lock(|sockets| sockets.insert(inode, Socket { total, seen }));
        }
        Counted {
            buffers: self.clone(),
            inode,
        }
    }

    /// Brings the counters up to date. Only one scrape at a time calls this.
    pub(super) fn sample(&self) {
        if self.lock(|sockets| sockets.is_empty()) {
            return;
        }
        for table in ["/proc/self/net/udp", "/proc/self/net/udp6"] {
            if let Ok(table) = File::open(table) {
                self.read(table);
            }
        }
    }

    fn read(&self, table: impl Read) {
        for line in BufReader::new(table.take(MOST_READ)).lines().skip(1) {
            let Ok(line) = line else { return };
            let Some((inode, dropped)) = parse(&line) else {
                continue;
            };
            self.lock(|sockets| {
                if let Some(socket) = sockets.get_mut(&inode) {
                    let before = socket.seen.replace(dropped).unwrap_or(dropped);
                    socket.total.inc_by(dropped.saturating_sub(before));
                }
            });
        }
    }

    fn lock<T>(&self, act: impl FnOnce(&mut BTreeMap<u64, Socket>) -> T) -> T {
        act(&mut self.sockets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(inode) = self.inode {
            self.buffers.lock(|sockets| sockets.remove(&inode));
        }
    }
}

/// The inode in a line, and the number of dropped datagrams: the tenth field and the last one (proc_net_udp).
fn parse(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_whitespace();
    let inode = fields.nth(9)?.parse().ok()?;
    let dropped = fields.last()?.parse().ok()?;
    Some((inode, dropped))
}

/// Maximum bytes read of a table: thirty thousand sockets of the whole machine, in about ten milliseconds.
const MOST_READ: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    #[test]
    fn a_line_says_whose_it_is_and_what_was_lost() {
        let line = " 1153: 0100007F:94E4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 42301 2 0000000000000000 17";
        assert_eq!(parse(line), Some((42301, 17)));
        let head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
        for line in ["", head, "1: 2 3"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn what_a_full_buffer_costs_is_counted_once() {
        let buffers = ReceiveBuffers::default();
        let label = ListenerLabel { listener: "test" };
        let total = || buffers.overflowed.get_or_create(&label).get();
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let flood = || {
            // Many times what the system grants by default, or allows.
            for _ in 0..8192 {
                sender
                    .send_to(&[0; 1400], receiver.local_addr().unwrap())
                    .unwrap();
            }
        };
        let counted = buffers.count(&receiver, "test", true);
        buffers.sample();
        assert_eq!(total(), 0, "nothing came");
        flood();
        buffers.sample();
        let lost = total();
        assert!(lost > 0, "more came than there is room");
        buffers.sample();
        assert_eq!(total(), lost, "nothing more was lost");

        drop(counted);
        flood();
        buffers.sample();
        assert_eq!(total(), lost, "it is counted no more");
        let _counted = buffers.count(&receiver, "test", false);
        buffers.sample();
        assert_eq!(total(), lost, "what was lost elsewhere does not count");
        flood();
        buffers.sample();
        assert!(total() > lost, "it is counted again");
    }
}
