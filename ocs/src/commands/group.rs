//! `ocs group`: charging groups, the families, employers and pools whose accounts pay for the same subscribers.

use std::process::ExitCode;

use ocs_api::client::ChargingGroupsClient;
use ocs_proto::operator::v1 as wire;
use prost_types::FieldMask;
use serde_json::{Value, json};

use super::change::{key_of, unsure, would};
use super::operator::{money, state};
use super::{Connection, connect, print, remote, said};
use crate::cli::{Asking, GroupCommand, Output, Server};
use crate::store::OpenError;

/// What is asked for at once.
const PAGE: i32 = 1000;

type Client = ChargingGroupsClient<Connection>;

/// `ocs group`.
pub(super) fn run(command: GroupCommand) -> Result<ExitCode, OpenError> {
    remote(async {
        match command {
            GroupCommand::Show { group, server, output } => {
                let request = wire::GetGroupRequest { name: named(&group) };
                let found = client(&server).await?.get_group(request).await.map_err(said)?.into_inner();
                show(&found, output);
            }
            GroupCommand::List { server, output } => {
                let (mut client, mut groups, mut page_token) = (client(&server).await?, Vec::new(), String::new());
                loop {
                    let request = wire::ListGroupsRequest { tenant_id: 0, page_size: PAGE, page_token };
                    let page = client.list_groups(request).await.map_err(said)?.into_inner();
                    groups.extend(page.groups);
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                list(&groups, output);
            }
            GroupCommand::Members { group, server, output } => {
                let (mut client, mut members, mut page_token) = (client(&server).await?, Vec::new(), String::new());
                loop {
                    let request = wire::ListMembersRequest { group: named(&group), page_size: PAGE, page_token };
                    let page = client.list_members(request).await.map_err(said)?.into_inner();
                    members.extend(page.members);
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                show_members(&members, output);
            }
            GroupCommand::Accounts { group, server, output } => {
                let (mut client, mut accounts, mut page_token) = (client(&server).await?, Vec::new(), String::new());
                loop {
                    let request = wire::ListGroupAccountsRequest { group: named(&group), page_size: PAGE, page_token };
                    let page = client.list_group_accounts(request).await.map_err(said)?.into_inner();
                    accounts.extend(page.accounts);
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                match output {
                    Output::Table => accounts.iter().for_each(account_line),
                    Output::Json | Output::Yaml | Output::Csv => {
                        print::value(output, &accounts.iter().map(account_json).collect());
                    }
                }
            }
            GroupCommand::Put { group, display_name, external, etag, asking } => {
                let key = key_of(&asking);
                let request = wire::PutGroupRequest {
                    name: named(&group),
                    display_name,
                    external_id: external,
                    etag,
                    idempotency_key: key.clone(),
                    reason: asking.reason.clone(),
                };
                if asking.dry_run {
                    return Ok(would(&request));
                }
                let done = client(&asking.server).await?.put_group(request).await;
                let done = done.map_err(|status| unsure(status, &key))?.into_inner();
                tell(&done.name, &done.etag, done.repeated, asking.output);
            }
            GroupCommand::Move { member, to, etag, asking } => {
                let change = wire::UpdateMemberRequest { account_id: to, etag, ..update(&member, "account_id") };
                return change_member(change, &asking).await;
            }
            GroupCommand::Sponsor { member, account, window, allowance, none: _, etag, asking } => {
                let sponsor = account.map(|account_id| wire::Sponsor { account_id, windows: window, allowance });
                let change = wire::UpdateMemberRequest { sponsor, etag, ..update(&member, "sponsor") };
                return change_member(change, &asking).await;
            }
            GroupCommand::Remove { member, etag, asking } => {
                let (key, name) = (key_of(&asking), format!("subscribers/{member}"));
                let request = wire::RemoveMemberRequest {
                    name: name.clone(),
                    etag,
                    idempotency_key: key.clone(),
                    reason: asking.reason.clone(),
                };
                if asking.dry_run {
                    return Ok(would(&request));
                }
                let done = client(&asking.server).await?.remove_member(request).await;
                let done = done.map_err(|status| unsure(status, &key))?.into_inner();
                tell(&name, &done.etag, done.repeated, asking.output);
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn client(server: &Server) -> Result<Client, OpenError> {
    Ok(ChargingGroupsClient::new(connect(server).await?))
}

/// The name of a group that was given by number, by external id, or by its name.
fn named(given: &str) -> String {
    let is_name = given.starts_with("chargingGroups/") || given.starts_with("tenants/");
    if is_name { given.to_owned() } else { format!("chargingGroups/{given}") }
}

fn update(member: &str, field: &str) -> wire::UpdateMemberRequest {
    wire::UpdateMemberRequest {
        name: format!("subscribers/{member}"),
        update_mask: Some(FieldMask { paths: vec![field.to_owned()] }),
        ..Default::default()
    }
}

async fn change_member(change: wire::UpdateMemberRequest, asking: &Asking) -> Result<ExitCode, OpenError> {
    let key = key_of(asking);
    let request = wire::UpdateMemberRequest { idempotency_key: key.clone(), reason: asking.reason.clone(), ..change };
    if asking.dry_run {
        return Ok(would(&request));
    }
    let name = request.name.clone();
    let done = client(&asking.server).await?.update_member(request).await;
    let done = done.map_err(|status| unsure(status, &key))?.into_inner();
    tell(&name, &done.etag, done.repeated, asking.output);
    Ok(ExitCode::SUCCESS)
}

fn tell(name: &str, etag: &str, repeated: bool, output: Output) {
    let again = if repeated { " (this key was used before; nothing changed)" } else { "" };
    match output {
        Output::Table => println!("{name}: etag {etag}{again}"),
        Output::Json | Output::Yaml | Output::Csv => {
            print::value(output, &json!({"name": name, "etag": etag, "repeated": repeated}));
        }
    }
}

fn head(group: &wire::ChargingGroup) -> Value {
    json!({
        "group": group.group_id, "name": group.name, "display_name": group.display_name,
        "external": group.external_id, "etag": group.etag,
    })
}

fn show(found: &wire::GetGroupResponse, output: Output) {
    let group = found.group.clone().unwrap_or_default();
    if output != Output::Table {
        let mut shown = head(&group);
        shown["account_count"] = found.account_count.into();
        shown["member_count"] = found.member_count.into();
        shown["accounts"] = found.accounts.iter().map(account_json).collect();
        print::value(output, &shown);
        return;
    }
    println!("group          {}   {}", group.group_id, group.display_name);
    if !group.external_id.is_empty() {
        println!("external       {}", group.external_id);
    }
    println!("etag           {}", group.etag);
    println!("members        {}", found.member_count);
    println!("accounts       {}", found.account_count);
    found.accounts.iter().for_each(account_line);
}

fn list(groups: &[wire::ChargingGroup], output: Output) {
    match output {
        Output::Table => {
            println!("GROUP                EXTERNAL             NAME");
            for group in groups {
                println!("{:<20} {:<20} {}", group.group_id, group.external_id, group.display_name);
            }
        }
        Output::Json | Output::Yaml | Output::Csv => print::value(output, &groups.iter().map(head).collect()),
    }
}

fn account_line(account: &wire::GroupAccount) {
    let (balance, reserved) = (money(account.balance.as_ref()), money(account.reserved.as_ref()));
    let line = account
        .credit
        .as_ref()
        .map(|line| format!(", credit {} of {}", money(line.spent.as_ref()), money(line.limit.as_ref())));
    println!(
        "  {:<18} {:<10} {balance} {}, reserved {reserved}{}",
        account.name,
        state(account.state),
        account.currency,
        line.unwrap_or_default()
    );
}

fn account_json(account: &wire::GroupAccount) -> Value {
    json!({
        "account": account.account_id, "name": account.name, "state": state(account.state),
        "currency": account.currency, "balance": money(account.balance.as_ref()),
        "reserved": money(account.reserved.as_ref()), "debt": money(account.debt.as_ref()),
        "credit_limit": account.credit.as_ref().map(|line| money(line.limit.as_ref())),
        "credit_spent": account.credit.as_ref().map(|line| money(line.spent.as_ref())),
        "buckets": account.buckets.iter().map(|bucket| json!({
            "id": bucket.bucket_id, "balance": bucket.balance, "available": bucket.available,
            "member_cap": bucket.member_cap,
        })).collect::<Vec<_>>(),
    })
}

fn show_members(members: &[wire::Member], output: Output) {
    if output != Output::Table {
        print::value(output, &members.iter().map(member_json).collect());
        return;
    }
    println!("MEMBER               STATE      ACCOUNT            TARIFF               SPONSOR            IDENTIFIERS");
    for member in members {
        let it = member.subscriber.clone().unwrap_or_default();
        let sponsor = it.sponsor.as_ref().map(|sponsor| format!("accounts/{}", sponsor.account_id));
        println!(
            "{:<20} {:<10} {:<18} {:<20} {:<18} {}",
            member.name,
            state(it.state),
            member.account,
            it.tariff,
            sponsor.unwrap_or_else(|| "-".to_owned()),
            it.identifiers.join(" ")
        );
        for cap in &member.caps {
            println!("  of {} {}: {} of {}", cap.account, cap.bucket_id, cap.used, cap.cap);
        }
    }
}

fn member_json(member: &wire::Member) -> Value {
    let it = member.subscriber.clone().unwrap_or_default();
    json!({
        "subscriber": it.subscriber_id, "name": member.name, "account": member.account, "tariff": it.tariff,
        "state": state(it.state), "identifiers": it.identifiers, "etag": member.etag,
        "sponsor": it.sponsor.as_ref().map(|sponsor| json!({
            "account": sponsor.account_id, "windows": sponsor.windows, "allowance": sponsor.allowance,
        })),
        "caps": member.caps.iter().map(|cap| json!({
            "account": cap.account, "bucket": cap.bucket_id, "cap": cap.cap, "used": cap.used,
        })).collect::<Vec<_>>(),
    })
}
