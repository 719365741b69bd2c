//! Which price wins: the most specific that matches, by one order.
//!
//! A [`Filter`] says what a price is for, a [`Subject`] what is used. Of all prices whose filter matches, the one wins
//! that names the first thing of this list that the other leaves open; document order breaks what ties are left:
//!
//! 1. service identifier, 2. rating group, 3. service, 4. zone of the dialled number, 5. visited network, 6. radio access,
//! 7. access point (APN, DNN), 8. slice, 9. direction, 10. window.
//!
//! The narrower a thing is, the earlier it stands: a service identifier is within a rating group, that within a service;
//! then who is called, where, over what, and when. [`Selector`] keeps prices in that order, found by the first four with
//! a few hash lookups however many there are.

use hashbrown::HashMap;

use crate::calendar::WindowId;
use crate::context::{Context, Plmn, Slice};
use crate::ids::{RatingGroup, ServiceId};
use crate::networks::{NetworkListId, Networks};
use crate::tariff::{Price, Service, ServiceKey, TariffVersion};
use crate::zones::{Dialled, ZoneId};

/// What a price is for; what is absent or empty is left open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// This service.
    pub service: Option<Service>,
    /// This rating group.
    pub rating_group: Option<RatingGroup>,
    /// This service identifier.
    pub service_id: Option<ServiceId>,
    /// Numbers dialled in this zone (R10).
    pub zone: Option<ZoneId>,
    /// Networks visited of this list.
    pub networks: Option<NetworkListId>,
    /// One of these radio accesses (3GPP-RAT-Type octets).
    pub rats: Box<[u8]>,
    /// One of these access points, in lower case.
    pub apns: Box<[Box<str>]>,
    /// One of these slices.
    pub slices: Box<[Slice]>,
    /// Calls and messages in this direction.
    pub direction: Option<Direction>,
    /// Times of this window.
    pub window: Option<WindowId>,
}

/// Who called, seen from the subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The subscriber, or the call was forwarded for them.
    Outgoing,
    /// Somebody else.
    Incoming,
}

/// The four things that are looked up, as far as they are named.
type Exact = (Option<ServiceId>, Option<RatingGroup>, Option<Service>, Option<ZoneId>);

impl Filter {
    const fn exact(&self) -> Exact {
        (self.service_id, self.rating_group, self.service, self.zone)
    }

    /// Which of the four it names, a bit each.
    fn shape(&self) -> u8 {
        let (service_id, rating_group, service, zone) = self.exact();
        u8::from(service_id.is_some()) << 3
            | u8::from(rating_group.is_some()) << 2
            | u8::from(service.is_some()) << 1
            | u8::from(zone.is_some())
    }

    /// Its place in the order: higher wins.
    pub fn rank(&self) -> u16 {
        u16::from(self.shape()) << 6
            | u16::from(self.networks.is_some()) << 5
            | u16::from(!self.rats.is_empty()) << 4
            | u16::from(!self.apns.is_empty()) << 3
            | u16::from(!self.slices.is_empty()) << 2
            | u16::from(self.direction.is_some()) << 1
            | u16::from(self.window.is_some())
    }

    /// Whether it is for `subject` at times of `window`.
    pub fn matches(&self, networks: &Networks, subject: &Subject<'_>, window: WindowId) -> bool {
        self.service_id.is_none_or(|wanted| subject.key.services.contains(&wanted))
            && self.rating_group.is_none_or(|wanted| subject.key.rating_group == Some(wanted))
            && self.service.is_none_or(|wanted| subject.service == wanted)
            && self.zone.is_none_or(|wanted| subject.zone == Some(wanted))
            && self.matches_rest(networks, subject, window)
    }

    #[inline]
    fn matches_rest(&self, networks: &Networks, subject: &Subject<'_>, window: WindowId) -> bool {
        self.networks.is_none_or(|list| subject.network.is_some_and(|plmn| networks.contains(list, plmn)))
            && (self.rats.is_empty() || subject.rat.is_some_and(|rat| self.rats.contains(&rat)))
            && (self.apns.is_empty()
                || subject.apn.is_some_and(|apn| self.apns.iter().any(|wanted| wanted.eq_ignore_ascii_case(apn))))
            && (self.slices.is_empty() || subject.slice.is_some_and(|slice| self.slices.contains(&slice)))
            && self.direction.is_none_or(|wanted| subject.direction == Some(wanted))
            && self.window.is_none_or(|wanted| window == wanted)
    }

