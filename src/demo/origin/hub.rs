//! The streams of an embedded origin: one publisher each, any number of players, and what a later player needs first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluicegate_core::rtmp::message::{Message, kind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use sluicegate_core::media::part::{Part, without_set_data_frame};

/// The streams of one origin; a cheap clone of one table.
#[derive(Debug, Clone, Default)]
pub(super) struct Hub {
    streams: Arc<Mutex<BTreeMap<String, Stream>>>,
}

impl Hub {
    /// Starts to publish `name`, unless another publisher does.
    pub(super) fn publish(&self, name: &str) -> Result<Publication, Busy> {
        let mut streams = self.lock();
        let stream = streams.entry(name.to_owned()).or_default();
        if stream.published {
            return Err(Busy);
        }
        stream.begin();
        Ok(Publication {
            hub: self.clone(),
            name: name.to_owned(),
        })
    }

    /// Starts to play `name`, whether it is published or not. `slow` is cancelled when the player is so slow that its
    /// queue is full.
    pub(super) fn play(&self, name: &str, slow: CancellationToken) -> Subscription {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        let mut streams = self.lock();
        let stream = streams.entry(name.to_owned()).or_default();
        let backlog = stream.backlog();
        let needs_keyframe = stream.cache.group.is_empty();
        stream.players.push(Player {
            needs_keyframe,
            queue: sender,
            slow,
        });
        Subscription {
            backlog,
            hub: self.clone(),
            name: name.to_owned(),
            queue: receiver,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Stream>> {
        // Nothing below panics between two related changes, so a poisoned table is still consistent.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Stream)) {
        let mut streams = self.lock();
        let Some(stream) = streams.get_mut(name) else {
            return;
        };
        change(stream);
        if !stream.published && stream.players.is_empty() {
            streams.remove(name);
        }
    }
}

/// The right to publish a stream; dropping it ends the stream, and its players wait for the next one.
#[derive(Debug)]
pub(super) struct Publication {
    hub: Hub,
    name: String,
}

impl Publication {
    /// Sends a message to every player, and keeps what later ones need.
    pub(super) fn send(&self, message: Message) {
        self.hub.change(&self.name, |stream| stream.send(message));
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.hub.change(&self.name, Stream::end);
    }
}

/// A player of a stream; dropping it leaves the stream.
#[derive(Debug)]
pub(super) struct Subscription {
    /// What precedes the queue: metadata, sequence headers and the pictures since the keyframe.
    pub(super) backlog: Vec<Arc<Message>>,
    /// The messages from now on.
    pub(super) queue: mpsc::Receiver<Arc<Message>>,
    hub: Hub,
    name: String,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.close();
        self.hub.change(&self.name, |stream| {
            stream.players.retain(|player| !player.queue.is_closed());
        });
    }
}

/// The stream already has a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream has a publisher already")]
pub(super) struct Busy;

#[derive(Debug, Default)]
struct Stream {
    published: bool,
    cache: Cache,
    clock: Clock,
    players: Vec<Player>,
}

impl Stream {
    fn begin(&mut self) {
        self.published = true;
        self.cache = Cache::default();
        self.clock.restart();
        for player in &mut self.players {
            player.needs_keyframe = true;
        }
    }

    fn end(&mut self) {
        self.published = false;
        self.cache = Cache::default();
    }

    /// What a new player gets first, as if the stream began here. Sequence headers carry the time of the first picture,
    /// because players measure from what comes first. Metadata has time 0, because FFmpeg otherwise takes it for a
    /// subtitle.
    fn backlog(&self) -> Vec<Arc<Message>> {
        let Cache {
            metadata,
            video,
            audio,
            group,
            ..
        } = &self.cache;
        let now = group
            .first()
            .map(|message| message.timestamp)
            .or(self.clock.last)
            .unwrap_or_default();
        let headers = [(metadata, 0), (video, now), (audio, now)]
            .into_iter()
            .filter_map(|(message, timestamp)| {
                let message = message.as_deref()?.clone();
                Some(Arc::new(Message {
                    timestamp,
                    ..message
                }))
            });
        headers.chain(group.iter().cloned()).collect()
    }

