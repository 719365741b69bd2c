//! `ocs tariff explain` and `ocs cdr explain`: what something would cost, or did, and why.
//!
//! A CDR is explained by what stands in it and the versions that it names.

use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use balance_store::records;
use rating_engine::account::Account;
use rating_engine::calendar::Zone;
use rating_engine::explain::Explanation;
use rating_engine::ids::{AccountId, CdrPosition, Identifier, SubscriberId, TariffName, TenantId};
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;
use serde_json::{Value, json};

use super::data::config_for;
use super::print;
use crate::catalogue::Document;
use crate::catalogue::text::parse_instant;
use crate::cli::{Output, TariffExplain};
use crate::clock::Clock;
use crate::explained;
use crate::import::{self, DocumentRecord};
use crate::setup::There;
use crate::store::{self, OpenError, because};
use crate::what_if::{self, Answer, Payer, Unclear, WhatIf};

/// `ocs tariff explain`.
pub(super) fn what_if(options: &TariffExplain) -> Result<ExitCode, OpenError> {
    let at = match &options.usage.at {
        Some(text) => parse_instant(text, &Zone::utc()).map_err(|reason| OpenError(format!("--at: {reason}")))?,
        None => Clock::real().now(),
    };
    let documents = import::read_catalogue(&options.catalogue, |_| Ok(())).map_err(|error| {
        // It imports nothing.
        OpenError(error.to_string().replace("\nnothing was imported", ""))
    })?;
    let Answer { cdrs, bought, refused } = answer(options, &documents, at)?;
    let cdrs: Vec<Explanation> = cdrs.iter().map(Explanation::of).collect();
    match options.output {
        Output::Json | Output::Yaml | Output::Csv => print::value(
            options.output,
            &json!({
                "charged": refused.is_none(),
                "refused": refused,
                "steps": cdrs.iter().map(as_json).collect::<Vec<_>>(),
            }),
        ),
        Output::Table => {
            for (number, explanation) in cdrs.iter().enumerate() {
                if number == bought && bought > 0 {
                    println!();
                }
                println!("{explanation}");
            }
            if let Some(why) = &refused {
                println!("refused: {why}");
            }
        }
    }
    Ok(if refused.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tried on a copy of an account in a data folder, or on a made-up one.
fn answer(options: &TariffExplain, documents: &[DocumentRecord], at: Timestamp) -> Result<Answer, OpenError> {
    let what = WhatIf {
        tariff: options.tariff.clone(),
        offers: options.offers.clone(),
        balance: options.balance.clone(),
        used: options.usage.used.clone(),
        at,
        service: options.usage.service.clone(),
        rating_group: options.usage.rating_group,
        service_id: options.usage.service_id,
        to: options.usage.to.clone(),
        from: options.usage.from.clone(),
        visited: options.usage.visited.clone(),
        rat: options.usage.rat.clone(),
        apn: options.usage.apn.clone(),
    };
    let said = |unclear: Unclear| match unclear.member {
        "" => OpenError(unclear.reason),
        member => OpenError(format!("--{}: {}", member.replace('_', "-"), unclear.reason)),
    };
    if let (Some(folder), Some(who)) = (&options.data, &options.who) {
        let loaded = store::load(&config_for(folder), at)?;
        let mut tariffs = loaded.store.catalogue.tariffs();
        add(&mut tariffs, documents);
        let there = There::of(&loaded);
        let subscriber = match who.parse() {
            Ok(number) => there.subscriber(SubscriberId::new(number)),
            Err(_) => there.identified(TenantId::default(), &Identifier::from_str(who).map_err(OpenError)?),
        };
        let subscriber = subscriber.ok_or_else(|| OpenError(format!("--who: there is no subscriber {who}")))?;
        let sponsor = subscriber.sponsor.as_ref().map(|sponsor| sponsor.account);
        let paying: Vec<AccountId> = std::iter::once(subscriber.account).chain(sponsor).collect();
        let accounts: Vec<Account> = loaded.shards.with(subscriber.group, |shard| {
            paying.iter().filter_map(|account| shard.account(*account).cloned()).collect()
        });
        if accounts.len() < paying.len() {
            return Err(OpenError(format!("{who} has no account, or its sponsor has none")));
        }
        return what_if::ask(&what, tariffs, Payer::Copy(accounts, Box::new(subscriber))).map_err(said);
    }
    let mut tariffs = Tariffs::default();
    add(&mut tariffs, documents);
    let mut names: Vec<TariffName> = Vec::new();
    for record in documents {
        if let Document::Tariff(version) = &record.document
            && !names.contains(version.name())
        {
            names.push(version.name().clone());
        }
    }
    if names.is_empty() && options.tariff.is_none() && options.offers.is_empty() {
        return Err(OpenError("name a tariff document with --catalogue, or an account with --data and --who".into()));
    }
    what_if::ask(&what, tariffs, Payer::MadeUp(&names)).map_err(said)
}

pub(super) fn add(tariffs: &mut Tariffs, documents: &[DocumentRecord]) {
    for record in documents {
        match &record.document {
            Document::Tariff(version) => tariffs.insert(version.clone()),
            Document::Offer(version) => tariffs.insert_offer(version.clone()),
            Document::Accounting(periods, _) => tariffs.insert_periods(periods.clone()),
        }
    }
}

/// `ocs cdr explain`.
pub(super) fn cdr(position: u64, folder: &Path, output: Output) -> Result<ExitCode, OpenError> {
    let loaded = store::load(&config_for(folder), Clock::real().now())?;
    crate::audit::catch_up(&loaded)?;
    let cdrs = &loaded.store.cdrs;
    let missing = || {
        let first = cdrs.first_position();
        OpenError(format!("there is no CDR {position} in {}; it has those from {first} on", folder.display()))
    };
    if position < cdrs.first_position().get() {
        return Err(missing());
    }
    let mut reader = cdrs.reader(CdrPosition::new(position)).map_err(because("CDR store"))?;
    let record = reader.read_next().map_err(because("CDR store"))?.ok_or_else(missing)?;
    let stored = records::decode_cdr(record.octets).map_err(because(&format!("CDR {position}")))?;
    let explanation =
        explained::explain(&loaded.store.catalogue, &stored).map_err(because(&format!("CDR {position}")))?;
    match output {
        Output::Json | Output::Yaml | Output::Csv => print::value(output, &as_json(&explanation)),
        Output::Table => println!("{explanation}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The explanation in parts, of this program or of a server.
fn as_json(explanation: &Explanation) -> Value {
    super::charges::explanation(&ocs_api::explanation(explanation))
}
