//! The catalogue: read, changed by the publisher, compared, and tried out on copies.

use std::time::{Duration, Instant};

use balance_store::{Family, keys, records};
use futures_util::StreamExt;
use ocs_api::{
    Caller, CatalogueOperations, CatalogueRefusal, DocumentAsked, DocumentChanged, DocumentFilter, DocumentKind,
    DocumentName, NewDocument, OperationError, Operations, PeriodAsked, Steps, SubscriberSelector, name,
};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use rating_engine::account::Account;
use rating_engine::cdr::RatedCdr;
use rating_engine::explain::Explanation;
use rating_engine::ids::{AccountId, CdrPosition, OfferName, TariffName};
use rating_engine::money::Currency;
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Desk, Files};
use crate::catalogue::diff::{self, ChangeKind, Effect};
use crate::catalogue::{self, Document};
use crate::edge::Edge;
use crate::publishing::{self, Publisher, name_of};
use crate::setup::There;
use crate::simulate::{HELD_CDRS_MAX, NAMED_MAX, Question, Simulation, Subscriber, Totals, simulate};
use crate::store::OpenError;
use crate::stored_usage;
use crate::what_if::{self, Answer, Payer, WhatIf};

/// Money of a made-up account where nothing is said.
const BALANCE_DEFAULT: &str = "1000.00";
/// Time between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// Steps that wait for a reader.
const STEPS_WAITING: usize = 4;
/// How long the text of a document may be on its way from the log to the state store, and how often it is looked for.
const TEXT_WAIT_MAX: Duration = Duration::from_secs(5);
const TEXT_PAUSE: Duration = Duration::from_millis(50);

type Refused<T> = Result<T, CatalogueRefusal>;

impl Desk {
    /// Runs what takes its time on a thread of its own.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Publisher) -> Refused<T> + Send + 'static,
    ) -> Refused<T> {
        let publisher = self.publisher.clone();
        let done = tokio::task::spawn_blocking(move || work(&publisher)).await;
        done.map_err(|_| OperationError::Stopping)?
    }

    /// Nothing is shown that a crash could take back.
    async fn settled_catalogue(&self) -> Refused<()> {
        Ok(self.durable(self.charging.journal.appended_lsn()).await?)
    }
}

impl CatalogueOperations for Desk {
    async fn documents(
        &self,
        filter: DocumentFilter,
        after: Option<DocumentName>,
        max: usize,
    ) -> Refused<Vec<wire::Document>> {
        let found = self.aside(move |publisher| Ok(publisher.list(filter, after.as_ref(), max))).await?;
        self.settled_catalogue().await?;
        Ok(found)
    }

    async fn document(&self, name: DocumentName) -> Refused<wire::GetDocumentResponse> {
        let (mut found, has_text) = {
            let name = name.clone();
            self.aside(move |publisher| publisher.get(&name)).await?
        };
        self.settled_catalogue().await?;
        let mut waited = Duration::ZERO;
        let mut source = has_text.then(|| std::mem::take(&mut found.source));
        while source.is_none() {
            let (files, charging, named) = (self.files.clone(), self.charging.clone(), name.clone());
            source = self.aside(move |_| stored_text(&files, &charging.edge, &named)).await?;
            if source.is_none() && waited >= TEXT_WAIT_MAX {
                let reason =
                    format!("the text of {name} is not in the state store; try again after the next checkpoint");
                return Err(OperationError::Store(reason).into());
            }
            if source.is_none() {
                tokio::time::sleep(TEXT_PAUSE).await;
                waited += TEXT_PAUSE;
            }
        }
        Ok(wire::GetDocumentResponse { source: source.unwrap_or_default(), ..found })
    }

    async fn change_document(&self, caller: Caller, asked: DocumentAsked) -> Refused<DocumentChanged> {
        self.aside(move |publisher| publisher.change(&caller.name, &asked)).await
    }

    async fn validate(&self, source: String) -> Refused<wire::Document> {
        self.aside(move |publisher| {
            let document = publisher.check(&source)?;
            Ok(publisher.would_be(&document))
        })
        .await
    }

