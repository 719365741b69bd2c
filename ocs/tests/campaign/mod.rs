//! What the campaigns share: settings, a seeded generator, the demo tariff computed a second way, a server process, and a
//! network element that speaks Gy to it.

pub(crate) mod element;
pub(crate) mod ledger;
pub(crate) mod phone;
pub(crate) mod server;
pub(crate) mod tariff;

use std::time::{Duration, Instant};

use rating_engine::command::{Requested, ServiceRequest, Used};
use rating_engine::ids::RatingGroup;
use rating_engine::tariff::ServiceKey;
use rating_engine::units::Units;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A number from the environment, for campaigns.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// When a campaign ends whatever it was meant to do: after `CAMPAIGN_SECONDS`, if given.
pub(crate) fn deadline() -> Option<Instant> {
    let seconds = std::env::var("CAMPAIGN_SECONDS").ok()?.parse().ok()?;
    Some(Instant::now() + Duration::from_secs(seconds))
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// A place in a list of this length.
    pub(crate) fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap())).unwrap()
    }

    /// Once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A generator of its own, for a thread or task.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// The rating groups in use; the last is free of charge for those that pay by volume.
pub(crate) const RATING_GROUPS: [u32; 3] = [10, 20, tariff::FREE_GROUP];

/// Asks for more volume of a rating group, and reports what was used.
pub(crate) fn volume(group: u32, used: Option<u64>, wanted: Requested) -> ServiceRequest {
    let units = |octets| Units { total_octets: Some(octets), ..Units::default() };
    ServiceRequest {
        key: ServiceKey { rating_group: Some(RatingGroup::new(group)), ..ServiceKey::default() },
        requested: wanted,
        used: used.map(|octets| Used { units: units(octets), ..Used::default() }).into_iter().collect(),
    }
}

/// Octets wanted: mostly an amount, at times whatever the server thinks best.
pub(crate) fn wanted(random: &mut Random) -> Requested {
    if random.once_in(3) {
        return Requested::Any;
    }
    let octets = (1 + random.below(8)) << 20;
    Requested::Units(Units { total_octets: Some(octets), ..Units::default() })
}

/// The stable reason of a status.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The refusal that an answer must be: its code, its stable reason, and a message.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, why: &str) -> Status {
    let status = answer.expect_err(why);
    assert_eq!((status.code(), reason(&status).as_str()), (code, why), "{status:?}");
    assert!(!status.message().is_empty());
    status
}
