//! What datasets there are, as one principal sees it, told when that changes.

use std::sync::Arc;

use engine::{Catalog, DatasetEntry, Principal, Result};
use futures::Stream;
use futures::stream;
use tokio::sync::watch::Receiver;

use crate::service::{ServiceInner, SubscriptionPlace};

/// What is otherwise than it was told last.
#[derive(Default)]
pub(crate) struct CatalogChange {
    /// Datasets that were not there.
    pub created: Vec<DatasetEntry>,
    /// Those whose columns, or what is said of them, are others.
    pub changed: Vec<DatasetEntry>,
    /// Names of those that are gone.
    pub dropped: Vec<String>,
}

impl CatalogChange {
    fn between(before: &Catalog, now: &Catalog) -> Option<Self> {
        let mut change = Self::default();
        for (name, entry) in &now.datasets {
            match before.datasets.get(name) {
                None => change.created.push(entry.clone()),
                Some(before) if before.spec != entry.spec => change.changed.push(entry.clone()),
                Some(_) => {}
            }
        }
        let gone = before.datasets.keys().filter(|name| !now.datasets.contains_key(*name));
        change.dropped = gone.map(ToString::to_string).collect();
        let Self { created, changed, dropped } = &change;
        let is_none = created.is_empty() && changed.is_empty() && dropped.is_empty();
        (!is_none).then_some(change)
    }
}

struct Watch {
    service: Arc<ServiceInner>,
    who: Principal,
    news: Receiver<u64>,
    told: Option<Arc<Catalog>>,
    ended: bool,
    _place: SubscriptionPlace,
}

/// A first message that nothing changed, then each change.
pub(crate) fn catalog_changes(
    service: Arc<ServiceInner>,
    who: Principal,
) -> Result<impl Stream<Item = Result<CatalogChange>> + Send + 'static> {
    let place = service.subscribe(&who)?;
    let news = service.engine.commits().follow_all(&who.tenant);
    let watch = Watch { service, who, news, told: None, ended: false, _place: place };
    Ok(stream::unfold(watch, |mut watch| async move {
        watch.next().await.map(|change| (change, watch))
    }))
}

impl Watch {
    async fn next(&mut self) -> Option<Result<CatalogChange>> {
        while !self.ended {
            self.news.mark_unchanged();
            let now = match self.service.engine.catalog(&self.who).await {
                Ok(now) => now,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            let change = match self.told.replace(now.clone()) {
                None => Some(CatalogChange::default()),
                Some(before) if before.generation == now.generation => None,
                Some(before) => CatalogChange::between(&before, &now),
            };
            if let Some(change) = change {
                return Some(Ok(change));
            }
            self.ended = self.news.changed().await.is_err();
        }
        None
    }
}
