//! Tariffs in time: every version of every tariff and offer, and which one is in force at an instant (R15).
//!
//! Versions are never taken away: sessions, subscriptions and CDRs name them. Publishing is to put in one more; rolling one
//! back is to withdraw it from an instant on: it stays in force for what lies before, and can be found by its number for ever.
//! Whom a version is for is a schedule, too ([`crate::reach`]): an instant is always priced as it was for whom it was.
//! Absent: who publishes, and whether they may.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::account::{Means, Paying, Purpose};
use crate::calendar::{WindowAt, WindowId};
use crate::cdr::RatedCdr;
use crate::context::Context;
use crate::ids::{OfferName, SubscriberId, TariffName};
use crate::money::{Exact, Ratio, Rounding};
use crate::offer::OfferVersion;
use crate::periods::Periods;
use crate::reach::{Reach, Steps};
use crate::selector::Subject;
use crate::session::LineState;
use crate::tariff::{Exchange, Price, ServiceKey, TariffVersion, VersionPolicy};
use crate::time::Timestamp;

/// All tariffs, and all offers.
#[derive(Clone, Debug, Default)]
pub struct Tariffs {
    by_name: HashMap<TariffName, Vec<Arc<TariffVersion>>>,
    /// Whether any has several versions.
    several: bool,
    /// Whom versions are for that are not simply for everybody.
    steps: HashMap<TariffName, Vec<(u32, Steps)>>,
    /// By version, ascending.
    offers: HashMap<OfferName, Vec<Arc<OfferVersion>>>,
    /// Versions of offers that are not sold any more.
    withdrawn_offers: HashMap<OfferName, Vec<u32>>,
    /// Whether any of them says thresholds.
    thresholds: bool,
    /// Accounting periods, where they are kept.
    periods: Option<Arc<Periods>>,
}

impl Tariffs {
    /// Puts a version beside the others of its tariff, or in place of one of the same number.
    pub fn insert(&mut self, version: Arc<TariffVersion>) {
        let versions = self.by_name.entry(version.name().clone()).or_default();
        versions.retain(|known| known.version() != version.version());
        versions.push(version);
        versions.sort_by_key(|version| (version.valid_from(), version.version()));
        self.several |= versions.len() > 1;
    }

    /// From `from` on a version is for these: of what begins then, and of what is split by versions. What lies before stays.
    pub fn step(&mut self, name: &TariffName, version: u32, from: Timestamp, reach: Reach) {
        let all = self.steps.entry(name.clone()).or_default();
        let place = all.iter().position(|(known, _)| *known == version);
        let mut steps = place.map(|place| all.swap_remove(place).1).unwrap_or_default();
        steps.push(from, reach);
        all.push((version, steps));
    }

    /// Takes whom a version is for, in time, in place of what was known.
    pub fn take_steps(&mut self, name: &TariffName, version: u32, steps: Steps) {
        let all = self.steps.entry(name.clone()).or_default();
        all.retain(|(known, _)| *known != version);
        all.push((version, steps));
    }

    /// Withdraws a version from `from` on: whatever begins then, and whatever is split by versions, is charged by the others.
    pub fn withdraw(&mut self, name: &TariffName, version: u32, from: Timestamp) {
        self.step(name, version, from, Reach::Nobody);
    }

    /// Puts a version in for everybody and all of its time, whatever was said of it.
    pub fn try_on(&mut self, version: Arc<TariffVersion>) {
        if let Some(all) = self.steps.get_mut(version.name()) {
            all.retain(|(known, _)| *known != version.version());
        }
        self.insert(version);
    }

    /// For somebody who is nobody: versions that are for a share are not for them.
    pub fn for_nobody_named(&mut self) {
        self.steps.values_mut().flatten().for_each(|(_, steps)| steps.for_nobody_named());
    }

    /// The version of this tariff in force at `at` for `who`: of those that have begun and are for them the one that began last, of
    /// several with the same beginning the one with the highest number. `None` is somebody who is in no share.
    pub fn at(&self, name: &TariffName, at: Timestamp, who: Option<SubscriberId>) -> Option<&Arc<TariffVersion>> {
        let steps = self.steps_of(name);
        self.versions(name).iter().rev().find(|version| version.valid_from() <= at && is_for(version, steps, at, who))
    }

    fn steps_of(&self, name: &TariffName) -> &[(u32, Steps)] {
        // Mostly there are none.
        if self.steps.is_empty() { &[] } else { self.steps.get(name).map_or(&[], |steps| steps) }
    }

    /// All versions of a tariff, in the order in which they come into force.
    pub fn versions(&self, name: &TariffName) -> &[Arc<TariffVersion>] {
        self.by_name.get(name).map_or(&[], |versions| versions)
    }

    /// Puts a version beside the others of its offer, or in place of one of the same number.
    pub fn insert_offer(&mut self, version: Arc<OfferVersion>) {
        self.thresholds |= version.has_thresholds();
        let versions = self.offers.entry(version.name().clone()).or_default();
        versions.retain(|known| known.version() != version.version());
        versions.push(version);
        versions.sort_by_key(|version| version.version());
    }

