//! What one use would cost, and why: charged by the shard that charges everything else, on a copy of the accounts.
//!
//! Pure but for what it is given. Absent: where the copy comes from, and printing.

use std::str::FromStr;

use rating_engine::account::{Account, AccountState, Bucket, CdrTrail, Counters, Holding, Origin, Subscriber};
use rating_engine::cdr::RatedCdr;
use rating_engine::command::{
    Action, Change, Command, Effects, MutationOutcome, Outcome, Profile, Refusal, Request, Requested, ServiceRequest,
};
use rating_engine::context::{Context, ImsContext, PacketContext, Plmn, SmsContext};
use rating_engine::ids::{
    AccountId, BucketId, CdrPosition, GroupId, IdempotencyKey, OfferName, RatingGroup, ServiceId, SessionId,
    SubscriberId, TariffName, TenantId,
};
use rating_engine::money::Money;
use rating_engine::shard::{Image, Limits, Shard};
use rating_engine::tariff::{Service, ServiceKey};
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;
use rating_engine::units::{Unit, Units};

use crate::catalogue::text::{parse_quantity, parse_rat};

/// One use, as a person says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhatIf {
    /// The tariff to charge by; needed for a made-up account when there are several.
    pub tariff: Option<String>,
    /// Offers that the account has just bought.
    pub offers: Vec<String>,
    /// Money of a made-up account, before it bought them.
    pub balance: String,
    /// What was used: '5 min', '3 MiB', 1.
    pub used: String,
    /// When it began.
    pub at: Timestamp,
    /// The service: data, voice, sms, mms or other-N.
    pub service: String,
    /// The rating group.
    pub rating_group: Option<u32>,
    /// The service identifier.
    pub service_id: Option<u32>,
    /// The number called.
    pub to: Option<String>,
    /// The number that calls: the call comes in.
    pub from: Option<String>,
    /// The network visited, MCC and MNC.
    pub visited: Option<String>,
    /// The radio access.
    pub rat: Option<String>,
    /// The access point (DNN).
    pub apn: Option<String>,
}

/// What cannot be asked: a member of [`WhatIf`], and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclear {
    /// The member; empty for the whole.
    pub member: &'static str,
    /// Why, and what to do.
    pub reason: String,
}

fn unclear(member: &'static str, reason: impl Into<String>) -> Unclear {
    Unclear { member, reason: reason.into() }
}

/// What it would come to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What would be booked.
    pub cdrs: Vec<RatedCdr>,
    /// How many of them are for the offers.
    pub bought: usize,
    /// Why the use would be refused.
    pub refused: Option<String>,
}

/// Whose accounts are tried on.
#[derive(Clone, Debug)]
pub enum Payer<'a> {
    /// Copies of those that pay for a subscriber.
    Copy(Vec<Account>, Box<Subscriber>),
    /// A made-up one; tariffs that it may be of.
    MadeUp(&'a [TariffName]),
}