    async fn diff(&self, old: Option<DocumentName>, new: NewDocument) -> Refused<wire::DiffDocumentsResponse> {
        let charging = self.charging.clone();
        let compared = self.aside(move |publisher| {
            let new = match new {
                NewDocument::Named(name) => publisher.find(&name).ok_or(CatalogueRefusal::Unknown)?,
                NewDocument::Text(source) => catalogue::parse(&source)
                    .map_err(|error| CatalogueRefusal::Problems(publishing::problems(error)))?,
            };
            let (new_name, now) = (name_of(&new), charging.clock.now());
            let old = match &old {
                Some(name) => publisher.find(name),
                None => publisher.in_force(&charging.tariffs.load(), &new_name, now),
            };
            let old = old.ok_or(CatalogueRefusal::Unknown)?;
            let changes = diff::diff(&old, &new).map_err(CatalogueRefusal::NotPossible)?;
            Ok(wire::DiffDocumentsResponse {
                old_name: name_of(&old).to_string(),
                new_name: new_name.to_string(),
                changes: changes.into_iter().map(shown_change).collect(),
            })
        });
        let compared = compared.await?;
        self.settled_catalogue().await?;
        Ok(compared)
    }

    async fn simulate_event(&self, request: wire::SimulateEventRequest) -> Refused<wire::SimulateEventResponse> {
        let (charging, files) = (self.charging.clone(), self.files.clone());
        let answer = self.aside(move |publisher| {
            let there = There::running(&files.catalogue, &charging);
            what_if(publisher, &there, &charging.tariffs.load(), request, charging.clock.now())
        });
        let answer = answer.await?;
        self.settled_catalogue().await?;
        Ok(answer)
    }

    fn simulate_period(&self, asked: PeriodAsked) -> Steps<wire::SimulatePeriodResponse> {
        let (hand_on, steps) = mpsc::channel(STEPS_WAITING);
        let Ok(permit) = self.simulating.clone().try_acquire_owned() else {
            return futures_util::stream::iter([Err(CatalogueRefusal::Simulating)]).boxed();
        };
        let (publisher, files, charging) = (self.publisher.clone(), self.files.clone(), self.charging.clone());
        // It ends by itself when nobody reads any more.
        tokio::task::spawn_blocking(move || {
            let there = There::running(&files.catalogue, &charging);
            let last = simulated(&publisher, &files, &there, &asked, &hand_on);
            let last = last.map(wire::simulate_period_response::Step::Result).map(step);
            let _ = hand_on.blocking_send(last);
            drop(permit);
        });
        ReceiverStream::new(steps).boxed()
    }

    fn watch_documents(&self) -> Steps<wire::WatchDocumentsResponse> {
        let mut changes = self.publisher.watch();
        let (hand_on, steps) = mpsc::channel(STEPS_WAITING);
        tokio::spawn(async move {
            loop {
                let change = tokio::select! {
                    () = hand_on.closed() => return,
                    change = changes.recv() => change,
                };
                let (change, is_last) = match change {
                    Ok(change) => (Ok(change), false),
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => (Err(CatalogueRefusal::Lagged), true),
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                };
                if hand_on.send(change).await.is_err() || is_last {
                    return;
                }
            }
        });
        ReceiverStream::new(steps).boxed()
    }
}

/// The text of a document that is published; `None` while it is on its way to the state store.
fn stored_text(files: &Files, edge: &Edge, name: &DocumentName) -> Refused<Option<String>> {
    let failed = |error: String| OperationError::Store(format!("the text of {name}: {error}"));
    let mut key = Vec::new();
    keys::catalogue(&mut key, &publishing::kept_as(name), name.version);
    let value = files.state.get(Family::Catalogue, &key).map_err(|error| failed(error.to_string()))?;
    let Some(value) = value.or_else(|| edge.waiting(Family::Catalogue, &key)) else { return Ok(None) };
    let (source, _) = records::decode_document(&value).map_err(|error| failed(error.to_string()))?;
    Ok(Some(String::from_utf8_lossy(source).into_owned()))
}

fn shown_change(change: diff::Change) -> wire::DocumentChange {
    let kind = match change.kind {
        ChangeKind::Added => wire::DocumentChangeKind::Added,
        ChangeKind::Removed => wire::DocumentChangeKind::Removed,
        ChangeKind::Changed => wire::DocumentChangeKind::Changed,
    };
    let effect = match change.effect {
        Effect::Dearer => wire::CostEffect::Dearer,
        Effect::Open => wire::CostEffect::Open,
        Effect::Cheaper => wire::CostEffect::Cheaper,
    };
    wire::DocumentChange {
        path: change.path,
        kind: kind.into(),
        before: change.before.unwrap_or_default(),
        after: change.after.unwrap_or_default(),
        words: change.words,
        effect: effect.into(),
    }
}

