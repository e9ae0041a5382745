//! A publisher on its way from one origin to another: the other is asked while the present one has the stream, and gets
//! it with the next keyframe.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::rtmp::join::Joined;
use sluicegate_core::rtmp::server::Identified;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::Pair;
use super::held::{Again, notice_early};
use crate::net::linger_close;
use crate::net::wire::Wire;
use crate::proxy::moves::{self, MovedClaim};
use crate::sessions::{Direction, KEYFRAME_WITHIN, Loss, MoveOrder, MoveStage, Row};

/// A move of one publisher.
pub(super) struct Move {
    order: MoveOrder,
    row: Arc<Row>,
    stage: Stage,
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Stage {
    /// The other origin is asked, and then the claim moves.
    Asking(Later<Result<Asked, String>>),
    /// It has the stream, and waits for a keyframe.
    Taken(Box<Taken>),
    /// It is over.
    Over,
}

/// What took the publisher.
struct Asked {
    to: OriginId,
    origin: Wire,
    joined: Joined,
    /// What it said meanwhile.
    said: Vec<u8>,
    claim: MovedClaim,
}

struct Taken {
    to: OriginId,
    origin: Wire,
    claim: MovedClaim,
    /// No keyframe came until then.
    late: Pin<Box<Sleep>>,
    cut_at: Option<Instant>,
}

impl std::fmt::Debug for Move {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Move").field(&self.order).finish()
    }
}

impl Again {
    /// Begins what was ordered, and goes on with what began. Ready when the other origin is to get the publisher.
    /// `is_even`: the present origin has all that passed to it.
    pub(super) fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        joined: &mut Joined,
        row: &Arc<Row>,
        is_even: bool,
    ) -> Poll<LegEnd> {
        if self.moving.is_none() {
            let identified = joined.recipe().and_then(|recipe| recipe.identified());
            let Some(identified) = identified else {
                return Poll::Pending;
            };
            let Some(order) = row.take_order() else {
                return Poll::Pending;
            };
            self.moving = Some(Box::new(self.begin_move(order, row, identified)));
        }
        let Some(moving) = &mut self.moving else {
            return Poll::Pending;
        };
        if ready!(moving.poll(cx, joined, is_even)) {
            return Poll::Ready(LegEnd::Moved);
        }
        self.moving = None;
        Poll::Pending
    }

    fn begin_move(&self, order: MoveOrder, row: &Arc<Row>, identified: Identified) -> Move {
        let asker = self.asker.clone();
        let (from, to) = (order.from.clone(), order.to.clone());
        let (why, ends_viewers) = (order.words(), order.ends_viewers);
        let for_row = Arc::clone(row);
        let asked = async move {
            let (proxy, row) = (&asker.proxy, &*for_row);
            let attempt = moves::attempt(proxy, row, (&to, ends_viewers)).await?;
            let asked = asker.ask(attempt, row, &identified);
            let answer = timeout(proxy.setup_timeout(), asked).await;
            let answer = answer.map_err(|_| format!("{to} did not answer in time"))?;
            let (origin, joined, said) = answer.map_err(|error| moves::not_taken(&to, error))?;
            let claim = proxy.move_claim(row, (&from, &to), &why).await?;
            notice_early(&origin);
            Ok(Asked {
                to,
                origin,
                joined,
                said,
                claim,
            })
        };
        Move {
            order,
            row: Arc::clone(row),
            stage: Stage::Asking(Box::pin(asked)),
        }
    }

    /// The move whose other origin has taken the publisher, if there is one; any other is called off.
    pub(super) fn take_move(&mut self) -> Option<Box<Move>> {
        let moving = self.moving.take()?;
        match &moving.stage {
            Stage::Taken(taken) if taken.claim.stands() => Some(moving),
            Stage::Asking(_) | Stage::Taken(_) | Stage::Over => None,
        }
    }
}

