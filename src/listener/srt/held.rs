//! A caller that stays connected while its stream goes to another origin: its own is lost, or its stream is moved. The table
//! of flows calls the other one in the caller's place; which one that is, is found here.

use std::time::Duration;

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::hold::HoldLimit;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::place::standing::GoesOn;
use sluicegate_core::srt::flows::Failure;
use sluicegate_core::stream::Action;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::info;

use super::{Command, FlowSession, Leg};
use crate::proxy::{DialError, Session, moves};
use crate::sessions::{EndReason, Follows, MoveOrder, MoveStage, Over};

/// What became of a player that follows its stream.
enum Gone {
    /// It lost its origin before another had agreed.
    Lost(LegEnd),
    /// It is there, after this long without media.
    Over(Duration),
    /// Its stream stays where it was, and so does the player.
    Stays,
    /// It is there, and nothing comes.
    Unheard,
}

/// What ends a caller's session.
type Closed = oneshot::Receiver<EndReason>;

impl FlowSession {
    /// Waits for the end of a session that may outlive its origin, and finds others for it meanwhile.
    pub(super) async fn attend(
        &self,
        session: &Session,
        time_limit: Duration,
        mut closed: Closed,
        mut leg: watch::Receiver<Leg>,
    ) -> EndReason {
        let mut hold = HoldLimit::new(now(), time_limit);
        let row = session.row();
        loop {
            let over = tokio::select! {
                end = &mut closed => return end.unwrap_or(EndReason::Crashed),
                over = row.interrupted() => over,
                end = is_lost(&mut leg) => Over::Leg(end),
                order = row.ordered() => {
                    let made = Box::pin(self.make_move(session, order, &mut closed, &mut leg)).await;
                    match made {
                        Ok(()) => {
                            hold.joined(now());
                            continue;
                        }
                        Err(reason) => Over::Session(reason),
                    }
                }
            };
            let end = match over {
                Over::Leg(end) => end,
                Over::Session(reason) => return self.close(reason, closed).await,
            };
            // A player whose origin lives loses nothing on its way to another.
            let follows = leg.borrow().lost.is_none() && row.request.action == Action::Play;
            let gone_on = match follows {
                true => {
                    Box::pin(self.follow(session, end, &mut hold, (&mut closed, &mut leg))).await
                }
                false => {
                    Box::pin(self.hold(session, end, &mut hold, (&mut closed, &mut leg))).await
                }
            };
            if let Err(reason) = gone_on {
                return self.close(reason, closed).await;
            }
        }
    }

    /// Ends the flow, unless it has ended.
    async fn close(&self, reason: EndReason, closed: Closed) -> EndReason {
        let flow = self.flow;
        if closed.is_terminated() {
            return reason;
        }
        self.to_shard.send(Command::Close { flow }).await;
        // The last bytes are counted by then.
        let _ = closed.await;
        reason
    }

    /// Keeps the caller until another origin has it, or the one that was lost is there again.
    ///
    /// # Errors
    /// Why the session is over.
    async fn hold(
        &self,
        session: &Session,
        end: LegEnd,
        hold: &mut HoldLimit,
        (closed, leg): (&mut Closed, &mut watch::Receiver<Leg>),
    ) -> Result<(), EndReason> {
        let row = session.row();
        let (action, origin) = (row.request.action, row.origin());
        let Some(deadline) = hold.deadline(now(), action, origin.as_ref(), end) else {
            row.tell_closed_again();
            return Err(row.end_without(end));
        };
        let deadline = deadline.into();
        let was_lost = leg.borrow().lost.is_some();
        let Some(lost) = session.lose_leg(end) else {
            return Err(row.end_without(end));
        };
        let publishes = row.request.action == Action::Publish;
        let _told = publishes.then(|| session.tell_held(hold.time()));
        let found = tokio::select! {
            biased;
            end = &mut *closed => return Err(end.unwrap_or(EndReason::Crashed)),
            reason = row.ended() => return Err(reason),
            () = is_back(leg), if was_lost => None,
            found = session.dial_again((&lost, end), |attempt| self.ask(session, attempt)) => Some(found),
            () = sleep_until(deadline) => return Err(row.end_without(end)),
        };
        match found {
            None => {
                let is_there = session.is_back_at(&lost).await;
                row.goes_on(0);
                if !is_there {
                    row.lose_leg(LegEnd::Moved);
                }
            }
            Some(Ok(())) => self.join(session).await,
            Some(Err(_)) => return Err(EndReason::Refused),
        }
        hold.joined(now());
        Ok(())
    }