fn money(micros: i128, currency: Currency) -> Option<common::Money> {
    // No stored amounts add up to more.
    let mantissa = i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX });
    Some(common::Money { mantissa, scale: 6, currency: currency.to_string() })
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// What one use would cost, with drafts in their place.
fn what_if(
    publisher: &Publisher,
    there: &There<'_>,
    tariffs: &Tariffs,
    request: wire::SimulateEventRequest,
    now: Timestamp,
) -> Refused<wire::SimulateEventResponse> {
    let refuse = |field: &'static str, reason: String| CatalogueRefusal::Field(field, reason);
    let mut tariffs = tariffs.clone();
    if request.subscriber.is_empty() {
        tariffs.for_nobody_named();
    }
    let mut names = Vec::new();
    for draft in &request.drafts {
        let name = DocumentName::parse("drafts", draft).map_err(|it| refuse("drafts", it.reason))?;
        match publisher.find(&name).ok_or_else(|| refuse("drafts", format!("{name} is not there")))? {
            Document::Tariff(version) => {
                if !names.contains(version.name()) {
                    names.push(version.name().clone());
                }
                tariffs.try_on(version);
            }
            Document::Offer(version) => tariffs.insert_offer(version),
            Document::Accounting(periods, _) => tariffs.insert_periods(periods),
        }
    }
    let at = match request.at {
        None => now,
        Some(at) => {
            let millis = at.seconds.checked_mul(1000).and_then(|it| it.checked_add(i64::from(at.nanos) / 1_000_000));
            Timestamp::from_millis(millis.ok_or_else(|| refuse("at", "is too far".to_owned()))?)
        }
    };
    let payer = if request.subscriber.is_empty() { Payer::MadeUp(&names) } else { copy(there, &request.subscriber)? };
    if !request.to.is_empty() && !request.from.is_empty() {
        return Err(refuse("from", "goes without to: a call comes in, or goes out".to_owned()));
    }
    let or = |text: String, default: &str| some(text).unwrap_or_else(|| default.to_owned());
    let what = WhatIf {
        tariff: some(request.tariff),
        offers: request.offers,
        balance: or(request.balance, BALANCE_DEFAULT),
        used: request.used,
        at,
        service: or(request.service, "data"),
        rating_group: request.rating_group,
        service_id: request.service_id,
        to: some(request.to),
        from: some(request.from),
        visited: some(request.visited),
        rat: some(request.rat),
        apn: some(request.apn),
    };
    let Answer { cdrs, refused, .. } = what_if::ask(&what, tariffs, payer).map_err(|unclear| match unclear.member {
        "" => CatalogueRefusal::NotPossible(unclear.reason),
        member => refuse(member, unclear.reason),
    })?;
    Ok(wire::SimulateEventResponse {
        charged: refused.is_none(),
        refusal: refused.unwrap_or_default(),
        charges: cdrs.iter().map(charge).collect(),
    })
}

fn charge(cdr: &RatedCdr) -> wire::SimulatedCharge {
    let explanation = Explanation::of(cdr);
    let rated = explanation.rated.as_ref();
    wire::SimulatedCharge {
        amount: money(cdr.amount.micros().into(), explanation.currency),
        tariff: rated.map(|rated| rated.tariff.clone()).unwrap_or_default(),
        tariff_version: rated.map(|rated| rated.version).unwrap_or_default(),
        price: rated.map(|rated| rated.price.clone()).unwrap_or_default(),
        words: explanation.to_string().lines().map(|line| line.trim().to_owned()).collect(),
    }
}

