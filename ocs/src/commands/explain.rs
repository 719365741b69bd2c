//! `ocs tariff explain` and `ocs cdr explain`: what something would cost, or did, and why.
//!
//! A what-if is charged by the shard that charges everything else, on a copy of the account; a CDR is explained by what
//! stands in it and the versions that it names.

use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use balance_store::records;
use rating_engine::account::{Account, AccountState, Bucket, CdrTrail, Counters, Holding, Origin, Subscriber};
use rating_engine::calendar::Zone;
use rating_engine::cdr::RatedCdr;
use rating_engine::command::{
    Action, Change, Command, Effects, MutationOutcome, Outcome, Profile, Refusal, Request, Requested, ServiceRequest,
};
use rating_engine::context::{Context, ImsContext, PacketContext, Plmn, SmsContext};
use rating_engine::explain::Explanation;
use rating_engine::ids::{
    AccountId, BucketId, CdrPosition, GroupId, IdempotencyKey, Identifier, OfferName, RatingGroup, ServiceId,
    SessionId, SubscriberId, TariffName, TenantId,
};
use rating_engine::money::Money;
use rating_engine::shard::{Image, Limits, Shard};
use rating_engine::tariff::{Service, ServiceKey};
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;
use rating_engine::units::{Unit, Units};
use serde_json::{Value, json};

use super::data::config_for;
use super::print;
use crate::catalogue::Document;
use crate::catalogue::text::{parse_instant, parse_quantity, parse_rat};
use crate::cli::{Output, TariffExplain};
use crate::clock::Clock;
use crate::explained;
use crate::import::{self, DocumentRecord};
use crate::setup::There;
use crate::store::{self, OpenError, because};

/// A copy of an account on which anything can be tried.
struct Trial {
    shard: Shard,
    tariffs: Tariffs,
    subscriber: SubscriberId,
    account: AccountId,
    cdrs: Vec<RatedCdr>,
}

impl Trial {
    /// Of the accounts that pay for a subscriber.
    fn new(tariffs: Tariffs, accounts: impl IntoIterator<Item = Account>, subscriber: Subscriber) -> Self {
        let mut shard = Shard::new(Limits::default());
        let (id, account) = (subscriber.id, subscriber.account);
        for account in accounts {
            shard.load(Image::Account(account), rating_engine::ids::Lsn::default());
        }
        shard.load(Image::Subscriber(subscriber), rating_engine::ids::Lsn::default());
        Self { shard, tariffs, subscriber: id, account, cdrs: Vec::new() }
    }

    fn keep<T>(&mut self, mut effects: Effects<T>) -> T {
        self.tariffs.book(&mut effects.cdrs);
        self.shard.place_cdrs(&mut effects.cdrs, CdrPosition::new(1));
        self.cdrs.append(&mut effects.cdrs);
        effects.outcome
    }

    fn buy(&mut self, offer: &str, now: Timestamp) -> Result<(), OpenError> {
        let buy = Change::Buy {
            account: self.account,
            subscriber: self.subscriber,
            offer: OfferName::new(offer),
            version: None,
        };
        let buy = buy.asked(Request { key: IdempotencyKey::new(offer), digest: 0, reason: "what if".into() });
        let effects = self.shard.mutate(&self.tariffs, buy, now);
        match &*self.keep(effects) {
            MutationOutcome::Done { .. } => Ok(()),
            MutationOutcome::Refused(Refusal::Invalid(reason)) => Err(OpenError(format!("offer {offer}: {reason}"))),
            MutationOutcome::Refused(refusal) => Err(OpenError(format!("offer {offer}: {refusal:?}"))),
        }
    }

    fn charge(&mut self, command: Command) -> Outcome {
        while let Some(effects) = self.shard.catch_up(&self.tariffs, &command) {
            self.keep(effects);
        }
        let effects = self.shard.apply(&self.tariffs, command);
        (*self.keep(effects)).clone()
    }
}

