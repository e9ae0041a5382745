//! A pull whose stream goes to another origin: that one is asked while the present one still sends, and the pull goes over
//! when media comes from there. Its viewers see neither.

use std::pin::Pin;
use std::time::Duration;

use sluicegate_core::fleet::origin::OriginId;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::Inner;
use super::feed::{Feed, Loan};
use super::pull::{Asked, find};
use crate::proxy::PieceGuard;
use crate::sessions::{KEYFRAME_WITHIN, Pull};

/// What a pull does about its stream's next origin.
pub(super) struct Follower<'a> {
    shared: &'a Inner,
    feed: &'a Feed,
    place: &'a PieceGuard,
    loan: Option<&'a Loan>,
    pull: &'a Pull,
    /// The origin that is asked.
    wanted: Option<OriginId>,
    coming: Option<Pin<Box<dyn Future<Output = Option<Asked>> + Send + 'a>>>,
}

impl<'a> Follower<'a> {
    pub(super) const fn new(
        shared: &'a Inner,
        feed: &'a Feed,
        place: &'a PieceGuard,
        loan: Option<&'a Loan>,
        pull: &'a Pull,
    ) -> Self {
        Self {
            shared,
            feed,
            place,
            loan,
            pull,
            wanted: None,
            coming: None,
        }
    }

    /// Resolves when media comes from the stream's next origin. Dropped and called again, it goes on.
    pub(super) async fn comes(&mut self) -> Asked {
        loop {
            let coming = async {
                match &mut self.coming {
                    Some(coming) => coming.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                wanted = self.pull.follows(self.wanted.as_ref()) => {
                    self.coming = wanted.as_ref().map(|wanted| self.ask(wanted));
                    self.wanted = wanted;
                }
                asked = coming => {
                    self.coming = None;
                    if let Some(asked) = asked {
                        return asked;
                    }
                    if let Some(wanted) = self.wanted.take() {
                        self.pull.followed_in_vain(&wanted);
                    }
                }
            }
        }
    }

    /// The stream's next origin, if media comes from there in a moment: the present one has nothing more.
    pub(super) async fn comes_soon(&mut self) -> Option<Asked> {
        self.coming.as_ref()?;
        timeout(SOON, self.comes()).await.ok()
    }

    fn ask(&self, wanted: &OriginId) -> Pin<Box<dyn Future<Output = Option<Asked>> + Send + 'a>> {
        let (shared, feed) = (self.shared, self.feed);
        let (place, loan, pull) = (self.place, self.loan, self.pull);
        let wanted = wanted.clone();
        let asked = async move {
            let asked = match find(shared, feed.wanted(), place, loan, None).await {
                Ok(asked) => asked,
                Err(no) => {
                    let refusal = no.refusal;
                    debug!(pull = pull.id, %refusal, "pull cannot follow its stream yet");
                    return None;
                }
            };
            if asked.origin != wanted {
                return None;
            }
            pull.waits_there();
            until_media(asked).await
        };
        Box::pin(async move { timeout(LONGEST, asked).await.ok().flatten() })
    }
}

/// Reads until media comes.
async fn until_media(mut asked: Asked) -> Option<Asked> {
    while !asked.batch.has_media() {
        asked.came += asked.source.read(Instant::now()).await.ok()?;
        asked.source.take(&mut asked.batch).await.ok()?;
    }
    // That nobody published it there yet was no end.
    asked.batch.unpublished = false;
    Some(asked)
}

/// How long media of the next origin is waited for when the present one has nothing more.
const SOON: Duration = Duration::from_secs(1);
/// How long it may take otherwise: as long as its publisher may send no keyframe.
const LONGEST: Duration = KEYFRAME_WITHIN;
