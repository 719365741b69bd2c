//! The `Usage` service: records of what was used, charged as they come; and what usage was charged.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use ocs_proto::charging::convert::money;
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::usage_server::{Usage, UsageServer};
use prost::Message;
use rating_engine::command::{
    Action, Command, Denial, Outcome, Profile, Refusal, Requested, ServiceRequest, ServiceResult, TariffPart, Used,
};
use rating_engine::context::{Context, ImsContext, PacketContext, Plmn, SmsContext};
use rating_engine::ids::{Identifier, Lsn, RatingGroup, ServiceId, SessionId, SubscriberId};
use rating_engine::money::{Currency, Money};
use rating_engine::tariff::{Service, ServiceKey};
use rating_engine::time::Timestamp;
use rating_engine::units::{MoneyUnits, Units};
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::charges::{CdrId, ChargeOperations, ChargesAsked, RefundAsked, not_done, period};
use crate::explanation::explanation;
use crate::operations::{OperationError, Operations, Recorded};
use crate::request::{IDENTIFIER_OCTETS_MAX, Rejection, instant, text};

/// Octets of a record's id.
pub const RECORD_ID_OCTETS_MAX: usize = 128;
/// Identifiers of one record.
const IDENTIFIERS_MAX: usize = 8;
/// Services of one record.
const SERVICES_MAX: usize = 32;
/// Octets of a number, a network's or an access point's name.
const NAME_OCTETS_MAX: usize = 128;
/// Records that were charged and wait to be durable.
const WAITING_MAX: usize = 1024;

/// What records are called among the sessions: no session of the network has such an id.
const PREFIX: &str = "usage-record:";

/// The `Usage` service.
#[derive(Debug)]
pub struct UsageService<O> {
    operations: Arc<O>,
}

impl<O: Operations + ChargeOperations> UsageService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> UsageServer<Self> {
        UsageServer::new(self)
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<wire::ChargeRecordsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<O: Operations + ChargeOperations> Usage for UsageService<O> {
    type ChargeRecordsStream = Responses;

    async fn charge_records(
        &self,
        request: Request<Streaming<wire::ChargeRecordsRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let operations = self.operations.clone();
        // One after the other, so that each finds what the ones before left; only the disk is waited for together.
        let charged = request.into_inner().then(move |request| {
            let operations = operations.clone();
            async move { charge(&*operations, request?.record.unwrap_or_default()).await }
        });
        let operations = self.operations.clone();
        let durable = charged.map(move |charged| {
            let operations = operations.clone();
            async move {
                let (response, lsn) = charged?;
                operations.durable(lsn).await.map_err(|error| status(&error))?;
                Ok(response)
            }
        });
        Ok(Response::new(Box::pin(durable.buffered(WAITING_MAX))))
    }

    async fn refund_charge(
        &self,
        request: Request<wire::RefundChargeRequest>,
    ) -> Result<Response<wire::RefundChargeResponse>, Status> {
        let caller = Caller::of(&request);
        let refund = RefundAsked::parse(&request.into_inner())?;
        let (who, what) = (caller.name.clone(), refund.charge.to_string());
        let done = self.operations.refund_charge(caller, refund).await;
        Ok(Response::new(done.map_err(|error| not_done(&error, &who, &what))?.into()))
    }

    async fn list_charges(
        &self,
        request: Request<wire::ListChargesRequest>,
    ) -> Result<Response<wire::ListChargesResponse>, Status> {
        let asked = ChargesAsked::parse(&request.into_inner())?;
        let what = asked.payer.to_string();
        let page = self.operations.charges(asked).await.map_err(|error| not_done(&error, "", &what))?;
        Ok(Response::new(page.into()))
    }

    async fn explain_charge(
        &self,
        request: Request<wire::ExplainChargeRequest>,
    ) -> Result<Response<wire::ExplainChargeResponse>, Status> {
        let id = CdrId::parse("cdr_id", &request.into_inner().cdr_id)?;
        let said = self.operations.explain_charge(id).await.map_err(|error| not_done(&error, "", &id.to_string()))?;
        Ok(Response::new(wire::ExplainChargeResponse { explanation: Some(explanation(&said)) }))
    }

    async fn get_totals(
        &self,
        request: Request<wire::GetTotalsRequest>,
    ) -> Result<Response<wire::GetTotalsResponse>, Status> {
        let (payer, period) = period(&request.into_inner())?;
        let what = payer.to_string();
        let totals = self.operations.totals(payer, period).await.map_err(|error| not_done(&error, "", &what))?;
        Ok(Response::new(totals))
    }
}

async fn charge(
    operations: &impl Operations,
    record: wire::UsageRecord,
) -> Result<(wire::ChargeRecordsResponse, Lsn), Status> {
    let id = record.record_id.clone();
    match command(record, operations.time().now) {
        Ok(command) => {
            let recorded = operations.charge_record(command).await.map_err(|error| status(&error))?;
            Ok((answer(id, &recorded), recorded.lsn))
        }
        Err(rejection) => Ok((refused(id, rejection.to_string()), Lsn::default())),
    }
}

fn status(error: &OperationError) -> Status {
    match error {
        OperationError::Stopping => {
            Status::unavailable("the charging system is stopping; send the records again later")
        }
        OperationError::UnknownAccount
        | OperationError::UnknownSubscriber
        | OperationError::UnknownSession
        | OperationError::UnknownGroup
        | OperationError::ExternalIdTaken { .. }
        | OperationError::Taken { .. }
        | OperationError::Exists(_)
        | OperationError::Precondition(_)
        | OperationError::Stale
        | OperationError::Store(_)
        | OperationError::WrongCurrency { .. }
        | OperationError::Voucher(_)
        | OperationError::Approval(_)
        | OperationError::Refused(_) => Status::internal("a record led to what no record leads to"),
    }
}

fn refused(record_id: String, reason: String) -> wire::ChargeRecordsResponse {
    let state = wire::RecordState::Refused.into();
    wire::ChargeRecordsResponse { record_id, state, repeated: false, charged: None, reason }
}

fn answer(record_id: String, recorded: &Recorded) -> wire::ChargeRecordsResponse {
    let answered = match &*recorded.outcome {
        Outcome::Answered(answered) => answered,
        Outcome::Refused(refusal) => return refused(record_id, why_refused(refusal)),
    };
    let reasons: Vec<&str> = answered
        .services
        .iter()
        .filter_map(|service| match service.result {
            ServiceResult::Denied(denial) => Some(why_kept(denial)),
            ServiceResult::Settled | ServiceResult::Granted(_) => None,
        })
        .collect();
    let state = if reasons.is_empty() { wire::RecordState::Charged } else { wire::RecordState::Suspended };
    wire::ChargeRecordsResponse {
        record_id,
        state: state.into(),
        repeated: recorded.repeated,
        charged: answered.cost.map(|(amount, currency)| money(amount, currency)),
        reason: reasons.join("; "),
    }
}

const fn why_kept(denial: Denial) -> &'static str {
    match denial {
        Denial::RatingFailed => {
            "no price is for it, or the price counts what the record does not carry; see its suspense CDR"
        }
        Denial::UsageSuspect | Denial::CreditLimitReached | Denial::ServiceDenied | Denial::Rejected => {
            "it is older than 30 days, still to come, or more than fits between its start and end; see its suspense CDR"
        }
    }
}

