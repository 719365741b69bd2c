//! The words of CDRs out of the centre's types. Tables and nothing else.

use rating_engine::account::Holding;
use rating_engine::cdr::{Cause, CdrKind};
use rating_engine::crossing::Watched;
use rating_engine::units::Measure;

use super::v1 as wire;

/// What kind of movement it is.
pub const fn kind(kind: CdrKind) -> wire::CdrKind {
    match kind {
        CdrKind::Usage => wire::CdrKind::Usage,
        CdrKind::TopUp => wire::CdrKind::TopUp,
        CdrKind::Refund => wire::CdrKind::Refund,
        CdrKind::Suspense => wire::CdrKind::Suspense,
        CdrKind::Lapse => wire::CdrKind::Lapse,
        CdrKind::Recurring => wire::CdrKind::Recurring,
        CdrKind::OneTime => wire::CdrKind::OneTime,
        CdrKind::Allowance => wire::CdrKind::Allowance,
        CdrKind::Expiry => wire::CdrKind::Expiry,
        CdrKind::ReRate => wire::CdrKind::ReRate,
        CdrKind::Adjustment => wire::CdrKind::Adjustment,
        CdrKind::Transfer => wire::CdrKind::Transfer,
    }
}

/// The kind that is meant; `None` for none in particular.
pub const fn kind_of(kind: wire::CdrKind) -> Option<CdrKind> {
    Some(match kind {
        wire::CdrKind::Unspecified => return None,
        wire::CdrKind::Usage => CdrKind::Usage,
        wire::CdrKind::TopUp => CdrKind::TopUp,
        wire::CdrKind::Refund => CdrKind::Refund,
        wire::CdrKind::Suspense => CdrKind::Suspense,
        wire::CdrKind::Lapse => CdrKind::Lapse,
        wire::CdrKind::Recurring => CdrKind::Recurring,
        wire::CdrKind::OneTime => CdrKind::OneTime,
        wire::CdrKind::Allowance => CdrKind::Allowance,
        wire::CdrKind::Expiry => CdrKind::Expiry,
        wire::CdrKind::ReRate => CdrKind::ReRate,
        wire::CdrKind::Adjustment => CdrKind::Adjustment,
        wire::CdrKind::Transfer => CdrKind::Transfer,
    })
}

/// Why it was made then.
pub const fn cause(cause: Cause) -> wire::Cause {
    match cause {
        Cause::Interim => wire::Cause::Interim,
        Cause::Final => wire::Cause::Final,
        Cause::Event => wire::Cause::Event,
        Cause::Expired => wire::Cause::Expired,
        Cause::ClientRestarted => wire::Cause::ClientRestarted,
        Cause::Reopened => wire::Cause::Reopened,
        Cause::Operator => wire::Cause::Operator,
        Cause::FirstUse => wire::Cause::FirstUse,
        Cause::Due => wire::Cause::Due,
        Cause::Record => wire::Cause::Record,
    }
}

/// What a threshold is of, the bucket's id where it is of one, and the unit of its numbers.
pub fn watched(watched: &Watched) -> (wire::Watched, &str, Holding) {
    match watched {
        Watched::Allowance(bucket, holding) => (wire::Watched::Allowance, bucket.as_str(), *holding),
        Watched::Spend => (wire::Watched::Spend, "", Holding::Money),
        Watched::Balance => (wire::Watched::Balance, "", Holding::Money),
    }
}

/// What was counted.
pub const fn measure(measure: Option<Measure>) -> wire::Measure {
    match measure {
        None => wire::Measure::Unspecified,
        Some(Measure::Seconds) => wire::Measure::Seconds,
        Some(Measure::TotalOctets) => wire::Measure::TotalOctets,
        Some(Measure::UplinkOctets) => wire::Measure::UplinkOctets,
        Some(Measure::DownlinkOctets) => wire::Measure::DownlinkOctets,
        Some(Measure::Events) => wire::Measure::Events,
    }
}
