//! `ocs voucher`: batches made, listed and blocked; codes shown and redeemed.

use std::process::ExitCode;

use ocs_api::client::VouchersClient;
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use rating_engine::money::Money;
use serde_json::{Value, json};

use super::change::{at, key_or_new, unsure};
use super::operator::{instant, money};
use super::{connect, print, remote, said};
use crate::cli::{Output, VoucherCommand};
use crate::store::{OpenError, because};

/// Batches of one page.
const PAGE: i32 = 1000;

/// `ocs voucher`.
pub(super) fn run(command: VoucherCommand) -> Result<ExitCode, OpenError> {
    remote(async {
        match command {
            VoucherCommand::Create {
                batch,
                count,
                value,
                expires,
                bucket,
                priority,
                valid_days,
                tenant,
                granted,
                reason,
                server,
                output,
            } => {
                let validity =
                    valid_days.map(|days| prost_types::Duration { seconds: i64::from(days) * 86_400, nanos: 0 });
                let request = wire::CreateVouchersRequest {
                    batch,
                    count,
                    value: Some(worth(&value)?),
                    bucket_id: bucket,
                    priority,
                    origin: if granted { common::Origin::Granted } else { common::Origin::Paid }.into(),
                    validity,
                    expire_time: Some(at("--expires", &expires)?),
                    reason,
                    tenant_id: tenant.into(),
                };
                let mut client = VouchersClient::new(connect(&server).await?);
                let mut codes = client.create_vouchers(request).await.map_err(said)?.into_inner();
                let mut all = Vec::new();
                while let Some(some) = codes.message().await.map_err(said)? {
                    match output {
                        Output::Table => {
                            some.vouchers.iter().for_each(|voucher| println!("{},{}", voucher.name, voucher.code));
                        }
                        Output::Json | Output::Yaml | Output::Csv => {
                            let shown = |it: &wire::NewVoucher| json!({ "voucher": it.name, "code": it.code });
                            all.extend(some.vouchers.iter().map(shown));
                        }
                    }
                }
                match output {
                    Output::Table => eprintln!("these codes are not shown again"),
                    Output::Json | Output::Yaml | Output::Csv => print::value(output, &Value::Array(all)),
                }
            }
            VoucherCommand::Batches { server, output } => {
                let mut client = VouchersClient::new(connect(&server).await?);
                let (mut batches, mut page_token) = (Vec::new(), String::new());
                loop {
                    let request = wire::ListBatchesRequest { page_size: PAGE, page_token };
                    let page = client.list_batches(request).await.map_err(said)?.into_inner();
                    batches.extend(page.batches);
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                match output {
                    Output::Table => list(&batches),
                    Output::Json | Output::Yaml | Output::Csv => {
                        print::value(output, &batches.iter().map(batch_json).collect())
                    }
                }
            }
            VoucherCommand::Show { code, server, output } => {
                let mut client = VouchersClient::new(connect(&server).await?);
                let found = client.get_voucher(wire::GetVoucherRequest { code }).await.map_err(said)?.into_inner();
                show(found.voucher.as_ref(), output);
            }
            VoucherCommand::Block { which, reason, server, output } => {
                let mut client = VouchersClient::new(connect(&server).await?);
                if which.starts_with("batches/") && !which.contains("/vouchers/") {
                    let request = wire::BlockBatchRequest { name: which.clone(), reason };
                    let repeated = client.block_batch(request).await.map_err(said)?.into_inner().repeated;
                    match output {
                        Output::Table => println!("{which}: blocked{}", if repeated { " before" } else { "" }),
                        Output::Json | Output::Yaml | Output::Csv => {
                            print::value(output, &json!({ "batch": which, "state": "blocked", "repeated": repeated }))
                        }
                    }
                } else {
                    use wire::block_voucher_request::Voucher as Given;
                    let voucher = if which.starts_with("batches/") { Given::Name(which) } else { Given::Code(which) };
                    let request = wire::BlockVoucherRequest { voucher: Some(voucher), reason };
                    let done = client.block_voucher(request).await.map_err(said)?.into_inner();
                    show(done.voucher.as_ref(), output);
                }
            }
            VoucherCommand::Redeem { who, code, key, server, output } => {
                use wire::redeem_voucher_request::Beneficiary;
                let mut client = VouchersClient::new(connect(&server).await?);
                let (account, key) = (format!("accounts/{who}"), key_or_new(key.as_deref()));
                let beneficiary = Some(Beneficiary::Account(account.clone()));
                let request = wire::RedeemVoucherRequest { beneficiary, code, idempotency_key: key.clone() };
                let done = client.redeem_voucher(request).await.map_err(|status| unsure(status, &key))?.into_inner();
                let currency = done.value.as_ref().map(|value| value.currency.clone()).unwrap_or_default();
                let (balance, value) = (money(done.balance.as_ref()), money(done.value.as_ref()));
                match output {
                    Output::Table => {
                        let again = if done.repeated { " (this key was booked before; nothing changed)" } else { "" };
                        println!(
                            "{account}: {value} {currency} of {}, balance {balance} {currency}{again}",
                            done.voucher
                        );
                    }
                    Output::Json | Output::Yaml | Output::Csv => print::value(
                        output,
                        &json!({
                            "account": account, "voucher": done.voucher, "value": value, "balance": balance,
                            "currency": currency, "cdr_number": done.cdr_number, "repeated": done.repeated,
                        }),
                    ),
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// `10.00 EUR`.
fn worth(text: &str) -> Result<common::Money, OpenError> {
    let (amount, currency) = text
        .split_once(' ')
        .ok_or_else(|| OpenError(format!("--value: '{text}' is no amount; write e.g. '10.00 EUR'")))?;
    let amount: Money = amount.parse().map_err(because("--value"))?;
    Ok(common::Money { mantissa: amount.micros(), scale: 6, currency: currency.to_owned() })
}

fn state(state: i32) -> String {
    let name = wire::VoucherState::try_from(state).map_or("UNKNOWN", |state| state.as_str_name());
    name.trim_start_matches("VOUCHER_STATE_").to_lowercase()
}

fn amount(money: Option<&common::Money>) -> String {
    money.map_or_else(String::new, |it| format!("{} {}", super::micros(it.mantissa), it.currency))
}

fn list(batches: &[wire::VoucherBatch]) {
    println!(
        "BATCH                           STATE     COUNT    USED     VALUE           EXPIRES                    MADE BY"
    );
    for batch in batches {
        println!(
            "{:<31} {:<9} {:<8} {:<8} {:<15} {:<26} {}",
            batch.name,
            state(batch.state),
            batch.count,
            batch.used,
            amount(batch.value.as_ref()),
            instant(batch.expire_time.as_ref()).unwrap_or_default(),
            batch.created_by
        );
    }
}

fn batch_json(batch: &wire::VoucherBatch) -> Value {
    json!({
        "batch": batch.name, "state": state(batch.state), "count": batch.count, "used": batch.used,
        "value": money(batch.value.as_ref()),
        "currency": batch.value.as_ref().map(|value| value.currency.clone()),
        "tenant": batch.tenant_id, "bucket": batch.bucket_id, "priority": batch.priority,
        "valid_seconds": batch.validity.as_ref().map(|validity| validity.seconds),
        "expires": instant(batch.expire_time.as_ref()), "made": instant(batch.create_time.as_ref()),
        "made_by": batch.created_by,
    })
}

fn show(voucher: Option<&wire::Voucher>, output: Output) {
    let Some(voucher) = voucher else { return };
    let changed = instant(voucher.change_time.as_ref());
    match output {
        Output::Json | Output::Yaml | Output::Csv => print::value(
            output,
            &json!({
                "voucher": voucher.name, "state": state(voucher.state), "value": money(voucher.value.as_ref()),
                "currency": voucher.value.as_ref().map(|value| value.currency.clone()),
                "expires": instant(voucher.expire_time.as_ref()),
                "account": (!voucher.account.is_empty()).then(|| voucher.account.clone()), "changed": changed,
            }),
        ),
        Output::Table => {
            println!("voucher        {}   {}   {}", voucher.name, amount(voucher.value.as_ref()), state(voucher.state));
            println!("expires        {}", instant(voucher.expire_time.as_ref()).unwrap_or_default());
            if let Some(changed) = changed {
                println!("changed        {changed}   {}", voucher.account);
            }
        }
    }
}
