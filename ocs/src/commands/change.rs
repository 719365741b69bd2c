//! Changes of accounts on a running system: what is asked, said, and to be repeated when the outcome is not known.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use ocs_api::client::AccountsClient;
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use prost_types::FieldMask;
use rating_engine::money::Money;
use serde_json::json;
use tonic::{Code, Status};

use super::operator::{fetch, instant, money};
use super::{Connection, connect, print, said};
use crate::catalogue::text::parse_instant;
use crate::cli::{AccountChange, Asking, EndingArgs, Output, StateName};
use crate::store::{OpenError, because};

/// What a change led to.
struct Done {
    balance: Option<common::Money>,
    cdr_number: Option<u64>,
    etag: Option<String>,
    repeated: bool,
}

/// The key of a request, given or made up.
pub(super) fn key_of(asking: &Asking) -> String {
    key_or_new(asking.key.as_deref())
}

/// The same of a command that asks for a key alone.
pub(super) fn key_or_new(given: Option<&str>) -> String {
    given.map(str::to_owned).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        format!("cli-{now}-{}", std::process::id())
    })
}

/// Why a change was not answered well; whether it was done is not known when the connection is lost.
pub(super) fn unsure(status: Status, key: &str) -> OpenError {
    let lost = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled);
    let OpenError(reason) = said(status);
    OpenError(if lost { format!("{reason}; ask again with --key {key}: it is done once") } else { reason })
}