/// `ocs tariff explain`.
pub(super) fn what_if(options: &TariffExplain) -> Result<ExitCode, OpenError> {
    let at = match &options.at {
        Some(text) => parse_instant(text, &Zone::utc()).map_err(|reason| OpenError(format!("--at: {reason}")))?,
        None => Clock::real().now(),
    };
    let documents = import::read_catalogue(&options.catalogue, |_| Ok(())).map_err(|error| {
        // It imports nothing.
        OpenError(error.to_string().replace("\nnothing was imported", ""))
    })?;
    let mut trial = trial(options, &documents, at)?;
    for offer in &options.offers {
        trial.buy(offer, at)?;
    }
    let bought = trial.cdrs.len();
    let outcome = trial.charge(command(options, &trial, at)?);
    let cdrs: Vec<Explanation> = trial.cdrs.iter().map(Explanation::of).collect();
    let refused = match &outcome {
        Outcome::Answered(_) => None,
        Outcome::Refused(refusal) => Some(why_refused(refusal)),
    };
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

fn why_refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::RatingFailed => "no price is for this, or it counts something else; name service, rating group or \
                                  number as the network would"
            .to_owned(),
        Refusal::CreditLimitReached => "there is not enough money for all of it".to_owned(),
        Refusal::ServiceDenied => "the account or subscriber is suspended".to_owned(),
        Refusal::Rejected => "the account or subscriber is barred or closed".to_owned(),
        Refusal::Invalid(reason) => (*reason).to_owned(),
        Refusal::OutOfRange => "an amount does not fit".to_owned(),
        Refusal::Stale => "it has changed meanwhile".to_owned(),
        Refusal::UnknownSubscriber
        | Refusal::IdentifiersDisagree
        | Refusal::UnknownSession
        | Refusal::KeyReused
        | Refusal::AnswerGone
        | Refusal::NothingToRefund
        | Refusal::RefundBeyondCharge
        | Refusal::TooBusy => format!("{refusal:?}"),
    }
}

