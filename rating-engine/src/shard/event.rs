//! One-time events: debit, refund, balance check, price enquiry.

use std::sync::Arc;

use smallvec::SmallVec;

use super::serve::{Numbers, SECONDS_GRACE, as_asked, cdr_of, is_possible};
use super::{
    Scene, Shard, Tariffs, denial_of, finish, means_of, new_session, offers, refused, scene, tariff_of, unchanged,
    write_charged,
};
use crate::account::{Account, Holding, Means, Paying, Purpose, Sponsor, Who};
use crate::cdr::{Cause, CdrKind, CdrSource, Movement, Payer, RatedCdr, Rating};
use crate::command::{
    Action, Answered, Command, Denial, Effects, Grant, Outcome, Refusal, RequestKind, Requested, ServiceOutcome,
    ServiceOutcomes, ServiceRequest, ServiceResult, SessionChange, Write,
};
use crate::ids::{CdrPosition, SessionId};
use crate::money::Money;
use crate::rating::{self, RatingError, Slice, Slices};
use crate::session::{
    CHARGES_MAX, ChargePart, EVENT_KEPT_SECONDS, EventCharge, Phase, RECORD_AGE_MAX_SECONDS, RECORD_KEPT_SECONDS,
    Rated, Session, StoredAnswer,
};
use crate::tariff::ServiceKey;
use crate::tariffs::{Applied, Book, Pricing};
use crate::time::Timestamp;
use crate::units::{GrantUnits, Measure, MoneyUnits, Units};

impl Shard {
    /// A one-time event: all of it or nothing (R21). Or a usage record: all of it, whatever there is (R23).
    pub(super) fn event(&mut self, tariffs: &Tariffs, mut command: Command) -> Effects {
        let is_record = matches!(command.action, Action::Record { .. });
        let holder = if is_record { self.holder(command.subscriber) } else { self.payer(command.subscriber) };
        let (subscriber, account) = match holder {
            Ok(payer) => payer,
            Err(refusal) => return refused(refusal),
        };
        let Some(tariff) = tariff_of(tariffs, subscriber, account, &command) else {
            return refused(Refusal::RatingFailed);
        };
        let (cause, kept) =
            if is_record { (Cause::Record, RECORD_KEPT_SECONDS) } else { (Cause::Event, EVENT_KEPT_SECONDS) };
        let phase = Phase::Ended { cause, forget_at: command.now.plus_seconds(kept) };
        let fresh = new_session(&mut command, subscriber, tariff.clone(), phase);
        let existing = self.sessions.get(&command.session).map(|slot| &slot.value);
        if existing.is_some_and(|session| session.is_open() || session.subscriber != subscriber.id) {
            return refused(Refusal::KeyReused);
        }
        // Each event has its own subscriber, circumstances and tariff; the answers and charges are of all of them.
        let mut change = SessionChange { fresh: true, context: true, answer: None };
        let mut session = match existing {
            None => fresh,
            Some(session) => {
                change = SessionChange { context: session.context != fresh.context, ..SessionChange::default() };
                let Session { subscriber, tenant, client_state, context, tariff, .. } = fresh;
                Session { subscriber, tenant, client_state, context, tariff, phase, ..session.clone() }
            }
        };
        let mut effects = unchanged(());
        let (mut counters, terms) = (subscriber.counters.clone(), self.terms_of(&command, &session));
        let terms = terms.as_deref();
        let Some(means) = means_of(&mut self.accounts, session.account, terms, &mut counters) else {
            return refused(Refusal::UnknownSubscriber);
        };
        // Worked on beside the originals, so that a refusal in the middle leaves nothing behind.
        let mut aside = means.aside();
        let mut means = aside.means(terms);
        let result = match &command.action {
            Action::Refund { original, services } => {
                self.refund(&command, original, services, &mut means, &mut session, &mut effects)
            }
            Action::Debit(services) | Action::Record { services, .. } => {
                let context = session.context.clone();
                let tariff = session.tariff.clone();
                let id = session.id.clone();
                let scene = scene(&command, &id, session.subscriber, &context, &tariff, tariffs);
                let scene = Scene { cause, by_window: terms.is_some(), ..scene };
                if let Action::Record { ended, .. } = command.action {
                    Ok(record(&scene, &mut means, &mut session, services, ended, &mut effects))
                } else {
                    debit(&scene, &mut means, &mut session, services, &mut effects)
                }
            }
            Action::Start(_)
            | Action::Update(_)
            | Action::Stop(_)
            | Action::CheckBalance(_)
            | Action::PriceEnquiry(_) => Err(Refusal::OutOfRange),
        };
        let answered = match result {
            Ok(answered) => answered,
            Err(refusal) => return refused(refusal),
        };
        let outcome = Arc::new(Outcome::Answered(answered));
        session.seen.note(command.number);
        let answer = session.keep_answer(StoredAnswer {
            kind: RequestKind::Event,
            number: command.number,
            digest: command.digest,
            outcome: outcome.clone(),
        });
        if !effects.cdrs.is_empty() {
            write_charged(&mut effects);
            if let Some(mut means) = means_of(&mut self.accounts, session.account, terms, &mut counters) {
                means.adopt(aside);
            }
            self.queue_account(session.account, command.now);
            terms.into_iter().for_each(|terms| self.queue_account(terms.account, command.now));
        }
        if let Some(slot) = self.subscribers.get_mut(&session.subscriber).filter(|slot| slot.value.counters != counters)
        {
            slot.value.counters = counters;
            effects.writes.push(Write::Subscriber(session.subscriber));
        }
        effects.opened = change.fresh.then(|| session.id.clone());
        self.put_session(session, SessionChange { answer: Some(answer), ..change }, &mut effects);
        finish(effects, outcome)
    }

