//! `ocs tariff simulate`: what a period would have cost under a draft.

use std::process::ExitCode;
use std::sync::Arc;

use rating_engine::calendar::Zone;
use rating_engine::ids::{AccountId, CdrPosition, TariffName};
use rating_engine::money::Money;
use rating_engine::tariff::TariffVersion;
use serde_json::json;

use super::data::{bar, config_for};
use super::print;
use crate::catalogue::Document;
use crate::catalogue::text::parse_instant;
use crate::cli::{Output, TariffSimulate};
use crate::clock::Clock;
use crate::import;
use crate::setup::There;
use crate::simulate::{HELD_CDRS_MAX, Question, Simulation, Subscriber, Totals, simulate};
use crate::store::{self, OpenError};
use crate::stored_usage;

/// Runs it.
pub(super) fn run(options: &TariffSimulate) -> Result<ExitCode, OpenError> {
    let instant = |flag: &str, text: &str| {
        parse_instant(text, &Zone::utc()).map_err(|reason| OpenError(format!("{flag}: {reason}")))
    };
    let (from, to) = (instant("--from", &options.from)?, instant("--to", &options.to)?);
    if to <= from {
        return Err(OpenError("--to: must be later than --from".to_owned()));
    }
    let name = TariffName::new(&options.tariff);
    let draft = draft(options, &name)?;
    if !options.data.join("log").exists() {
        return Err(OpenError(format!("{} is no data folder: it has no log", options.data.display())));
    }
    let loaded = store::load(&config_for(&options.data), Clock::real().now())?;
    crate::audit::catch_up(&loaded)?;
    if There::of(&loaded).windows(&name).is_none() {
        return Err(OpenError(format!("--tariff: there is no tariff '{name}' in {}", options.data.display())));
    }
    let periods = loaded.store.catalogue.periods();
    let There { catalogue, shards, directory } = There::of(&loaded);
    let offer_of = |account: AccountId| stored_usage::offer_of(catalogue, shards, directory, &name, account);
    let question = Question {
        draft: &draft,
        from,
        to,
        periods: periods.as_ref(),
        offer_of: &offer_of,
        top: options.top,
        held: HELD_CDRS_MAX,
    };
    let cdrs = &loaded.store.cdrs;
    let progress = bar(cdrs.durable().position.get(), "CDRs");
    let told = |position: CdrPosition| {
        progress.set_position(position.get());
        Ok(())
    };
    let answer = simulate(&question, stored_usage::usage(cdrs, catalogue, &name, told)?)?;
    progress.finish_and_clear();
    print(options, &draft, &answer);
    Ok(if answer.left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The one version of the tariff among the documents.
fn draft(options: &TariffSimulate, name: &TariffName) -> Result<Arc<TariffVersion>, OpenError> {
    let documents = import::read_catalogue(&options.catalogue, |_| Ok(()))
        .map_err(|error| OpenError(error.to_string().replace("\nnothing was imported", "")))?;
    let mut versions = documents.into_iter().filter_map(|record| match record.document {
        Document::Tariff(version) if version.name() == name => Some(version),
        Document::Tariff(_) | Document::Offer(_) | Document::Accounting(..) => None,
    });
    match (versions.next(), versions.next()) {
        (Some(draft), None) => Ok(draft),
        (None, _) => Err(OpenError(format!("--catalogue: none of the documents is a version of tariff '{name}'"))),
        (Some(one), Some(other)) => Err(OpenError(format!(
            "--catalogue: has versions {} and {} of tariff '{name}'; name the draft alone",
            one.version(),
            other.version()
        ))),
    }
}

fn money(micros: i128) -> String {
    // No stored amounts add up to more.
    Money::from_micros(i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })).to_string()
}

fn print(options: &TariffSimulate, draft: &TariffVersion, answer: &Simulation) {
    let currency = draft.currency();
    let named = |offer: &Option<String>| offer.clone().unwrap_or_else(|| "none".to_owned());
    if options.output != Output::Table {
        let totals = |totals: &Totals| {
            json!({
                "old": money(totals.old),
                "new": money(totals.new),
                "difference": money(totals.difference()),
                "sessions": totals.sessions,
                "cdrs": totals.cdrs,
            })
        };
        let subscriber = |it: &Subscriber| {
            json!({
                "subscriber": it.id.get(),
                "old": money(it.old),
                "new": money(it.new),
                "difference": money(it.difference()),
            })
        };
        let [p10, p50, p90] = answer.percentiles.map(money);
        print::value(
            options.output,
            &json!({
                "tariff": options.tariff,
                "draft": draft.version(),
                "currency": currency.letters(),
                "totals": totals(&answer.totals),
                "offers": answer.by_offer.iter().map(|(offer, it)| json!({ "offer": offer, "totals": totals(it) })).collect::<Vec<_>>(),
                "subscribers": { "dearer": answer.dearer, "cheaper": answer.cheaper, "unchanged": answer.unchanged },
                "difference_per_subscriber": { "p10": p10, "p50": p50, "p90": p90 },
                "losers": answer.losers.iter().map(subscriber).collect::<Vec<_>>(),
                "winners": answer.winners.iter().map(subscriber).collect::<Vec<_>>(),
                "not_simulated": answer.left_out.iter().map(|(reason, count)| json!({
                    "reason": reason.name(),
                    "words": reason.to_string(),
                    "cdrs": count.cdrs,
                    "charged": money(count.charged),
                })).collect::<Vec<_>>(),
                "corrections": { "cdrs": answer.corrections.cdrs, "amount": money(answer.corrections.charged) },
                "refunds": { "cdrs": answer.refunds.cdrs, "amount": money(answer.refunds.charged) },
            }),
        );
        return;
    }
    println!(
        "usage of tariff {} from {} to {}, under the draft version {}",
        options.tariff,
        options.from,
        options.to,
        draft.version()
    );
    let totals = |what: &str, it: &Totals| {
        println!(
            "{what:<24}{:>16} to {:>16} {currency}, difference {:>14}; {} sessions, {} CDRs",
            money(it.old),
            money(it.new),
            money(it.difference()),
            it.sessions,
            it.cdrs
        );
    };
    totals("all", &answer.totals);
    for (offer, it) in &answer.by_offer {
        totals(&format!("  offer {}", named(offer)), it);
    }
    println!(
        "subscribers             {} dearer, {} cheaper, {} unchanged",
        answer.dearer, answer.cheaper, answer.unchanged
    );
    let [p10, p50, p90] = answer.percentiles.map(money);
    println!("difference of each      p10 {p10}, p50 {p50}, p90 {p90}");
    for (what, those) in [("pays more", &answer.losers), ("pays less", &answer.winners)] {
        for it in those {
            println!(
                "  {what}   subscriber {}: {} to {}, difference {}",
                it.id,
                money(it.old),
                money(it.new),
                money(it.difference())
            );
        }
    }
    for (what, count) in [("corrections, counted", &answer.corrections), ("refunds, not counted", &answer.refunds)] {
        if count.cdrs > 0 {
            println!("{what:<24}{} CDRs, {}", count.cdrs, money(count.charged));
        }
    }
    for (reason, count) in &answer.left_out {
        println!("not simulated           {} CDRs, {}: {reason}", count.cdrs, money(count.charged));
    }
}
