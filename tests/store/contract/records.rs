//! The promises of [records] at every store, whatever build wrote what stands there.

use futures_util::future::join_all;

use sluicegate::store::records::{self, Written};
use sluicegate::store::{Store, StoreError};
use sluicegate_core::cluster::records::{LONGEST_NAME, Record, key};

use super::{LONG, SHORT, until_gone};

/// What a sign says. Its second version added the language; a third is for a build to come.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sign {
    words: String,
    language: String,
}

impl Record for Sign {
    const KIND: &'static str = "sign";
    const VERSION: u16 = 2;
    const LONGEST: usize = 64;

    fn body(&self) -> String {
        format!("{} {}", self.language, self.words)
    }

    fn read(version: u16, body: &str) -> Option<Self> {
        let (language, words) = match version {
            1 => ("en", body),
            _ => body.split_once(' ')?,
        };
        Some(sign(language, words))
    }
}

fn sign(language: &str, words: &str) -> Sign {
    let (words, language) = (words.to_owned(), language.to_owned());
    Sign { words, language }
}

pub(super) async fn check(store: &impl Store) {
    what_is_written_is_read(store).await;
    what_another_build_wrote_is_kept(store).await;
    writers_race(store).await;
    what_does_not_fit_is_refused(store).await;
}

async fn what_is_written_is_read(store: &impl Store) {
    let exit = sign("de", "Ausgang");
    assert_eq!(records::get::<Sign>(store, "exit").await, Ok(None));
    for record in [&sign("en", "exit"), &exit, &exit] {
        let written = records::put(store, "exit", record, LONG).await;
        assert_eq!(written, Ok(Written::Done));
    }
    assert_eq!(records::get(store, "exit").await, Ok(Some(exit.clone())));
    let written = records::put(store, "wet: floor/1", &exit, SHORT).await;
    assert_eq!(written, Ok(Written::Done), "a name may be any text");
    let mut listed = records::list::<Sign>(store).await.expect("it answers");
    listed.retain(|(name, _)| name == "exit");
    assert_eq!(listed, [("exit".to_owned(), exit.clone())]);
    until_gone(store, &key::<Sign>("wet: floor/1").expect("a name")).await;
    let other = records::remove(store, "exit", &sign("en", "exit")).await;
    assert_eq!(other, Ok(()));
    assert!(
        records::get::<Sign>(store, "exit")
            .await
            .expect("it answers")
            .is_some(),
        "another stands"
    );
    assert_eq!(records::remove(store, "exit", &exit).await, Ok(()));
    assert_eq!(records::get::<Sign>(store, "exit").await, Ok(None));
}

async fn what_another_build_wrote_is_kept(store: &impl Store) {
    let ours = sign("fr", "sortie");
    let rows = [
        (
            "an earlier version",
            "record sign 1 4 exit",
            Some(sign("en", "exit")),
            Written::Done,
        ),
        (
            "a later version",
            "record sign 3 9 exit/en/2",
            None,
            Written::Kept,
        ),
        ("another kind", "record lamp 1 2 40", None, Written::Kept),
        (
            "another encoding",
            "{\"sign\":\"exit\"}",
            None,
            Written::Kept,
        ),
        (
            "our version, broken",
            "record sign 2 4 exit",
            None,
            Written::Done,
        ),
    ];
    for (number, (cause, text, read, written)) in rows.into_iter().enumerate() {
        let name = format!("other-{number}");
        let key = key::<Sign>(&name).expect("a name");
        store.put(&key, text, LONG).await.expect("it answers");
        assert_eq!(
            records::get(store, &name).await,
            Ok(read.clone()),
            "{cause}"
        );
        let listed = records::list::<Sign>(store).await.expect("it answers");
        let found = listed.into_iter().find(|(listed, _)| *listed == name);
        assert_eq!(found.map(|(_, record)| record), read, "{cause}");
        assert_eq!(
            records::remove(store, &name, &ours).await,
            Ok(()),
            "{cause}"
        );
        assert_eq!(
            store.get(&key).await.expect("it answers").as_deref(),
            Some(text),
            "{cause}"
        );
        assert_eq!(
            records::put(store, &name, &ours, LONG).await,
            Ok(written),
            "{cause}"
        );
        let stands = store.get(&key).await.expect("it answers");
        let expected = match written {
            Written::Done => "record sign 2 9 fr sortie",
            Written::Kept => text,
        };
        assert_eq!(stands.as_deref(), Some(expected), "{cause}");
    }
}

async fn writers_race(store: &impl Store) {
    let signs: Vec<Sign> = (0..4)
        .map(|racer| sign("en", &format!("racer {racer}")))
        .collect();
    let writes = signs
        .iter()
        .map(|sign| records::put(store, "raced", sign, LONG));
    for written in join_all(writes).await {
        assert_eq!(written, Ok(Written::Done));
    }
    let stands = records::get::<Sign>(store, "raced")
        .await
        .expect("it answers");
    assert!(stands.is_some_and(|stands| signs.contains(&stands)));
}

async fn what_does_not_fit_is_refused(store: &impl Store) {
    let long = sign("en", &"x".repeat(Sign::LONGEST));
    let refused = records::put(store, "long", &long, LONG).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    for name in [String::new(), "n".repeat(LONGEST_NAME + 1)] {
        let refused = records::get::<Sign>(store, &name).await;
        assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    }
}