    /// On which terms another account pays for an event; what is given back goes to who paid it.
    fn terms_of(&self, command: &Command, session: &Session) -> Option<Arc<Sponsor>> {
        if let Action::Refund { original, .. } = &command.action
            && *original != session.id
        {
            return self.sessions.get(original).and_then(|slot| slot.value.sponsor.clone());
        }
        session.sponsor.clone()
    }

    /// Gives back what an event was charged (R29). Changes the accounts and the original's record.
    fn refund(
        &mut self,
        command: &Command,
        original: &SessionId,
        services: &[ServiceRequest],
        means: &mut Means<'_>,
        session: &mut Session,
        effects: &mut Effects<()>,
    ) -> Result<Answered, Refusal> {
        let currency = means.account.currency;
        let same = *original == session.id;
        let charged = if same {
            session.clone()
        } else {
            let slot = self.sessions.get(original).ok_or(Refusal::NothingToRefund)?;
            slot.value.clone()
        };
        if charged.charges.is_empty() || charged.account != means.account.id {
            return Err(Refusal::NothingToRefund);
        }
        let everything = [ServiceRequest::default()];
        let services = if services.is_empty() { &everything[..] } else { services };
        let mut charges = charged.charges.clone();
        let mut outcomes = ServiceOutcomes::new();
        let mut total = Money::ZERO;
        for request in services {
            let named = match request.requested {
                Requested::Units(units) => Some(units),
                Requested::Nothing | Requested::Any => None,
            };
            let code = Some(currency.numeric());
            let given = |named: Option<Units>, amount| {
                named.unwrap_or(Units { money: Some(MoneyUnits { amount, currency: code }), ..Units::default() })
            };
            let mut given_money = Money::ZERO;
            for (place, named, Back { units, parts }) in choose(&charges, &request.key, named)? {
                let Some(charge) = charges.get_mut(place) else { continue };
                let account = means.of_mut(charge.who);
                let moves: Vec<_> = parts.iter().map(|(place, amount)| (charge.parts.get(*place), *amount)).collect();
                let moves: Vec<(Payer, Holding, i64)> = moves
                    .into_iter()
                    .filter_map(|(part, amount)| part.map(|part| (part.payer.clone(), part.holding, amount)))
                    .collect();
                let movements = account.give_back(&moves, command.now).ok_or(Refusal::OutOfRange)?;
                charge.refunded = charge.refunded.saturating_add(units);
                for (place, amount) in &parts {
                    if let Some(part) = charge.parts.get_mut(*place) {
                        part.refunded = part.refunded.saturating_add(*amount);
                    }
                }
                let money = moves.iter().filter(|(_, holding, _)| *holding == Holding::Money);
                let money =
                    money.fold(Money::ZERO, |sum, (_, _, amount)| sum.saturating_add(Money::from_micros(*amount)));
                given_money = given_money.saturating_add(money);
                let source = CdrSource::Network {
                    session: session.id.clone(),
                    request: command.number,
                    service: charge.key.clone(),
                    context: session.context.clone(),
                };
                let when = command.event_time.unwrap_or(command.now);
                effects.cdrs.push(RatedCdr {
                    corrects: Some(charge.cdr),
                    subscriber: Some(session.subscriber),
                    gives_back: Some(charge.began.unwrap_or(charged.opened)),
                    usage_start: when,
                    usage_end: when,
                    reported: given(named, money),
                    amount: Money::ZERO.saturating_sub(money),
                    movements,
                    ..RatedCdr::draft(CdrKind::Refund, account, source, Cause::Event, command.now)
                });
                effects.facts.charged_micros = effects.facts.charged_micros.saturating_sub(money.micros());
            }
            total = total.saturating_add(given_money);
            let grant = Grant {
                units: given(named, given_money).into(),
                validity_seconds: 0,
                switch: None,
                threshold: 0,
                last: false,
            };
            outcomes.push(ServiceOutcome { key: request.key.clone(), result: ServiceResult::Granted(grant) });
        }
        if same {
            session.charges = charges;
        } else if let Some(slot) = self.sessions.get_mut(original) {
            // The last thing that could refuse is behind us.
            slot.value.charges = charges;
            effects.writes.push(Write::Session(original.clone(), SessionChange::default()));
        }
        Ok(Answered { services: outcomes, cost: Some((total, currency)), ..Answered::default() })
    }

