//! A digest of what a request asks for, the same on every machine and after every restart (design D6).
//!
//! It tells a repeated request from another one under the same key. It is no protection against somebody who looks for
//! collisions: a client that finds one gets its own stored answer.

use rating_engine::command::{Action, RequestKind, Requested, ServiceRequest, TariffPart, Used};
use rating_engine::units::Units;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The digest of the unit parts: per service its key, what is requested and what was used; the requested action; what
/// is refunded; how many `messages` an event is for. Everything else may differ between a request and its repeat.
pub(crate) fn of(action: &Action, messages: Option<u32>) -> u64 {
    let mut digest = Digest(OFFSET);
    match action {
        Action::Start(services) => digest.services(1, services),
        Action::Update(services) => digest.services(2, services),
        Action::Stop(services) => digest.services(3, services),
        Action::Debit(services) => digest.services(4, services),
        Action::Refund { original, services } => {
            digest.services(5, services);
            digest.octets(original.octets());
        }
        Action::CheckBalance(services) => digest.services(6, services),
        Action::PriceEnquiry(services) => digest.services(7, services),
        // Gy has none.
        Action::Record { services, .. } => digest.services(8, services),
    }
    // An event that names no units is for so many; in a session the number decides nothing.
    if let (RequestKind::Event, Some(messages)) = (action.kind(), messages) {
        digest.word(messages.into());
    }
    digest.finish()
}

/// FNV-1a over words of 64 bits, with the upper half folded into the lower after each; every list is preceded by its
/// length and every choice by its number, so that no two requests feed the same words.
struct Digest(u64);

impl Digest {
    fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(PRIME);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn octets(&mut self, octets: &[u8]) {
        self.length(octets.len());
        for chunk in octets.chunks(8) {
            self.word(chunk.iter().fold(0, |word, octet| word << 8 | u64::from(*octet)));
        }
    }

    fn length(&mut self, length: usize) {
        self.word(u64::try_from(length).unwrap_or(u64::MAX));
    }

    fn services(&mut self, action: u64, services: &[ServiceRequest]) {
        self.word(action);
        self.length(services.len());
        for ServiceRequest { key, requested, used } in services {
            // One more than the number, so that 0 can mean that there is none; the widest group still fits.
            self.word(key.rating_group.map_or(0, |group| u64::from(group.get()) + 1));
            self.length(key.services.len());
            key.services.iter().for_each(|service| self.word(service.get().into()));
            match requested {
                Requested::Nothing => self.word(0),
                Requested::Any => self.word(1),
                Requested::Units(units) => {
                    self.word(2);
                    self.units(units);
                }
            }
            self.length(used.len());
            for Used { units, part } in used {
                self.word(match part {
                    TariffPart::Whole => 0,
                    TariffPart::Before => 1,
                    TariffPart::After => 2,
                    TariffPart::Straddling => 3,
                });
                self.units(units);
            }
        }
    }

    fn units(&mut self, units: &Units) {
        let Units { seconds, total_octets, uplink_octets, downlink_octets, events, money } = *units;
        let counts = [seconds, total_octets, uplink_octets, downlink_octets, events];
        let present = counts.iter().fold(0, |mask, count| mask << 1 | u64::from(count.is_some()));
        self.word(present << 1 | u64::from(money.is_some()));
        counts.into_iter().flatten().for_each(|count| self.word(count));
        if let Some(money) = money {
            self.octets(&money.amount.micros().to_be_bytes());
            self.word(money.currency.map_or(0, |code| u64::from(code) + 1));
        }
    }

    /// The last word spread over all bits (the finaliser of SplitMix64).
    fn finish(self) -> u64 {
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rating_engine::ids::{RatingGroup, ServiceId, SessionId};
    use rating_engine::tariff::ServiceKey;

    fn of(action: &Action) -> u64 {
        super::of(action, None)
    }

    fn service(group: Option<u32>, services: &[u32]) -> ServiceRequest {
        let services = services.iter().map(|id| ServiceId::new(*id)).collect();
        let key = ServiceKey { rating_group: group.map(RatingGroup::new), services };
        ServiceRequest { key, requested: Requested::Any, used: Vec::new() }
    }

    /// Stored answers are compared with digests made by later versions: these numbers never change.
    #[test]
    fn digests_are_for_ever() {
        let octets = Units { total_octets: Some(10 << 20), ..Units::default() };
        let asked = ServiceRequest { requested: Requested::Units(octets), ..service(Some(100), &[]) };
        assert_eq!(of(&Action::Start(Vec::new())), START);
        assert_eq!(of(&Action::Start(vec![asked])), START_WITH_UNITS);
        let original = SessionId::new(b"smsc01.example.net;3970123999;1");
        assert_eq!(of(&Action::Refund { original, services: Vec::new() }), REFUND);
    }

    const START: u64 = 0xb12e_84d0_f3a3_8d86;
    const START_WITH_UNITS: u64 = 0xb868_6223_4dab_2772;
    const REFUND: u64 = 0x6307_3c72_95a1_5927;

    #[test]
    fn what_differs_has_different_digests() {
        let zero = Units { total_octets: Some(0), ..Units::default() };
        let used = |part| ServiceRequest { used: vec![Used { units: zero, part }], ..service(Some(1), &[]) };
        let all = [
            of(&Action::Start(Vec::new())),
            of(&Action::Update(Vec::new())),
            of(&Action::Start(vec![service(None, &[])])),
            of(&Action::Start(vec![service(Some(0), &[])])),
            of(&Action::Start(vec![service(Some(1), &[])])),
            of(&Action::Start(vec![service(Some(1), &[2])])),
            of(&Action::Start(vec![service(Some(1), &[2, 3])])),
            of(&Action::Start(vec![service(Some(1), &[]), service(None, &[])])),
            of(&Action::Start(vec![ServiceRequest { requested: Requested::Units(zero), ..service(Some(1), &[]) }])),
            of(&Action::Start(vec![used(TariffPart::Whole)])),
            of(&Action::Start(vec![used(TariffPart::After)])),
            of(&Action::Debit(Vec::new())),
            super::of(&Action::Debit(Vec::new()), Some(1)),
            super::of(&Action::Debit(Vec::new()), Some(2)),
        ];
        for (at, digest) in all.iter().enumerate() {
            assert!(!all[..at].contains(digest), "{at}");
        }
    }
}