    fn send(&mut self, mut message: Message) {
        message.timestamp = self.clock.adjust(message.timestamp);
        let shown = without_set_data_frame(&message.payload);
        if shown.len() < message.payload.len() {
            message.payload = shown.to_vec();
        }
        let part = Part::of(message.kind, &message.payload);
        let message = Arc::new(message);
        self.cache.keep(part, &message);
        self.players
            .retain_mut(|player| player.offer(part, &message));
    }
}

/// What a later player gets first.
#[derive(Debug, Default)]
struct Cache {
    metadata: Option<Arc<Message>>,
    video: Option<Arc<Message>>,
    audio: Option<Arc<Message>>,
    /// Everything since the last keyframe, which comes first; empty without one.
    group: Vec<Arc<Message>>,
    group_bytes: usize,
}

impl Cache {
    fn keep(&mut self, part: Part, message: &Arc<Message>) {
        match part {
            Part::AudioHeader => self.audio = Some(Arc::clone(message)),
            Part::Metadata => self.metadata = Some(Arc::clone(message)),
            Part::VideoHeader => {
                self.video = Some(Arc::clone(message));
                // Pictures of the old configuration cannot be decoded with the new one.
                self.forget_group();
            }
            Part::End => {}
            Part::Keyframe => {
                self.forget_group();
                self.append(message);
            }
            _ if self.group.is_empty() => {}
            _ => self.append(message),
        }
    }

    fn append(&mut self, message: &Arc<Message>) {
        self.group_bytes += message.payload.len();
        self.group.push(Arc::clone(message));
        if self.group.len() > MAX_GROUP || self.group_bytes > MAX_GROUP_BYTES {
            self.forget_group();
        }
    }

    fn forget_group(&mut self) {
        self.group.clear();
        self.group_bytes = 0;
    }
}

/// Continues a stream's time when another publisher starts again at 0: players that waited would take a step back for
/// damage.
#[derive(Debug, Default)]
struct Clock {
    /// The newest timestamp that was sent.
    last: Option<u32>,
    /// Added to each timestamp; `None` until the publication's first message shows where it starts.
    shift: Option<u32>,
}

impl Clock {
    const fn restart(&mut self) {
        self.shift = None;
    }