    /// CHECK_BALANCE and PRICE_ENQUIRY: looks, touches nothing.
    pub(super) fn enquire(&self, tariffs: &Tariffs, command: &Command) -> Effects {
        let (subscriber, account) = match self.payer(command.subscriber) {
            Ok(payer) => payer,
            Err(refusal) => return refused(refusal),
        };
        let Some(tariff) = tariff_of(tariffs, subscriber, account, command) else {
            return refused(Refusal::RatingFailed);
        };
        let (requests, checks) = match &command.action {
            Action::CheckBalance(requests) => (requests, true),
            Action::PriceEnquiry(requests) => (requests, false),
            Action::Start(_)
            | Action::Update(_)
            | Action::Stop(_)
            | Action::Debit(_)
            | Action::Record { .. }
            | Action::Refund { .. } => return refused(Refusal::OutOfRange),
        };
        // A price is asked for as if there were no buckets: the balance does not matter (RFC 8506 5.2.3).
        let (mut bare, mut counters) = (account.clone(), subscriber.counters.clone());
        let terms = subscriber.sponsor.as_deref();
        let paying = terms.and_then(|terms| self.accounts.get(&terms.account));
        let mut paying = paying.map(|slot| slot.value.clone());
        if !checks {
            bare.buckets.clear();
            paying.iter_mut().for_each(|paying| paying.buckets.clear());
        }
        let mut means = Means { account: &mut bare, sponsor: paying.as_mut().zip(terms), counters: &mut counters };
        let when = command.event_time.unwrap_or(command.now);
        let (mut cost, mut enough) = (Money::ZERO, true);
        let mut services = ServiceOutcomes::new();
        for request in requests {
            let book = Book::new(tariff, tariffs, Some(subscriber.id));
            let (context, key) = (&command.context, &request.key);
            let pricing = Pricing { book, context, key, by_window: terms.is_some() };
            let purpose = pricing.purpose(when);
            let free = Free::of(&means, purpose);
            // Charged to the copy, so that the services after it are asked of what this one would leave (R27).
            let amount = match event_quantity(&pricing, request, when) {
                Ok(EventQuantity::Money(amount)) => means.account.take_money(amount, purpose).map(|_| {
                    enough &= free.own >= amount;
                    amount
                }),
                Ok(EventQuantity::Units(applied, quantity)) => {
                    let mut rated = Rated::default();
                    let mut slices = Slices::new();
                    let done = rating::settle(&mut means, &pricing, &mut rated, quantity, when, applied, &mut slices);
                    let barred = denial_of(means.of(Who::Sponsor).state).is_some();
                    enough &= free.covers(&slices) && !(barred && slices.iter().any(|it| it.who == Who::Sponsor));
                    done.ok().map(|()| rated.charged)
                }
                Err(_) => None,
            };
            let Some(amount) = amount else { return refused(Refusal::RatingFailed) };
            cost = cost.saturating_add(amount);
            services.push(ServiceOutcome { key: request.key.clone(), result: ServiceResult::Settled });
        }
        let answered = Answered {
            services,
            cost: (!checks).then_some((cost, account.currency)),
            enough_credit: checks.then_some(enough),
            ..Answered::default()
        };
        unchanged(Arc::new(Outcome::Answered(answered)))
    }
}

