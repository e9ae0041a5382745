//! A TCP relay that can turn into a black hole: bytes stop, connections stay open, and neither side sees a FIN.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Socket, Type};

/// A relay from an address of its own to `target`. Its connections end with the value.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    narrow: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Connections numbered below this are black holes.
    holes_below: u64,
    next: u64,
    over: bool,
    sockets: Vec<TcpStream>,
}

impl Relay {
    pub(crate) fn to(target: SocketAddr) -> Self {
        Self::open(target, false)
    }

    /// A relay with small receive buffers, so that the other end soon notices a reader that stops.
    pub(crate) fn narrow(target: SocketAddr) -> Self {
        Self::open(target, true)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes on the existing connections, in either direction, not even their end. Later
    /// connections are relayed.
    pub(crate) fn swallow(&self) {
        let mut state = self.shared.lock();
        state.holes_below = state.next;
    }

    /// From now on nothing passes, also on later connections, until [`mend`](Self::mend).
    pub(crate) fn part(&self) {
        self.shared.lock().holes_below = u64::MAX;
    }

    /// From now on everything passes again. What was sent meanwhile arrives late, because TCP repeats it.
    pub(crate) fn mend(&self) {
        self.shared.lock().holes_below = 0;
        self.shared.changed.notify_all();
    }

    /// Closes the existing connections.
    pub(crate) fn cut(&self) {
        for socket in self.shared.lock().sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn open(target: SocketAddr, narrow: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            target,
            narrow,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.lock().over {
                    return;
                }
                accepting.join(client);
            }
        });
        Self { address, shared }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        self.cut();
        // This wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn join(self: &Arc<Self>, client: TcpStream) {
        let Ok(far) = self.dial() else { return };
        let number = {
            let mut state = self.lock();
            for socket in [&client, &far] {
                let _ = socket.set_nodelay(true);
                state.sockets.extend(socket.try_clone());
            }
            state.next += 1;
            state.next - 1
        };
        let pairs = [(client.try_clone(), far.try_clone()), (Ok(far), Ok(client))];
        for (from, to) in pairs {
            let (Ok(from), Ok(to)) = (from, to) else {
                return;
            };
            let shared = Arc::clone(self);
            std::thread::spawn(move || shared.copy(number, from, to));
        }
    }

    fn dial(&self) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.target), Type::STREAM, None)?;
        if self.narrow {
            socket.set_recv_buffer_size(NARROW)?;
        }
        socket.connect(&self.target.into())?;
        Ok(socket.into())
    }

    fn copy(&self, number: u64, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; if self.narrow { NARROW } else { 64 * 1024 }];
        loop {
            let count = from.read(&mut buffer).unwrap_or(0);
            self.pass(number);
            if count == 0 || to.write_all(&buffer[..count]).is_err() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    }

    /// Returns at once, unless the connection is a black hole; then it returns when the relay ends.
    fn pass(&self, number: u64) {
        let mut state = self.lock();
        while number < state.holes_below && !state.over {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const NARROW: usize = 8 * 1024;
