//! What origins report of streams that were published directly on them: a report reaches one proxy, and all follow it.

use sluicegate_core::origin::OriginId;
use sluicegate_core::peers::{REPORT, ReportRecord};
use sluicegate_core::records;
use sluicegate_core::stream::StreamUrl;

use super::Cluster;
use crate::proxy::Proxy;
use crate::store::Store;

impl Cluster {
    /// Tells all proxies that a stream is published at `origin`.
    pub async fn tell_published(&self, proxy: &Proxy, stream: &StreamUrl, origin: &OriginId) {
        let Some((key, record)) = self.report(proxy, stream, origin) else {
            return;
        };
        let put = self.store.put(&key, &record, super::DURABLE).await;
        let _ = self.noted("put", put);
    }

    /// Tells all proxies that it is published there no more. Another origin's word on it stays.
    pub async fn tell_unpublished(&self, proxy: &Proxy, stream: &StreamUrl, origin: &OriginId) {
        let Some((key, record)) = self.report(proxy, stream, origin) else {
            return;
        };
        let removed = self.store.remove(&key, &record).await;
        let _ = self.noted("remove", removed);
    }

    /// Another proxy heard of a publish, or of its end.
    pub(super) async fn report_changed(&self, proxy: &Proxy, key: &str) {
        let read = self.store.get(key).await;
        match self.noted("get", read) {
            Ok(Some(record)) => self.reported(proxy, &record).await,
            Ok(None) => {
                let stream = key.strip_prefix(REPORT).map(str::parse::<StreamUrl>);
                if let Some(Ok(stream)) = stream {
                    self.registry.forget_report(&proxy.key(&stream));
                }
            }
            Err(_) => {}
        }
    }

    pub(super) async fn list_reports(&self, proxy: &Proxy) {
        let listed = self.store.list(REPORT).await;
        for (_, record) in self.noted("list", listed).unwrap_or_default() {
            self.reported(proxy, &record).await;
        }
    }

    async fn reported(&self, proxy: &Proxy, record: &str) {
        let Some(report) = ReportRecord::parse(record) else {
            return;
        };
        if let Some(origin) = self.origin_at(&report.origin).await {
            proxy.note_published(&report.stream, &origin);
        }
    }

    /// The key and the text of a report.
    fn report(
        &self,
        proxy: &Proxy,
        stream: &StreamUrl,
        origin: &OriginId,
    ) -> Option<(String, String)> {
        let member = self.registry.member(origin)?;
        let record = ReportRecord {
            origin: records::server_key(&member.origin),
            stream: stream.clone(),
        };
        Some((format!("{REPORT}{}", proxy.key(stream)), record.text()))
    }
}