    /// Takes a player to where its stream is. It has its origin until media comes from there.
    ///
    /// # Errors
    /// Why the session is over.
    async fn follow(
        &self,
        session: &Session,
        end: LegEnd,
        hold: &mut HoldLimit,
        (closed, leg): (&mut Closed, &mut watch::Receiver<Leg>),
    ) -> Result<(), EndReason> {
        let row = session.row();
        let deadline = Instant::now() + hold.time();
        let Some(from) = row.origin() else {
            return Err(row.end_without(end));
        };
        row.follow(Some(Follows::Asks));
        let mut own_leg = leg.clone();
        let gone = tokio::select! {
            biased;
            end = &mut *closed => Err(end.unwrap_or(EndReason::Crashed)),
            reason = row.ended() => Err(reason),
            gone = self.follow_from((session, &from), end, leg) => gone,
            () = sleep_until(deadline) => Err(row.end_without(end)),
        };
        row.follow(None);
        hold.joined(now());
        match gone? {
            Gone::Over(gap) => {
                if let Some(to) = row.origin() {
                    let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
                    info!(session = row.id, stream = %row.request.stream, %from, %to, gap_ms, "player followed its stream");
                    row.note_move(&from, &to, gap);
                }
                Ok(())
            }
            // It is where it was, and is held like any other.
            Gone::Lost(end) => {
                row.note_moved(from);
                self.hold(session, end, hold, (closed, &mut own_leg)).await
            }
            Gone::Stays => {
                self.abandon().await;
                row.note_placed(from, moves::STAYS.into());
                Ok(())
            }
            Gone::Unheard => Ok(()),
        }
    }

    /// Dials the origin where the stream of a player is that is to leave `from` for `end`, until one has gone on with it.
    ///
    /// # Errors
    /// Why the session is over.
    async fn follow_from(
        &self,
        (session, from): (&Session, &OriginId),
        end: LegEnd,
        leg: &mut watch::Receiver<Leg>,
    ) -> Result<Gone, EndReason> {
        let row = session.row();
        let ask = |attempt| async {
            let asked = self.ask(session, attempt).await;
            if asked.is_err() {
                row.follow(Some(Follows::Refused));
            }
            asked
        };
        // A move that came to nothing: the stream is to be where its player is.
        let goes_on = |at: Option<&OriginId>| {
            let goes = session.goes_on(from, at);
            (end == LegEnd::Moved && goes != GoesOn::There).then_some(goes)
        };
        loop {
            let mut present = leg.clone();
            tokio::select! {
                biased;
                end = is_lost(&mut present) => return Ok(Gone::Lost(end)),
                _ = row.look_for(|| goes_on(None)) => return Ok(Gone::Stays),
                asked = session.dial_elsewhere((from, end), ask) => {
                    asked.map_err(|_| EndReason::Refused)?;
                }
            }
            let before = *leg.borrow_and_update();
            self.join(session).await;
            row.follow(Some(Follows::Waits));
            let over = |leg: &Leg| {
                leg.resumed != before.resumed || leg.left != before.left || leg.lost.is_some()
            };
            let at = row.origin();
            let heard = tokio::select! {
                biased;
                heard = leg.wait_for(over) => Some(heard.map(|now| *now)),
                goes = row.look_for(|| goes_on(at.as_ref())) => match goes {
                    GoesOn::Back => return Ok(Gone::Stays),
                    GoesOn::Elsewhere | GoesOn::There => None,
                },
            };
            let Some(heard) = heard else {
                self.abandon().await;
                row.follow(Some(Follows::Asks));
                continue;
            };
            let mut now = heard.map_err(|_| EndReason::Crashed)?;
            if now.lost.is_some() && now.resumed == before.resumed {
                // Its present origin is lost, so that it goes over at once.
                let resumed = leg.wait_for(|leg| leg.resumed != before.resumed);
                now = match timeout(HEARD_WITHIN, resumed).await {
                    Ok(Ok(now)) => *now,
                    _ => return Ok(Gone::Unheard),
                };
            }
            if now.resumed != before.resumed {
                return Ok(Gone::Over(now.gap));
            }
        }
    }