/// What each account may be charged for one service of an event.
struct Free {
    own: Money,
    sponsor: Money,
}

impl Free {
    fn of(means: &Means<'_>, purpose: Purpose<'_>) -> Self {
        let [own, sponsor] = [Who::Own, Who::Sponsor].map(|who| means.of(who).money_available(purpose));
        Self { own, sponsor }
    }

    /// Whether it pays for all of it (R21, R40).
    fn covers(&self, slices: &[Slice]) -> bool {
        [(Who::Own, self.own), (Who::Sponsor, self.sponsor)].into_iter().all(|(who, free)| {
            let of_it = slices.iter().filter(|slice| slice.who == who);
            let charged = of_it.fold(Money::ZERO, |sum, slice| sum.saturating_add(slice.amount));
            charged == Money::ZERO || charged <= free
        })
    }
}

/// What a one-time event asks to be charged.
enum EventQuantity<'a> {
    /// Money that the network rated itself.
    Money(Money),
    /// So much of what this price counts.
    Units(Applied<'a>, u64),
}

const fn asks(request: &ServiceRequest) -> bool {
    !matches!(request.requested, Requested::Nothing)
}

/// The units that an event names: those it asks for, else those it reports.
fn named_units(request: &ServiceRequest) -> Units {
    match request.requested {
        Requested::Units(units) => units,
        Requested::Any => Units::default(),
        Requested::Nothing => request.used.iter().fold(Units::default(), |sum, used| sum.plus(&used.units)),
    }
}

fn event_quantity<'a>(
    pricing: &Pricing<'a>,
    request: &ServiceRequest,
    when: Timestamp,
) -> Result<EventQuantity<'a>, RatingError> {
    let named = named_units(request);
    if let Some(money) = named.money {
        let foreign = money.currency.is_some_and(|code| code != pricing.book.first().currency().numeric());
        return if foreign || money.amount <= Money::ZERO {
            Err(RatingError::NoPrice)
        } else {
            Ok(EventQuantity::Money(money.amount))
        };
    }
    let applied = pricing.at(when).ok_or(RatingError::NoPrice)?;
    let price = applied.price;
    let quantity = match named.quantity(price.measure) {
        Some(quantity) if quantity > 0 => quantity,
        // Nothing named: one event, or as many messages as the service information says. To have used nothing is no event.
        _ if price.measure == Measure::Events
            && (asks(request) || request.used.is_empty())
            && (named.is_empty() || named.events == Some(0)) =>
        {
            pricing.context.sms.as_ref().and_then(|sms| sms.messages).map_or(1, |messages| u64::from(messages.max(1)))
        }
        _ => return Err(RatingError::NoPrice),
    };
    Ok(EventQuantity::Units(applied, quantity))
}

