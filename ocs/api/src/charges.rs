//! Charges, as the `Usage` service shows and gives them back: requests into checked values, refusals to status codes.

use std::future::Future;

use ocs_proto::cdr::v1::RatedCdr;
use ocs_proto::charging::convert::money;
use ocs_proto::operator::v1 as wire;
use prost_types::Timestamp as WireTime;
use rating_engine::command::Refusal;
use rating_engine::explain::Explanation;
use rating_engine::ids::{CdrPosition, PartitionId, TenantId};
use rating_engine::money::{Currency, Money};
use rating_engine::time::Timestamp;
use tonic::{Code, Status};

use crate::caller::{Caller, Ceiling};
use crate::change::Asked;
use crate::name::{SubscriberSelector, parse_account, parse_subscriber};
use crate::operations::{OperationError, Selection};
use crate::page;
use crate::refusal::{refused, status};
use crate::request::{Rejection, instant, positive, text};

/// Octets of a CDR's id.
const CDR_ID_OCTETS_MAX: usize = 64;
/// Octets of a page token.
const TOKEN_OCTETS_MAX: usize = 64;

/// What operators can have done with charges. Every future ends only when what it says is durable.
pub trait ChargeOperations: Send + Sync + 'static {
    /// Gives back what a CDR charged.
    fn refund_charge(
        &self,
        caller: Caller,
        refund: RefundAsked,
    ) -> impl Future<Output = Result<Refunded, ChargeError>> + Send;

    /// What usage was charged, the newest first, and where to go on.
    fn charges(&self, asked: ChargesAsked) -> impl Future<Output = Result<ChargePage, ChargeError>> + Send;

    /// Why a CDR says what it says.
    fn explain_charge(&self, id: CdrId) -> impl Future<Output = Result<Explanation, ChargeError>> + Send;

    /// What a period comes to.
    fn totals(
        &self,
        payer: Payer,
        period: (Timestamp, Timestamp),
    ) -> impl Future<Output = Result<wire::GetTotalsResponse, ChargeError>> + Send;
}

/// A CDR's stable, unique id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CdrId {
    /// Its partition.
    pub partition: PartitionId,
    /// Its place in it.
    pub position: CdrPosition,
}

impl CdrId {
    pub(crate) fn parse(field: &'static str, id: &str) -> Result<Self, Rejection> {
        if id.is_empty() {
            return Err(Rejection::new(field, "is missing; give a CDR's id, as ListCharges shows it, e.g. 0-4711"));
        }
        text(field, id, CDR_ID_OCTETS_MAX)?;
        let parsed = id.split_once('-').and_then(|(partition, position)| {
            Some(Self {
                partition: PartitionId::new(partition.parse().ok()?),
                position: CdrPosition::new(position.parse().ok().filter(|position| *position > 0)?),
            })
        });
        parsed.ok_or_else(|| Rejection::new(field, format!("is {id:?}; give partition-position, e.g. 0-4711")))
    }
}

impl std::fmt::Display for CdrId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.partition, self.position)
    }
}

/// A checked refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundAsked {
    /// Of what.
    pub charge: CdrId,
    /// How much; `None` for all that is left.
    pub amount: Option<(Money, Currency)>,
    /// The key, and why.
    pub asked: Asked,
}

impl RefundAsked {
    pub(crate) fn parse(request: &wire::RefundChargeRequest) -> Result<Self, Rejection> {
        let asked = Asked::parse(&request.idempotency_key, &request.reason, true, request)?;
        let charge = CdrId::parse("cdr_id", &request.cdr_id)?;
        let amount = request.amount.clone().map(|amount| positive("amount", Some(amount))).transpose()?;
        Ok(Self { charge, amount, asked })
    }
}

/// Whose charges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payer {
    /// All of an account.
    Account(Selection),
    /// Those of one subscriber.
    Subscriber(TenantId, SubscriberSelector),
}

impl Payer {
    fn parse(field: &'static str, name: &str) -> Result<Self, Rejection> {
        if name.is_empty() {
            return Err(Rejection::new(field, "is missing; give e.g. accounts/17 or subscribers/msisdn-4917000000001"));
        }
        let kind = match name.strip_prefix("tenants/").and_then(|rest| rest.split_once('/')) {
            Some((_, rest)) => rest,
            None => name,
        };
        if kind.starts_with("subscribers/") {
            let (tenant, selector) = parse_subscriber(field, name)?;
            Ok(Self::Subscriber(tenant, selector))
        } else {
            parse_account(field, name).map(Self::Account)
        }
    }
}

