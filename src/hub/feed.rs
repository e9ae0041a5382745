//! A feed in the table of feeds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use sluicegate_core::media::feed::{Change, Feed as Media};
use sluicegate_core::media::viewer::{Framing, Viewer};
use sluicegate_core::place::leg::LegEnd;
use tokio::sync::{Notify, mpsc, watch};

use super::branch::{self, Branch};
use super::said::{Greeting, No, Said};
use super::seat::Seat;
use super::source::Batch;
use super::{Inner, Wanted, pull};
use crate::bell;
use crate::net::accept::OriginSide;
use crate::proxy::Refusal;
use crate::sessions::{Pull, Row};

/// A feed in the table: who pulls it, who watches, and its branches.
pub(super) struct Feed {
    shared: Arc<Inner>,
    wanted: Wanted,
    progress: watch::Sender<Progress>,
    greeting: watch::Sender<Greeting>,
    viewers: AtomicUsize,
    loans: Mutex<Loans>,
    /// Rings when a viewer has taken back its loan.
    returned: Notify,
    /// Rings when the last viewer has left.
    left: Notify,
    // A std mutex: the pull takes it for each batch, a viewer when it comes. It is never held across an await.
    home: Mutex<Home>,
    /// What the account of all feeds was told that it holds.
    bytes: AtomicUsize,
    /// All messages go when the next ones come.
    sheds: AtomicBool,
    /// The place of the pull's connection, which a viewer gave for it.
    origin_side: OriginSide,
}

/// The queries of viewers with which the origin let them in, for the pull to be let in too.
#[derive(Debug, Default)]
struct Loans {
    next: u64,
    given: BTreeMap<u64, Box<str>>,
}

/// A query that the pull has from one of its viewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loan {
    lender: u64,
    pub(super) query: Box<str>,
}

/// How far a pull has come.
#[derive(Debug, Clone)]
enum Progress {
    Asking,
    Joined(Arc<Pull>),
    Refused(No),
}

/// The media itself, and where else it is.
struct Home {
    media: Media,
    /// Why the pull is over; nobody comes any more.
    over: Option<LegEnd>,
    branches: Vec<KnownBranch>,
}

/// A branch, as the home knows it.
struct KnownBranch {
    worker: ThreadId,
    branch: Arc<Branch>,
    told: mpsc::Sender<Arc<[Change]>>,
}

impl Feed {
    /// Enters the feed of `wanted`; the first to enter begins its pull.
    /// `loan` is the viewer's own query, where the pull may use it.
    pub(super) fn enter(
        shared: &Arc<Inner>,
        wanted: &Wanted,
        first: &Row,
        loan: Option<Box<str>>,
    ) -> Visit {
        let mut feeds = shared.lock();
        let mut begins = false;
        let feed = match feeds.get(&wanted.key) {
            Some(feed) => Arc::clone(feed),
            None => {
                let feed = Arc::new(Self::new(shared, wanted));
                feeds.insert(wanted.key.clone(), Arc::clone(&feed));
                begins = true;
                feed
            }
        };
        feed.note_viewers(|viewers| viewers + 1);
        drop(feeds);
        let lender = loan.map(|query| feed.lend(query));
        if begins {
            pull::begin(shared, &feed, first.request.client);
        }
        Visit { feed, lender }
    }

    fn lend(&self, query: Box<str>) -> u64 {
        let mut loans = lock(&self.loans);
        let lender = loans.next;
        loans.next += 1;
        loans.given.insert(lender, query);
        lender
    }

    /// The query of the viewer that came first of those that are here.
    pub(super) fn loan(&self) -> Option<Loan> {
        let loans = lock(&self.loans);
        let (lender, query) = loans.given.first_key_value()?;
        Some(Loan {
            lender: *lender,
            query: query.clone(),
        })
    }

    /// Resolves when the lender of `loan` has left, and there is another with another query.
    pub(super) async fn returned(&self, loan: Option<&Loan>) {
        let Some(loan) = loan else {
            return std::future::pending().await;
        };
        let other = || {
            let loans = lock(&self.loans);
            let mut queries = loans.given.values();
            let gone = !loans.given.is_empty() && queries.all(|query| *query != loan.query);
            gone.then_some(())
        };
        bell::once(&self.returned, other).await;
    }

    fn new(shared: &Arc<Inner>, wanted: &Wanted) -> Self {
        Self {
            shared: Arc::clone(shared),
            wanted: wanted.clone(),
            progress: watch::Sender::new(Progress::Asking),
            greeting: watch::Sender::new(Greeting::Awaited),
            viewers: AtomicUsize::new(0),
            loans: Mutex::default(),
            returned: Notify::new(),
            left: Notify::new(),
            home: Mutex::new(Home {
                media: Media::new(shared.settings.max_lag),
                over: None,
                branches: Vec::new(),
            }),
            bytes: AtomicUsize::new(0),
            sheds: AtomicBool::new(false),
            origin_side: OriginSide::default(),
        }
    }

