//! What origins report of streams that were published directly on them: a report reaches one proxy, and all follow it.

use std::collections::HashSet;
use std::mem;
use std::sync::{MutexGuard, PoisonError};

use sluicegate_core::cluster::peers::{REPORT, ReportRecord};
use sluicegate_core::cluster::srs;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::StreamUrl;

use super::Cluster;
use crate::store::Store;

impl Cluster {
    /// Tells all proxies that a stream is published at `origin`.
    pub async fn tell_published(&self, stream: &StreamUrl, origin: &OriginId) {
        let Some((key, record)) = self.report(stream, origin) else {
            return;
        };
        let put = self.store.put(&key, &record, super::DURABLE).await;
        let _ = self.noted("put", put);
    }

    /// Tells all proxies that it is published there no more. Another origin's word on it stays.
    pub async fn tell_unpublished(&self, stream: &StreamUrl, origin: &OriginId) {
        let Some((key, record)) = self.report(stream, origin) else {
            return;
        };
        let removed = self.store.remove(&key, &record).await;
        let _ = self.noted("remove", removed);
    }

    /// Another proxy heard of a publish, or of its end.
    pub(super) async fn report_changed(&self, key: &str) {
        let read = self.store.get(key).await;
        match self.noted("get", read) {
            Ok(Some(record)) => self.reported(&record).await,
            Ok(None) => self.forget_report(key),
            Err(_) => {}
        }
    }

    /// These reports stand now.
    pub(super) async fn reports_listed(&self, rows: &[(String, String)]) {
        if !self.store.tells_of_changes() {
            // Nobody says that a report was taken back, but that it is not there any more.
            let now: HashSet<String> = rows.iter().map(|(key, _)| key.clone()).collect();
            let before = mem::replace(&mut *self.listed_reports(), now.clone());
            for key in before.difference(&now) {
                self.forget_report(key);
            }
        }
        for (_, record) in rows {
            self.reported(record).await;
        }
    }

    fn forget_report(&self, key: &str) {
        let stream = key.strip_prefix(REPORT).map(str::parse::<StreamUrl>);
        if let Some(Ok(stream)) = stream {
            self.registry.forget_report(&self.terms.vhosts.key(&stream));
        }
    }

    fn listed_reports(&self) -> MutexGuard<'_, HashSet<String>> {
        let listed = &self.listed_reports;
        listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reported(&self, record: &str) {
        let Some(report) = ReportRecord::parse(record) else {
            return;
        };
        if let Some(origin) = self.origin_at(&report.origin).await {
            let key = self.terms.vhosts.key(&report.stream);
            if self.registry.note_published(&key, &origin) {
                self.sessions.end_players_elsewhere(&key, &origin);
            }
        }
    }

    /// The key and the text of a report.
    fn report(&self, stream: &StreamUrl, origin: &OriginId) -> Option<(String, String)> {
        let member = self.registry.member(origin)?;
        let record = ReportRecord {
            origin: srs::server_key(&member.origin),
            stream: stream.clone(),
        };
        Some((
            format!("{REPORT}{}", self.terms.vhosts.key(stream)),
            record.text(),
        ))
    }
}