fn why_refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::UnknownSubscriber => {
            "identifiers: no subscriber has any of them; import the subscriber first".to_owned()
        }
        Refusal::IdentifiersDisagree => "identifiers: they belong to different subscribers".to_owned(),
        Refusal::KeyReused => {
            "record_id: another record was charged under it; give every record an id of its own".to_owned()
        }
        Refusal::RatingFailed => {
            "start: the subscriber's tariff has no version in force then, or none in the account's \
                                  currency; import one, and send the record again"
                .to_owned()
        }
        Refusal::AnswerGone => "record_id: it was charged, and its answer is gone".to_owned(),
        Refusal::TooBusy => "the charging system is too busy; send the record again later".to_owned(),
        Refusal::Invalid(reason) => (*reason).to_owned(),
        Refusal::UnknownSession
        | Refusal::ServiceDenied
        | Refusal::Rejected
        | Refusal::CreditLimitReached
        | Refusal::NothingToRefund
        | Refusal::RefundBeyondCharge
        | Refusal::Stale
        | Refusal::OutOfRange => format!("refused ({refusal:?})"),
    }
}

/// What charges a record, handed in at `now`.
fn command(record: wire::UsageRecord, now: Timestamp) -> Result<Command, Rejection> {
    let digest = digest(&record);
    if record.record_id.is_empty() {
        return Err(Rejection::new("record_id", "is missing; give a text that no other record has"));
    }
    text("record_id", &record.record_id, RECORD_ID_OCTETS_MAX)?;
    if record.identifiers.is_empty() || record.identifiers.len() > IDENTIFIERS_MAX {
        let given = record.identifiers.len();
        let reason = format!("has {given}; give 1 to {IDENTIFIERS_MAX}, e.g. msisdn-491701234567");
        return Err(Rejection::new("identifiers", reason));
    }
    let identifier = |name: &String| {
        text("identifiers", name, IDENTIFIER_OCTETS_MAX)?;
        name.parse::<Identifier>().map_err(|reason| Rejection::new("identifiers", reason))
    };
    let identifiers = record.identifiers.iter().map(identifier).collect::<Result<Vec<_>, _>>()?;
    let start = record.start.ok_or_else(|| Rejection::new("start", "is missing; give when the usage began"))?;
    let start = instant("start", start)?;
    let ended = record.end.map_or(Ok(start), |end| instant("end", end))?;
    if ended < start {
        return Err(Rejection::new("end", format!("is {ended}, before start, {start}")));
    }
    if record.used.is_empty() || record.used.len() > SERVICES_MAX {
        let reason = format!("has {} services; give 1 to {SERVICES_MAX}", record.used.len());
        return Err(Rejection::new("used", reason));
    }
    let services = record.used.iter().map(used).collect::<Result<Vec<_>, _>>()?;
    let session = SessionId::new(format!("{PREFIX}{}", record.record_id).as_bytes());
    let action = Action::Record { services, ended };
    Ok(Command {
        now,
        event_time: Some(start),
        session,
        number: 0,
        digest,
        client_state: 0,
        subscriber: SubscriberId::default(),
        profile: Profile::STANDARD,
        command_level: false,
        context: context(&record, identifiers)?,
        action,
    })
}

