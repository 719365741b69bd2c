//! Members that several records share: what each enum's value is written as, and small values made of numbers.
//!
//! Every table is read in both directions, so that a value cannot be written as one thing and read as another; a new
//! variant does not compile before it has a code. Codes are never given a second meaning.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rating_engine::account::{AccountState, Flow, Holding, Origin};
use rating_engine::cdr::{Cause, CdrKind, Payer};
use rating_engine::command::{Denial, RequestKind};
use rating_engine::ids::{BucketId, Digits, Iccid, Identifier, RatingGroup, ServiceId, TariffName};
use rating_engine::money::{Currency, Money};
use rating_engine::tariff::{Service, ServiceKey, TariffVersion};
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, MoneyUnits, Unit, Units};

use super::wire::{Fault, Presence, Read, Reader, Writer};

/// What the codes of an enum are.
pub(super) trait Coded: Copy + Sized {
    fn code(self) -> u8;
    fn of_code(code: u8) -> Option<Self>;
}

macro_rules! codes {
    ($type:ty { $($code:literal $value:pat => $made:expr),+ $(,)? }) => {
        impl Coded for $type {
            fn code(self) -> u8 {
                match self { $($value => $code),+ }
            }

            fn of_code(code: u8) -> Option<Self> {
                match code { $($code => Some($made),)+ _ => None }
            }
        }
    };
    ($type:ident: $($code:literal $variant:ident),+ $(,)?) => {
        codes!($type { $($code $type::$variant => $type::$variant),+ });
    };
}

codes!(Holding {
    0 Holding::Money => Holding::Money,
    1 Holding::Units(Unit::Second) => Holding::Units(Unit::Second),
    2 Holding::Units(Unit::Octet) => Holding::Units(Unit::Octet),
    3 Holding::Units(Unit::Event) => Holding::Units(Unit::Event),
});
codes!(Origin: 0 Paid, 1 Granted);
codes!(AccountState: 0 Active, 1 Suspended, 2 Barred, 3 Closed);
codes!(Flow:
    0 Opening, 1 TopUp, 2 Grant, 3 Refund, 4 Debit, 5 Expiry, 6 AdjustmentIn, 7 AdjustmentOut, 8 TransferIn, 9 TransferOut);
codes!(Measure: 1 Seconds, 2 TotalOctets, 3 UplinkOctets, 4 DownlinkOctets, 5 Events);
codes!(RequestKind: 1 Start, 2 Update, 3 Stop, 4 Event);
codes!(Denial: 1 CreditLimitReached, 2 ServiceDenied, 3 Rejected, 4 RatingFailed, 5 UsageSuspect);
codes!(CdrKind:
    1 Usage, 2 TopUp, 3 Refund, 4 Suspense, 5 Lapse, 6 Recurring, 7 OneTime, 8 Allowance, 9 Expiry, 10 ReRate, 11 Adjustment,
    12 Transfer);
codes!(Cause: 1 Interim, 2 Final, 3 Event, 4 Expired, 5 ClientRestarted, 6 Reopened, 7 Operator, 8 FirstUse, 9 Due, 10 Record);

impl Writer<'_> {
    pub(super) fn coded<T: Coded>(&mut self, value: T) {
        self.u8(value.code());
    }

    pub(super) fn money(&mut self, money: Money) {
        self.i64(money.micros());
    }

    /// An instant in about six octets; the end of time in one.
    pub(super) fn time(&mut self, time: Timestamp) {
        let millis = time.millis();
        self.u64((millis << 1 ^ millis >> 63).cast_unsigned().wrapping_add(2));
    }

    /// An instant near another one.
    pub(super) fn time_since(&mut self, base: Timestamp, time: Timestamp) {
        self.i64(time.millis().wrapping_sub(base.millis()));
    }

    pub(super) fn currency(&mut self, currency: Currency) {
        self.raw(currency.octets());
    }

    pub(super) fn service_key(&mut self, key: &ServiceKey) {
        let services = u64::try_from(key.services.len()).unwrap_or(u64::MAX);
        self.u64(services << 1 | u64::from(key.rating_group.is_some()));
        if let Some(group) = key.rating_group {
            self.u64(group.get().into());
        }
        key.services.iter().for_each(|service| self.u64(service.get().into()));
    }

    pub(super) fn service(&mut self, service: Service) {
        let code = match service {
            Service::Data => 0,
            Service::Voice => 1,
            Service::Sms => 2,
            Service::Mms => 3,
            Service::Other(number) => u64::from(number) + 4,
        };
        self.u64(code);
    }

    pub(super) fn units(&mut self, units: &Units) {
        let measures = [units.seconds, units.total_octets, units.uplink_octets, units.downlink_octets, units.events];
        let [seconds, total, up, down, events] = measures.map(|measure| measure.is_some());
        let currency = units.money.and_then(|money| money.currency);
        self.presence(&[seconds, total, up, down, events, units.money.is_some(), currency.is_some()]);
        measures.into_iter().flatten().for_each(|measure| self.u64(measure));
        if let Some(money) = units.money {
            self.money(money.amount);
        }
        if let Some(currency) = currency {
            self.u64(currency.into());
        }
    }

    pub(super) fn payer(&mut self, payer: &Payer) {
        if let Payer::Bucket(id) = payer {
            self.str(id.as_str());
        }
    }

    pub(super) fn identifier(&mut self, identifier: &Identifier) {
        self.u8(identifier_kind(identifier));
        match identifier {
            Identifier::Msisdn(digits) | Identifier::Imsi(digits) => self.u64(digits.packed()),
            Identifier::Iccid(number) => self.raw(number.packed()),
            Identifier::Sip(text) | Identifier::Nai(text) | Identifier::Private(text) | Identifier::External(text) => {
                self.str(text)
            }
        }
    }

    pub(super) fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.octets(&address.octets()),
            IpAddr::V6(address) => self.octets(&address.octets()),
        }
    }

    pub(super) fn tariff_ref(&mut self, tariff: &TariffVersion) {
        self.str(tariff.name().as_str());
        self.u64(tariff.version().into());
        self.raw(tariff.content_hash());
    }

    /// A tariff version that has to be at hand to be read: a part of its hash says whether it is the same.
    pub(super) fn tariff(&mut self, tariff: &TariffVersion) {
        self.str(tariff.name().as_str());
        self.u64(tariff.version().into());
        self.raw(&hash_part(tariff));
    }
}

