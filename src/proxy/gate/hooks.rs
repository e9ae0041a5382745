//! Backends that are asked whether a client may, and told when it left.
//!
//! However a backend behaves, what it can cost is bounded: how many questions fly and how many wait, how long one takes,
//! how much of an answer is read, and how often one that does not answer is asked at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::access::hooks::{Hook, Post, Said, SessionEnd, Unanswered};
use sluicegate_core::access::question::Question;
use sluicegate_core::access::verdict::{Denial, Grant, Verdict, Why};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::origin::connect::Connector;
use crate::origin::fetch::{self, Fetched};
use crate::proxy::Request;
use crate::sessions::{Direction, Row, question};
use crate::value::Url;

/// What is known of the backends, by the names of their checks.
#[derive(Debug)]
pub(super) struct Hooks {
    // A std mutex: it is held for a few lines and never across an await.
    lines: Mutex<HashMap<Box<str>, Arc<Line>>>,
    way: Way,
}

/// How backends are told of ends.
#[derive(Debug, Clone)]
pub(super) struct Way {
    connector: Connector,
    /// News that wait to be told.
    news: Arc<Semaphore>,
}

/// The line to one backend.
#[derive(Debug)]
struct Line {
    flying: Semaphore,
    places: Semaphore,
    breaker: Mutex<Breaker>,
}

/// Whether a backend is asked at all.
#[derive(Debug, Default)]
struct Breaker {
    /// Questions in a row that got no answer.
    missed: u32,
    /// Until when nobody is asked.
    open_until: Option<Instant>,
}

/// Who has to be told of the end of a session, and as what.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct Telling {
    pub(in crate::proxy) session: Box<str>,
    pub(super) hooks: Vec<Hook>,
    /// What the client showed, which the backend knows it by.
    pub(super) credentials: Option<Box<Credentials>>,
    pub(super) way: Way,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            flying: Semaphore::new(IN_FLIGHT),
            places: Semaphore::new(IN_FLIGHT + WAITING),
            breaker: Mutex::default(),
        }
    }
}

impl Hooks {
    /// Backends that `connector` reaches.
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            lines: Mutex::default(),
            way: Way {
                connector,
                news: Arc::new(Semaphore::new(MOST_NEWS)),
            },
        }
    }

    /// How backends are told of ends.
    pub(super) fn way(&self) -> Way {
        self.way.clone()
    }

    /// What a backend says of a request. `session` is the id that the end of the session is told with.
    pub(super) async fn ask(
        &self,
        name: &str,
        hook: &Hook,
        asked: &Question<'_>,
        session: &str,
    ) -> Verdict {
        let line = self.line(name);
        let busy = || Verdict::later(BUSY, "too many questions to the backend wait");
        let Ok(_place) = line.places.try_acquire() else {
            return busy();
        };
        let Ok(_flies) = line.flying.acquire().await else {
            return busy();
        };
        let mut grant = Grant::default();
        for post in hook.questions(asked, session) {
            if !line.may_ask() {
                return without_answer(hook, asked, LEFT_ALONE.to_owned());
            }
            let answered = send(&self.way.connector, &post, hook.timeout).await;
            let verdict = answered.and_then(|answer| {
                let status = answer.status.as_u16();
                let location = answer.location.as_ref();
                let said = Said {
                    status,
                    location: location.and_then(|location| location.to_str().ok()),
                    body: &answer.body,
                };
                let verdict = hook.verdict(&said, asked);
                let verdict = verdict
                    .ok_or_else(|| format!("its answer with the status {status} means nothing"))?;
                Ok((verdict, status))
            });
            match verdict {
                Ok((Verdict::Yes(more), _)) => grant = grant.and(more),
                Ok((verdict, status)) => {
                    let why = hook.why_not(status);
                    info!(check = name, status, why, "a backend says no");
                    line.answered();
                    return verdict;
                }
                Err(why) => {
                    let verdict =
                        without_answer(hook, asked, format!("no answer of the backend: {why}"));
                    if line.missed() {
                        warn!(
                            check = name,
                            why, "a backend does not answer: it is asked again in a while"
                        );
                    } else if let Verdict::Yes(_) = verdict {
                        // Nobody is refused, so no other line tells.
                        warn!(
                            check = name,
                            why, "a backend did not answer: the client may without its word"
                        );
                    }
                    return verdict;
                }
            }
            line.answered();
        }
        Verdict::Yes(grant)
    }

    fn line(&self, name: &str) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // The settings bound how many there are; those of earlier settings are idle.
        Arc::clone(lines.entry(name.into()).or_default())
    }
}