    /// Whether everything that `other`, with the same four, is for is also what this one is for.
    fn covers(&self, other: &Self, networks: &Networks) -> bool {
        fn holds<T: PartialEq>(mine: &[T], theirs: &[T]) -> bool {
            mine.is_empty() || (!theirs.is_empty() && theirs.iter().all(|value| mine.contains(value)))
        }
        self.networks.is_none_or(|mine| other.networks.is_some_and(|theirs| networks.covers(mine, theirs)))
            && holds(&self.rats, &other.rats)
            && holds(&self.apns, &other.apns)
            && holds(&self.slices, &other.slices)
            && self.direction.is_none_or(|wanted| other.direction == Some(wanted))
            && self.window.is_none_or(|wanted| other.window == Some(wanted))
    }
}

/// What is used, as far as a price may depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The service.
    pub service: Service,
    /// Rating group and service identifiers.
    pub key: &'a ServiceKey,
    /// The zone of the number at the other end.
    pub zone: Option<ZoneId>,
    /// The network that serves.
    pub network: Option<Plmn>,
    /// Radio access (3GPP-RAT-Type octet).
    pub rat: Option<u8>,
    /// Access point.
    pub apn: Option<&'a str>,
    /// Slice.
    pub slice: Option<Slice>,
    /// Who called.
    pub direction: Option<Direction>,
}

impl<'a> Subject<'a> {
    /// What `context` says of one service, in the words of `tariff`. The number at the other end is the one called, for
    /// a call that comes in the one that calls.
    pub fn new(tariff: &TariffVersion, context: &'a Context, key: &'a ServiceKey) -> Self {
        let plain = Self {
            service: context.service,
            key,
            zone: None,
            network: None,
            rat: None,
            apn: None,
            slice: None,
            direction: None,
        };
        // Most tariffs ask for nothing of the circumstances.
        if tariff.selector().names & CIRCUMSTANCES == 0 { plain } else { plain.in_circumstances(tariff, context) }
    }

    fn in_circumstances(self, tariff: &TariffVersion, context: &'a Context) -> Self {
        let (packet, ims) = (context.packet.as_deref(), context.ims.as_deref());
        let direction = ims.and_then(|ims| match ims.role {
            Some(0 | 2) => Some(Direction::Outgoing),
            Some(1) => Some(Direction::Incoming),
            _ => None,
        });
        let other_end = || {
            let called = ims.and_then(|ims| match direction {
                Some(Direction::Incoming) => ims.calling.first(),
                _ => ims.called.as_ref().or_else(|| ims.requested.first()),
            });
            called.or_else(|| context.sms.as_deref().and_then(|sms| sms.recipients.first()))
        };
        let zone = if tariff.zones().is_empty() {
            None
        } else {
            other_end()
                .and_then(|number| Dialled::parse(number))
                .and_then(|number| tariff.zones().find(&number))
                .map(|it| it.zone)
        };
        let network = packet.and_then(|packet| packet.serving_plmn).or_else(|| {
            let visited = ims.and_then(|ims| ims.visited_network.as_deref());
            visited.and_then(visited_plmn)
        });
        Self {
            zone,
            network,
            rat: packet.and_then(|packet| packet.rat),
            apn: packet.and_then(|packet| packet.apn.as_deref()),
            slice: packet.and_then(|packet| packet.slice),
            direction,
            ..self
        }
    }
}

/// The network in `ims.mnc001.mcc262.3gppnetwork.org` (TS 23.003 13.2). The MNC has three digits there, a leading zero
/// where the network's own has two; every network writes it so, so a 0 before two digits is taken for such a one.
fn visited_plmn(domain: &str) -> Option<Plmn> {
    let part =
        |name: &str| domain.split('.').find_map(|part| part.strip_prefix(name)).filter(|digits| digits.len() == 3);
    let (mnc, mcc) = (part("mnc")?, part("mcc")?);
    let mnc = mnc.strip_prefix('0').unwrap_or(mnc);
    let mut digits = [0u8; 6];
    let length = mcc.len() + mnc.len();
    for (place, digit) in digits.iter_mut().zip(mcc.bytes().chain(mnc.bytes())) {
        *place = digit;
    }
    Plmn::from_ascii(digits.get(..length)?)
}