/// The code of a payer's kind, to be packed with other members; a bucket's id follows separately.
pub(super) const fn payer_code(payer: &Payer) -> u8 {
    match payer {
        Payer::Bucket(_) => 0,
        Payer::Credit => 1,
        Payer::Debt => 2,
    }
}

/// The code of an identifier's kind, in keys and in records.
pub(crate) const fn identifier_kind(identifier: &Identifier) -> u8 {
    match identifier {
        Identifier::Msisdn(_) => 1,
        Identifier::Imsi(_) => 2,
        Identifier::Sip(_) => 3,
        Identifier::Nai(_) => 4,
        Identifier::Private(_) => 5,
        Identifier::Iccid(_) => 6,
        Identifier::External(_) => 7,
    }
}

/// The identifier of a kind, from its digits, its card's number or its text.
pub(crate) fn identifier_of<E>(
    kind: u8,
    digits: impl FnOnce() -> Result<Digits, E>,
    card: impl FnOnce() -> Result<Iccid, E>,
    text: impl FnOnce() -> Result<Box<str>, E>,
    unknown: impl FnOnce() -> E,
) -> Result<Identifier, E> {
    Ok(match kind {
        1 => Identifier::Msisdn(digits()?),
        2 => Identifier::Imsi(digits()?),
        3 => Identifier::Sip(text()?),
        4 => Identifier::Nai(text()?),
        5 => Identifier::Private(text()?),
        6 => Identifier::Iccid(card()?),
        7 => Identifier::External(text()?),
        _ => return Err(unknown()),
    })
}

/// The first octets of a tariff version's content hash.
fn hash_part(tariff: &TariffVersion) -> [u8; 8] {
    tariff.content_hash().first_chunk().copied().unwrap_or_default()
}

/// A tariff version as a record names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TariffRef {
    /// The tariff.
    pub name: TariffName,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its canonical document.
    pub content_hash: [u8; 32],
}

impl TariffRef {
    /// How records name `tariff`.
    pub fn of(tariff: &TariffVersion) -> Self {
        Self { name: tariff.name().clone(), version: tariff.version(), content_hash: *tariff.content_hash() }
    }
}

/// Finds the tariff version that a record names.
pub type Resolve<'a> = dyn Fn(&TariffName, u32) -> Option<Arc<TariffVersion>> + 'a;