    /// Whether any offer says thresholds.
    pub(crate) const fn have_thresholds(&self) -> bool {
        self.thresholds
    }

    /// Sells a version of an offer no more; whoever holds it keeps it.
    pub fn withdraw_offer(&mut self, name: &OfferName, version: u32) {
        let withdrawn = self.withdrawn_offers.entry(name.clone()).or_default();
        if !withdrawn.contains(&version) {
            withdrawn.push(version);
        }
    }

    /// Takes these accounting periods, unless it has later ones.
    pub fn insert_periods(&mut self, periods: Arc<Periods>) {
        if self.periods.as_ref().is_none_or(|known| known.version() <= periods.version()) {
            self.periods = Some(periods);
        }
    }

    /// Accounting periods, where they are kept.
    pub fn periods(&self) -> Option<&Arc<Periods>> {
        self.periods.as_ref()
    }

    /// Books CDRs in their accounting periods: of when they were used, or happened (R31).
    pub(crate) fn book(&self, cdrs: &mut [RatedCdr]) {
        if let Some(periods) = &self.periods {
            cdrs.iter_mut().for_each(|cdr| cdr.booked = Some(periods.book(cdr.usage_start)));
        }
    }

    /// A version of an offer; the newest that is sold where none is named.
    pub fn offer(&self, name: &OfferName, version: Option<u32>) -> Option<&Arc<OfferVersion>> {
        let versions = self.offers.get(name)?;
        match version {
            None => {
                let withdrawn = self.withdrawn_offers.get(name);
                let is_sold = |version: &&Arc<OfferVersion>| {
                    withdrawn.is_none_or(|withdrawn| !withdrawn.contains(&version.version()))
                };
                versions.iter().rev().find(is_sold)
            }
            Some(number) => versions.iter().find(|version| version.version() == number),
        }
    }

    /// How many tariffs there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// Whether a version is for `who` at `at`.
fn is_for(version: &TariffVersion, steps: &[(u32, Steps)], at: Timestamp, who: Option<SubscriberId>) -> bool {
    let own = steps.iter().find(|(number, _)| *number == version.version());
    own.is_none_or(|(_, steps)| steps.at(at).has(version.content_hash(), who))
}

/// The versions that one session is charged by.
#[derive(Clone, Copy, Debug)]
pub struct Book<'a> {
    first: &'a Arc<TariffVersion>,
    versions: &'a [Arc<TariffVersion>],
    steps: &'a [(u32, Steps)],
    who: Option<SubscriberId>,
    /// Whether `first` prices every instant.
    keeps: bool,
    periods: Option<&'a Periods>,
}

impl<'a> Book<'a> {
    /// The versions of a session of `who` that began with `first`.
    pub fn new(first: &'a Arc<TariffVersion>, tariffs: &'a Tariffs, who: Option<SubscriberId>) -> Self {
        let versions = if tariffs.several { tariffs.versions(first.name()) } else { &[] };
        let (steps, keeps) = (tariffs.steps_of(first.name()), first.policy() == VersionPolicy::SessionStart);
        Self { first, versions, steps, who, keeps, periods: tariffs.periods.as_deref() }
    }

    /// The same where `version` is known to price it all.
    pub fn keeping(version: &'a Arc<TariffVersion>, tariffs: &'a Tariffs) -> Self {
        Self { keeps: true, ..Self::new(version, tariffs, None) }
    }

    /// Whether both instants are in one accounting period.
    pub fn is_one_period(&self, one: Timestamp, other: Timestamp) -> bool {
        self.periods.is_none_or(|periods| periods.start(one) == periods.start(other))
    }

    /// The version that the session began with.
    pub fn first(&self) -> &'a Arc<TariffVersion> {
        self.first
    }

    /// The version that prices what happens at `at`, and until when it surely does (R15). What lies before every version that is
    /// for the subscriber, and versions in another currency, are left to the first.
    fn at(&self, at: Timestamp) -> (&'a Arc<TariffVersion>, Timestamp) {
        if self.keeps || self.versions.len() < 2 {
            return (self.first, Timestamp::NEVER);
        }
        let begun = self.versions.partition_point(|version| version.valid_from() <= at);
        let (past, to_come) = self.versions.split_at(begun);
        let fits = |version: &&'a Arc<TariffVersion>| version.currency() == self.first.currency();
        let begins = |version: &&'a Arc<TariffVersion>| {
            fits(version) && is_for(version, self.steps, version.valid_from(), self.who)
        };
        let mut until = to_come.iter().find(begins).map_or(Timestamp::NEVER, |next| next.valid_from());
        for (number, steps) in self.steps {
            let version = self.versions.iter().find(|version| version.version() == *number);
            let changes = version.map(|version| steps.changes(version.content_hash(), self.who, at));
            until = changes.unwrap_or(Timestamp::NEVER).min(until);
        }
        let in_force = |version: &&'a Arc<TariffVersion>| fits(version) && is_for(version, self.steps, at, self.who);
        (past.iter().rev().find(in_force).unwrap_or(self.first), until)
    }

    /// A version by number.
    pub fn version(&self, number: u32) -> Option<&'a Arc<TariffVersion>> {
        if self.first.version() == number {
            return Some(self.first);
        }
        self.versions.iter().find(|version| version.version() == number)
    }

    /// A price line as if it were in force.
    pub fn applied(&self, line: LineKey) -> Option<Applied<'a>> {
        let version = self.version(line.version)?;
        let price = version.prices().get(usize::from(line.price))?;
        let (place, window, rate) = (line.price, line.window, line.rate);
        Some(Applied { version, place, price, window, rate, until: Timestamp::NEVER })
    }

    /// The price of a line.
    pub fn price_of(&self, line: &LineState) -> Option<&'a Price> {
        self.applied(line.key).map(|applied| applied.price)
    }
}

