//! `ocs consumer`: consumers of CDRs on a running system.

use std::process::ExitCode;

use ocs_api::client::CdrConsumersClient;
use ocs_proto::cdr::v1 as wire;
use serde_json::{Value, json};

use super::change::{key_or_new, unsure};
use super::operator::instant;
use super::{Connection, connect, print, remote, said};
use crate::cli::{ConsumerAsked, ConsumerCommand, Output, Server};
use crate::store::OpenError;

type Client = CdrConsumersClient<Connection>;

/// Parked CDRs of one page.
const PAGE: i32 = 1000;

/// `ocs consumer`.
pub(super) fn run(command: ConsumerCommand) -> Result<ExitCode, OpenError> {
    remote(async {
        match command {
            ConsumerCommand::Create { name, kinds, accounts, from, max_attempts, asked } => {
                let kinds: Result<Vec<i32>, OpenError> = kinds.iter().map(|kind| kind_named(kind)).collect();
                let (mut client, key) = asking(&asked).await?;
                let request = wire::CreateConsumerRequest {
                    consumer: full(&name),
                    filter: Some(wire::CdrFilter { kinds: kinds?, account_ids: accounts }),
                    start: Some(start("--from", &from)?),
                    max_attempts,
                    reason: asked.reason,
                    idempotency_key: key.clone(),
                };
                let made = client.create_consumer(request).await.map_err(|status| unsure(status, &key))?.into_inner();
                show(asked.output, &made.consumer.unwrap_or_default());
            }
            ConsumerCommand::List { server, output } => {
                let request = wire::ListConsumersRequest {};
                let found = client(&server).await?.list_consumers(request).await.map_err(said)?.into_inner().consumers;
                match output {
                    Output::Table => list(&found),
                    Output::Json | Output::Yaml | Output::Csv => {
                        print::value(output, &found.iter().map(as_json).collect());
                    }
                }
            }
            ConsumerCommand::Show { name, server, output } => {
                let request = wire::GetConsumerRequest { name: full(&name) };
                let found = client(&server).await?.get_consumer(request).await.map_err(said)?.into_inner().consumer;
                show(output, &found.unwrap_or_default());
            }
            ConsumerCommand::Reset { name, to, etag, asked } => {
                let (mut client, key) = asking(&asked).await?;
                let request = wire::ResetConsumerRequest {
                    name: full(&name),
                    start: Some(start("--to", &to)?),
                    etag,
                    reason: asked.reason,
                    idempotency_key: key.clone(),
                };
                let moved = client.reset_consumer(request).await.map_err(|status| unsure(status, &key))?.into_inner();
                show(asked.output, &moved.consumer.unwrap_or_default());
            }
            ConsumerCommand::Delete { name, etag, asked } => {
                let (mut client, key) = asking(&asked).await?;
                let (name, reason) = (full(&name), asked.reason);
                let request =
                    wire::DeleteConsumerRequest { name: name.clone(), etag, reason, idempotency_key: key.clone() };
                let ended = client.delete_consumer(request).await.map_err(|status| unsure(status, &key))?.into_inner();
                done(asked.output, &format!("{name} is ended"), &json!({ "ended": name, "repeated": ended.repeated }));
            }
            ConsumerCommand::Parked { name, server, output } => {
                parked(client(&server).await?, full(&name), output).await?
            }
            ConsumerCommand::Retry { name, positions, asked } => {
                let (mut client, key) = asking(&asked).await?;
                let (name, reason) = (full(&name), asked.reason);
                let request = wire::RetryParkedRequest { name, positions, reason, idempotency_key: key.clone() };
                let sent = client.retry_parked(request).await.map_err(|status| unsure(status, &key))?.into_inner();
                let words = format!("{} parked CDRs will be sent again", sent.retried);
                done(asked.output, &words, &json!({ "retried": sent.retried, "repeated": sent.repeated }));
            }
            ConsumerCommand::Discard { name, positions, asked } => {
                let (mut client, key) = asking(&asked).await?;
                let (name, reason) = (full(&name), asked.reason);
                let request = wire::DiscardParkedRequest { name, positions, reason, idempotency_key: key.clone() };
                let gone = client.discard_parked(request).await.map_err(|status| unsure(status, &key))?.into_inner();
                let words = format!("{} parked CDRs are given up", gone.discarded);
                done(asked.output, &words, &json!({ "discarded": gone.discarded, "repeated": gone.repeated }));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn client(server: &Server) -> Result<Client, OpenError> {
    Ok(CdrConsumersClient::new(connect(server).await?))
}

async fn asking(asked: &ConsumerAsked) -> Result<(Client, String), OpenError> {
    Ok((client(&asked.server).await?, key_or_new(asked.key.as_deref())))
}

/// A consumer's name as the interface writes it.
fn full(name: &str) -> String {
    if name.starts_with("consumers/") { name.to_owned() } else { format!("consumers/{name}") }
}

fn start(option: &str, text: &str) -> Result<wire::ConsumerStart, OpenError> {
    use wire::consumer_start::At;
    let at = match text {
        "oldest" => At::Oldest(true),
        "tail" => At::Tail(true),
        position => At::Position(
            position
                .parse()
                .map_err(|_| OpenError(format!("{option} is {text:?}; give oldest, tail or a position, e.g. 4711")))?,
        ),
    };
    Ok(wire::ConsumerStart { at: Some(at) })
}

fn kind_named(text: &str) -> Result<i32, OpenError> {
    let name = format!("CDR_KIND_{}", text.to_uppercase());
    let kind = wire::CdrKind::from_str_name(&name).filter(|kind| *kind != wire::CdrKind::Unspecified);
    kind.map(Into::into)
        .ok_or_else(|| OpenError(format!("--kind {text:?} is not known; give one, e.g. usage or top_up")))
}

fn kind_shown(kind: wire::CdrKind) -> String {
    kind.as_str_name().trim_start_matches("CDR_KIND_").to_lowercase()
}

async fn parked(mut client: Client, name: String, output: Output) -> Result<(), OpenError> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = wire::ListParkedRequest { name: name.clone(), page_size: PAGE, page_token };
        let page = client.list_parked(request).await.map_err(said)?.into_inner();
        found.extend(page.parked);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    match output {
        Output::Table => {
            println!("CDR            SINCE                      ATTEMPTS   DUE   INSTANCE             REASON");
            for parked in &found {
                println!(
                    "{:<14} {:<26} {:<10} {:<5} {:<20} {}",
                    parked.position,
                    instant(parked.park_time.as_ref()).unwrap_or_default(),
                    parked.attempts,
                    if parked.due { "yes" } else { "" },
                    parked.instance,
                    parked.reason
                );
            }
        }
        Output::Json | Output::Yaml | Output::Csv => print::value(output, &found.iter().map(parked_json).collect()),
    }
    Ok(())
}

fn parked_json(parked: &wire::ParkedCdr) -> Value {
    json!({
        "cdr": parked.position, "since": instant(parked.park_time.as_ref()), "attempts": parked.attempts,
        "due": parked.due, "instance": parked.instance, "reason": parked.reason,
    })
}

fn done(output: Output, words: &str, value: &Value) {
    match output {
        Output::Table => println!("{words}"),
        Output::Json | Output::Yaml | Output::Csv => print::value(output, value),
    }
}

fn list(consumers: &[wire::CdrConsumer]) {
    println!("CONSUMER                 NEXT           LAG            OLDEST                     PARKED   INSTANCE");
    for it in consumers {
        println!(
            "{:<24} {:<14} {:<14} {:<26} {:<8} {}",
            it.name.trim_start_matches("consumers/"),
            it.next_position,
            it.lag,
            instant(it.oldest_unacked_time.as_ref()).unwrap_or_default(),
            it.parked,
            if it.instance.is_empty() { "(nobody)" } else { &it.instance }
        );
    }
}

fn show(output: Output, it: &wire::CdrConsumer) {
    match output {
        Output::Table => table(it),
        Output::Json | Output::Yaml | Output::Csv => print::value(output, &as_json(it)),
    }
}

fn table(it: &wire::CdrConsumer) {
    let when = |at: &Option<prost_types::Timestamp>| instant(at.as_ref()).unwrap_or_else(|| "never".to_owned());
    println!("{}", it.name);
    println!("next CDR              {}", it.next_position);
    println!("not acknowledged      {}", it.lag);
    if let Some(oldest) = instant(it.oldest_unacked_time.as_ref()) {
        println!("the oldest of them    {oldest}");
    }
    println!("last acknowledged     {}", when(&it.ack_time));
    println!("parked                {}", it.parked);
    if it.retrying_position > 0 {
        println!(
            "being retried         CDR {}, sent {} times of {}",
            it.retrying_position, it.retrying_attempts, it.max_attempts
        );
    }
    if it.instance.is_empty() {
        println!("in the hands of       nobody");
    } else {
        println!("in the hands of       {} since {}", it.instance, when(&it.open_time));
    }
    let filter = it.filter.clone().unwrap_or_default();
    if !filter.kinds.is_empty() {
        println!("only of kind          {}", filter.kinds().map(kind_shown).collect::<Vec<_>>().join(", "));
    }
    if !filter.account_ids.is_empty() {
        println!("only of accounts      {}", filter.account_ids.len());
    }
    println!("made by               {}, {}", it.created_by, when(&it.create_time));
    println!("etag                  {}", it.etag);
}

fn as_json(it: &wire::CdrConsumer) -> Value {
    let filter = it.filter.clone().unwrap_or_default();
    json!({
        "consumer": it.name, "next": it.next_position, "lag": it.lag,
        "oldest_unacked": instant(it.oldest_unacked_time.as_ref()), "acked": instant(it.ack_time.as_ref()),
        "parked": it.parked, "retrying": it.retrying_position, "retrying_attempts": it.retrying_attempts,
        "max_attempts": it.max_attempts, "instance": it.instance, "since": instant(it.open_time.as_ref()),
        "kinds": filter.kinds().map(kind_shown).collect::<Vec<_>>(), "accounts": filter.account_ids,
        "created_by": it.created_by, "created": instant(it.create_time.as_ref()), "etag": it.etag,
    })
}
