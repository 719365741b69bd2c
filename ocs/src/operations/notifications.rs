//! Notifications: the crossings that CDRs carry, for whoever tells subscribers of them.
//!
//! They are read from the CDR store, like the CDR stream: whoever follows is behind charging by some tens of milliseconds and slows
//! nothing. A CDR without crossings is passed over almost unread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use balance_store::records::{self, StoredCdr};
use balance_store::{CdrError, CdrReader};
use futures_util::StreamExt;
use ocs_api::{
    NotificationFilter, NotificationOperations, NotificationRefusal, NotificationStream, OperationError, Operations,
    Selection, name,
};
use ocs_proto::cdr::convert::watched;
use ocs_proto::cdr::v1::Crossing as WireCrossing;
use ocs_proto::charging::convert::{holding, time};
use ocs_proto::operator::v1 as wire;
use rating_engine::crossing::{Crossing, standings};
use rating_engine::ids::{AccountId, CdrPosition, SubscriberId, TenantId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Desk, Files, look};
use crate::charging::Charging;

/// Streams at once.
pub(super) const STREAMS_MAX: usize = 16;
/// Notifications in one response, but that those of one CDR stay together, and CDRs that are looked at for it.
const TOGETHER_MAX: usize = 256;
const LOOKED_AT_MAX: u64 = 65_536;
/// Responses that wait for one reader.
const WAITING_MAX: usize = 2;
/// How often it is looked whether there are new CDRs, and how long a stream may be silent.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const SILENCE_MAX: Duration = Duration::from_secs(5);

impl NotificationOperations for Desk {
    async fn notifications(
        &self,
        from: Option<CdrPosition>,
        filter: NotificationFilter,
        stops: bool,
    ) -> Result<NotificationStream, NotificationRefusal> {
        let wanted = self.wanted(filter).await?;
        let cdrs = &self.files.cdrs;
        let (first, next) = (cdrs.first_position(), cdrs.durable().position.next());
        // The CDR store follows the log: whoever was answered before is told of it, too.
        let until = stops.then(|| self.charging.journal.appended_lsn());
        let from = from.unwrap_or(next);
        if from < first || from > next {
            return Err(NotificationRefusal::OutOfRange { first, next });
        }
        let place = self.notifying.clone().try_acquire_owned();
        let place = place.map_err(|_| NotificationRefusal::TooMany(STREAMS_MAX))?;
        let (hand_on, told) = mpsc::channel(WAITING_MAX);
        let mut teller =
            Teller { files: self.files.clone(), charging: self.charging.clone(), wanted, next: from, reader: None };
        tokio::spawn(async move {
            // A sign of life says how far it came, also while everything is passed over.
            let mut said = Instant::now();
            loop {
                let durable = teller.files.cdrs.durable();
                let is_end = teller.next > durable.position;
                let is_over = is_end && until.is_some_and(|until| durable.lsn >= until);
                if said.elapsed() >= SILENCE_MAX || is_over {
                    said = Instant::now();
                    let next_position = teller.next.get();
                    let alive = wire::WatchNotificationsResponse { next_position, ..Default::default() };
                    if hand_on.send(Ok(alive)).await.is_err() || is_over {
                        return;
                    }
                }
                if is_end {
                    tokio::select! {
                        () = hand_on.closed() => return,
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                    }
                    continue;
                }
                // A reader that is slow stops the reading.
                let Ok(permit) = hand_on.clone().reserve_owned().await else { return };
                let Ok((back, read)) = tokio::task::spawn_blocking(move || teller.read()).await else { return };
                teller = back;
                match read {
                    Ok(notifications) if notifications.is_empty() => drop(permit),
                    Ok(notifications) => {
                        said = Instant::now();
                        let next_position = teller.next.get();
                        permit.send(Ok(wire::WatchNotificationsResponse { notifications, next_position }));
                    }
                    Err(refusal) => {
                        permit.send(Err(refusal));
                        return;
                    }
                }
            }
        });
        // The place is free when nobody reads any more.
        let told = ReceiverStream::new(told).map(move |told| {
            let _held = &place;
            told
        });
        Ok(told.boxed())
    }

    async fn watched_values(&self, account: Selection) -> Result<wire::ListWatchedValuesResponse, OperationError> {
        let (tariffs, now) = (self.charging.tariffs.load_full(), self.charging.clock.now());
        let (values, currency, lsn) = look(&self.charging, &account, |shard, account| {
            (standings(account, &tariffs, now), account.currency, shard.last_lsn())
        })?;
        self.durable(lsn).await?;
        let values = values.into_iter().map(|standing| {
            let (what, bucket_id, unit) = watched(&standing.watched);
            wire::WatchedValue {
                policy_counter: standing.watched.policy_counter(&standing.offer),
                status: standing.status().unwrap_or_default().to_owned(),
                watched: what.into(),
                bucket_id: bucket_id.to_owned(),
                holding: holding(unit).into(),
                offer: standing.offer.as_str().to_owned(),
                subscription: standing.subscription,
                value: standing.value,
                thresholds: standing
                    .thresholds
                    .into_iter()
                    .map(|(threshold, label, reached)| wire::WatchedThreshold {
                        label: label.into(),
                        threshold,
                        reached,
                    })
                    .collect(),
            }
        });
        Ok(wire::ListWatchedValuesResponse { values: values.collect(), currency: currency.letters().to_owned() })
    }
}

