//! A load balancer in front of several proxies: each connection goes to one of them at random.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A TCP balancer on a port of its own.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    servers: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Balancer {
    pub(crate) fn before(servers: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let servers = Arc::new(Mutex::new(servers.to_vec()));
        let known = Arc::clone(&servers);
        // The threads end with the test process or with their connections.
        thread::spawn(move || {
            let mut dice = Dice::new();
            for client in listener.incoming().flatten() {
                let servers = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let server = servers[dice.roll(servers.len())];
                thread::spawn(move || {
                    if let Ok(server) = TcpStream::connect(server) {
                        join(&client, &server);
                    }
                });
            }
        });
        Self { address, servers }
    }

    /// New connections go to these from now on.
    pub(crate) fn change(&self, servers: &[SocketAddr]) {
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers.to_vec();
    }
}

fn join(client: &TcpStream, server: &TcpStream) {
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    thread::scope(|threads| {
        threads.spawn(|| copy(client, server));
        copy(server, client);
        let _ = client.shutdown(Shutdown::Both);
    });
}

/// Numbers without a visible pattern (xorshift, 64 bits).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15 ^ u64::from(std::process::id()))
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).expect("less than the sides")
    }
}