impl Line {
    /// Whether to ask now: not while it was found silent, and then by one question.
    fn may_ask(&self) -> bool {
        let mut breaker = self.breaker();
        match breaker.open_until {
            Some(until) if until > Instant::now() => false,
            Some(_) => {
                // This one finds out; the others go on without an answer until it has.
                breaker.open_until = Some(Instant::now() + OPEN);
                true
            }
            None => true,
        }
    }

    fn answered(&self) {
        *self.breaker() = Breaker::default();
    }

    /// Notes that no answer came; true if nobody is asked for a while now, from this moment on.
    fn missed(&self) -> bool {
        let mut breaker = self.breaker();
        breaker.missed += 1;
        if breaker.missed < MISSES {
            return false;
        }
        breaker.open_until = Some(Instant::now() + OPEN);
        breaker.missed == MISSES
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Telling {
    /// Tells the backends that the session of `row` is over.
    pub(in crate::proxy) fn over(self, row: &Row) {
        let ended = SessionEnd {
            session: self.session.clone(),
            received: row.bytes(Direction::ToOrigin),
            sent: row.bytes(Direction::ToClient),
            seconds: row.age().as_secs(),
        };
        self.tell(&row.request, &ended);
    }

    /// Tells those who said yes to a request that it was refused all the same.
    pub(in crate::proxy) fn refused(self, request: &Request) {
        let ended = SessionEnd {
            session: self.session.clone(),
            received: 0,
            sent: 0,
            seconds: 0,
        };
        self.tell(request, &ended);
    }

    /// Tells the backends of an end, in the background. Where too many wait, they are not told.
    fn tell(self, request: &Request, ended: &SessionEnd) {
        if self.hooks.is_empty() {
            return;
        }
        let Ok(place) = Arc::clone(&self.way.news).try_acquire_owned() else {
            let stream = request.stream.as_str();
            return warn!(
                stream,
                "backends are not told of an end: too many ends wait"
            );
        };
        let request = Request {
            credentials: self.credentials,
            ..request.clone()
        };
        let nothing = Credentials::default();
        let asked = question(&request, &nothing);
        let posts: Vec<(Post, Duration)> = self
            .hooks
            .iter()
            .flat_map(|hook| {
                let news = hook.news(&asked, ended).into_iter();
                news.map(|post| (post, hook.timeout))
            })
            .collect();
        if posts.is_empty() {
            return;
        }
        // A session that ends when everything does has nobody left to tell it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let connector = self.way.connector;
        runtime.spawn(async move {
            for (post, time_limit) in posts {
                tell(&connector, &post, time_limit).await;
            }
            drop(place);
        });
    }
}

/// Tells one backend, again after longer and longer breaks, until it has heard.
async fn tell(connector: &Connector, post: &Post, time_limit: Duration) {
    let mut rest = FIRST_BREAK;
    for _ in 0..TRIES {
        match send(connector, post, time_limit).await {
            Ok(answer) if !answer.status.is_server_error() => return,
            Ok(answer) => {
                let status = answer.status.as_u16();
                debug!(status, "a backend did not take the end of a session");
            }
            Err(why) => debug!(why, "a backend did not hear of the end of a session"),
        }
        sleep(rest).await;
        rest *= 2;
    }
    warn!("a backend was not told of the end of a session: it does not answer");
}

async fn send(connector: &Connector, post: &Post, time_limit: Duration) -> Result<Fetched, String> {
    let url: Url = post
        .url
        .parse()
        .map_err(|_| "its address is no URL".to_owned())?;
    let answer = fetch::post(
        connector,
        &url,
        post.content_type,
        post.body.clone(),
        time_limit,
        LONGEST_ANSWER,
    );
    answer.await.map_err(|error| error.to_string())
}

fn without_answer(hook: &Hook, asked: &Question<'_>, cause: String) -> Verdict {
    match hook.unanswered(asked.action) {
        Unanswered::Allow => Verdict::Yes(Grant::default()),
        Unanswered::Deny => Verdict::later(BUSY, cause),
    }
}

/// The answer where a hook is not asked.
pub(super) fn not_asked() -> Verdict {
    Verdict::No(Denial::new(
        Why::Forbidden,
        "its backend is not asked for an explanation",
    ))
}

/// Questions to one backend at once.
const IN_FLIGHT: usize = 64;
/// Questions that wait for one of them to be answered; each holds a client.
const WAITING: usize = 1024;
/// Bytes of an answer: far more than any that means something.
const LONGEST_ANSWER: usize = 64 * 1024;
/// Questions in a row without an answer, after which nobody is asked for a while.
const MISSES: u32 = 5;
/// How long nobody is asked then.
const OPEN: Duration = Duration::from_secs(5);
/// Why nobody is asked meanwhile.
const LEFT_ALONE: &str =
    "the backend did not answer several questions in a row, and is not asked for a few seconds";
/// When a client may come again that could not be asked about.
const BUSY: Duration = Duration::from_secs(2);
/// Ends that wait to be told, with what the clients showed: a few megabytes.
const MOST_NEWS: usize = 1024;
/// How often one end is told.
const TRIES: u32 = 4;
const FIRST_BREAK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use sluicegate_core::access::hooks::Shape;
    use sluicegate_core::stream::{Action, Protocol, StreamUrl};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    fn playing(at: &str) -> Hook {
        Hook {
            shape: Shape::Ours,
            on_connect: None,
            on_publish: None,
            on_play: Some(at.into()),
            on_unpublish: None,
            on_stop: None,
            on_close: None,
            publish_unanswered: Unanswered::Deny,
            play_unanswered: Unanswered::Deny,
            timeout: Duration::from_secs(60),
        }
    }

    #[tokio::test]
    async fn questions_that_fly_and_that_wait_are_bounded() {
        let backend = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = backend.local_addr().expect("bound");
        let hook = playing(&format!("http://{at}/"));
        let hooks = Arc::new(Hooks::new(Connector::unrestricted()));
        let (told, mut verdicts) = mpsc::unbounded_channel();
        for _ in 0..IN_FLIGHT + WAITING + 3 {
            let (hooks, hook, told) = (Arc::clone(&hooks), hook.clone(), told.clone());
            tokio::spawn(async move {
                let stream: StreamUrl = "__defaultVhost__/live/a".parse().expect("a name");
                let credentials = Credentials::default();
                let question = Question {
                    stream: &stream,
                    action: Action::Play,
                    protocol: Protocol::Rtmp,
                    client: "10.0.0.1".parse().expect("an address"),
                    credentials: &credentials,
                };
                let verdict = hooks.ask("backend", &hook, &question, "session").await;
                let _ = told.send(verdict);
            });
        }
        for _ in 0..3 {
            let verdict = verdicts.recv().await;
            let Some(Verdict::Later(delay)) = verdict else {
                panic!("{verdict:?}, where there is no room to wait");
            };
            assert_eq!(delay.cause, "too many questions to the backend wait");
        }
        let mut asked = Vec::new();
        for _ in 0..IN_FLIGHT {
            asked.push(backend.accept().await.expect("a question"));
        }
        let line = hooks.line("backend");
        assert_eq!(line.flying.available_permits(), 0);
        assert_eq!(line.places.available_permits(), 0);
        assert!(verdicts.try_recv().is_err(), "the others wait");
        // The backend hangs up on one: the next is asked, and there is room for another to wait.
        drop(asked.pop());
        let verdict = verdicts.recv().await;
        let Some(Verdict::Later(delay)) = verdict else {
            panic!("{verdict:?}, without an answer");
        };
        assert_eq!(
            delay.cause,
            "no answer of the backend: the answer broke off"
        );
        backend.accept().await.expect("the next question");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_is_left_alone_for_a_while() {
        let line = Line::default();
        for miss in 1..=MISSES {
            assert!(line.may_ask(), "after {} misses", miss - 1);
            assert_eq!(line.missed(), miss == MISSES);
        }
        assert!(!line.may_ask(), "left alone");
        tokio::time::advance(OPEN).await;
        assert!(line.may_ask(), "one finds out");
        assert!(!line.may_ask(), "the others wait for it");
        line.answered();
        assert!(line.may_ask() && line.may_ask(), "it answers again");
    }
}