impl Desk {
    /// What a stream is to tell.
    async fn wanted(&self, filter: NotificationFilter) -> Result<Wanted, OperationError> {
        let NotificationFilter { account, subscriber, tenant, policy_counter } = filter;
        let account = account.map(|selection| look(&self.charging, &selection, |_, account| account.id)).transpose()?;
        let subscriber = match subscriber {
            Some((tenant, selector)) => Some(self.find_subscriber(tenant, selector).await?.subscriber.id),
            None => None,
        };
        Ok(Wanted { account, subscriber, tenant, policy_counter })
    }
}

/// Which notifications a stream tells; all that it says must be so.
struct Wanted {
    account: Option<AccountId>,
    subscriber: Option<SubscriberId>,
    tenant: Option<TenantId>,
    policy_counter: Option<Box<str>>,
}

impl Wanted {
    fn takes(&self, cdr: &StoredCdr) -> bool {
        self.account.is_none_or(|account| account == cdr.account)
            && self.subscriber.is_none_or(|subscriber| Some(subscriber) == cdr.subscriber)
            && self.tenant.is_none_or(|tenant| tenant == cdr.tenant)
    }

    fn is_of(&self, policy_counter: &str) -> bool {
        self.policy_counter.as_deref().is_none_or(|wanted| wanted == policy_counter)
    }
}

/// Reads what one stream is told.
struct Teller {
    files: Arc<Files>,
    charging: Arc<Charging>,
    wanted: Wanted,
    /// The next CDR that is looked at.
    next: CdrPosition,
    reader: Option<CdrReader>,
}

impl Teller {
    /// What comes next, as far as it is durable.
    fn read(mut self) -> (Self, Result<Vec<wire::Notification>, NotificationRefusal>) {
        let read = self.read_on();
        (self, read)
    }

    fn read_on(&mut self) -> Result<Vec<wire::Notification>, NotificationRefusal> {
        let cdrs = &self.files.cdrs;
        let unsound = |error: CdrError| match error {
            CdrError::Cut { first, .. } => {
                NotificationRefusal::OutOfRange { first, next: cdrs.durable().position.next() }
            }
            CdrError::Io { .. }
            | CdrError::Damaged { .. }
            | CdrError::UnknownFormat { .. }
            | CdrError::Gap { .. }
            | CdrError::LogBehind { .. }
            | CdrError::ChainBroken { .. }
            | CdrError::Poisoned { .. } => NotificationRefusal::Unsound(error.to_string()),
        };
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => cdrs.reader(self.next).map_err(unsound)?,
        };
        let mut notifications = Vec::new();
        let until = self.next.get().saturating_add(LOOKED_AT_MAX);
        while notifications.len() < TOGETHER_MAX && self.next.get() < until {
            let Some(record) = reader.read_next().map_err(unsound)? else { break };
            let position = record.position;
            let damaged = |error| NotificationRefusal::Unsound(format!("CDR {position}: {error}"));
            self.next = position.next();
            if !records::cdr_head(record.octets).map_err(damaged)?.has_crossings {
                continue;
            }
            let cdr = records::decode_cdr(record.octets).map_err(damaged)?;
            if !self.wanted.takes(&cdr) {
                continue;
            }
            let identifiers: Vec<String> = match cdr.subscriber {
                Some(subscriber) => {
                    let known = self.charging.directory.identifiers_of(subscriber);
                    known.iter().map(ToString::to_string).collect()
                }
                None => Vec::new(),
            };
            for (number, crossing) in cdr.crossings.iter().enumerate() {
                let policy_counter = crossing.watched.policy_counter(&crossing.offer);
                if !self.wanted.is_of(&policy_counter) {
                    continue;
                }
                notifications.push(wire::Notification {
                    notification_id: format!("{}-{position}-{number}", self.files.partition),
                    time: Some(time(cdr.accepted)),
                    account: name::account(cdr.tenant, cdr.account),
                    subscriber: cdr.subscriber.map(|id| name::subscriber(cdr.tenant, id)).unwrap_or_default(),
                    identifiers: identifiers.clone(),
                    currency: cdr.currency.letters().to_owned(),
                    crossing: Some(shown(crossing)),
                    position: position.get(),
                    policy_counter,
                    next_position: position.get(),
                });
            }
            // None of the same CDR follows it.
            if let Some(last) = notifications.last_mut() {
                last.next_position = last.position.saturating_add(1);
            }
        }
        self.reader = Some(reader);
        Ok(notifications)
    }
}

fn shown(crossing: &Crossing) -> WireCrossing {
    let (what, bucket_id, unit) = watched(&crossing.watched);
    WireCrossing {
        watched: what.into(),
        bucket_id: bucket_id.to_owned(),
        holding: holding(unit).into(),
        offer: crossing.offer.as_str().to_owned(),
        subscription: crossing.subscription,
        label: crossing.label.to_string(),
        threshold: crossing.at,
        before: crossing.before,
        after: crossing.after,
        reached: crossing.is_reached(),
    }
}