/// The account on which it is tried: a copy of one in a data folder, or a made-up one.
fn trial(options: &TariffExplain, documents: &[DocumentRecord], at: Timestamp) -> Result<Trial, OpenError> {
    if let (Some(folder), Some(who)) = (&options.data, &options.who) {
        let loaded = store::load(&config_for(folder), at)?;
        let mut tariffs = loaded.store.catalogue.tariffs();
        add(&mut tariffs, documents);
        let there = There::of(&loaded);
        let subscriber = match who.parse() {
            Ok(number) => there.subscriber(SubscriberId::new(number), GroupId::new(number)),
            Err(_) => there.identified(&Identifier::from_str(who).map_err(OpenError)?),
        };
        let mut subscriber = subscriber.ok_or_else(|| OpenError(format!("--who: there is no subscriber {who}")))?;
        if let Some(tariff) = &options.tariff {
            subscriber.tariff = TariffName::new(tariff);
        }
        let sponsor = subscriber.sponsor.as_ref().map(|sponsor| sponsor.account);
        let paying: Vec<AccountId> = std::iter::once(subscriber.account).chain(sponsor).collect();
        let accounts: Vec<Account> = loaded.shards.with(subscriber.group, |shard| {
            paying.iter().filter_map(|account| shard.account(*account).cloned()).collect()
        });
        if accounts.len() < paying.len() {
            return Err(OpenError(format!("{who} has no account, or its sponsor has none")));
        }
        return Ok(Trial::new(tariffs, accounts, subscriber));
    }
    let mut tariffs = Tariffs::default();
    add(&mut tariffs, documents);
    let mut names: Vec<&TariffName> = Vec::new();
    for record in documents {
        if let Document::Tariff(version) = &record.document
            && !names.contains(&version.name())
        {
            names.push(version.name());
        }
    }
    let of_offers = options.offers.iter().find_map(|offer| {
        let offer = tariffs.offer(&OfferName::new(offer), None)?;
        offer.tariff().cloned()
    });
    let tariff = match (&options.tariff, of_offers, &names[..]) {
        (Some(name), ..) => TariffName::new(name),
        (None, Some(name), _) => name,
        (None, None, [only]) => (*only).clone(),
        (None, None, []) => {
            return Err(OpenError(
                "name a tariff document with --catalogue, or an account with --data and --who".into(),
            ));
        }
        (None, None, several) => {
            let several: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
            return Err(OpenError(format!("--tariff: which one of {}?", several.join(", "))));
        }
    };
    let version = tariffs.at(&tariff, at).ok_or_else(|| {
        OpenError(format!("tariff {tariff} has no version in force at {at}; name another --at, or another tariff"))
    })?;
    let balance = Money::from_str(&options.balance).map_err(because("--balance"))?;
    let main = Bucket {
        id: BucketId::new("main"),
        holding: Holding::Money,
        origin: Origin::Paid,
        balance: balance.micros(),
        reserved: 0,
        priority: 100,
        valid_from: Timestamp::from_millis(i64::MIN),
        valid_to: Timestamp::NEVER,
        scope: None,
        terms: None,
    };
    let account = Account {
        id: AccountId::new(1),
        group: GroupId::new(1),
        tenant: TenantId::default(),
        currency: version.currency(),
        state: AccountState::Active,
        credit: None,
        debt: Money::ZERO,
        buckets: vec![main],
        totals: Vec::new(),
        contract: None,
        cdrs: CdrTrail::default(),
    };
    let subscriber = Subscriber {
        id: SubscriberId::new(1),
        tenant: TenantId::default(),
        account: account.id,
        group: account.group,
        tariff,
        state: AccountState::Active,
        counters: Counters::default(),
        sponsor: None,
    };
    Ok(Trial::new(tariffs, [account], subscriber))
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

/// The one-time event that uses it.
fn command(options: &TariffExplain, trial: &Trial, at: Timestamp) -> Result<Command, OpenError> {
    let wrong = |flag: &'static str| move |reason: String| OpenError(format!("{flag}: {reason}"));
    let key = ServiceKey {
        rating_group: options.rating_group.map(RatingGroup::new),
        services: options.service_id.map(ServiceId::new).into_iter().collect(),
    };
    let visited = options.visited.as_ref().map(|text| {
        let plmn = Plmn::parse(&text.replace('-', ""));
        plmn.ok_or_else(|| OpenError(format!("--visited: '{text}' is no network; write MCC and MNC, e.g. 20801")))
    });
    let rat = options.rat.as_ref().map(|text| parse_rat(text).map_err(wrong("--rat")));
    let packet = PacketContext {
        serving_plmn: visited.transpose()?,
        rat: rat.transpose()?.and_then(|rats| rats.first().copied()),
        apn: options.apn.as_deref().map(Into::into),
        ..PacketContext::default()
    };
    let service = Service::from_str(&options.service).map_err(wrong("--service"))?;
    let mut ims = ImsContext { called: options.to.as_deref().map(Into::into), ..ImsContext::default() };
    if let Some(caller) = &options.from {
        (ims.role, ims.calling) = (Some(1), vec![caller.as_str().into()]);
    }
    let sms = (service == Service::Sms).then(|| SmsContext {
        recipients: options.to.iter().map(|number| number.as_str().into()).collect(),
        ..SmsContext::default()
    });
    let requested = Requested::Units(used(&options.used).map_err(wrong("--used"))?);
    Ok(Command {
        now: at,
        event_time: None,
        session: SessionId::new(b"what-if"),
        number: 0,
        digest: 0,
        client_state: 0,
        subscriber: trial.subscriber,
        profile: Profile::STANDARD,
        command_level: false,
        context: Context {
            service,
            service_context: "what-if".into(),
            client_host: "what-if".into(),
            client_realm: "what-if".into(),
            identifiers: Vec::new(),
            equipment: None,
            correlation: None,
            packet: (packet != PacketContext::default()).then(|| Box::new(packet)),
            ims: (ims != ImsContext::default()).then(|| Box::new(ims)),
            sms: sms.map(Box::new),
        },
        action: Action::Debit(vec![ServiceRequest { key, requested, used: Vec::new() }]),
    })
}

/// Octets, seconds or events, by the unit that is written.
fn used(text: &str) -> Result<Units, String> {
    let is_number = text.trim().bytes().all(|octet| octet.is_ascii_digit());
    if !is_number && let Ok(octets) = parse_quantity(text, Unit::Octet) {
        return Ok(Units { total_octets: Some(octets), ..Units::default() });
    }
    if !is_number && let Ok(seconds) = parse_quantity(text, Unit::Second) {
        return Ok(Units { seconds: Some(seconds), ..Units::default() });
    }
    let events = parse_quantity(text, Unit::Event);
    let events = events.map_err(|_| format!("'{text}' is no quantity; write e.g. '5 min', '3 MiB' or 1"))?;
    Ok(Units { events: Some(events), ..Units::default() })
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
