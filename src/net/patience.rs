//! How long a client of HTTP/1 may take for what comes next on its connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::accept::Room;

/// The times that a client has, and the room that they depend on.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For the head of a request, counted from its first byte. The first one of a connection has this long to begin, too.
    pub head: Duration,
    /// Between two requests. Where there is little room for others, it is `head`.
    pub idle: Duration,
    /// Where the connection has its place.
    pub room: Room,
}

/// The clock of one connection.
#[derive(Debug)]
pub struct Wait {
    patience: Patience,
    /// When the last answer was sent, as long as nothing of the next request came.
    idle_since: Option<Instant>,
    look: Pin<Box<Sleep>>,
}

impl Wait {
    /// The wait for the first request.
    pub fn for_first(patience: Patience) -> Self {
        Self {
            look: Box::pin(sleep(patience.head)),
            idle_since: None,
            patience,
        }
    }

    /// A request was answered: the next one may take its time to begin.
    pub fn answered(&mut self) {
        let now = Instant::now();
        self.idle_since = Some(now);
        self.look_at(now + self.patience.head.min(self.patience.idle));
    }

    /// Something of a request came: the rest of its head has to follow.
    pub fn came(&mut self) {
        if self.idle_since.take().is_some() {
            self.look_at(Instant::now() + self.patience.head);
        }
    }

    /// Ready when the client took too long.
    pub fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.look.as_mut().poll(cx));
            let Some(since) = self.idle_since else {
                return Poll::Ready(());
            };
            let (now, end) = (Instant::now(), since + self.patience.idle);
            if now >= end || self.patience.room.is_tight() {
                return Poll::Ready(());
            }
            self.look_at(end.min(now + self.patience.head));
        }
    }

    /// Resolves when the client took too long.
    pub async fn over(&mut self) {
        poll_fn(|cx| self.poll_over(cx)).await;
    }

    fn look_at(&mut self, time: Instant) {
        self.look.as_mut().reset(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(places: usize) -> Patience {
        Patience {
            head: Duration::from_secs(5),
            idle: Duration::from_secs(75),
            room: Room::new(places, "nothing"),
        }
    }

    async fn lasts(wait: &mut Wait) -> u64 {
        let began = Instant::now();
        wait.over().await;
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_began_has_to_follow_and_the_next_request_may_take_its_time() {
        let mut wait = Wait::for_first(patience(100));
        assert_eq!(lasts(&mut wait).await, 5, "the first head");
        wait.answered();
        assert_eq!(lasts(&mut wait).await, 75, "nothing comes");
        wait.answered();
        wait.came();
        sleep(Duration::from_secs(3)).await;
        wait.came();
        assert_eq!(lasts(&mut wait).await, 2, "half a head, however it drips");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_nothing_gives_way_where_there_is_little_room() {
        let mut wait = Wait::for_first(patience(0));
        wait.answered();
        assert_eq!(lasts(&mut wait).await, 5);
    }
}