impl Reader<'_> {
    pub(super) fn coded<T: Coded>(&mut self, what: &'static str) -> Read<T> {
        self.code(what, T::of_code)
    }

    pub(super) fn money(&mut self, what: &'static str) -> Read<Money> {
        self.i64(what).map(Money::from_micros)
    }

    pub(super) fn time(&mut self, what: &'static str) -> Read<Timestamp> {
        let value = self.u64(what)?.wrapping_sub(2);
        Ok(Timestamp::from_millis((value >> 1).cast_signed() ^ -((value & 1).cast_signed())))
    }

    pub(super) fn time_since(&mut self, base: Timestamp, what: &'static str) -> Read<Timestamp> {
        Ok(Timestamp::from_millis(base.millis().wrapping_add(self.i64(what)?)))
    }

    pub(super) fn currency(&mut self, what: &'static str) -> Read<Currency> {
        let offset = self.offset();
        let letters = self.array::<3>(what)?;
        let currency = std::str::from_utf8(&letters).ok().and_then(Currency::parse);
        currency.ok_or_else(|| Self::error(what, offset, Fault::Value))
    }

    pub(super) fn service_key(&mut self) -> Read<ServiceKey> {
        let offset = self.offset();
        let head = self.u64("service key")?;
        let rating_group = if head & 1 == 1 { Some(RatingGroup::new(self.number("rating group")?)) } else { None };
        let mut services = Vec::new();
        for _ in 0..head >> 1 {
            if self.is_empty() {
                return Err(Self::error("service key", offset, Fault::Ended));
            }
            services.push(ServiceId::new(self.number("service identifier")?));
        }
        Ok(ServiceKey { rating_group, services: services.into() })
    }

    pub(super) fn service(&mut self) -> Read<Service> {
        let offset = self.offset();
        Ok(match self.u64("service")? {
            0 => Service::Data,
            1 => Service::Voice,
            2 => Service::Sms,
            3 => Service::Mms,
            other => {
                Service::Other(u32::try_from(other - 4).map_err(|_| Self::error("service", offset, Fault::Value))?)
            }
        })
    }

    pub(super) fn units(&mut self, what: &'static str) -> Read<Units> {
        let offset = self.offset();
        let mut present = self.presence(7, what)?;
        let mut measure = |r: &mut Self| r.option(&mut present, |r| r.u64(what));
        let mut units = Units {
            seconds: measure(self)?,
            total_octets: measure(self)?,
            uplink_octets: measure(self)?,
            downlink_octets: measure(self)?,
            events: measure(self)?,
            money: None,
        };
        let amount = self.option(&mut present, |r| r.money(what))?;
        let currency = self.option(&mut present, |r| r.number(what))?;
        units.money = match (amount, currency) {
            (Some(amount), currency) => Some(MoneyUnits { amount, currency }),
            (None, None) => None,
            (None, Some(_)) => return Err(Self::error(what, offset, Fault::Value)),
        };
        Ok(units)
    }

    /// The payer of a code, whose id follows if it is a bucket.
    pub(super) fn payer(&mut self, code: u8) -> Read<Payer> {
        match code {
            0 => Ok(Payer::Bucket(BucketId::new(self.str("bucket")?))),
            1 => Ok(Payer::Credit),
            2 => Ok(Payer::Debt),
            _ => Err(self.fail("payer", Fault::Value)),
        }
    }

    pub(super) fn identifier(&mut self) -> Read<Identifier> {
        let offset = self.offset();
        let kind = self.u8("identifier")?;
        let wrong = || Self::error("identifier", offset, Fault::Value);
        match kind {
            1 | 2 => {
                let digits = Digits::from_packed(self.u64("identifier")?);
                identifier_of(kind, || digits.ok_or_else(wrong), || Err(wrong()), || Err(wrong()), wrong)
            }
            6 => {
                let card = Iccid::from_packed(self.array("identifier")?);
                identifier_of(kind, || Err(wrong()), || card.ok_or_else(wrong), || Err(wrong()), wrong)
            }
            _ => {
                let text = self.str("identifier")?;
                identifier_of(kind, || Err(wrong()), || Err(wrong()), || Ok(text.into()), wrong)
            }
        }
    }

    pub(super) fn address(&mut self, what: &'static str) -> Read<IpAddr> {
        let offset = self.offset();
        let octets = self.octets(what)?;
        if let Ok(v4) = <[u8; 4]>::try_from(octets) {
            return Ok(IpAddr::V4(Ipv4Addr::from(v4)));
        }
        let v6 = <[u8; 16]>::try_from(octets).map_err(|_| Self::error(what, offset, Fault::Value))?;
        Ok(IpAddr::V6(Ipv6Addr::from(v6)))
    }

    pub(super) fn tariff_ref(&mut self) -> Read<TariffRef> {
        Ok(TariffRef {
            name: TariffName::new(self.str("tariff")?),
            version: self.number("tariff version")?,
            content_hash: self.array("tariff content hash")?,
        })
    }

    pub(super) fn tariff(&mut self, resolve: &Resolve<'_>) -> Read<Arc<TariffVersion>> {
        let offset = self.offset();
        let name = TariffName::new(self.str("tariff")?);
        let version = self.number("tariff version")?;
        let hash = self.array::<8>("tariff content hash")?;
        match resolve(&name, version) {
            None => Err(Self::error("tariff", offset, Fault::TariffMissing { name, version })),
            Some(tariff) if hash_part(&tariff) != hash => {
                Err(Self::error("tariff", offset, Fault::TariffDiffers { name, version }))
            }
            Some(tariff) => Ok(tariff),
        }
    }

    pub(super) fn texts(&mut self, present: &mut Presence, what: &'static str) -> Read<Vec<Box<str>>> {
        self.listed(present, what, |r| r.str(what).map(Into::into))
    }

    pub(super) fn text(&mut self, present: &mut Presence, what: &'static str) -> Read<Option<Box<str>>> {
        self.option(present, |r| r.str(what).map(Into::into))
    }
}
