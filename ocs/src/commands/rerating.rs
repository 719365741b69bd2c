//! `ocs rerating`: usage rated again on a running system.

use std::process::ExitCode;
use std::time::Duration;

use ocs_api::client::ReratingClient;
use ocs_proto::operator::v1 as wire;
use serde_json::{Value, json};

use super::change::{at, key_or_new, unsure};
use super::operator::{instant, money};
use super::{Connection, connect, print, remote, said};
use crate::cli::{Output, ReratingCommand};
use crate::store::OpenError;

type Client = ReratingClient<Connection>;

/// Re-ratings of one page.
const PAGE: i32 = 1000;
/// How often one that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// `ocs rerating`.
pub(super) fn run(command: ReratingCommand) -> Result<ExitCode, OpenError> {
    remote(async {
        let (job, output) = match command {
            ReratingCommand::Plan { tariff, from, to, account, wait, key, reason, server, output } => {
                let mut client = ReratingClient::new(connect(&server).await?);
                let key = key_or_new(key.as_deref());
                let request = wire::PlanReratingRequest {
                    tariff,
                    from: Some(at("--from", &from)?),
                    to: Some(at("--to", &to)?),
                    account: account.map(|who| format!("accounts/{who}")).unwrap_or_default(),
                    reason,
                    idempotency_key: key.clone(),
                };
                let planned =
                    client.plan_rerating(request).await.map_err(|status| unsure(status, &key))?.into_inner().rerating;
                let planned = planned.unwrap_or_default();
                let is_worked_out = |job: &wire::ReratingJob| job.state() != wire::ReratingState::Planning;
                (if wait { until(&mut client, planned, is_worked_out).await? } else { planned }, output)
            }
            ReratingCommand::Approve { name, wait, server, output } => {
                let mut client = ReratingClient::new(connect(&server).await?);
                let request = wire::ApproveReratingRequest { name };
                let job = client.approve_rerating(request).await.map_err(said)?.into_inner().rerating;
                let job = job.unwrap_or_default();
                let is_booked = |job: &wire::ReratingJob| job.state() != wire::ReratingState::Running;
                (if wait { until(&mut client, job, is_booked).await? } else { job }, output)
            }
            ReratingCommand::Show { name, server, output } => {
                let mut client = ReratingClient::new(connect(&server).await?);
                (show(&mut client, name).await?, output)
            }
            ReratingCommand::Cancel { name, reason, server, output } => {
                let mut client = ReratingClient::new(connect(&server).await?);
                let request = wire::CancelReratingRequest { name, reason };
                let job = client.cancel_rerating(request).await.map_err(said)?.into_inner().rerating;
                (job.unwrap_or_default(), output)
            }
            ReratingCommand::List { server, output } => {
                let mut client = ReratingClient::new(connect(&server).await?);
                let (mut found, mut page_token) = (Vec::new(), String::new());
                loop {
                    let request = wire::ListReratingsRequest { page_size: PAGE, page_token };
                    let page = client.list_reratings(request).await.map_err(said)?.into_inner();
                    found.extend(page.reratings);
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                match output {
                    Output::Table => list(&found),
                    Output::Json | Output::Yaml | Output::Csv => {
                        print::value(output, &found.iter().map(as_json).collect())
                    }
                }
                return Ok(ExitCode::SUCCESS);
            }
        };
        match output {
            Output::Table => table(&job),
            Output::Json | Output::Yaml | Output::Csv => print::value(output, &as_json(&job)),
        }
        Ok(if job.state() == wire::ReratingState::Failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
}

async fn show(client: &mut Client, name: String) -> Result<wire::ReratingJob, OpenError> {
    let request = wire::GetReratingRequest { name };
    Ok(client.get_rerating(request).await.map_err(said)?.into_inner().rerating.unwrap_or_default())
}

/// Looks at one until it is there; says on the way how far it is.
async fn until(
    client: &mut Client,
    mut job: wire::ReratingJob,
    is_there: impl Fn(&wire::ReratingJob) -> bool,
) -> Result<wire::ReratingJob, OpenError> {
    let mut told = 0;
    while !is_there(&job) {
        tokio::time::sleep(LOOK).await;
        job = show(client, job.name).await?;
        if job.booked > told {
            told = job.booked;
            eprintln!("{}: {told} of {} corrections are booked", job.name, job.corrections);
        }
    }
    Ok(job)
}

fn state(job: &wire::ReratingJob) -> String {
    job.state().as_str_name().trim_start_matches("RERATING_STATE_").to_lowercase()
}

fn currency(sum: &wire::ReratingSum) -> String {
    sum.charged_more.as_ref().map(|more| more.currency.clone()).unwrap_or_default()
}

fn list(jobs: &[wire::ReratingJob]) {
    println!("RERATING         STATE      TARIFF           CORRECTIONS   BOOKED   LEFT   BY               REASON");
    for job in jobs {
        println!(
            "{:<16} {:<10} {:<16} {:<13} {:<8} {:<6} {:<16} {}",
            job.name,
            state(job),
            job.tariff,
            job.corrections,
            job.booked,
            job.left,
            job.requested_by,
            job.reason
        );
    }
}

fn table(job: &wire::ReratingJob) {
    let whose = if job.account.is_empty() { String::new() } else { format!(" of {}", job.account) };
    let shown = |at: &Option<prost_types::Timestamp>| instant(at.as_ref()).unwrap_or_default();
    println!("{}  {}", job.name, state(job));
    println!("usage of tariff {}{whose} from {} to {}", job.tariff, shown(&job.from), shown(&job.to));
    println!("planned by                      {}, {}", job.requested_by, job.reason);
    if !job.approved_by.is_empty() {
        println!("approved by                     {}", job.approved_by);
    }
    if !job.failure.is_empty() {
        println!("failed                          {}", job.failure);
    }
    println!("CDRs that cost something else   {}", job.corrections);
    for sum in &job.sums {
        println!("charged more                    {} {}", money(sum.charged_more.as_ref()), currency(sum));
        println!("given back                      {} {}", money(sum.given_back.as_ref()), currency(sum));
    }
    println!("booked                          {}", job.booked);
    println!("left for a person               {}", job.left);
    for left in &job.left_named {
        println!("  CDR {}: {}", left.position, left.reason);
    }
    if job.state() == wire::ReratingState::Planned {
        println!("nothing was changed; have somebody else book it: ocs rerating approve {}", job.name);
    }
}

fn as_json(job: &wire::ReratingJob) -> Value {
    json!({
        "rerating": job.name, "state": state(job), "tariff": job.tariff,
        "from": instant(job.from.as_ref()), "to": instant(job.to.as_ref()), "account": job.account,
        "reason": job.reason, "requested_by": job.requested_by, "requested": instant(job.request_time.as_ref()),
        "approved_by": job.approved_by, "approved": instant(job.approve_time.as_ref()),
        "through": job.through_position, "corrections": job.corrections, "booked": job.booked,
        "sums": job.sums.iter().map(|sum| json!({
            "currency": currency(sum), "charged_more": money(sum.charged_more.as_ref()),
            "given_back": money(sum.given_back.as_ref()),
        })).collect::<Vec<_>>(),
        "left": job.left,
        "left_named": job.left_named.iter().map(|left| json!({
            "cdr": left.position, "reason": left.reason,
        })).collect::<Vec<_>>(),
        "failure": job.failure,
    })
}