/// Copies of the accounts that pay for a subscriber.
fn copy<'a>(there: &There<'_>, named: &str) -> Refused<Payer<'a>> {
    let refuse = |reason: String| CatalogueRefusal::Field("subscriber", reason);
    let (tenant, selector) = name::parse_subscriber("subscriber", named).map_err(|it| refuse(it.reason))?;
    let found = match selector {
        SubscriberSelector::Id(id) => there.subscriber(id),
        SubscriberSelector::Identifier(identifier) => there.identified(tenant, &identifier),
    };
    let subscriber = found.filter(|it| it.tenant == tenant).ok_or(OperationError::UnknownSubscriber)?;
    let sponsor = subscriber.sponsor.as_ref().map(|sponsor| sponsor.account);
    let paying: Vec<AccountId> = std::iter::once(subscriber.account).chain(sponsor).collect();
    let accounts: Vec<Account> = there
        .shards
        .with(subscriber.group, |shard| paying.iter().filter_map(|account| shard.account(*account).cloned()).collect());
    if accounts.len() < paying.len() {
        return Err(refuse(format!("{named} has no account, or its sponsor has none")));
    }
    Ok(Payer::Copy(accounts, Box::new(subscriber)))
}

fn step(step: wire::simulate_period_response::Step) -> wire::SimulatePeriodResponse {
    wire::SimulatePeriodResponse { step: Some(step) }
}

/// What a period would have cost.
fn simulated(
    publisher: &Publisher,
    files: &Files,
    there: &There<'_>,
    asked: &PeriodAsked,
    hand_on: &mpsc::Sender<Refused<wire::SimulatePeriodResponse>>,
) -> Refused<wire::SimulationResult> {
    let Some(Document::Tariff(draft)) = publisher.find(&asked.name) else {
        return Err(match asked.name.kind {
            DocumentKind::Tariff => CatalogueRefusal::Unknown,
            DocumentKind::Offer | DocumentKind::Accounting => {
                CatalogueRefusal::Field("name", "is no tariff; only tariffs price what was used".to_owned())
            }
        });
    };
    let name = TariffName::new(&asked.name.id);
    let periods = files.catalogue.periods();
    let offer_of = |account: AccountId| -> Option<OfferName> {
        stored_usage::offer_of(&files.catalogue, there.shards, there.directory, &name, account)
    };
    let question = Question {
        draft: &draft,
        from: asked.from,
        to: asked.to,
        periods: periods.as_ref(),
        offer_of: &offer_of,
        top: asked.top.min(NAMED_MAX),
        held: HELD_CDRS_MAX,
    };
    let last = files.cdrs.durable().position.get();
    let mut reported = Instant::now();
    let report = |position: CdrPosition| {
        if hand_on.is_closed() {
            return Err(OpenError("nobody reads the simulation".to_owned()));
        }
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            let progress = wire::SimulationProgress { cdrs_read: position.get(), cdrs: last };
            // A reader that is slow misses some.
            let _ = hand_on.try_send(Ok(step(wire::simulate_period_response::Step::Progress(progress))));
        }
        Ok(())
    };
    let failed = |error: OpenError| CatalogueRefusal::Operation(OperationError::Store(error.to_string()));
    let usage = stored_usage::usage(&files.cdrs, &files.catalogue, &name, report).map_err(failed)?;
    let answer = simulate(&question, usage).map_err(failed)?;
    Ok(result(&answer, draft.currency()))
}

fn result(answer: &Simulation, currency: Currency) -> wire::SimulationResult {
    let totals = |it: &Totals| wire::SimulationTotals {
        sessions: it.sessions,
        cdrs: it.cdrs,
        old: money(it.old, currency),
        new: money(it.new, currency),
    };
    let subscriber = |it: &Subscriber| wire::SimulatedSubscriber {
        subscriber_id: it.id.get(),
        old: money(it.old, currency),
        new: money(it.new, currency),
    };
    wire::SimulationResult {
        totals: Some(totals(&answer.totals)),
        offers: answer
            .by_offer
            .iter()
            .map(|(offer, it)| wire::OfferTotals { offer: offer.clone().unwrap_or_default(), totals: Some(totals(it)) })
            .collect(),
        dearer: answer.dearer,
        cheaper: answer.cheaper,
        unchanged: answer.unchanged,
        losers: answer.losers.iter().map(subscriber).collect(),
        winners: answer.winners.iter().map(subscriber).collect(),
        left_out: answer
            .left_out
            .iter()
            .map(|(reason, count)| wire::SimulationGap {
                reason: reason.name().to_owned(),
                words: reason.to_string(),
                cdrs: count.cdrs,
                charged: money(count.charged, currency),
            })
            .collect(),
        refunds: answer.refunds.cdrs,
        corrections: answer.corrections.cdrs,
    }
}