impl Move {
    /// Ready when the publisher is to go over (true), or stays.
    fn poll(&mut self, cx: &mut Context<'_>, joined: &mut Joined, is_even: bool) -> Poll<bool> {
        loop {
            match &mut self.stage {
                Stage::Asking(asked) => match ready!(asked.as_mut().poll(cx)) {
                    Ok(asked) => {
                        if !joined.begin_move(asked.joined, &asked.said) {
                            drop(asked.claim);
                            self.fail("its publisher has lost its origin".to_owned());
                            return Poll::Ready(false);
                        }
                        self.order.tell(MoveStage::Awaiting);
                        self.stage = Stage::Taken(Box::new(Taken {
                            to: asked.to,
                            origin: asked.origin,
                            claim: asked.claim,
                            late: Box::pin(sleep(KEYFRAME_WITHIN)),
                            cut_at: None,
                        }));
                    }
                    Err(why) => {
                        self.fail(why);
                        return Poll::Ready(false);
                    }
                },
                Stage::Taken(taken) => match ready!(taken.poll(cx, joined, &self.row, is_even)) {
                    Ok(()) => return Poll::Ready(true),
                    Err(why) => {
                        joined.cancel_move();
                        self.fail(why);
                        return Poll::Ready(false);
                    }
                },
                Stage::Over => return Poll::Ready(false),
            }
        }
    }

    /// The publisher stays where it is. A claim that has moved goes back first.
    fn fail(&mut self, why: String) {
        self.stage = Stage::Over;
        moves::failed(&self.row, &self.order, why);
    }
}

impl Drop for Move {
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Over) {
            self.fail("its publisher has left, or has lost its origin".to_owned());
        }
    }
}

impl Taken {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        joined: &mut Joined,
        row: &Row,
        is_even: bool,
    ) -> Poll<Result<(), String>> {
        if joined.is_cut() {
            self.cut_at.get_or_insert_with(Instant::now);
            return if is_even {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            };
        }
        if row.is_called_back() {
            let why = "another proxy placed it elsewhere while a keyframe was awaited";
            return Poll::Ready(Err(why.to_owned()));
        }
        if joined.client_has_left() {
            return Poll::Ready(Err("its publisher gives it up".to_owned()));
        }
        if joined.must_not_wait() {
            let why = "its encoder asked for too much while a keyframe was awaited";
            return Poll::Ready(Err(why.to_owned()));
        }
        if self.late.as_mut().poll(cx).is_ready() {
            let seconds = KEYFRAME_WITHIN.as_secs();
            let why = format!("its encoder sent no keyframe for {seconds} s");
            return Poll::Ready(Err(why));
        }
        let mut room = [0; READ];
        loop {
            if let Some(words) = joined.take_others_error() {
                let why = format!("{} took it, and then said no: {words}", self.to);
                return Poll::Ready(Err(why));
            }
            let mut buffer = ReadBuf::new(&mut room);
            let read = ready!(Pin::new(&mut self.origin).poll_read(cx, &mut buffer));
            let heard = buffer.filled();
            if read.is_err() || heard.is_empty() || joined.hear_other(heard).is_err() {
                let why = "the other origin closed the connection while a keyframe was awaited";
                return Poll::Ready(Err(why.to_owned()));
            }
        }
    }
}

impl Pair {
    /// The other origin has the publisher from here on. `end`: how the leg to the present one ended.
    pub(super) async fn make_move(&mut self, end: LegEnd, mut moving: Box<Move>) {
        let stage = std::mem::replace(&mut moving.stage, Stage::Over);
        let Stage::Taken(taken) = stage else {
            // As if nobody had asked for it: it is over when it is dropped.
            moving.stage = stage;
            return;
        };
        let row = Arc::clone(self.session.row());
        let joined = &mut self.passage.joined;
        let is_planned = joined.is_cut();
        let made = joined.make_move(row.bytes(Direction::ToOrigin));
        self.first.extend(made.to_client);
        let old = std::mem::replace(&mut self.origin, taken.origin);
        linger_close::leave(old);
        let (from, to): (OriginId, OriginId) = (moving.order.from.clone(), moving.order.to.clone());
        if let Some(again) = &mut self.passage.again {
            again.hold.joined(Instant::now().into_std());
            again.begins_elsewhere(&row);
        }
        if !is_planned {
            // Its origin was lost in the meantime, and the other waits for a keyframe.
            row.hold(Loss::Leg(end), Some(from.clone()));
            row.found_again(Some(to.clone()));
            self.passage.flows = false;
        }
        let why = moving.order.words();
        self.session.made_move(taken.claim, end, &why);
        // An origin that does not take these few bytes is lost again, which the relay finds.
        let sent = async {
            self.origin.write_all(&made.to_origin).await?;
            self.origin.flush().await
        };
        let _ = timeout(linger_close::TIME_LIMIT, sent).await;
        let gap = taken.cut_at.map(|at| at.elapsed()).unwrap_or_default();
        if is_planned {
            row.note_move(&from, &to, gap);
        }
        moves::made(&row, &moving.order, gap);
    }
}

/// One read of what the other origin says before it has the publisher: pings and acknowledgements.
const READ: usize = 512;
