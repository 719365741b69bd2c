//! `ocs rerate`: usage that was charged by a version that was wrong, rated again (R32).

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use balance_store::records;
use rating_engine::calendar::Zone;
use rating_engine::cdr::{CdrKind, RatedCdr};
use rating_engine::command::{Change, Refusal, Request};
use rating_engine::ids::{AccountId, CdrPosition, IdempotencyKey, TariffName};
use rating_engine::money::Money;
use rating_engine::rerate::{Charged, Correction};
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;
use serde_json::json;

use super::data::{bar, config_for};
use super::explain::add;
use super::print;
use crate::catalogue::text::parse_instant;
use crate::cli::{Output, Rerate};
use crate::clock::Clock;
use crate::import;
use crate::setup::{Filling, There};
use crate::store::{self, Loaded, OpenError, because};

/// Accounts and reasons that are named.
const SHOWN_MAX: usize = 5;

/// `ocs rerate`.
pub(super) fn run(options: &Rerate) -> Result<ExitCode, OpenError> {
    let instant = |flag: &str, text: &str| {
        parse_instant(text, &Zone::utc()).map_err(|reason| OpenError(format!("{flag}: {reason}")))
    };
    let (from, to) = (instant("--from", &options.from)?, instant("--to", &options.to)?);
    if to <= from {
        return Err(OpenError("--to: must be later than --from".to_owned()));
    }
    let (config, clock) = (config_for(&options.data), Arc::new(Clock::real()));
    if !options.data.join("log").exists() {
        return Err(OpenError(format!("{} is no data folder: it has no log", options.data.display())));
    }
    let loaded = store::load(&config, clock.now())?;
    crate::audit::catch_up(&loaded)?;
    let name = TariffName::new(&options.tariff);
    if There::of(&loaded).windows(&name).is_none() {
        return Err(OpenError(format!("--tariff: there is no tariff '{name}' in {}", options.data.display())));
    }
    let mut tariffs = loaded.store.catalogue.tariffs();
    let documents =
        import::read_catalogue(&options.catalogue, |document| There::of(&loaded).has_document(document).map(drop))
            .map_err(|error| OpenError(error.to_string().replace("\nnothing was imported", "")))?;
    add(&mut tariffs, &documents);
    let (charged, read) = read(&loaded, &name)?;
    let plan = Plan::of(&charged, &tariffs, from, to);
    let booked = if options.apply {
        let reason = options.reason.clone().unwrap_or_default();
        Some(book(&plan.corrections, read, &reason, Filling::over(&config, loaded, clock)?))
    } else {
        None
    };
    plan.print(options, booked.as_ref())?;
    let left = plan.unpriced.len() + booked.as_ref().map_or(0, |booked| booked.refused.len());
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every CDR of usage of a tariff, with what was given back and corrected since; and how far the stream goes.
fn read(loaded: &Loaded, name: &TariffName) -> Result<(Charged, CdrPosition), OpenError> {
    let (cdrs, catalogue) = (&loaded.store.cdrs, &loaded.store.catalogue);
    let progress = bar(cdrs.durable().position.get(), "CDRs");
    let mut charged = Charged::default();
    let mut last = CdrPosition::default();
    let mut reader = cdrs.reader(cdrs.first_position()).map_err(because("CDR store"))?;
    while let Some(record) = reader.read_next().map_err(because("CDR store"))? {
        last = record.position;
        if last.get().is_multiple_of(65_536) {
            progress.set_position(last.get());
        }
        let place = format!("CDR {last}");
        let stored = records::decode_cdr(record.octets).map_err(because(&place))?;
        let is_of_tariff = stored.rating.as_ref().is_some_and(|rating| rating.tariff.name == *name);
        if matches!(stored.kind, CdrKind::Refund | CdrKind::ReRate) || is_of_tariff {
            let rated = stored
                .rated(&|name, version| catalogue.get(name, version), &|name, version| catalogue.offer(name, version));
            charged.add(last, rated.map_err(because(&place))?);
        }
    }
    progress.finish_and_clear();
    Ok((charged, last))
}

/// What is to be corrected.
struct Plan {
    corrections: Vec<Correction>,
    unpriced: Vec<(CdrPosition, String)>,
}

impl Plan {
    fn of(charged: &Charged, tariffs: &Tariffs, from: Timestamp, to: Timestamp) -> Self {
        let wanted = |cdr: &RatedCdr| from <= cdr.usage_start && cdr.usage_start < to;
        let (corrections, unpriced) = charged.corrections(tariffs, wanted);
        let unpriced = unpriced.into_iter().map(|(position, reason)| (position, reason.to_string())).collect();
        Self { corrections, unpriced }
    }

    /// By currency: what is charged more, what goes back, in micro-units.
    fn sums(&self) -> BTreeMap<String, (i128, i128)> {
        let mut sums: BTreeMap<String, (i128, i128)> = BTreeMap::new();
        for correction in &self.corrections {
            let (more, back) = sums.entry(correction.original.currency.letters().to_owned()).or_default();
            let micros = i128::from(correction.amount.micros());
            if micros > 0 { *more += micros } else { *back -= micros }
        }
        sums
    }

    /// By account, those with the highest sum first.
    fn accounts(&self) -> Vec<(AccountId, Money)> {
        let mut sums: BTreeMap<AccountId, Money> = BTreeMap::new();
        for correction in &self.corrections {
            let sum = sums.entry(correction.original.account).or_default();
            *sum = sum.saturating_add(correction.amount);
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(account, sum)| (std::cmp::Reverse(*sum), *account));
        sums
    }

    fn print(&self, options: &Rerate, booked: Option<&Booked>) -> Result<(), OpenError> {
        let money = |micros: i128| Money::from_micros(i64::try_from(micros).unwrap_or(i64::MAX)).to_string();
        let refused = booked.map_or(&[][..], |booked| &booked.refused);
        if options.output != Output::Table {
            let value = json!({
                "tariff": options.tariff,
                "booked": booked.map(|booked| booked.count),
                "sums": self.sums().into_iter().map(|(currency, (more, back))| {
                    (currency, json!({ "charged_more": money(more), "given_back": money(back) }))
                }).collect::<serde_json::Map<_, _>>(),
                "corrections": self.corrections.iter().map(|correction| json!({
                    "corrects": correction.position().get(),
                    "account": correction.original.account.get(),
                    "charged_before": correction.rating.charged_before.to_string(),
                    "amount": correction.amount.to_string(),
                    "currency": correction.original.currency.letters(),
                    "version": correction.rating.tariff.version(),
                    "price": correction.rating.price.as_str(),
                })).collect::<Vec<_>>(),
                "not_rated_again": self.unpriced.iter().chain(refused).map(|(position, reason)| {
                    json!({ "cdr": position.get(), "reason": reason })
                }).collect::<Vec<_>>(),
            });
            print::value(options.output, &value);
            return Ok(());
        }
        println!("usage of tariff {} from {} to {}", options.tariff, options.from, options.to);
        println!("CDRs that cost something else   {}", self.corrections.len());
        for (currency, (more, back)) in self.sums() {
            println!("charged more                    {} {currency}", money(more));
            println!("given back                      {} {currency}", money(back));
        }
        let accounts = self.accounts();
        let more = accounts.iter().filter(|(_, sum)| *sum > Money::ZERO).take(SHOWN_MAX);
        let less = accounts.iter().rev().filter(|(_, sum)| *sum < Money::ZERO).take(SHOWN_MAX);
        for (account, sum) in more.chain(less) {
            println!("  account {account}: {sum}");
        }
        let mut reasons: BTreeMap<&str, Vec<CdrPosition>> = BTreeMap::new();
        for (position, reason) in self.unpriced.iter().chain(refused) {
            reasons.entry(reason).or_default().push(*position);
        }
        for (reason, positions) in reasons {
            let named: Vec<String> = positions.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
            let more = if positions.len() > SHOWN_MAX { ", …" } else { "" };
            println!("left for a person               {}: {reason} (CDR {}{more})", positions.len(), named.join(", "));
        }
        match booked {
            Some(booked) => println!("result                          {} corrections are booked", booked.count),
            None if self.corrections.is_empty() => {
                println!("result                          nothing is to be corrected")
            }
            None => println!("result                          nothing was changed; book it with --apply --reason TEXT"),
        }
        Ok(())
    }
}

/// What was booked.
struct Booked {
    count: usize,
    refused: Vec<(CdrPosition, String)>,
}

/// Books corrections, each once: what was booked when this is cut off is seen by the next plan.
fn book(corrections: &[Correction], read: CdrPosition, reason: &str, filling: Filling) -> Booked {
    let mut booked = Booked { count: 0, refused: Vec::new() };
    let progress = bar(u64::try_from(corrections.len()).unwrap_or(0), "corrections");
    for correction in corrections {
        // A plan over other CDRs is another plan.
        let key = IdempotencyKey::new(&format!("rerate {} after {read}", correction.position()));
        let digest = correction.amount.micros().cast_unsigned();
        let (account, correction_of) = (correction.original.account, correction.position());
        let mut correction = Box::new(correction.clone());
        // Nobody else changes the folder: what the account has got back by now, it got by corrections before this one.
        correction.known.given_back = filling.given_back(account);
        let refusal =
            filling.correct(account, Change::Correct(correction).asked(Request { key, digest, reason: reason.into() }));
        match refusal {
            None => booked.count += 1,
            Some(Refusal::Invalid(reason)) => booked.refused.push((correction_of, reason.to_owned())),
            Some(refusal) => booked.refused.push((correction_of, format!("{refusal:?}"))),
        }
        progress.inc(1);
    }
    filling.finish();
    progress.finish_and_clear();
    booked
}