impl std::fmt::Display for Payer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Account(selection) => selection.fmt(f),
            Self::Subscriber(_, SubscriberSelector::Id(id)) => write!(f, "subscriber {id}"),
            Self::Subscriber(_, SubscriberSelector::Identifier(identifier)) => write!(f, "{identifier}"),
        }
    }
}

/// Which charges, and from where on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargesAsked {
    /// Whose.
    pub payer: Payer,
    /// Usage that began in [from, to).
    pub period: (Timestamp, Timestamp),
    /// How many at most.
    pub max: usize,
    /// Where the page before ended.
    pub from: Option<Heads>,
}

impl ChargesAsked {
    pub(crate) fn parse(request: &wire::ListChargesRequest) -> Result<Self, Rejection> {
        let payer = Payer::parse("parent", &request.parent)?;
        let from = request.from.map(|from| instant("from", from)).transpose()?;
        let to = request.to.map(|to| instant("to", to)).transpose()?;
        let period = (from.unwrap_or(Timestamp::from_millis(i64::MIN)), to.unwrap_or(Timestamp::NEVER));
        ordered(period)?;
        let from = Heads::parse(&request.page_token)?;
        Ok(Self { payer, period, max: page::size(request.page_size)?, from })
    }
}

fn ordered((from, to): (Timestamp, Timestamp)) -> Result<(), Rejection> {
    if to <= from {
        return Err(Rejection::new("to", format!("is {to}, not after from, {from}; give a later instant")));
    }
    Ok(())
}

/// Checks a request for totals.
pub(crate) fn period(request: &wire::GetTotalsRequest) -> Result<(Payer, (Timestamp, Timestamp)), Rejection> {
    let payer = Payer::parse("parent", &request.parent)?;
    let at = |field, at: Option<WireTime>| {
        instant(field, at.ok_or_else(|| Rejection::new(field, "is missing; a period has both ends"))?)
    };
    let period = (at("from", request.from)?, at("to", request.to)?);
    ordered(period)?;
    Ok((payer, period))
}

/// The newest CDRs that were not looked at yet: of the account, and of the one that pays beside it. 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Of the account.
    pub own: CdrPosition,
    /// Of the sponsor.
    pub sponsor: CdrPosition,
}

impl Heads {
    fn parse(token: &str) -> Result<Option<Self>, Rejection> {
        if token.is_empty() {
            return Ok(None);
        }
        text("page_token", token, TOKEN_OCTETS_MAX)?;
        let heads = token.strip_prefix("at-").and_then(|rest| rest.split_once('-')).and_then(|(own, sponsor)| {
            let position = |text: &str| text.parse().ok().map(CdrPosition::new);
            Some(Self { own: position(own)?, sponsor: position(sponsor)? })
        });
        let heads = heads.filter(|heads| *heads != Self::default());
        heads.map(Some).ok_or_else(|| {
            Rejection::new("page_token", "is none of ours; give back the one that came with the last page")
        })
    }

    fn token(self) -> String {
        if self == Self::default() { String::new() } else { format!("at-{}-{}", self.own, self.sponsor) }
    }
}

/// Charges, and where to go on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChargePage {
    /// They.
    pub charges: Vec<wire::Charge>,
    /// Where; the default at the end.
    pub next: Heads,
}

impl From<ChargePage> for wire::ListChargesResponse {
    fn from(ChargePage { charges, next }: ChargePage) -> Self {
        Self { charges, next_page_token: next.token() }
    }
}

/// What a refund led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Refunded {
    /// Money in all money buckets afterwards.
    pub balance: Money,
    /// Its currency.
    pub currency: Currency,
    /// Number of the CDR among the account's.
    pub cdr_number: u64,
    /// Whether this is the first answer again.
    pub repeated: bool,
    /// The CDR, where it could be found.
    pub refund: Option<RatedCdr>,
}

impl From<Refunded> for wire::RefundChargeResponse {
    fn from(done: Refunded) -> Self {
        Self {
            balance: Some(money(done.balance, done.currency)),
            cdr_number: done.cdr_number,
            repeated: done.repeated,
            refund: done.refund,
        }
    }
}

