//! What a client holds an answer to.

use diameter::gy::client::{Cca, Kind, ServiceAnswer};
use diameter::{AvpCode, Message, ResultCode};
use rating_engine::units::MoneyUnits;

use super::template::{RATING_GROUP_STEP, SERIAL_DIGITS};

/// No grant of the demo tariffs is larger: 1 GiB.
const GRANT_OCTETS_MAX: u64 = 1 << 30;

/// What an answerer that only echoes is taken to have granted: 10 MiB.
const TRUSTED_OCTETS: u64 = 10 << 20;

/// What must come back.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    /// The beginning of the Session-Id.
    pub(super) session_prefix: &'a str,
    /// The rest of it.
    pub(super) serial: [u8; SERIAL_DIGITS],
    /// CC-Request-Type.
    pub(super) kind: Kind,
    /// CC-Request-Number.
    pub(super) number: u32,
}

/// What an answer means for its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Carried out; `denied` when a service had no credit left.
    Good {
        /// Whether a service was denied.
        denied: bool,
        /// Cost-Information.
        cost: Option<MoneyUnits>,
    },
    /// The session is denied as a whole and has ended.
    Denied,
    /// Not now.
    Busy,
    /// Turned away with a code that has no place here; the session is not there (any more).
    Refused {
        /// Result-Code.
        code: u32,
        /// Error-Message.
        message: String,
    },
    /// Carried out, but one service failed with a code that has no place here.
    ServiceFailed {
        /// Result-Code.
        code: u32,
    },
    /// Not an answer to this request, or not one that a client could use.
    Faulty(String),
}

/// Reads and checks an answer. The octets granted per rating group go to `granted`.
pub(super) fn check(message: &Message<'_>, expected: &Expected<'_>, granted: &mut [u64]) -> Verdict {
    match Cca::read(message) {
        Ok(cca) => judge(message, &cca, expected, granted).unwrap_or_else(Verdict::Faulty),
        Err(error) => Verdict::Faulty(format!("unreadable: {error}")),
    }
}

/// Takes any successful answer for a grant, from an answerer that only echoes.
pub(super) fn trust(message: &Message<'_>, granted: &mut [u64]) -> Verdict {
    let code = message.find(AvpCode::RESULT_CODE).and_then(|avp| avp.u32().ok()).unwrap_or(0);
    if ResultCode(code) != ResultCode::SUCCESS {
        return Verdict::Refused { code, message: String::new() };
    }
    granted.fill(TRUSTED_OCTETS);
    Verdict::Good { denied: false, cost: None }
}

/// Whether an answer says "not now".
pub(super) fn is_busy(message: &Message<'_>) -> bool {
    let code = message.find(AvpCode::RESULT_CODE).and_then(|avp| avp.u32().ok());
    code.is_some_and(|code| matches!(ResultCode(code), ResultCode::TOO_BUSY | ResultCode::UNABLE_TO_DELIVER))
}

fn judge(message: &Message<'_>, cca: &Cca, expected: &Expected<'_>, granted: &mut [u64]) -> Result<Verdict, String> {
    match ResultCode(cca.result) {
        ResultCode::SUCCESS => {}
        ResultCode::TOO_BUSY | ResultCode::UNABLE_TO_DELIVER => return Ok(Verdict::Busy),
        ResultCode::CREDIT_LIMIT_REACHED => return Ok(Verdict::Denied),
        ResultCode(0) => return Err("no Result-Code".into()),
        ResultCode(code) => {
            let message = cca.error.clone().unwrap_or_default();
            return Ok(Verdict::Refused { code, message });
        }
    }
    let session = message.avps().next().and_then(Result::ok).filter(|avp| avp.code == AvpCode::SESSION_ID);
    let rest = session.and_then(|avp| avp.data.strip_prefix(expected.session_prefix.as_bytes()));
    if rest != Some(&expected.serial) {
        return Err("the Session-Id of another session".into());
    }
    let kind = match expected.kind {
        Kind::Initial => 1,
        Kind::Update => 2,
        Kind::Termination => 3,
        Kind::Debit | Kind::Refund | Kind::CheckBalance | Kind::PriceEnquiry => 4,
    };
    if (cca.request_type, cca.number) != (kind, expected.number) {
        return Err(format!(
            "answers request {} of type {}, not {} of type {kind}",
            cca.number, cca.request_type, expected.number
        ));
    }
    let ends = expected.kind == Kind::Termination;
    let (mut denied, mut failed, mut seen) = (false, None, 0u64);
    for service in &cca.services {
        let group = service.key.rating_group.ok_or("an MSCC without the Rating-Group it was asked with")?.get();
        let place = group.checked_div(RATING_GROUP_STEP).filter(|_| group % RATING_GROUP_STEP == 0);
        let place = place.and_then(|place| place.checked_sub(1));
        let bit = place.and_then(|place| 1u64.checked_shl(place)).unwrap_or(0);
        let place = place.and_then(|place| granted.get_mut(usize::try_from(place).ok()?));
        let place = place.ok_or_else(|| format!("rating group {group} was not asked for"))?;
        if seen & bit != 0 {
            return Err(format!("rating group {group} is answered twice"));
        }
        seen |= bit;
        *place = 0;
        match service.result.map(ResultCode) {
            None => return Err(format!("no Result-Code for rating group {group}")),
            Some(ResultCode::SUCCESS) if ends => {
                if service.granted.is_some() {
                    return Err(format!("a grant for rating group {group} of a session that ends"));
                }
            }
            Some(ResultCode::SUCCESS) => {
                *place = usable(service).map_err(|why| format!("rating group {group}: {why}"))?;
            }
            Some(ResultCode::CREDIT_LIMIT_REACHED) => {
                denied = true;
                if service.granted.is_some() {
                    return Err(format!("rating group {group} is denied and granted"));
                }
            }
            Some(ResultCode(code)) => failed = Some(code),
        }
    }
    let answered = usize::try_from(seen.count_ones()).unwrap_or(0);
    if answered != granted.len() {
        return Err(format!("{answered} rating groups are answered, {} were asked for", granted.len()));
    }
    Ok(match failed {
        Some(code) => Verdict::ServiceFailed { code },
        None => Verdict::Good { denied, cost: cca.cost },
    })
}

/// The octets of a grant that a client can use.
fn usable(service: &ServiceAnswer) -> Result<u64, String> {
    let octets = service.granted.as_ref().map_or(0, rating_engine::units::Units::octets);
    if octets == 0 {
        return Err("success without units".into());
    }
    if octets > GRANT_OCTETS_MAX {
        return Err(format!("{octets} octets granted, more than any tariff allows"));
    }
    if service.validity_seconds.is_none_or(|seconds| seconds == 0) {
        return Err("a grant without Validity-Time".into());
    }
    if let Some(threshold) = service.threshold.filter(|threshold| u64::from(*threshold) >= octets) {
        return Err(format!("threshold {threshold} of a grant of {octets}"));
    }
    Ok(octets)
}