/// Charges a one-time event (DIRECT_DEBITING): all of it or nothing (R21).
fn debit(
    scene: &Scene<'_>,
    means: &mut Means<'_>,
    session: &mut Session,
    requests: &[ServiceRequest],
    effects: &mut Effects<()>,
) -> Result<Answered, Refusal> {
    let implied = [ServiceRequest::default()];
    let requests = if requests.is_empty() { &implied[..] } else { requests };
    // Each may be shared by two accounts.
    let most = if scene.by_window { 2 * requests.len() } else { requests.len() };
    if session.charges.len() + most > CHARGES_MAX {
        // No other server could do better, and waiting does not help.
        return Err(Refusal::Invalid("too many events were charged under this session id; the next one needs another"));
    }
    let mut outcomes = ServiceOutcomes::with_capacity(requests.len());
    let mut total = Money::ZERO;
    for request in requests {
        let pricing = scene.pricing(scene.context, &request.key);
        let applied = pricing.at(scene.when).filter(|first| first.paid_by(means) != Paying::Only(Who::Sponsor));
        if let Some(offer) = applied.and_then(|applied| applied.price.buys.as_ref()) {
            offers::buy_at_first_use(scene, means.account, &request.key, offer, effects);
        }
        let (amount, units) = charge(scene, means, session, request, None, effects)?;
        total = total.checked_add(amount).ok_or(Refusal::OutOfRange)?;
        let grant = Grant { units, validity_seconds: 0, switch: None, threshold: 0, last: false };
        outcomes.push(ServiceOutcome { key: request.key.clone(), result: ServiceResult::Granted(grant) });
    }
    Ok(Answered {
        services: outcomes,
        cost: Some((total, means.account.currency)),
        refund_reference: Some(session.id.clone()),
        ..Answered::default()
    })
}

/// Charges what a record says was used until `ended`, service by service: what cannot be rated or believed, or is too old,
/// is kept for a person (R16, R23, R25, R31). Nothing is bought by it.
fn record(
    scene: &Scene<'_>,
    means: &mut Means<'_>,
    session: &mut Session,
    requests: &[ServiceRequest],
    ended: Timestamp,
    effects: &mut Effects<()>,
) -> Answered {
    let mut outcomes = ServiceOutcomes::with_capacity(requests.len());
    let mut total = Money::ZERO;
    let lasted = ended.seconds_since(scene.when);
    let is_old = scene.when.plus_seconds(RECORD_AGE_MAX_SECONDS) < scene.now;
    let is_to_come = ended.max(scene.when) > scene.now.plus_seconds(i64::try_from(SECONDS_GRACE).unwrap_or(i64::MAX));
    for request in requests {
        let units = named_units(request);
        let is_possible = is_possible(units.octets(), units.seconds.unwrap_or(0), lasted);
        let full = session.charges.len().saturating_add(2) > CHARGES_MAX;
        let charged = if is_old || is_to_come || !is_possible || full {
            Err(Denial::UsageSuspect)
        } else if units.is_nothing() {
            Ok(Money::ZERO)
        } else {
            let charged = charge(scene, means, session, request, Some(ended), effects);
            let why =
                |refusal| if refusal == Refusal::RatingFailed { Denial::RatingFailed } else { Denial::UsageSuspect };
            charged.map(|(amount, _)| amount).map_err(why)
        };
        let result = match charged {
            Ok(amount) => {
                total = total.saturating_add(amount);
                ServiceResult::Settled
            }
            Err(denial) => {
                effects.facts.suspense += 1;
                let draft = draft(scene, request, CdrKind::Suspense, means.account);
                effects.cdrs.push(RatedCdr { usage_end: ended.max(scene.when), reported: units, ..draft });
                ServiceResult::Denied(denial)
            }
        };
        outcomes.push(ServiceOutcome { key: request.key.clone(), result });
    }
    Answered {
        services: outcomes,
        cost: Some((total, means.account.currency)),
        refund_reference: Some(session.id.clone()),
        ..Answered::default()
    }
}

