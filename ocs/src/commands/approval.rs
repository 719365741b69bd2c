//! `ocs approval`: large credits that need a second person.

use std::process::ExitCode;

use ocs_api::client::ApprovalsClient;
use ocs_proto::operator::v1 as wire;
use serde_json::{Value, json};

use super::operator::{instant, money};
use super::{connect, print, remote, said};
use crate::cli::{ApprovalCommand, Output};
use crate::store::OpenError;

/// Approvals of one page.
const PAGE: i32 = 1000;

/// `ocs approval`.
pub(super) fn run(command: ApprovalCommand) -> Result<ExitCode, OpenError> {
    remote(async {
        match command {
            ApprovalCommand::List { all, server, output } => {
                let mut client = ApprovalsClient::new(connect(&server).await?);
                let (mut approvals, mut page_token) = (Vec::new(), String::new());
                loop {
                    let request = wire::ListApprovalsRequest { page_size: PAGE, page_token, show_decided: all };
                    let page = client.list_approvals(request).await.map_err(said)?.into_inner();
                    approvals.extend(page.approvals);
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                match output {
                    Output::Table => list(&approvals),
                    Output::Json | Output::Yaml | Output::Csv => {
                        print::value(output, &approvals.iter().map(as_json).collect())
                    }
                }
            }
            ApprovalCommand::Approve { name, server, output } => {
                let mut client = ApprovalsClient::new(connect(&server).await?);
                let request = wire::ApproveRequest { name: name.clone() };
                let done = client.approve(request).await.map_err(said)?.into_inner();
                let balance = money(done.balance.as_ref());
                let currency = done.balance.map(|balance| balance.currency).unwrap_or_default();
                match output {
                    Output::Table => {
                        let again = if done.repeated { " (it was done before; nothing changed)" } else { "" };
                        println!("{name}: done, balance {balance} {currency}{again}");
                    }
                    Output::Json | Output::Yaml | Output::Csv => print::value(
                        output,
                        &json!({
                            "approval": name, "state": "approved", "balance": balance, "currency": currency,
                            "cdr_number": done.cdr_number, "repeated": done.repeated,
                        }),
                    ),
                }
            }
            ApprovalCommand::Reject { name, reason, server, output } => {
                let mut client = ApprovalsClient::new(connect(&server).await?);
                let request = wire::RejectRequest { name: name.clone(), reason };
                let repeated = client.reject(request).await.map_err(said)?.into_inner().repeated;
                match output {
                    Output::Table => println!("{name}: rejected{}", if repeated { " before" } else { "" }),
                    Output::Json | Output::Yaml | Output::Csv => {
                        print::value(output, &json!({ "approval": name, "state": "rejected", "repeated": repeated }))
                    }
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn state(approval: &wire::Approval) -> String {
    approval.state().as_str_name().trim_start_matches("APPROVAL_STATE_").to_lowercase()
}

fn currency(approval: &wire::Approval) -> String {
    approval.amount.as_ref().map(|amount| amount.currency.clone()).unwrap_or_default()
}

fn list(approvals: &[wire::Approval]) {
    println!(
        "APPROVAL         STATE      ACCOUNT            METHOD                   AMOUNT             BY               EXPIRES"
    );
    for approval in approvals {
        println!(
            "{:<16} {:<10} {:<18} {:<24} {:<18} {:<16} {}   {}",
            approval.name,
            state(approval),
            approval.account,
            approval.method,
            format!("{} {}", money(approval.amount.as_ref()), currency(approval)),
            approval.requested_by,
            instant(approval.expire_time.as_ref()).unwrap_or_default(),
            approval.reason
        );
    }
}

fn as_json(approval: &wire::Approval) -> Value {
    json!({
        "approval": approval.name, "state": state(approval), "account": approval.account, "method": approval.method,
        "amount": money(approval.amount.as_ref()), "currency": currency(approval), "bucket": approval.bucket_id,
        "requested_by": approval.requested_by, "requested": instant(approval.request_time.as_ref()),
        "reason": approval.reason, "key": approval.idempotency_key,
        "expires": instant(approval.expire_time.as_ref()), "decided_by": approval.decided_by,
        "decided": instant(approval.decide_time.as_ref()),
    })
}
