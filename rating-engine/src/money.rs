//! Money, exactly.
//!
//! Balances and charges are whole micro-units ([`Money`]); what a rate makes of a quantity is an exact fraction
//! ([`Exact`]) until [`round`] turns it into money where rule R02 says, and nowhere else. No float, no rounding on the
//! way, every sum checked.

use std::fmt;
use std::str::FromStr;

/// Micro-units in one unit of currency (1.00 EUR = 1,000,000).
pub const MICROS: i64 = 1_000_000;

/// An amount of an account's currency, in micro-units (1.00 EUR = 1,000,000).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that can be said.
    pub const MAX: Self = Self(i64::MAX);

    /// So many micro-units.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The amount in micro-units.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The sum; `None` when it does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference; `None` when it does not fit.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// The sum, clamped to what can be said; for limits and displays, never for a balance.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, clamped to what can be said; for limits and displays, never for a balance.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether this is less than nothing.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl fmt::Display for Money {
    /// At least two decimals, at most six: `0.05`, `12.345678`, `-1.00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimal = rust_decimal::Decimal::new(self.0, 6).normalize();
        let shown = if decimal.scale() < 2 { 2 } else { decimal.scale() };
        write!(f, "{decimal:.*}", usize::try_from(shown).unwrap_or(6))
    }
}

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoneyError {
    /// It is no decimal number.
    NotADecimal(String),
    /// It has more than six decimals.
    TooFine(String),
    /// It is beyond about 9.2 trillion.
    TooLarge(String),
}

impl fmt::Display for MoneyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADecimal(text) => write!(f, "'{text}' is not a decimal amount; write e.g. 12.50"),
            Self::TooFine(text) => write!(f, "'{text}' has more than 6 decimals"),
            Self::TooLarge(text) => write!(f, "'{text}' is too large"),
        }
    }
}

impl std::error::Error for MoneyError {}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let decimal =
            rust_decimal::Decimal::from_str_exact(text).map_err(|_| MoneyError::NotADecimal(text.to_owned()))?;
        let decimal = decimal.normalize();
        if decimal.scale() > 6 {
            return Err(MoneyError::TooFine(text.to_owned()));
        }
        let factor = 10i128.pow(6 - decimal.scale());
        decimal
            .mantissa()
            .checked_mul(factor)
            .and_then(|micros| i64::try_from(micros).ok())
            .map(Self)
            .ok_or_else(|| MoneyError::TooLarge(text.to_owned()))
    }
}

/// A price per quantity: exactly `micros` micro-units for every `per` units.
///
/// A rate finer than a micro-unit is said with a larger `per`: 0.0000001 per second is 1 micro-unit per 10 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    micros: u64,
    per: u64,
}

impl Rate {
    /// Free.
    pub const ZERO: Self = Self { micros: 0, per: 1 };

    /// So many micro-units for so many units; `None` when `per` is 0.
    pub const fn new(micros: u64, per: u64) -> Option<Self> {
        if per == 0 { None } else { Some(Self { micros, per }) }
    }

    /// Micro-units per [`Rate::per`] units.
    pub const fn micros(self) -> u64 {
        self.micros
    }

    /// The quantity that [`Rate::micros`] pay for.
    pub const fn per(self) -> u64 {
        self.per
    }

    /// Whether nothing is ever charged.
    pub const fn is_zero(self) -> bool {
        self.micros == 0
    }

    /// Exact charge for `quantity` units; `None` when it does not fit. Rounding is elsewhere, once ([`round`]).
    pub fn price(self, quantity: u64) -> Option<Exact> {
        // Two numbers of 64 bits always fit 128 unsigned ones.
        let numerator = u128::from(self.micros) * u128::from(quantity);
        Some(Exact { numerator: i128::try_from(numerator).ok()?, denominator: i128::from(self.per) })
    }
}

/// So much of one currency for so much of another: an exchange rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ratio {
    amount: u64,
    per: u64,
}

impl Ratio {
    /// `None` when either is 0.
    pub const fn new(amount: u64, per: u64) -> Option<Self> {
        if amount == 0 || per == 0 { None } else { Some(Self { amount, per }) }
    }

    /// So much of the one currency...
    pub const fn amount(self) -> u64 {
        self.amount
    }

    /// ... for so much of the other.
    pub const fn per(self) -> u64 {
        self.per
    }
}

/// An exact amount in micro-units: a fraction with a positive denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exact {
    numerator: i128,
    denominator: i128,
}