    /// The place of the pull's connection.
    pub(super) const fn origin_side(&self) -> &OriginSide {
        &self.origin_side
    }

    pub(super) const fn shared(&self) -> &Arc<Inner> {
        &self.shared
    }

    /// What it is a feed of.
    pub(super) const fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The stream is pulled.
    pub(super) fn joined(&self, pull: &Arc<Pull>) {
        self.progress
            .send_replace(Progress::Joined(Arc::clone(pull)));
        self.note_viewers(|viewers| viewers);
    }

    /// Viewers over HTTP who come from here on are greeted with this. One that is awaited takes the place of none.
    pub(super) fn greet(&self, greeting: Greeting) {
        if !matches!(greeting, Greeting::Awaited) {
            self.greeting.send_replace(greeting);
        }
    }

    /// Nobody pulls the stream: those who wait for it hear why, and the next who comes begins another feed.
    pub(super) fn refused(&self, no: No) {
        self.leave();
        self.progress.send_replace(Progress::Refused(no));
    }

    /// The pull is over: viewers are sent what came, and end. The next viewer begins another feed.
    pub(super) fn over(&self, end: LegEnd) {
        self.leave();
        self.answer_those_who_wait(end);
        let branches = {
            let mut home = self.lock();
            home.over = Some(end);
            std::mem::take(&mut home.branches)
        };
        for kept in branches {
            // Its end of the channel says that nothing more comes.
            kept.branch.end(end);
        }
        self.note_bytes(0);
    }

    /// Its pull is gone, with or without a word.
    pub(super) fn abandon(&self) {
        let is_over = self.lock().over.is_some();
        if !is_over {
            self.over(LegEnd::Released);
        }
        self.progress.send_if_modified(|progress| {
            let asks = matches!(progress, Progress::Asking);
            if asks {
                *progress = Progress::Refused(Refusal::Draining.into());
            }
            asks
        });
    }

    /// Those who wait for the origin's first answer wait in vain.
    fn answer_those_who_wait(&self, end: LegEnd) {
        let no = match &*self.progress.borrow() {
            Progress::Joined(pull) => No::of_end(&self.wanted, pull.origin(), end),
            Progress::Asking | Progress::Refused(_) => Refusal::Draining.into(),
        };
        self.greeting.send_if_modified(|greeting| {
            let is_awaited = matches!(greeting, Greeting::Awaited);
            if is_awaited {
                *greeting = Greeting::Refused(no);
            }
            is_awaited
        });
    }

    /// Leaves the table, unless another feed has its place by now.
    fn leave(&self) {
        let mut feeds = self.shared.lock();
        let is_here = |feed: &Arc<Self>| std::ptr::eq(Arc::as_ptr(feed), self);
        if feeds.get(&self.wanted.key).is_some_and(is_here) {
            feeds.remove(&self.wanted.key);
        }
    }

    /// Leaves the table if nobody watches. False: somebody came.
    pub(super) fn leave_if_empty(&self) -> bool {
        let mut feeds = self.shared.lock();
        let empty = self.viewers.load(Ordering::Relaxed) == 0;
        if empty {
            feeds.remove(&self.wanted.key);
        }
        empty
    }

    /// Whether somebody watches, or waits to.
    pub(super) fn has_viewers(&self) -> bool {
        self.viewers.load(Ordering::Relaxed) > 0
    }

    /// Resolves when nobody watches.
    pub(super) async fn empty(&self) {
        bell::once(&self.left, || (!self.has_viewers()).then_some(())).await;
    }

    /// Takes what the origin sent, and tells every branch.
    pub(super) fn push(&self, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut home = self.lock();
        let mut changes = Vec::new();
        if self.sheds.swap(false, Ordering::Relaxed) {
            changes.push(home.media.shed());
        }
        let media = &mut home.media;
        let messages = batch.messages.drain(..);
        changes.extend(messages.filter_map(|message| media.push(message, now)));
        let blocks = batch.blocks.drain(..);
        changes.extend(blocks.flat_map(|block| media.push_block(block, now)));
        if std::mem::take(&mut batch.unpublished) {
            changes.push(media.interrupt());
        }
        if !changes.is_empty() {
            self.tell(home, changes);
        }
    }

    /// The source is gone, or its publisher is.
    pub(super) fn interrupt(&self) {
        let mut home = self.lock();
        let changes = vec![home.media.interrupt()];
        self.tell(home, changes);
    }

    /// Lets go of all messages when the next ones come, so that what has just come is shown.
    pub(super) fn shed_next(&self) {
        self.sheds.store(true, Ordering::Relaxed);
    }