/// So few prices are looked through one by one.
const FEW: usize = 8;

/// Bits of a rank that depend on more than service, rating group and service identifier: zone, and all below it but the
/// window.
const CIRCUMSTANCES: u16 = 0b111_1110;

/// Prices in the order of specificity, found by what they name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    /// What any price names, as in [`Filter::rank`].
    names: u16,
    /// The shapes there are, the most specific first.
    shapes: Box<[u8]>,
    /// The places of the prices that name the same, in order.
    table: HashMap<Exact, Box<[u16]>>,
}

impl Selector {
    /// Puts `prices` into their order.
    pub(crate) fn compile(mut prices: Vec<Price>) -> (Self, Box<[Price]>) {
        prices.sort_by_key(|price| std::cmp::Reverse(price.filter.rank()));
        let mut shapes: Vec<u8> = Vec::new();
        let mut table: HashMap<Exact, Vec<u16>> = HashMap::new();
        let names = prices.iter().fold(0, |names, price| names | price.filter.rank());
        for (place, price) in prices.iter().enumerate() {
            let Ok(place) = u16::try_from(place) else { break };
            if shapes.last() != Some(&price.filter.shape()) {
                shapes.push(price.filter.shape());
            }
            table.entry(price.filter.exact()).or_default().push(place);
        }
        let table = table.into_iter().map(|(exact, places)| (exact, places.into())).collect();
        (Self { names, shapes: shapes.into(), table }, prices.into())
    }

    /// The place of the price that wins.
    pub(crate) fn find(
        &self,
        prices: &[Price],
        networks: &Networks,
        subject: &Subject<'_>,
        window: WindowId,
    ) -> Option<u16> {
        if prices.len() <= FEW {
            let place = prices.iter().position(|price| price.filter.matches(networks, subject, window))?;
            return u16::try_from(place).ok();
        }
        let admits = |place: &&u16| {
            let price = prices.get(usize::from(**place));
            price.is_some_and(|price| price.filter.matches_rest(networks, subject, window))
        };
        self.shapes.iter().find_map(|shape| {
            let named = |bit: u8| shape >> bit & 1 == 1;
            let of = |service_id: Option<ServiceId>| {
                // What is named must be there to be looked for.
                let group = if named(2) { Some(subject.key.rating_group?) } else { None };
                let zone = if named(0) { Some(subject.zone?) } else { None };
                let exact = (service_id, group, named(1).then_some(subject.service), zone);
                self.table.get(&exact)?.iter().find(admits).copied()
            };
            if named(3) { subject.key.services.iter().filter_map(|id| of(Some(*id))).min() } else { of(None) }
        })
    }
}

/// The prices that can never win, each with the one that always does in its place, by their numbers in the document.
pub(crate) fn shadowed(prices: &[Price], networks: &Networks) -> Vec<(usize, usize)> {
    let mut before: HashMap<(Exact, u16), Vec<usize>> = HashMap::new();
    let mut found = Vec::new();
    for (number, price) in prices.iter().enumerate() {
        // Only a price of the same rank can come first and be for more.
        let rivals = before.entry((price.filter.exact(), price.filter.rank())).or_default();
        let covering = rivals
            .iter()
            .find(|rival| prices.get(**rival).is_some_and(|rival| rival.filter.covers(&price.filter, networks)));
        match covering {
            Some(covering) => found.push((number, *covering)),
            None => rivals.push(number),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visited_network_is_read_from_its_domain() {
        let plmn = |text: &str| visited_plmn(text).map(|plmn| plmn.as_str().to_owned());
        assert_eq!(plmn("ims.mnc001.mcc262.3gppnetwork.org").as_deref(), Some("26201"));
        assert_eq!(plmn("ims.mnc410.mcc310.3gppnetwork.org").as_deref(), Some("310410"));
        assert_eq!(plmn("example.org"), None);
        assert_eq!(plmn("mncabc.mcc262"), None);
    }
}