impl Exact {
    /// Nothing.
    pub const ZERO: Self = Self { numerator: 0, denominator: 1 };

    /// The exact form of an amount.
    pub const fn from_money(money: Money) -> Self {
        Self { numerator: money.0 as i128, denominator: 1 }
    }

    /// A fraction of micro-units; `None` unless the denominator is positive.
    pub const fn from_fraction(numerator: i128, denominator: i128) -> Option<Self> {
        if denominator > 0 { Some(Self { numerator, denominator }) } else { None }
    }

    /// The exact sum; `None` when it does not fit.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        // Sums begin with nothing.
        if self.numerator == 0 {
            return Some(other);
        }
        if self.denominator == other.denominator {
            let numerator = self.numerator.checked_add(other.numerator)?;
            return Some(Self { numerator, denominator: self.denominator });
        }
        let common = gcd(self.denominator, other.denominator);
        let (left, right) = (other.denominator / common, self.denominator / common);
        let numerator = self.numerator.checked_mul(left)?.checked_add(other.numerator.checked_mul(right)?)?;
        let denominator = self.denominator.checked_mul(left)?;
        Some(Self { numerator, denominator }.reduced())
    }

    /// The exact product with a ratio; `None` when it does not fit.
    #[must_use]
    pub fn checked_mul(self, ratio: Ratio) -> Option<Self> {
        let one = Self { numerator: self.numerator, denominator: i128::from(ratio.per) }.reduced();
        let other = Self { numerator: i128::from(ratio.amount), denominator: self.denominator }.reduced();
        let numerator = one.numerator.checked_mul(other.numerator)?;
        Some(Self { numerator, denominator: one.denominator.checked_mul(other.denominator)? })
    }

    /// Numerator and denominator (positive), in micro-units, in lowest terms.
    pub fn fraction(self) -> (i128, i128) {
        let reduced = self.reduced();
        (reduced.numerator, reduced.denominator)
    }

    /// Rounded up to a whole micro-unit: what a reservation holds (R22).
    pub fn ceil(self) -> Option<Money> {
        // Nearly always it all fits into 64 bits, where division is ten times cheaper.
        if let (Ok(numerator), Ok(denominator)) = (u64::try_from(self.numerator), u64::try_from(self.denominator)) {
            return i64::try_from(numerator.div_ceil(denominator)).ok().map(Money);
        }
        let micros = self.numerator.div_euclid(self.denominator);
        let up = i128::from(self.numerator.rem_euclid(self.denominator) != 0);
        i64::try_from(micros.checked_add(up)?).ok().map(Money)
    }

    fn reduced(self) -> Self {
        let common = gcd(self.numerator, self.denominator);
        if common <= 1 {
            return self;
        }
        Self { numerator: self.numerator / common, denominator: self.denominator / common }
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    if let (Ok(a), Ok(b)) = (u64::try_from(a.unsigned_abs()), u64::try_from(b.unsigned_abs())) {
        let (mut a, mut b) = (a, b);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        return i128::from(a);
    }
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i128::try_from(a).unwrap_or(1)
}

/// How an exact amount becomes money (R03).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoundingMode {
    /// Ties away from zero.
    #[default]
    HalfUp,
    /// Ties to the even neighbour.
    HalfEven,
    /// Away from zero.
    Up,
    /// Toward zero.
    Down,
}

/// What is rounded on its own (R02).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RoundingScope {
    /// Each price line.
    Line,
    /// The event; in a session, the rating group.
    #[default]
    Event,
    /// The bill: accounts are debited to the micro-unit, CDRs carry the exact fraction.
    Bill,
}

/// A tariff's rounding: decimals 0 to 6, mode, scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rounding {
    decimals: u8,
    mode: RoundingMode,
    scope: RoundingScope,
}

impl Rounding {
    /// Rounding to a whole micro-unit, ties away from zero: what is debited where scope is `bill`.
    pub const MICRO: Self = Self { decimals: 6, mode: RoundingMode::HalfUp, scope: RoundingScope::Event };

    /// `None` when there are more than six decimals.
    pub const fn new(decimals: u8, mode: RoundingMode, scope: RoundingScope) -> Option<Self> {
        if decimals > 6 { None } else { Some(Self { decimals, mode, scope }) }
    }

    /// The same, to other decimals; at most six.
    #[must_use]
    pub const fn to(self, decimals: u8) -> Self {
        Self { decimals: if decimals > 6 { 6 } else { decimals }, ..self }
    }