/// A CDR of one service of an event, before it is rated.
fn draft(scene: &Scene<'_>, request: &ServiceRequest, kind: CdrKind, account: &Account) -> RatedCdr {
    RatedCdr {
        subscriber: Some(scene.subscriber),
        usage_start: scene.when,
        usage_end: scene.when,
        ..RatedCdr::draft(kind, account, scene.source(&request.key), scene.cause, scene.now)
    }
}

/// Charges one service, and says how much that is of what. What is to come must be paid by what there is (R21), what was
/// used until `used_until` is charged whatever there is (R23). On an error, `means` may have changed for what is to come.
fn charge(
    scene: &Scene<'_>,
    means: &mut Means<'_>,
    session: &mut Session,
    request: &ServiceRequest,
    used_until: Option<Timestamp>,
    effects: &mut Effects<()>,
) -> Result<(Money, GrantUnits), Refusal> {
    let pricing = scene.pricing(scene.context, &request.key);
    let purpose = pricing.purpose(scene.when);
    let named = event_quantity(&pricing, request, scene.when).map_err(|_| Refusal::RatingFailed)?;
    let opened = session.opened;
    let charge = |who, measure, began: Timestamp| EventCharge {
        key: request.key.clone(),
        who,
        cdr: CdrPosition::default(),
        began: (began != opened).then_some(began),
        measure,
        quantity: 0,
        refunded: 0,
        amount: Money::ZERO,
        parts: Vec::new(),
    };
    let usage_end = used_until.unwrap_or(scene.when);
    let (amount, reported) = match named {
        EventQuantity::Money(amount) => {
            if used_until.is_none() && means.account.money_available(purpose) < amount {
                return Err(Refusal::CreditLimitReached);
            }
            let movements = means.account.take_money(amount, purpose).ok_or(Refusal::OutOfRange)?;
            let parts = movements.iter().map(charge_part).collect();
            session.charges.push(EventCharge { amount, parts, ..charge(Who::Own, None, scene.when) });
            let currency = Some(means.account.currency.numeric());
            let units = GrantUnits::money(MoneyUnits { amount, currency });
            let rating = Some(Rating::of_network(scene.book.first(), amount));
            let draft = draft(scene, request, CdrKind::Usage, means.account);
            effects.cdrs.push(RatedCdr { usage_end, reported: units.units(), rating, amount, movements, ..draft });
            (amount, units)
        }
        EventQuantity::Units(applied, quantity) => {
            let measure = applied.price.measure;
            let free = Free::of(means, purpose);
            let mut rated = Rated::default();
            let mut slices = Slices::new();
            let done = rating::settle(means, &pricing, &mut rated, quantity, scene.when, applied, &mut slices);
            done.map_err(|error| match error {
                RatingError::NoPrice => Refusal::RatingFailed,
                RatingError::OutOfRange => Refusal::OutOfRange,
            })?;
            if used_until.is_none() {
                let barred = slices.iter().any(|slice| slice.who == Who::Sponsor);
                match denial_of(means.of(Who::Sponsor).state).filter(|_| barred) {
                    None => {}
                    Some(Denial::ServiceDenied) => return Err(Refusal::ServiceDenied),
                    Some(_) => return Err(Refusal::Rejected),
                }
                if !free.covers(&slices) {
                    return Err(Refusal::CreditLimitReached);
                }
            }
            let reported = as_asked(measure, quantity, &named_units(request));
            let whole = (slices.len() == 1).then(|| reported.units());
            let starts: SmallVec<[Timestamp; 1]> = slices.iter().skip(1).map(|slice| slice.at).collect();
            let (mut numbers, first) = (Numbers::default(), session.charges.len());
            for (number, slice) in slices.into_iter().enumerate() {
                let place = session.charges.iter().skip(first).position(|charge| charge.who == slice.who);
                let place = first + place.unwrap_or(session.charges.len() - first);
                if place == session.charges.len() {
                    session.charges.push(charge(slice.who, Some(measure), slice.at));
                }
                if let Some(charge) = session.charges.get_mut(place) {
                    charge.quantity = charge.quantity.saturating_add(slice.used);
                    charge.amount = charge.amount.saturating_add(slice.amount);
                    charge.parts.extend(slice.movements.iter().map(charge_part));
                }
                let reported = whole.unwrap_or(Units::of(measure, slice.used));
                let next = starts.iter().skip(number).find(|next| **next > slice.at).copied();
                let usage_end = if used_until.is_some() { next.unwrap_or(usage_end).min(usage_end) } else { usage_end };
                let draft = draft(scene, request, CdrKind::Usage, means.of(slice.who));
                let draft = RatedCdr { usage_start: slice.at, usage_end, reported, ..draft };
                effects.cdrs.push(cdr_of(slice, &mut numbers, 0, draft));
            }
            (rated.charged, reported)
        }
    };
    effects.facts.charged_micros = effects.facts.charged_micros.saturating_add(amount.micros());
    Ok((amount, reported))
}