/// Tells a repeat from another record under the same id. Stored; what goes into it must not change.
fn digest(record: &wire::UsageRecord) -> u64 {
    let digest = Sha256::digest(record.encode_to_vec());
    digest.iter().take(8).fold(0, |number, octet| number << 8 | u64::from(*octet))
}

fn context(record: &wire::UsageRecord, identifiers: Vec<Identifier>) -> Result<Context, Rejection> {
    let service = service(record.service)?;
    let name = |field, name: &str| -> Result<Option<Box<str>>, Rejection> {
        text(field, name, NAME_OCTETS_MAX)?;
        Ok((!name.is_empty()).then(|| name.into()))
    };
    let network = name("serving_network", &record.serving_network)?;
    let serving_plmn = network.map(|digits| {
        let reason = "is no network; give MCC and MNC, 5 or 6 digits, e.g. 26201";
        Plmn::parse(&digits).ok_or_else(|| Rejection::new("serving_network", reason))
    });
    let rat = record
        .radio_access
        .map(|rat| u8::try_from(rat).map_err(|_| Rejection::new("radio_access", format!("is {rat}; it is one octet"))));
    let packet = PacketContext {
        apn: name("access_point", &record.access_point)?,
        serving_plmn: serving_plmn.transpose()?,
        rat: rat.transpose()?,
        ..PacketContext::default()
    };
    let called = name("called", &record.called)?;
    let sms = (service == Service::Sms)
        .then(|| Box::new(SmsContext { recipients: called.clone().into_iter().collect(), ..SmsContext::default() }));
    let ims = ImsContext {
        role: record.incoming.then_some(1),
        calling: name("calling", &record.calling)?.into_iter().collect(),
        called,
        ..ImsContext::default()
    };
    Ok(Context {
        service,
        service_context: "usage-record".into(),
        client_host: "usage-record".into(),
        client_realm: "".into(),
        identifiers,
        equipment: None,
        correlation: None,
        packet: (packet != PacketContext::default()).then(|| Box::new(packet)),
        ims: (ims != ImsContext::default()).then(|| Box::new(ims)),
        sms,
    })
}

fn service(kind: Option<common::ServiceKind>) -> Result<Service, Rejection> {
    let kind = kind.unwrap_or_default();
    match common::Service::try_from(kind.service) {
        Ok(common::Service::Data) => Ok(Service::Data),
        Ok(common::Service::Voice) => Ok(Service::Voice),
        Ok(common::Service::Sms) => Ok(Service::Sms),
        Ok(common::Service::Mms) => Ok(Service::Mms),
        Ok(common::Service::Other) => Ok(Service::Other(kind.specification)),
        Ok(common::Service::Unspecified) | Err(_) => {
            Err(Rejection::new("service", "is missing or not known; give a kind, e.g. SERVICE_DATA"))
        }
    }
}

fn used(used: &wire::ServiceUsage) -> Result<ServiceRequest, Rejection> {
    let key = used.service_key.clone().unwrap_or_default();
    let key = ServiceKey {
        rating_group: key.rating_group.map(RatingGroup::new),
        services: key.service_ids.iter().copied().map(ServiceId::new).collect(),
    };
    let given = used.units.clone().unwrap_or_default();
    let units = Units {
        seconds: given.seconds,
        total_octets: given.total_octets,
        uplink_octets: given.uplink_octets,
        downlink_octets: given.downlink_octets,
        events: given.events,
        money: given.money.as_ref().map(named_money).transpose()?,
    };
    if units.is_empty() {
        return Err(Rejection::new("used.units", "names nothing; give seconds, octets, events or money"));
    }
    let used = vec![Used { units, part: TariffPart::Whole }];
    Ok(ServiceRequest { key, requested: Requested::Nothing, used })
}

/// Money that the network rated itself.
fn named_money(given: &common::Money) -> Result<MoneyUnits, Rejection> {
    let currency = Currency::parse(&given.currency)
        .ok_or_else(|| Rejection::new("used.units.money.currency", "is not known; give three ISO 4217 letters"))?;
    let finer = 6u32.checked_sub(given.scale);
    let micros = finer.and_then(|finer| given.mantissa.checked_mul(10i64.checked_pow(finer)?));
    let micros = micros.filter(|micros| *micros >= 0).ok_or_else(|| {
        Rejection::new("used.units.money", "is negative, too large, or has more than 6 decimals; refunds are no usage")
    })?;
    Ok(MoneyUnits { amount: Money::from_micros(micros), currency: Some(currency.numeric()) })
}