/// Why nothing was done with a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChargeError {
    /// As any operation.
    Operation(OperationError),
    /// There is no such CDR, or none any more.
    NotThere,
    /// The CDR charged nothing, or is none of usage or a fee.
    NothingCharged,
    /// Too many CDRs followed it.
    TooOld,
    /// More CDRs than are looked at.
    TooMany,
    /// Other refunds of the account came between, again and again.
    Contended,
    /// The caller may not give so much.
    AboveCeiling(Ceiling),
    /// A sum does not fit.
    OutOfRange,
}

impl From<OperationError> for ChargeError {
    fn from(error: OperationError) -> Self {
        Self::Operation(error)
    }
}

/// What the caller is told; `what` is the charge, or whose.
pub(crate) fn not_done(error: &ChargeError, caller: &str, what: &str) -> Status {
    match error {
        ChargeError::NotThere => status(
            Code::NotFound,
            "CHARGE_NOT_FOUND",
            format!("cdr_id: there is no CDR {what}, or it is not kept any more; ListCharges shows those there are"),
        ),
        ChargeError::NothingCharged | ChargeError::Operation(OperationError::Refused(Refusal::NothingToRefund)) => {
            status(
                Code::FailedPrecondition,
                "NOTHING_CHARGED",
                format!("cdr_id: CDR {what} charged nothing; name the CDR of usage or of a fee that was paid"),
            )
        }
        ChargeError::Operation(OperationError::Refused(Refusal::RefundBeyondCharge)) => status(
            Code::FailedPrecondition,
            "REFUND_TOO_LARGE",
            format!("amount: of CDR {what} there is not so much left that was not given back before; give less"),
        ),
        ChargeError::TooOld => status(
            Code::FailedPrecondition,
            "CHARGE_TOO_OLD",
            format!("cdr_id: too many CDRs of its account followed {what}; give the money by a top-up with a reason"),
        ),
        ChargeError::TooMany => status(
            Code::FailedPrecondition,
            "TOO_MANY_CDRS",
            format!("from: {what} has too many CDRs since then; add them up from the CDR stream"),
        ),
        ChargeError::Contended => status(
            Code::Aborted,
            "CONTENDED",
            format!("other refunds of the account that paid CDR {what} came between; try again with the same key"),
        ),
        ChargeError::AboveCeiling(ceiling) => status(
            Code::PermissionDenied,
            "ABOVE_CEILING",
            format!(
                "amount: {caller} may give at most {ceiling} at once, and no units; ask somebody who may give more"
            ),
        ),
        ChargeError::OutOfRange => status(
            Code::OutOfRange,
            "SUM_TOO_LARGE",
            format!("the sums of {what} do not fit; ask for a shorter period"),
        ),
        ChargeError::Operation(error) => refused(error, what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_named_by_partition_and_position() {
        let id = CdrId::parse("cdr_id", "0-4711").unwrap();
        assert_eq!((id.position.get(), id.to_string().as_str()), (4711, "0-4711"));
        for bad in ["", "4711", "1-", "-1", "1-0", "x-1", "1-2-3", "70000-1", "1--1"] {
            assert_eq!(CdrId::parse("cdr_id", bad).unwrap_err().field, "cdr_id", "{bad}");
        }
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended() {
        let heads = Heads { own: CdrPosition::new(7), sponsor: CdrPosition::new(0) };
        assert_eq!(Heads::parse(&heads.token()), Ok(Some(heads)));
        assert_eq!((Heads::default().token().as_str(), Heads::parse("")), ("", Ok(None)));
        for bad in ["at-", "at-1", "at-x-1", "at-0-0", "7"] {
            assert!(Heads::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn charges_are_an_accounts_or_a_subscribers() {
        assert!(matches!(Payer::parse("parent", "accounts/17"), Ok(Payer::Account(_))));
        assert!(matches!(Payer::parse("parent", "tenants/2/subscribers/5"), Ok(Payer::Subscriber(..))));
        for bad in ["", "17", "sessions/YWI"] {
            assert_eq!(Payer::parse("parent", bad).unwrap_err().field, "parent", "{bad}");
        }
    }
}