    /// Micro-units in one of the steps that it rounds to.
    const fn step(self) -> i128 {
        match self.decimals {
            0 => 1_000_000,
            1 => 100_000,
            2 => 10_000,
            3 => 1_000,
            4 => 100,
            5 => 10,
            _ => 1,
        }
    }

    /// Decimals of the currency unit, 0 to 6.
    pub const fn decimals(self) -> u8 {
        self.decimals
    }

    /// How ties and remainders go.
    pub const fn mode(self) -> RoundingMode {
        self.mode
    }

    /// What is rounded on its own.
    pub const fn scope(self) -> RoundingScope {
        self.scope
    }
}

/// Turns an exact amount into money (R02, R03); `None` when it does not fit. The only place where a charge is rounded.
pub fn round(exact: Exact, rounding: Rounding) -> Option<Money> {
    let step = rounding.step();
    let divisor = exact.denominator.checked_mul(step)?;
    // How many whole steps, and whether what is left over is less than half of one more, half, or more.
    let (floor, rest_is_zero, half) = match (u64::try_from(exact.numerator), u64::try_from(divisor)) {
        // Nearly always: division of 64 bits is ten times cheaper.
        (Ok(numerator), Ok(divisor)) => {
            let rest = numerator % divisor;
            (i128::from(numerator / divisor), rest == 0, rest.cmp(&(divisor - rest)))
        }
        _ => {
            let rest = exact.numerator.rem_euclid(divisor);
            (exact.numerator.div_euclid(divisor), rest == 0, rest.cmp(&(divisor - rest)))
        }
    };
    let negative = exact.numerator < 0;
    let up = match rounding.mode {
        RoundingMode::HalfUp if negative => half.is_gt(),
        RoundingMode::HalfUp => half.is_ge(),
        RoundingMode::HalfEven => half.is_gt() || (half.is_eq() && floor % 2 != 0),
        RoundingMode::Up => !rest_is_zero && !negative,
        RoundingMode::Down => !rest_is_zero && negative,
    };
    let steps = floor.checked_add(i128::from(up))?;
    match (i64::try_from(steps), i64::try_from(step)) {
        (Ok(steps), Ok(step)) => steps.checked_mul(step).map(Money),
        _ => None,
    }
}

/// An ISO 4217 currency: its letters, number and minor unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// Letters, number and decimals of the currencies we can say on the wire.
const CURRENCIES: &[(&str, u32, u8)] = &[
    ("AED", 784, 2),
    ("ARS", 32, 2),
    ("AUD", 36, 2),
    ("BGN", 975, 2),
    ("BHD", 48, 3),
    ("BRL", 986, 2),
    ("CAD", 124, 2),
    ("CHF", 756, 2),
    ("CLP", 152, 0),
    ("CNY", 156, 2),
    ("COP", 170, 2),
    ("CZK", 203, 2),
    ("DKK", 208, 2),
    ("EGP", 818, 2),
    ("EUR", 978, 2),
    ("GBP", 826, 2),
    ("GHS", 936, 2),
    ("HKD", 344, 2),
    ("HUF", 348, 2),
    ("IDR", 360, 2),
    ("ILS", 376, 2),
    ("INR", 356, 2),
    ("ISK", 352, 0),
    ("JOD", 400, 3),
    ("JPY", 392, 0),
    ("KES", 404, 2),
    ("KRW", 410, 0),
    ("KWD", 414, 3),
    ("MAD", 504, 2),
    ("MXN", 484, 2),
    ("MYR", 458, 2),
    ("NGN", 566, 2),
    ("NOK", 578, 2),
    ("NZD", 554, 2),
    ("OMR", 512, 3),
    ("PEN", 604, 2),
    ("PHP", 608, 2),
    ("PKR", 586, 2),
    ("PLN", 985, 2),
    ("QAR", 634, 2),
    ("RON", 946, 2),
    ("RSD", 941, 2),
    ("SAR", 682, 2),
    ("SEK", 752, 2),
    ("SGD", 702, 2),
    ("THB", 764, 2),
    ("TND", 788, 3),
    ("TRY", 949, 2),
    ("TWD", 901, 2),
    ("TZS", 834, 2),
    ("UAH", 980, 2),
    ("UGX", 800, 0),
    ("USD", 840, 2),
    ("VND", 704, 0),
    ("XAF", 950, 0),
    ("XOF", 952, 0),
    ("ZAR", 710, 2),
    ("ZMW", 967, 2),
];