/// Asks what a use would cost.
///
/// # Errors
/// What is unclear about it.
pub fn ask(what: &WhatIf, tariffs: Tariffs, payer: Payer<'_>) -> Result<Answer, Unclear> {
    let (accounts, subscriber) = match payer {
        Payer::Copy(accounts, mut subscriber) => {
            if let Some(tariff) = &what.tariff {
                subscriber.tariff = TariffName::new(tariff);
            }
            (accounts, *subscriber)
        }
        Payer::MadeUp(names) => {
            let (account, subscriber) = made_up(what, &tariffs, names)?;
            (vec![account], subscriber)
        }
    };
    let mut trial = Trial::new(tariffs, accounts, subscriber);
    for offer in &what.offers {
        trial.buy(offer, what.at)?;
    }
    let bought = trial.cdrs.len();
    let command = command(what, &trial)?;
    let refused = match trial.charge(command) {
        Outcome::Answered(_) => None,
        Outcome::Refused(refusal) => Some(why_refused(&refusal)),
    };
    Ok(Answer { cdrs: trial.cdrs, bought, refused })
}

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
        self.shard.book(&self.tariffs, &mut effects.cdrs);
        self.shard.place_cdrs(&mut effects.cdrs, CdrPosition::new(1));
        self.cdrs.append(&mut effects.cdrs);
        effects.outcome
    }

    fn buy(&mut self, offer: &str, now: Timestamp) -> Result<(), Unclear> {
        let buy = Change::Buy {
            account: self.account,
            subscriber: self.subscriber,
            offer: OfferName::new(offer),
            version: None,
            begins: None,
        };
        let buy = buy.asked(Request { key: IdempotencyKey::new(offer), digest: 0, reason: "what if".into() });
        let effects = self.shard.mutate(&self.tariffs, buy, now);
        match &*self.keep(effects) {
            MutationOutcome::Done { .. } => Ok(()),
            MutationOutcome::Refused(Refusal::Invalid(reason)) => Err(unclear("", format!("offer {offer}: {reason}"))),
            MutationOutcome::Refused(refusal) => Err(unclear("", format!("offer {offer}: {refusal:?}"))),
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

/// An account that nobody has.
fn made_up(what: &WhatIf, tariffs: &Tariffs, names: &[TariffName]) -> Result<(Account, Subscriber), Unclear> {
    let of_offers = what.offers.iter().find_map(|offer| {
        let offer = tariffs.offer(&OfferName::new(offer), None)?;
        offer.tariff().cloned()
    });
    let tariff = match (&what.tariff, of_offers, names) {
        (Some(name), ..) => TariffName::new(name),
        (None, Some(name), _) => name,
        (None, None, [only]) => (*only).clone(),
        (None, None, []) => {
            return Err(unclear("tariff", "is missing; name a tariff, a draft of one, or a subscriber"));
        }
        (None, None, several) => {
            let several: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
            return Err(unclear("tariff", format!("which one of {}?", several.join(", "))));
        }
    };
    let at = what.at;
    let version = tariffs.at(&tariff, at, None).ok_or_else(|| {
        unclear("at", format!("tariff {tariff} has no version in force at {at}; name another time, or another tariff"))
    })?;
    let balance = Money::from_str(&what.balance).map_err(|error| unclear("balance", error.to_string()))?;
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
    Ok((account, subscriber))
}

/// The one-time event that uses it.
fn command(what: &WhatIf, trial: &Trial) -> Result<Command, Unclear> {
    let wrong = |member: &'static str| move |reason: String| unclear(member, reason);
    let key = ServiceKey {
        rating_group: what.rating_group.map(RatingGroup::new),
        services: what.service_id.map(ServiceId::new).into_iter().collect(),
    };
    let visited = what.visited.as_ref().map(|text| {
        let plmn = Plmn::parse(&text.replace('-', ""));
        plmn.ok_or_else(|| unclear("visited", format!("'{text}' is no network; write MCC and MNC, e.g. 20801")))
    });
    let rat = what.rat.as_ref().map(|text| parse_rat(text).map_err(wrong("rat")));
    let packet = PacketContext {
        serving_plmn: visited.transpose()?,
        rat: rat.transpose()?.and_then(|rats| rats.first().copied()),
        apn: what.apn.as_deref().map(Into::into),
        ..PacketContext::default()
    };
    let service = Service::from_str(&what.service).map_err(wrong("service"))?;
    let mut ims = ImsContext { called: what.to.as_deref().map(Into::into), ..ImsContext::default() };
    if let Some(caller) = &what.from {
        (ims.role, ims.calling) = (Some(1), vec![caller.as_str().into()]);
    }
    let sms = (service == Service::Sms).then(|| SmsContext {
        recipients: what.to.iter().map(|number| number.as_str().into()).collect(),
        ..SmsContext::default()
    });
    let requested = Requested::Units(used(&what.used).map_err(wrong("used"))?);
    Ok(Command {
        now: what.at,
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