    fn adjust(&mut self, timestamp: u32) -> u32 {
        let last = self.last;
        let shift = *self.shift.get_or_insert_with(|| {
            last.map_or(0, |last| last.wrapping_add(GAP).wrapping_sub(timestamp))
        });
        let adjusted = timestamp.wrapping_add(shift);
        self.last = Some(adjusted);
        adjusted
    }
}

#[derive(Debug)]
struct Player {
    needs_keyframe: bool,
    queue: mpsc::Sender<Arc<Message>>,
    slow: CancellationToken,
}

impl Player {
    /// Queues the message if the player can use it. Returns false if the player is gone or must go.
    fn offer(&mut self, part: Part, message: &Arc<Message>) -> bool {
        match part {
            Part::Keyframe => self.needs_keyframe = false,
            Part::Frame if message.kind == kind::VIDEO && self.needs_keyframe => return true,
            _ => {}
        }
        match self.queue.try_send(Arc::clone(message)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.slow.cancel();
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// Maximum messages queued for a player; a player this far behind is slow. It is well over ten seconds of a usual
/// stream. Messages are shared between players, so a full queue costs little.
const MAX_QUEUED: usize = 1024;
/// Maximum messages, and bytes, between keyframes that are kept; beyond this, a later player starts at the next
/// keyframe.
const MAX_GROUP: usize = 1024;
const MAX_GROUP_BYTES: usize = 16 << 20;
/// The time between the last message of one publication and the first of the next, in milliseconds: one frame.
const GAP: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    use sluicegate_core::media::part::SET_DATA_FRAME;

    const METADATA: &[u8] = b"\x02\x00\x0aonMetaData\x05";
    const VIDEO_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1];
    const AUDIO_HEADER: &[u8] = &[0xaf, 0, 0x12, 0x10];
    const KEYFRAME: &[u8] = &[0x17, 1, 0, 0, 0, 0xaa];
    const INTER: &[u8] = &[0x27, 1, 0, 0, 0, 0xbb];
    const SOUND: &[u8] = &[0xaf, 1, 0x21];

    fn message(kind: u8, timestamp: u32, payload: &[u8]) -> Message {
        Message {
            timestamp,
            kind,
            stream_id: 1,
            payload: payload.to_vec(),
        }
    }

    fn drain(subscription: &mut Subscription) -> Vec<(u32, Vec<u8>)> {
        let mut taken = Vec::new();
        while let Ok(message) = subscription.queue.try_recv() {
            taken.push((message.timestamp, message.payload.clone()));
        }
        taken
    }

    fn started(hub: &Hub) -> Publication {
        let publication = hub.publish("live/a").expect("nobody publishes it");
        publication.send(message(
            kind::DATA_AMF0,
            0,
            &[SET_DATA_FRAME, METADATA].concat(),
        ));
        publication.send(message(kind::VIDEO, 0, VIDEO_HEADER));
        publication.send(message(kind::AUDIO, 0, AUDIO_HEADER));
        publication
    }

    #[test]
    fn a_later_player_starts_at_the_last_keyframe() {
        let hub = Hub::default();
        let publication = started(&hub);
        for (timestamp, payload) in [(0, KEYFRAME), (40, INTER), (80, KEYFRAME), (120, INTER)] {
            publication.send(message(kind::VIDEO, timestamp, payload));
        }
        publication.send(message(kind::AUDIO, 130, SOUND));
        let mut player = hub.play("live/a", CancellationToken::new());
        let backlog: Vec<(u32, &[u8])> = player
            .backlog
            .iter()
            .map(|message| (message.timestamp, message.payload.as_slice()))
            .collect();
        assert_eq!(
            backlog,
            [
                (0, METADATA),
                (80, VIDEO_HEADER),
                (80, AUDIO_HEADER),
                (80, KEYFRAME),
                (120, INTER),
                (130, SOUND)
            ],
        );
        publication.send(message(kind::VIDEO, 160, INTER));
        assert_eq!(drain(&mut player), [(160, INTER.to_vec())]);
    }

    #[test]
    fn a_player_that_waits_sees_no_picture_before_a_keyframe() {
        let hub = Hub::default();
        let mut player = hub.play("live/a", CancellationToken::new());
        assert!(player.backlog.is_empty());
        let publication = hub.publish("live/a").expect("nobody publishes it");
        publication.send(message(kind::VIDEO, 0, INTER));
        publication.send(message(kind::AUDIO, 10, SOUND));
        publication.send(message(kind::VIDEO, 40, KEYFRAME));
        publication.send(message(kind::VIDEO, 80, INTER));
        let expected = [
            (10, SOUND.to_vec()),
            (40, KEYFRAME.to_vec()),
            (80, INTER.to_vec()),
        ];
        assert_eq!(drain(&mut player), expected);
    }

    #[test]
    fn time_goes_on_when_the_next_publisher_starts_again() {
        let hub = Hub::default();
        let mut player = hub.play("live/a", CancellationToken::new());
        let first = hub.publish("live/a").expect("nobody publishes it");
        assert_eq!(hub.publish("live/a").err(), Some(Busy));
        first.send(message(kind::VIDEO, 5000, KEYFRAME));
        drop(first);
        assert!(
            hub.play("live/a", CancellationToken::new())
                .backlog
                .is_empty(),
            "the old pictures are gone"
        );
        let second = hub.publish("live/a").expect("the first one left");
        second.send(message(kind::VIDEO, 0, KEYFRAME));
        second.send(message(kind::VIDEO, 40, INTER));
        let times: Vec<u32> = drain(&mut player)
            .into_iter()
            .map(|(timestamp, _)| timestamp)
            .collect();
        assert_eq!(times, [5000, 5040, 5080]);
    }

    #[test]
    fn a_player_whose_queue_is_full_is_told_to_go_and_the_others_stay() {
        let hub = Hub::default();
        let (slow, quick) = (CancellationToken::new(), CancellationToken::new());
        let sleeper = hub.play("live/a", slow.clone());
        let mut reader = hub.play("live/a", quick.clone());
        let publication = hub.publish("live/a").expect("nobody publishes it");
        for timestamp in 0..=u32::try_from(MAX_QUEUED).expect("a small number") {
            publication.send(message(kind::AUDIO, timestamp, SOUND));
            assert_eq!(drain(&mut reader).len(), 1);
        }
        assert!(slow.is_cancelled() && !quick.is_cancelled());
        drop(sleeper);
    }

    #[test]
    fn keyframes_too_far_apart_are_not_kept() {
        let hub = Hub::default();
        let publication = started(&hub);
        publication.send(message(kind::VIDEO, 0, KEYFRAME));
        for timestamp in 0..MAX_GROUP {
            publication.send(message(
                kind::VIDEO,
                u32::try_from(timestamp).expect("a small number"),
                INTER,
            ));
        }
        assert_eq!(
            hub.play("live/a", CancellationToken::new()).backlog.len(),
            3,
            "metadata and headers only"
        );
    }

    #[test]
    fn nothing_is_kept_for_a_stream_that_nobody_wants() {
        let hub = Hub::default();
        drop(hub.play("live/a", CancellationToken::new()));
        drop(hub.publish("live/b").expect("nobody publishes it"));
        let player = hub.play("live/c", CancellationToken::new());
        drop(hub.publish("live/c").expect("nobody publishes it"));
        assert_eq!(hub.lock().keys().collect::<Vec<_>>(), ["live/c"]);
        drop(player);
        assert!(hub.lock().is_empty());
    }
}