/// What is known of the currency with these letters. Records are full of them: the table is in order.
fn row(letters: &[u8]) -> Option<&'static (&'static str, u32, u8)> {
    let place = CURRENCIES.binary_search_by(|(known, _, _)| known.as_bytes().cmp(letters)).ok()?;
    CURRENCIES.get(place)
}

impl Currency {
    /// The euro.
    pub const EUR: Self = Self(*b"EUR");

    /// The currency with these three letters, if it is in the table.
    pub fn parse(letters: &str) -> Option<Self> {
        row(letters.as_bytes())?;
        letters.as_bytes().try_into().ok().map(Self)
    }

    /// The three letters.
    pub fn letters(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }

    /// The three letters as octets.
    pub const fn octets(&self) -> &[u8; 3] {
        &self.0
    }

    /// Decimals of its minor unit.
    pub fn decimals(&self) -> u8 {
        row(&self.0).map_or(2, |(_, _, decimals)| *decimals)
    }

    /// The ISO 4217 number that Diameter carries (RFC 8506 8.11).
    pub fn numeric(&self) -> u32 {
        row(&self.0).map_or(999, |(_, number, _)| *number)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letters())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letters())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_currency_is_found_by_its_letters() {
        for (letters, number, _) in CURRENCIES {
            assert_eq!(Currency::parse(letters).map(|currency| currency.numeric()), Some(*number));
        }
        assert_eq!(["eur", "EU", "", "ZZZ"].map(Currency::parse), [None; 4]);
    }

    fn rounded(numerator: i128, denominator: i128, decimals: u8, mode: RoundingMode) -> i64 {
        let rounding = Rounding::new(decimals, mode, RoundingScope::Event).unwrap();
        round(Exact { numerator, denominator }, rounding).unwrap().micros()
    }

    #[test]
    fn ties_go_where_the_mode_says() {
        use RoundingMode::{Down, HalfEven, HalfUp, Up};
        // 0.125 and 0.135 to two decimals, and their negatives.
        for (micros, mode, cents) in [
            (125_000, HalfUp, 13),
            (125_000, HalfEven, 12),
            (125_000, Up, 13),
            (125_000, Down, 12),
            (135_000, HalfUp, 14),
            (135_000, HalfEven, 14),
            (135_000, Up, 14),
            (135_000, Down, 13),
            (-125_000, HalfUp, -13),
            (-125_000, HalfEven, -12),
            (-125_000, Up, -13),
            (-125_000, Down, -12),
            (120_000, Up, 12),
            (120_000, Down, 12),
            (0, Up, 0),
        ] {
            assert_eq!(rounded(micros, 1, 2, mode), cents * 10_000, "{micros} {mode:?}");
        }
        assert_eq!(rounded(1, 3, 6, HalfUp), 0);
        assert_eq!(rounded(2, 3, 6, HalfUp), 1);
    }

    #[test]
    fn one_minute_and_a_second_at_nine_cents_a_minute() {
        let rate = Rate::new(90_000, 60).unwrap();
        assert_eq!(round(rate.price(120).unwrap(), Rounding::MICRO).unwrap().to_string(), "0.18");
        assert_eq!(round(rate.price(61).unwrap(), Rounding::MICRO).unwrap().to_string(), "0.0915");
    }

    #[test]
    fn fractions_add_exactly() {
        let third = Rate::new(1, 3).unwrap().price(1).unwrap();
        let sixth = Rate::new(1, 6).unwrap().price(1).unwrap();
        let half = third.checked_add(sixth).unwrap();
        assert_eq!(half.fraction(), (1, 2));
        assert_eq!(half.ceil(), Some(Money(1)));
        assert_eq!(half.checked_add(half).unwrap().ceil(), Some(Money(1)));
    }

    #[test]
    fn amounts_are_read_and_written_exactly() {
        for text in ["0.05", "12.345678", "-1.00", "0.00", "9000000000000.00", "0.333"] {
            assert_eq!(text.parse::<Money>().unwrap().to_string(), text);
        }
        assert!(matches!("0.0000001".parse::<Money>(), Err(MoneyError::TooFine(_))));
        assert!(matches!("1e3".parse::<Money>(), Err(MoneyError::NotADecimal(_))));
        assert!(matches!("99999999999999".parse::<Money>(), Err(MoneyError::TooLarge(_))));
    }
}