    /// Lets go of all messages now: a stream that has stopped would keep them for ever.
    pub(super) fn shed(&self) {
        let mut home = self.lock();
        let changes = vec![home.media.shed()];
        self.tell(home, changes);
    }

    /// Tells every branch, and the hub how much is held now.
    fn tell(&self, home: MutexGuard<'_, Home>, changes: Vec<Change>) {
        let changes: Arc<[Change]> = changes.into();
        for kept in &home.branches {
            if kept.told.try_send(Arc::clone(&changes)).is_err() {
                kept.branch.note_lost();
            }
        }
        let bytes = home.media.bytes();
        drop(home);
        self.note_bytes(bytes);
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A viewer that comes now.
    pub(super) fn viewer(&self, framing: Framing) -> Viewer {
        Viewer::new(framing, &self.lock().media)
    }

    /// Puts a viewer on this worker's branch, which is made if it is the first here.
    pub(super) fn seat(self: &Arc<Self>, seat: &Arc<Seat>) -> Arc<Branch> {
        let worker = thread::current().id();
        let mut home = self.lock();
        if let Some(end) = home.over {
            seat.end(end);
        }
        if let Some(kept) = home.branches.iter().find(|kept| kept.worker == worker) {
            kept.branch.add(seat);
            return Arc::clone(&kept.branch);
        }
        let (told, changes) = mpsc::channel(MAX_BATCHES);
        let branch = Arc::new(Branch::new(home.media.branch()));
        branch.add(seat);
        home.branches.push(KnownBranch {
            worker,
            branch: Arc::clone(&branch),
            told,
        });
        branch::begin(self, &branch, changes);
        branch
    }

    /// The whole as it is now, in place of batches that were lost: those that wait in `changes` are part of it.
    pub(super) fn copy_in_place_of(&self, changes: &mut mpsc::Receiver<Arc<[Change]>>) -> Media {
        let home = self.lock();
        while changes.try_recv().is_ok() {}
        home.media.branch()
    }

    /// Gives up a branch that nobody watches. False: somebody came.
    pub(super) fn drop_branch(&self, branch: &Arc<Branch>) -> bool {
        let mut home = self.lock();
        let empty = branch.is_empty();
        if empty {
            home.branches
                .retain(|kept| !Arc::ptr_eq(&kept.branch, branch));
        }
        empty
    }

    fn note_bytes(&self, now: usize) {
        let before = self.bytes.swap(now, Ordering::Relaxed);
        if before != now {
            self.shared.account(self, before, now);
        }
    }

    fn note_viewers(&self, change: impl Fn(usize) -> usize) {
        let change = |viewers| Some(change(viewers));
        let relaxed = Ordering::Relaxed;
        let before = self.viewers.fetch_update(relaxed, relaxed, change);
        let viewers = self.viewers.load(relaxed);
        if let Progress::Joined(pull) = &*self.progress.borrow() {
            pull.note_viewers(viewers);
        }
        if viewers == 0 && before.is_ok_and(|before| before > 0) {
            self.left.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Home> {
        lock(&self.home)
    }
}

/// Somebody who watches a feed, or waits to.
pub(super) struct Visit {
    pub(super) feed: Arc<Feed>,
    lender: Option<u64>,
}

impl Visit {
    /// Resolves when the stream is pulled, or why it is not.
    pub(super) async fn pulled(&self) -> Result<Arc<Pull>, No> {
        let mut progress = self.feed.progress.subscribe();
        loop {
            match &*progress.borrow_and_update() {
                Progress::Asking => {}
                Progress::Joined(pull) => return Ok(Arc::clone(pull)),
                Progress::Refused(no) => return Err(no.clone()),
            }
            if progress.changed().await.is_err() {
                return Err(Refusal::Draining.into());
            }
        }
    }

    /// Resolves when it is known what a viewer over HTTP is greeted with: by the origin, or by us; or why it gets nothing.
    pub(super) async fn greeted(&self) -> Result<Option<Arc<Said>>, No> {
        let mut greeting = self.feed.greeting.subscribe();
        loop {
            match &*greeting.borrow_and_update() {
                Greeting::Awaited => {}
                Greeting::Ours => return Ok(None),
                Greeting::Refused(no) => return Err(no.clone()),
                Greeting::Said(said) => return Ok(Some(Arc::clone(said))),
            }
            if greeting.changed().await.is_err() {
                return Err(Refusal::Draining.into());
            }
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(lender) = self.lender {
            lock(&self.feed.loans).given.remove(&lender);
            self.feed.returned.notify_waiters();
        }
        self.feed.note_viewers(|viewers| viewers.saturating_sub(1));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Batches that a worker may be behind: two seconds at 40 ms. Past them it takes a copy of the whole.
const MAX_BATCHES: usize = 64;
