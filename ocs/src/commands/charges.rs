//! `ocs usage refund`, `list`, `explain` and `totals`: charges of a running system, over gRPC.

use std::process::ExitCode;

use ocs_api::client::UsageClient;
use ocs_proto::cdr::v1 as cdr;
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use rating_engine::money::Money;
use serde_json::{Value, json};

use super::change::{at, key_of, unsure, would};
use super::operator::{instant, money};
use super::{connect, print, said};
use crate::cli::{Asking, Output, Server};
use crate::store::{OpenError, because};

/// `ocs usage refund`.
pub(super) async fn refund(cdr_id: String, amount: Option<String>, asking: &Asking) -> Result<ExitCode, OpenError> {
    let amount = amount.map(|amount| amount.parse::<Money>().map_err(because("--amount"))).transpose()?;
    let key = key_of(asking);
    let mut client = UsageClient::new(connect(&asking.server).await?);
    let amount = match amount {
        None => None,
        Some(amount) => {
            // Money is of a currency: that of the charge.
            let asked = wire::ExplainChargeRequest { cdr_id: cdr_id.clone() };
            let explained = client.explain_charge(asked).await.map_err(said)?.into_inner().explanation;
            let currency = explained.and_then(|it| it.amount).map(|charged| charged.currency).unwrap_or_default();
            Some(common::Money { mantissa: amount.micros(), scale: 6, currency })
        }
    };
    let request = wire::RefundChargeRequest {
        cdr_id: cdr_id.clone(),
        amount,
        reason: asking.reason.clone(),
        idempotency_key: key.clone(),
    };
    if asking.dry_run {
        return Ok(would(&request));
    }
    let done = client.refund_charge(request).await.map_err(|status| unsure(status, &key))?.into_inner();
    let refund = done.refund.as_ref();
    let currency = done.balance.as_ref().map(|balance| balance.currency.clone()).unwrap_or_default();
    let back = refund.and_then(|refund| refund.amount.as_ref());
    let back = back.map(|amount| super::micros(amount.mantissa.saturating_neg()));
    let balance = money(done.balance.as_ref());
    match asking.output {
        Output::Json | Output::Yaml | Output::Csv => print::value(
            asking.output,
            &json!({
                "charge": cdr_id, "refund": refund.map(|refund| refund.cdr_id.clone()), "given_back": back,
                "balance": balance, "currency": currency, "cdr_number": done.cdr_number, "repeated": done.repeated,
            }),
        ),
        Output::Table => {
            let again = if done.repeated { " (this key was used before; nothing changed)" } else { "" };
            let back = back.map_or_else(String::new, |back| format!("{back} {currency} given back; "));
            println!("CDR {cdr_id}: {back}balance {balance} {currency}{again}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whose: a name, a number of an account, or an identifier of a subscriber.
fn parent(who: &str) -> String {
    match who {
        name if name.contains('/') => name.to_owned(),
        number if number.bytes().all(|octet| octet.is_ascii_digit()) => format!("accounts/{number}"),
        identifier => format!("subscribers/{identifier}"),
    }
}

/// `ocs usage list`.
pub(super) async fn list(
    who: &str,
    (from, to): (Option<&str>, Option<&str>),
    most: usize,
    server: &Server,
    output: Output,
) -> Result<ExitCode, OpenError> {
    let mut request = wire::ListChargesRequest {
        parent: parent(who),
        from: from.map(|from| at("--from", from)).transpose()?,
        to: to.map(|to| at("--to", to)).transpose()?,
        ..Default::default()
    };
    let mut client = UsageClient::new(connect(server).await?);
    let mut shown = 0;
    while shown < most {
        request.page_size = i32::try_from((most - shown).min(1000)).unwrap_or(1000);
        let page = client.list_charges(request.clone()).await.map_err(said)?.into_inner();
        for charge in &page.charges {
            match output {
                Output::Table => println!("{}", row(charge)),
                Output::Json | Output::Yaml | Output::Csv => {
                    if print::one(output, &charge_json(charge), shown == 0).is_err() {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
            }
            shown += 1;
        }
        if page.next_page_token.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        request.page_token = page.next_page_token;
    }
    eprintln!("ocs: there may be more; --max shows more of them");
    Ok(ExitCode::SUCCESS)
}

fn row(charge: &wire::Charge) -> String {
    let amount = charge.amount.as_ref();
    let what = if charge.kind() == cdr::CdrKind::Usage {
        service(charge.service.as_ref())
    } else {
        format!("{} of {}", kind(charge.kind()), charge.corrects_cdr_id)
    };
    format!(
        "{:<14} {}  {what:<20} {:>14} {:>12} {}  {}",
        charge.cdr_id,
        instant(charge.usage_start.as_ref()).unwrap_or_default(),
        if charge.used == 0 { String::new() } else { quantity(charge.unit(), charge.used) },
        money(amount),
        amount.map_or("", |amount| &amount.currency),
        charge.price_id,
    )
}

fn charge_json(charge: &wire::Charge) -> Value {
    json!({
        "cdr_id": charge.cdr_id, "kind": kind(charge.kind()), "account": charge.account_id,
        "subscriber": charge.subscriber_id, "service": service(charge.service.as_ref()),
        "rating_group": charge.service_key.as_ref().and_then(|key| key.rating_group),
        "usage_start": instant(charge.usage_start.as_ref()), "usage_end": instant(charge.usage_end.as_ref()),
        "accepted": instant(charge.accepted.as_ref()), "unit": unit(charge.unit()), "used": charge.used,
        "amount": money(charge.amount.as_ref()),
        "currency": charge.amount.as_ref().map(|amount| amount.currency.clone()),
        "tariff": charge.tariff, "tariff_version": charge.tariff_version, "price": charge.price_id,
        "corrects": charge.corrects_cdr_id,
    })
}

/// `ocs usage explain`.
pub(super) async fn explain(cdr_id: String, server: &Server, output: Output) -> Result<ExitCode, OpenError> {
    let mut client = UsageClient::new(connect(server).await?);
    let answer = client.explain_charge(wire::ExplainChargeRequest { cdr_id }).await.map_err(said)?.into_inner();
    let said = answer.explanation.unwrap_or_default();
    match output {
        Output::Json | Output::Yaml | Output::Csv => print::value(output, &explanation(&said)),
        Output::Table => {
            for (number, line) in said.words.iter().enumerate() {
                println!("{}{line}", if number == 0 { "" } else { "  " });
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `ocs usage totals`.
pub(super) async fn totals(
    who: &str,
    (from, to): (&str, &str),
    server: &Server,
    output: Output,
) -> Result<ExitCode, OpenError> {
    let (from, to) = (Some(at("--from", from)?), Some(at("--to", to)?));
    let mut client = UsageClient::new(connect(server).await?);
    let request = wire::GetTotalsRequest { parent: parent(who), from, to };
    let wire::GetTotalsResponse { rows, totals } = client.get_totals(request).await.map_err(said)?.into_inner();
    match output {
        Output::Csv => print::value(output, &Value::Array(rows.iter().map(row_json).collect())),
        Output::Json | Output::Yaml => print::value(
            output,
            &json!({
                "rows": rows.iter().map(row_json).collect::<Vec<_>>(),
                "totals": totals.iter().map(|total| json!({
                    "currency": total.debited.as_ref().map(|amount| amount.currency.clone()),
                    "debited": money(total.debited.as_ref()), "billed": money(total.billed.as_ref()),
                })).collect::<Vec<_>>(),
            }),
        ),
        Output::Table => {
            for row in &rows {
                let what = if row.offer.is_empty() {
                    format!("{} {} version {} {}", service(row.service.as_ref()), row.tariff, row.version, row.price_id)
                } else {
                    format!("fees of {} version {}", row.offer, row.version)
                };
                println!(
                    "{what:<48} {:>7} CDRs {:>16} {:>12} {}",
                    row.cdr_count,
                    if row.used == 0 { String::new() } else { quantity(row.unit(), row.used) },
                    money(row.amount.as_ref()),
                    row.currency,
                );
            }
            for total in &totals {
                let currency = total.debited.as_ref().map_or("", |amount| &amount.currency);
                let (debited, billed) = (money(total.debited.as_ref()), money(total.billed.as_ref()));
                println!("in all {debited} {currency} debited, {billed} {currency} on the bill");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row_json(row: &wire::TotalRow) -> Value {
    json!({
        "service": service(row.service.as_ref()), "tariff": row.tariff, "version": row.version, "price": row.price_id,
        "offer": row.offer, "unit": unit(row.unit()), "currency": row.currency, "cdrs": row.cdr_count,
        "used": row.used, "rated": row.rated, "charged": money(row.charged.as_ref()),
        "given_back": money(row.given_back.as_ref()), "corrected": money(row.corrected.as_ref()),
        "amount": money(row.amount.as_ref()), "exact_micros": row.exact_micros,
    })
}

/// An explanation in parts.
pub(super) fn explanation(said: &wire::Explanation) -> Value {
    json!({
        "kind": camel(said.kind().as_str_name(), "CDR_KIND_"),
        "cause": camel(said.cause().as_str_name(), "CAUSE_"),
        "account": said.account_id,
        "subscriber": said.subscriber_id,
        "usage_start": instant(said.usage_start.as_ref()),
        "usage_end": instant(said.usage_end.as_ref()),
        "amount": money(said.amount.as_ref()),
        "currency": said.amount.as_ref().map(|amount| amount.currency.clone()),
        "accounting_period": instant(said.accounting_period.as_ref()),
        "usage_period": instant(said.usage_period.as_ref()),
        "offer": said.offer.as_ref().map(|offer| json!({
            "name": offer.name, "version": offer.version, "subscription": offer.subscription, "cycle": offer.cycle,
        })),
        "rated": said.rated.as_ref().map(reasons),
        "movements": said.movements.iter().map(|moved| {
            let of_money = moved.holding() == common::Holding::Money;
            let amount = |amount: i64| if of_money { json!(super::micros(amount)) } else { json!(amount) };
            json!({
                "payer": moved.payer,
                "holding": match moved.holding() {
                    common::Holding::Money => "Money",
                    common::Holding::Seconds => "Units(Second)",
                    common::Holding::Octets => "Units(Octet)",
                    common::Holding::Events => "Units(Event)",
                    common::Holding::Unspecified => "",
                },
                "before": amount(moved.before),
                "delta": amount(moved.delta),
                "after": amount(moved.after),
                "cost": money(moved.cost.as_ref()),
            })
        }).collect::<Vec<_>>(),
        "words": said.words,
    })
}

fn reasons(rated: &wire::RatingReasons) -> Value {
    let limit = |amount: &Option<common::Money>| amount.as_ref().map(|amount| super::micros(amount.mantissa));
    json!({
        "tariff": rated.tariff,
        "version": rated.version,
        "valid_from": instant(rated.valid_from.as_ref()),
        "price": rated.price_id,
        "named": rated.named.iter().map(|it| (it.what.clone(), json!(it.which))).collect::<serde_json::Map<_, _>>(),
        "beaten": rated.beaten.iter().map(|it| json!({ "price": it.price_id, "by": it.by })).collect::<Vec<_>>(),
        "window": rated.window,
        "measure": Some(rated.measure())
            .filter(|measure| *measure != cdr::Measure::Unspecified)
            .map(|measure| camel(measure.as_str_name(), "MEASURE_")),
        "pulse": [rated.pulse_first, rated.pulse_next],
        "used_before": rated.used_before,
        "used": rated.used,
        "rated_before": rated.rated_before,
        "rated": rated.rated,
        "tier_from": rated.tier_from,
        "tiers_counted_from": rated.tiers_counted_from,
        "zero_rated": rated.zero_rated,
        "components": rated.components.iter().map(|part| json!({
            "component": if part.tier == 0 { "connect_fee".to_owned() } else { format!("tier {}", part.tier) },
            "from": part.from,
            "to": part.to,
            "quantity": part.quantity,
            "rate_micros": part.rate_micros,
            "rate_per": part.rate_per,
            "exact_micros": part.exact_micros,
        })).collect::<Vec<_>>(),
        "exchange": rated.exchange.as_ref().map(|it| json!({
            "id": it.id, "from": it.from, "since": instant(it.since.as_ref()), "amount": it.amount, "per": it.per,
        })),
        "rounding": {
            "decimals": rated.rounding_decimals, "mode": rated.rounding_mode, "scope": rated.rounding_scope,
        },
        "min_charge": limit(&rated.min_charge),
        "max_charge": limit(&rated.max_charge),
        "charged_before": money(rated.charged_before.as_ref()),
        "beyond_grant": rated.beyond_grant,
    })
}

/// `CDR_KIND_RE_RATE` as `ReRate`.
fn camel(name: &str, prefix: &str) -> String {
    let words = name.strip_prefix(prefix).unwrap_or(name).split('_').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        format!("{first}{}", rest.to_lowercase())
    });
    words.collect()
}

fn kind(kind: cdr::CdrKind) -> String {
    kind.as_str_name().trim_start_matches("CDR_KIND_").to_lowercase()
}

fn service(kind: Option<&common::ServiceKind>) -> String {
    let Some(kind) = kind else { return String::new() };
    match kind.service() {
        common::Service::Unspecified => String::new(),
        common::Service::Other => format!("other {}", kind.specification),
        known @ (common::Service::Data | common::Service::Voice | common::Service::Sms | common::Service::Mms) => {
            known.as_str_name().trim_start_matches("SERVICE_").to_lowercase()
        }
    }
}

const fn unit(holding: common::Holding) -> &'static str {
    match holding {
        common::Holding::Seconds => "seconds",
        common::Holding::Octets => "octets",
        common::Holding::Events => "events",
        common::Holding::Money => "money",
        common::Holding::Unspecified => "",
    }
}

fn quantity(holding: common::Holding, amount: u64) -> String {
    format!("{amount} {}", unit(holding))
}
