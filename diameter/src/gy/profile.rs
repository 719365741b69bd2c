//! What a kind of client needs beyond the standard (design D10), as data.
//!
//! A configured profile wins; without one, [`recognise`] knows the clients that give themselves away. Charging's share
//! of a profile is [`Profile`]; the rest is about messages and stays here.

use std::borrow::Cow;
use std::sync::Arc;

use rating_engine::command::{Action, Profile, RequestKind};
use rating_engine::tariff::ServiceKey;

use super::request::GyRequest;

/// How a client is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerProfile {
    /// Its name in configuration, metrics and logs.
    pub name: Cow<'static, str>,
    /// What charging has to know.
    pub charging: Profile,
    /// How late an answer may be.
    pub deadlines: Deadlines,
    /// Whether the denial of a request's only service is reported at command level, which ends the session on both
    /// sides (RFC 8506 5.7), instead of in its MSCC, which leaves it open.
    pub denial_ends_session: bool,
    /// Whether final units are told without Validity-Time: a client that takes any report after them for the end would
    /// stop early.
    pub bare_final_units: bool,
}

/// The longest time from a request's arrival to its answer, in milliseconds; 0 for none. A client that cannot bear a
/// late answer gets none at all instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// INITIAL_REQUEST.
    pub initial: u32,
    /// UPDATE_REQUEST.
    pub update: u32,
    /// TERMINATION_REQUEST and EVENT_REQUEST.
    pub other: u32,
}

impl PeerProfile {
    /// What the standards say.
    pub const STANDARD: Self = Self {
        name: Cow::Borrowed("standard"),
        charging: Profile::STANDARD,
        deadlines: Deadlines { initial: 0, update: 0, other: 0 },
        denial_ends_session: false,
        bare_final_units: false,
    };

    /// An Open5GS SMF: it aborts when the answer to a CCR comes after it has given up the transaction behind it (3 s
    /// for an initial request, 7.5 s for an update), and takes the first report after final units for the end.
    pub const OPEN5GS: Self = Self {
        name: Cow::Borrowed("open5gs"),
        charging: Profile::OPEN5GS,
        deadlines: Deadlines { initial: 2000, update: 5000, other: 0 },
        denial_ends_session: false,
        bare_final_units: true,
    };

    /// The longest time to the answer of such a request, in milliseconds; `None` when it may take as long as it takes.
    #[must_use]
    pub fn deadline_millis(&self, kind: RequestKind) -> Option<u32> {
        let millis = match kind {
            RequestKind::Start => self.deadlines.initial,
            RequestKind::Update => self.deadlines.update,
            RequestKind::Stop | RequestKind::Event => self.deadlines.other,
        };
        (millis > 0).then_some(millis)
    }
}

impl Default for PeerProfile {
    fn default() -> Self {
        Self::STANDARD
    }
}

/// By what a configured profile is chosen. Names are compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Origin-Host.
    Host(Box<str>),
    /// Origin-Realm.
    Realm(Box<str>),
    /// Product-Name of the peer's CER.
    Product(Box<str>),
}

/// The configured profiles.
#[derive(Clone, Debug, Default)]
pub struct Profiles(Vec<(Selector, Arc<PeerProfile>)>);

impl Profiles {
    /// These, in the order of preference among equals.
    #[must_use]
    pub const fn new(profiles: Vec<(Selector, Arc<PeerProfile>)>) -> Self {
        Self(profiles)
    }

    /// The profile configured for a client: by its host, else by its realm, else by the product of its peer.
    #[must_use]
    pub fn find(&self, host: &str, realm: &str, product: &str) -> Option<&Arc<PeerProfile>> {
        let by = |matches: &dyn Fn(&Selector) -> bool| self.0.iter().find(|(selector, _)| matches(selector));
        by(&|selector| matches!(selector, Selector::Host(name) if name.eq_ignore_ascii_case(host)))
            .or_else(|| by(&|selector| matches!(selector, Selector::Realm(name) if name.eq_ignore_ascii_case(realm))))
            .or_else(|| {
                by(&|selector| matches!(selector, Selector::Product(name) if name.eq_ignore_ascii_case(product)))
            })
            .map(|(_, profile)| profile)
    }
}

/// The profile that a client without a configured one gives away with an initial or update request; `None` when nothing in
/// it is peculiar or it is another request.
///
/// An Open5GS SMF is known by all of: the stack it is built on, the last part of its session ids, its bare service
/// context, and its one MSCC that names no rating group.
#[must_use]
pub fn recognise(product: &str, request: &GyRequest) -> Option<&'static PeerProfile> {
    static OPEN5GS: PeerProfile = PeerProfile::OPEN5GS;
    let (Action::Start(services) | Action::Update(services)) = &request.action else { return None };
    let [service] = &services[..] else { return None };
    let is_open5gs = product.eq_ignore_ascii_case("freeDiameter")
        && request.session.octets().ends_with(b"app_gy")
        && &*request.context.service_context == "32251@3gpp.org"
        && !request.command_level
        && service.key == ServiceKey::default();
    is_open5gs.then_some(&OPEN5GS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_selector_wins() {
        let named = |name: &'static str| Arc::new(PeerProfile { name: name.into(), ..PeerProfile::STANDARD });
        let profiles = Profiles::new(vec![
            (Selector::Product("demo-pgw".into()), named("product")),
            (Selector::Realm("example.net".into()), named("realm")),
            (Selector::Host("pgw01.example.net".into()), named("host")),
        ]);
        for (host, realm, product, expected) in [
            ("PGW01.example.net", "example.net", "demo-pgw", Some("host")),
            ("pgw02.example.net", "Example.net", "demo-pgw", Some("realm")),
            ("pgw02.example.org", "example.org", "demo-pgw", Some("product")),
            ("pgw02.example.org", "example.org", "other", None),
        ] {
            let found = profiles.find(host, realm, product).map(|profile| &*profile.name);
            assert_eq!(found, expected, "{host} {realm} {product}");
        }
    }

    #[test]
    fn deadlines_follow_the_kind() {
        let millis = |kind| PeerProfile::OPEN5GS.deadline_millis(kind);
        assert_eq!(millis(RequestKind::Start), Some(2000));
        assert_eq!(millis(RequestKind::Update), Some(5000));
        assert_eq!((millis(RequestKind::Stop), millis(RequestKind::Event)), (None, None));
        assert_eq!(PeerProfile::STANDARD.deadline_millis(RequestKind::Start), None);
    }
}