    /// Moves a publisher to the origin that it is ordered to. It has its own until that one has agreed.
    ///
    /// # Errors
    /// Why the session is over.
    async fn make_move(
        &self,
        session: &Session,
        order: MoveOrder,
        closed: &mut Closed,
        leg: &mut watch::Receiver<Leg>,
    ) -> Result<(), EndReason> {
        let row = session.row();
        let moved = tokio::select! {
            biased;
            end = &mut *closed => Err(end.unwrap_or(EndReason::Crashed)),
            reason = row.ended() => Err(reason),
            moved = self.go(session, &order, leg) => Ok(moved),
        };
        let left = || Err("its publisher has left".to_owned());
        match moved.as_ref().map_or_else(|_| left(), Clone::clone) {
            Ok(gap) => {
                row.note_move(&order.from, &order.to, gap);
                moves::made(row, &order, gap);
            }
            Err(why) => moves::failed(row, &order, why),
        }
        moved.map(drop)
    }

    /// Asks the other origin of a move, and goes there. For how long nobody acknowledged anything.
    ///
    /// # Errors
    /// In words, why the publisher stays where it is. The other origin is asked no more.
    async fn go(
        &self,
        session: &Session,
        order: &MoveOrder,
        leg: &mut watch::Receiver<Leg>,
    ) -> Result<Duration, String> {
        let gone = self.ask_and_go(session, order, leg).await;
        if gone.is_err() {
            self.abandon().await;
        }
        gone
    }

    /// Gives up the origin that was called for the flow.
    async fn abandon(&self) {
        let flow = self.flow;
        self.to_shard.send(Command::Abandon { flow }).await;
    }

    async fn ask_and_go(
        &self,
        session: &Session,
        order: &MoveOrder,
        leg: &mut watch::Receiver<Leg>,
    ) -> Result<Duration, String> {
        let (row, proxy) = (session.row(), &self.proxy);
        let (from, to) = (&order.from, &order.to);
        let why = order.words();
        let attempt = moves::attempt(proxy, row, (to, order.ends_viewers)).await?;
        let asked = self.ask(session, attempt).await;
        asked.map_err(|error| moves::not_taken(to, error))?;
        let claim = proxy.move_claim(row, (from, to), &why).await?;
        proxy.lead_players(&row.key, to).await;
        order.tell(MoveStage::Awaiting);
        let before = *leg.borrow_and_update();
        self.join(session).await;
        let over = |leg: &Leg| {
            leg.resumed != before.resumed || leg.left != before.left || leg.lost.is_some()
        };
        let heard = timeout(HEARD_WITHIN, leg.wait_for(over)).await;
        let heard = heard.ok().and_then(Result::ok).map(|leg| *leg);
        // It may decide about a publisher after it has agreed.
        if heard.is_some_and(|now| now.left != before.left && now.resumed == before.resumed) {
            return Err(format!("{to} agreed to take it, and closed the connection"));
        }
        let is_there = heard.is_some_and(|now| now.resumed != before.resumed);
        if !is_there && !claim.stands() {
            return Err("another proxy placed it elsewhere while it went there".to_owned());
        }
        // One that acknowledges nothing is lost again.
        session.made_move(claim, LegEnd::Moved, &why);
        Ok(heard.map_or(HEARD_WITHIN, |now| now.gap))
    }
}

/// Resolves when the flow has no origin.
async fn is_lost(leg: &mut watch::Receiver<Leg>) -> LegEnd {
    let lost = leg.wait_for(|leg| leg.lost.is_some()).await;
    match lost.map(|leg| leg.lost) {
        Ok(end) => end.unwrap_or(LegEnd::Closed),
        // The flow is over, which is heard as well.
        Err(_) => std::future::pending().await,
    }
}

/// Resolves when the flow has its origin again.
async fn is_back(leg: &mut watch::Receiver<Leg>) {
    if leg.wait_for(|leg| leg.lost.is_none()).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// How an attempt failed, as the search for an origin hears it.
pub(super) fn failed(why: Failure) -> DialError {
    let failed = |why: &str| DialError::Failed(why.to_owned());
    match why {
        Failure::Refused => failed("nobody listens at its SRT port"),
        Failure::NotSrt => failed("it does not speak SRT 1.3 or later"),
        Failure::IdTaken => failed(
            "the stream is encrypted with AES-GCM, and it chose the socket id of another call of this caller",
        ),
        Failure::Late => {
            DialError::Slow("the player's origin used up the packet numbers left for it".to_owned())
        }
        Failure::Left => DialError::HungUp("it closed the connection at once".to_owned()),
        Failure::NoNumbers => DialError::Refused(
            "no origin can take the player, because a key would be used twice with one packet number".to_owned(),
        ),
        Failure::OtherTerms => DialError::HungUp(
            "it agrees to other terms than the caller's first origin: another packet filter, mode or passphrase".to_owned(),
        ),
    }
}

/// How long an origin that a publisher was moved to may take to acknowledge something.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