/// What prices one service of a session: its versions, the circumstances, the service.
#[derive(Clone, Copy, Debug)]
pub struct Pricing<'a> {
    /// The versions.
    pub book: Book<'a>,
    /// The circumstances.
    pub context: &'a Context,
    /// The service within the session.
    pub key: &'a ServiceKey,
    /// Whether windows tell price lines apart also where the price does not differ by them: others pay in them (R40).
    pub by_window: bool,
}

/// The price of an instant.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// The version in force.
    pub version: &'a Arc<TariffVersion>,
    /// The place of the price in it.
    pub place: u16,
    /// The price that won.
    pub price: &'a Price,
    /// The window of its price line (R02); the default one where nothing differs by window.
    pub window: WindowId,
    /// The exchange rate in force, by its place among those of the price's exchange from 1; 0 where nothing is converted.
    pub rate: u16,
    /// Up to here nothing of this changes.
    pub until: Timestamp,
}

impl<'a> Applied<'a> {
    /// How its amounts are converted, and at which rate (R36).
    pub fn exchange(&self) -> Option<(&'a Exchange, Ratio)> {
        // Mostly nothing is converted.
        if self.rate == 0 {
            return None;
        }
        let exchange = self.version.exchange(self.price)?;
        let (_, ratio) = exchange.rates.get(usize::from(self.rate).checked_sub(1)?)?;
        Some((exchange, *ratio))
    }

    /// An exact amount of it in the tariff's currency; `None` when it does not fit.
    pub fn converted(&self, exact: Exact) -> Option<Exact> {
        match self.exchange() {
            None => Some(exact),
            Some((_, ratio)) => exact.checked_mul(ratio),
        }
    }

    /// The rounding of its amounts: to the decimals of the conversion, where there is one (R36).
    pub fn rounding(&self) -> Rounding {
        let rounding = self.version.rounding();
        self.exchange().map_or(rounding, |(exchange, _)| rounding.to(exchange.decimals))
    }

    /// Who pays for it (R40).
    pub fn paid_by(&self, means: &Means<'_>) -> Paying {
        means.paying(|| self.version.name_of(self.window))
    }

    /// What tells price lines apart (R02).
    pub fn line(&self) -> LineKey {
        LineKey { version: self.version.version(), price: self.place, window: self.window, rate: self.rate }
    }
}

/// What tells the price lines of one service apart (R02).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineKey {
    /// The tariff version's number.
    pub version: u32,
    /// The place of the price in it.
    pub price: u16,
    /// The window, where the price differs by window.
    pub window: WindowId,
    /// The exchange rate, where amounts are converted: its place among those of the price's exchange, from 1.
    pub rate: u16,
}

impl<'a> Pricing<'a> {
    /// What is to be paid at `at`.
    pub fn purpose(&self, at: Timestamp) -> Purpose<'a> {
        Purpose { service: self.context.service, key: self.key, at }
    }

    /// The price of what happens at `at`; `None` when none matches.
    pub fn at(&self, at: Timestamp) -> Option<Applied<'a>> {
        let (version, version_until) = self.book.at(at);
        let WindowAt { window, until } = version.window_at(at);
        let subject = Subject::new(version, self.context, self.key);
        let (place, price) = version.price(&subject, window)?;
        let mut until = version_until.min(until);
        if let Some(periods) = self.book.periods {
            until = until.min(periods.end(at));
        }
        let mut rate = 0;
        if let Some(exchange) = version.exchange(price) {
            let begun = exchange.rates.partition_point(|(from, _)| *from <= at);
            // Before the first rate nothing can be converted.
            rate = u16::try_from(begun).ok().filter(|begun| *begun > 0)?;
            until = exchange.rates.get(begun).map_or(until, |(next, _)| until.min(*next));
        }
        let window = if self.by_window { window } else { price.line_window(window) };
        Some(Applied { version, place, price, window, rate, until })
    }
}