fn charge_part(movement: &Movement) -> ChargePart {
    ChargePart {
        payer: movement.payer.clone(),
        holding: movement.holding,
        amount: movement.delta.saturating_neg(),
        refunded: 0,
    }
}

/// What goes back of a charge.
#[derive(Clone)]
struct Back {
    /// Units of it.
    units: u64,
    /// Amounts, by the place of the part.
    parts: Vec<(usize, i64)>,
}

/// What goes back of which charges, and what was named of each. Nothing named means all that is left of every charge; what
/// is named comes from the first service that covers it.
fn choose(
    charges: &[EventCharge],
    key: &ServiceKey,
    named: Option<Units>,
) -> Result<Vec<(usize, Option<Units>, Back)>, Refusal> {
    let mut chosen = Vec::new();
    let mut refusal = None;
    let mut place = 0;
    for service in charges.chunk_by(|one, next| one.who != next.who && one.key == next.key) {
        let first = place;
        place += service.len();
        if *key != ServiceKey::default() && service.iter().any(|charge| charge.key != *key) {
            continue;
        }
        match (named, service) {
            (Some(named), [_, _, ..]) => match choose_shares(service, named) {
                Ok(shares) => {
                    return Ok(shares.into_iter().map(|(share, of_it, back)| (first + share, of_it, back)).collect());
                }
                Err(error) => refusal = refusal.or(Some(error)),
            },
            _ => {
                for (share, charge) in service.iter().enumerate() {
                    match refund_parts(charge, named) {
                        Ok(back) => chosen.push((first + share, named, back)),
                        Err(error) => refusal = refusal.or(Some(error)),
                    }
                }
                if named.is_some() && !chosen.is_empty() {
                    return Ok(chosen);
                }
            }
        }
    }
    if chosen.is_empty() { Err(refusal.unwrap_or(Refusal::NothingToRefund)) } else { Ok(chosen) }
}

/// What goes back of the shares of one service that several accounts paid: the last share first (R40).
fn choose_shares(shares: &[EventCharge], named: Units) -> Result<Vec<(usize, Option<Units>, Back)>, Refusal> {
    let measure = shares.first().and_then(|charge| charge.measure);
    let wanted = match named.money {
        Some(money) => u64::try_from(money.amount.micros()).map_err(|_| Refusal::OutOfRange)?,
        None => measure.and_then(|measure| named.quantity(measure)).ok_or(Refusal::RatingFailed)?,
    };
    if wanted == 0 {
        return Err(Refusal::OutOfRange);
    }
    let mut missing = wanted;
    let mut chosen = Vec::new();
    for (place, charge) in shares.iter().enumerate().rev() {
        let there = match named.money {
            Some(_) => left_of(charge, Holding::Money),
            None => charge.quantity.saturating_sub(charge.refunded),
        };
        let share = missing.min(there);
        missing -= share;
        let of_it = match (named.money, measure) {
            _ if share == 0 => continue,
            (Some(money), _) => {
                let amount = Money::from_micros(i64::try_from(share).map_err(|_| Refusal::OutOfRange)?);
                Units { money: Some(MoneyUnits { amount, ..money }), ..Units::default() }
            }
            (None, Some(measure)) => Units::of(measure, share),
            (None, None) => return Err(Refusal::RatingFailed),
        };
        chosen.push((place, Some(of_it), refund_parts(charge, Some(of_it))?));
    }
    if missing > 0 { Err(Refusal::RefundBeyondCharge) } else { Ok(chosen) }
}