/// An instant on the command line, in UTC where nothing else is said.
pub(super) fn at(member: &str, text: &str) -> Result<prost_types::Timestamp, OpenError> {
    let zone = rating_engine::calendar::Zone::get("UTC").map_err(because(member))?;
    let at = parse_instant(text, &zone).map_err(because(member))?.millis();
    let nanos = i32::try_from(at.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    Ok(prost_types::Timestamp { seconds: at.div_euclid(1000), nanos })
}

/// Money of an account, as the command line says it.
fn of_account(member: &str, text: &str, account: &wire::Account) -> Result<common::Money, OpenError> {
    let amount: Money = text.parse().map_err(because(member))?;
    Ok(common::Money { mantissa: amount.micros(), scale: 6, currency: account.currency.clone() })
}

pub(super) const fn state_number(state: StateName) -> i32 {
    match state {
        StateName::Active => wire::AccountState::Active as i32,
        StateName::Suspended => wire::AccountState::Suspended as i32,
        StateName::Barred => wire::AccountState::Barred as i32,
        StateName::Closed => wire::AccountState::Closed as i32,
    }
}

/// Says what would be asked.
pub(super) fn would(message: &impl std::fmt::Debug) -> ExitCode {
    println!("would ask: {message:#?}");
    ExitCode::SUCCESS
}

/// Does what changes an account.
pub(super) async fn run(command: AccountChange) -> Result<ExitCode, OpenError> {
    match command {
        AccountChange::Create { number, currency, group, credit_limit, asking } => {
            let key = key_of(&asking);
            let limit =
                credit_limit.map(|limit| limit.parse::<Money>().map_err(because("--credit-limit"))).transpose()?;
            let request = wire::CreateAccountRequest {
                account_id: number,
                group_id: group.unwrap_or(0),
                credit_limit: limit.map(|limit| common::Money {
                    mantissa: limit.micros(),
                    scale: 6,
                    currency: currency.clone(),
                }),
                currency,
                idempotency_key: key.clone(),
                reason: asking.reason.clone(),
                ..Default::default()
            };
            if asking.dry_run {
                return Ok(would(&request));
            }
            let mut client = AccountsClient::new(connect(&asking.server).await?);
            let done = client.create_account(request).await.map_err(|status| unsure(status, &key))?.into_inner();
            let done = Done { balance: None, cdr_number: None, etag: Some(done.etag), repeated: done.repeated };
            tell(number, &done, asking.output);
            Ok(ExitCode::SUCCESS)
        }
        AccountChange::Update { who, state, credit_limit, etag, asking } => {
            let (mut client, account, key) = ready(&asking, &who).await?;
            let (field, limit) = match &credit_limit {
                Some(limit) => ("credit_limit", Some(of_account("--credit-limit", limit, &account)?)),
                None => ("state", None),
            };
            let request = wire::UpdateAccountRequest {
                name: account.name.clone(),
                update_mask: Some(FieldMask { paths: vec![field.to_owned()] }),
                state: state.map_or(0, state_number),
                credit_limit: limit,
                etag,
                idempotency_key: key.clone(),
                reason: asking.reason.clone(),
            };
            if asking.dry_run {
                return Ok(would(&request));
            }
            let done = client.update_account(request).await.map_err(|status| unsure(status, &key))?.into_inner();
            let done = Done { balance: None, cdr_number: None, etag: Some(done.etag), repeated: done.repeated };
            tell(account.account_id, &done, asking.output);
            Ok(ExitCode::SUCCESS)
        }
        AccountChange::Adjust { who, bucket, amount, units, asking } => {
            use wire::adjust_request::Change;
            let (mut client, account, key) = ready(&asking, &who).await?;
            let change = match &amount {
                Some(amount) => Some(Change::Money(of_account("--amount", amount, &account)?)),
                None => units.map(Change::Units),
            };
            let request = wire::AdjustRequest {
                account: account.name.clone(),
                bucket_id: bucket,
                change,
                reason: asking.reason.clone(),
                idempotency_key: key.clone(),
            };
            if asking.dry_run {
                return Ok(would(&request));
            }
            let done = client.adjust(request).await.map_err(|status| unsure(status, &key))?.into_inner();
            let wire::AdjustResponse { balance, cdr_number, repeated } = done;
            let done = Done { balance, cdr_number: Some(cdr_number), etag: None, repeated };
            tell(account.account_id, &done, asking.output);
            Ok(ExitCode::SUCCESS)
        }
        AccountChange::Transfer { from, to, amount, asking } => {
            let (mut client, account, key) = ready(&asking, &from).await?;
            let taker = fetch(&mut client, &to).await?;
            let request = wire::TransferRequest {
                from_account: account.name.clone(),
                to_account: taker.name,
                amount: Some(of_account("--amount", &amount, &account)?),
                reason: asking.reason.clone(),
                idempotency_key: key.clone(),
                ..Default::default()
            };
            if asking.dry_run {
                return Ok(would(&request));
            }
            let done = client.transfer(request).await.map_err(|status| unsure(status, &key))?.into_inner();
            let wire::TransferResponse { balance, cdr_number, repeated } = done;
            let done = Done { balance, cdr_number: Some(cdr_number), etag: None, repeated };
            tell(account.account_id, &done, asking.output);
            Ok(ExitCode::SUCCESS)
        }
        AccountChange::Extend { who, bucket, until, asking } => {
            let (mut client, account, key) = ready(&asking, &who).await?;
            let request = wire::ExtendBucketRequest {
                account: account.name.clone(),
                bucket_id: bucket,
                valid_to: Some(at("--until", &until)?),
                reason: asking.reason.clone(),
                idempotency_key: key.clone(),
            };
            if asking.dry_run {
                return Ok(would(&request));
            }
            let done = client.extend_bucket(request).await.map_err(|status| unsure(status, &key))?.into_inner();
            let done = Done { balance: None, cdr_number: None, etag: None, repeated: done.repeated };
            tell(account.account_id, &done, asking.output);
            Ok(ExitCode::SUCCESS)
        }
        AccountChange::Buy { who, offer, subscriber, version, from, asking } => {
            let (mut client, account, key) = ready(&asking, &who).await?;
            // By an identifier, it is for whom that is.
            let name = if who.parse::<u64>().is_ok() { account.name.clone() } else { format!("accounts/{who}") };
            let request = wire::PurchaseOfferRequest {
                account: name,
                subscriber_id: subscriber,
                offer,
                offer_version: version,
                begins_at: from.map(|from| at("--from", &from)).transpose()?,
                reason: asking.reason.clone(),
                idempotency_key: key.clone(),
            };
            if asking.dry_run {
                return Ok(would(&request));
            }
            let done = client.purchase_offer(request).await.map_err(|status| unsure(status, &key))?.into_inner();
            let wire::PurchaseOfferResponse { balance, cdr_number, repeated } = done;
            let done = Done { balance, cdr_number: Some(cdr_number), etag: None, repeated };
            tell(account.account_id, &done, asking.output);
            Ok(ExitCode::SUCCESS)
        }
        AccountChange::Cancel { who, subscription, ending, asking } => {
            let (mut client, account, key) = ready(&asking, &who).await?;
            let request = wire::CancelOfferRequest {
                account: account.name.clone(),
                subscription,
                ending: ending.wire()?,
                reason: asking.reason.clone(),
                idempotency_key: key.clone(),
            };
            if asking.dry_run {
                return Ok(would(&request));
            }
            let done = client.cancel_offer(request).await.map_err(|status| unsure(status, &key))?.into_inner();
            let done = Done { balance: None, cdr_number: None, etag: None, repeated: done.repeated };
            tell(account.account_id, &done, asking.output);
            Ok(ExitCode::SUCCESS)
        }
        AccountChange::Replace { who, subscription, offer, version, ending, asking } => {
            let (mut client, account, key) = ready(&asking, &who).await?;
            let request = wire::ReplaceOfferRequest {
                account: account.name.clone(),
                subscription,
                offer,
                offer_version: version,
                ending: ending.wire()?,
                reason: asking.reason.clone(),
                idempotency_key: key.clone(),
            };
            if asking.dry_run {
                return Ok(would(&request));
            }
            let done = client.replace_offer(request).await.map_err(|status| unsure(status, &key))?.into_inner();
            let wire::ReplaceOfferResponse { balance, cdr_number, repeated } = done;
            let done = Done { balance, cdr_number: Some(cdr_number), etag: None, repeated };
            tell(account.account_id, &done, asking.output);
            Ok(ExitCode::SUCCESS)
        }
        AccountChange::Movements { who, max, since, server, output } => {
            let mut client = AccountsClient::new(connect(&server).await?);
            let account = fetch(&mut client, &who).await?;
            let since = since.map(|since| at("--since", &since)).transpose()?;
            let (mut found, mut page_token) = (Vec::new(), String::new());
            while found.len() < max {
                let page_size = i32::try_from((max - found.len()).min(1000)).unwrap_or(1000);
                let request =
                    wire::ListMovementsRequest { account: account.name.clone(), page_size, page_token, since };
                let page = client.list_movements(request).await.map_err(said)?.into_inner();
                found.extend(page.movements);
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            movements(&found, output);
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl EndingArgs {
    fn wire(&self) -> Result<Option<wire::Ending>, OpenError> {
        use wire::ending::When;
        let at = self.on.as_deref().map(|on| at("--on", on)).transpose()?;
        let when = if self.at_once { Some(When::AtOnce(true)) } else { at.map(When::At) };
        Ok(when.map(|when| wire::Ending { when: Some(when) }))
    }
}

async fn ready(asking: &Asking, who: &str) -> Result<(AccountsClient<Connection>, wire::Account, String), OpenError> {
    let mut client = AccountsClient::new(connect(&asking.server).await?);
    let account = fetch(&mut client, who).await?;
    Ok((client, account, key_of(asking)))
}

fn tell(account: u64, done: &Done, output: Output) {
    let again = if done.repeated { " (this key was used before; nothing changed)" } else { "" };
    match output {
        Output::Json | Output::Yaml | Output::Csv => print::value(
            output,
            &json!({
                "account": account, "balance": done.balance.as_ref().map(|balance| money(Some(balance))),
                "currency": done.balance.as_ref().map(|balance| balance.currency.clone()),
                "cdr_number": done.cdr_number, "etag": done.etag, "repeated": done.repeated,
            }),
        ),
        Output::Table => match &done.balance {
            Some(balance) => {
                println!("account {account}: balance {} {}{again}", money(Some(balance)), balance.currency)
            }
            None => println!("account {account}: done{again}"),
        },
    }
}

fn movements(found: &[ocs_proto::cdr::v1::RatedCdr], output: Output) {
    let kind = |cdr: &ocs_proto::cdr::v1::RatedCdr| {
        cdr.kind().as_str_name().trim_start_matches("CDR_KIND_").to_lowercase().replace('_', " ")
    };
    let why = |cdr: &ocs_proto::cdr::v1::RatedCdr| {
        use ocs_proto::cdr::v1::rated_cdr::Source;
        match &cdr.source {
            Some(Source::Operator(source)) => source.reason.clone(),
            Some(Source::Network(source)) => String::from_utf8_lossy(&source.session_id).into_owned(),
            Some(Source::Calendar(_)) => "due".to_owned(),
            None => String::new(),
        }
    };
    if output == Output::Table {
        println!("CDR             WHEN                       KIND          AMOUNT                  WHY");
        for cdr in found {
            let amount = cdr.amount.as_ref();
            let said = format!("{} {}", money(amount), amount.map_or("", |amount| &amount.currency));
            let when = instant(cdr.accepted.as_ref()).unwrap_or_default();
            println!("{:<15} {when:<26} {:<13} {said:<23} {}", cdr.cdr_id, kind(cdr), why(cdr));
        }
        return;
    }
    let rows: Vec<_> = found
        .iter()
        .map(|cdr| {
            json!({
                "cdr_id": cdr.cdr_id, "accepted": instant(cdr.accepted.as_ref()), "kind": kind(cdr),
                "amount": money(cdr.amount.as_ref()), "currency": cdr.amount.as_ref().map(|it| it.currency.clone()),
                "why": why(cdr), "corrects": cdr.corrects_position,
                "movements": cdr.movements.iter().map(|movement| json!({
                    "bucket": movement.bucket_id, "before": movement.before, "delta": movement.delta,
                    "after": movement.after,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    print::value(output, &json!(rows));
}