/// What of one holding was not given back yet of a charge.
fn left_of(charge: &EventCharge, holding: Holding) -> u64 {
    let parts = charge.parts.iter().filter(|part| part.holding == holding);
    parts.fold(0, |sum: u64, part| sum.saturating_add(left(part).unsigned_abs()))
}

/// What of a charge goes back: all that is left, an amount of money, or units (R29). What was paid last goes back first.
fn refund_parts(charge: &EventCharge, named: Option<Units>) -> Result<Back, Refusal> {
    let units_left = charge.quantity.saturating_sub(charge.refunded);
    if charge.parts.iter().all(|part| left(part) == 0) {
        return Err(Refusal::RefundBeyondCharge);
    }
    let (units, parts) = match named {
        None => (units_left, charge.parts.iter().enumerate().map(|(place, part)| (place, left(part))).collect()),
        Some(Units { money: Some(money), .. }) => {
            let wanted = money.amount.micros();
            if wanted <= 0 {
                return Err(Refusal::OutOfRange);
            }
            let mut parts = Vec::new();
            if take_last(charge, Holding::Money, wanted, &mut parts) > 0 {
                return Err(Refusal::RefundBeyondCharge);
            }
            (0, parts)
        }
        Some(units) => {
            // Seconds of a charge by events, or units of money that the network rated, name nothing of it.
            let wanted = charge.measure.and_then(|measure| units.quantity(measure)).ok_or(Refusal::RatingFailed)?;
            if wanted == 0 {
                return Err(Refusal::OutOfRange);
            }
            if wanted > units_left {
                return Err(Refusal::RefundBeyondCharge);
            }
            // What goes back of each holding with all units so far, rounded down, less what went back before: in
            // whichever portions, all units give back exactly what was taken.
            let share = |amount: i64| {
                let done = i128::from(charge.refunded) + i128::from(wanted);
                let share = i128::from(amount) * done / i128::from(charge.quantity.max(1));
                i64::try_from(share).map_err(|_| Refusal::OutOfRange)
            };
            let mut parts = Vec::new();
            let mut given_before = false;
            let mut holdings: Vec<Holding> = charge.parts.iter().map(|part| part.holding).collect();
            holdings.dedup();
            for holding in holdings {
                let of_it = charge.parts.iter().filter(|part| part.holding == holding);
                let (amount, refunded) = of_it.fold((0i64, 0i64), |(amount, refunded), part| {
                    (amount.saturating_add(part.amount), refunded.saturating_add(part.refunded))
                });
                let back = share(amount)?.saturating_sub(refunded);
                given_before |= back < 0;
                take_last(charge, holding, back.max(0), &mut parts);
            }
            // As much or more was given back as money already.
            if given_before && parts.iter().all(|(_, amount)| *amount == 0) {
                return Err(Refusal::RefundBeyondCharge);
            }
            (wanted, parts)
        }
    };
    Ok(Back { units, parts: parts.into_iter().filter(|(_, amount)| *amount > 0).collect() })
}

/// What of a part was not given back yet.
fn left(part: &ChargePart) -> i64 {
    part.amount.saturating_sub(part.refunded).max(0)
}

/// Takes `wanted` from the parts of one holding, the last first, and returns what they do not have.
fn take_last(charge: &EventCharge, holding: Holding, mut wanted: i64, parts: &mut Vec<(usize, i64)>) -> i64 {
    for (place, part) in charge.parts.iter().enumerate().rev().filter(|(_, part)| part.holding == holding) {
        let back = left(part).min(wanted);
        wanted -= back;
        parts.push((place, back));
    }
    wanted
}
