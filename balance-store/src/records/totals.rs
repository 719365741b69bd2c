//! Control totals as octets: what all CDRs up to a position come to, by accounting period.

use rating_engine::account::{Holding, Origin};
use rating_engine::cdr::CdrKind;
use rating_engine::ids::CdrPosition;
use rating_engine::money::Currency;
use rating_engine::time::Timestamp;

use super::values::Coded;
use super::wire::{Read, Reader, RecordError, Writer};
use crate::HashChain;

/// The format of both records.
const VERSION: u8 = 1;

/// From where to where CDRs were added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TotalsHead {
    /// The first CDR that is in.
    pub since: CdrPosition,
    /// The hash chain before it.
    pub since_chain: HashChain,
    /// The last CDR that is in; the one before `since` when none is.
    pub through: CdrPosition,
    /// The hash chain after it.
    pub chain: HashChain,
    /// When this was written.
    pub at: Timestamp,
}

/// What the CDRs of one kind and currency come to in one accounting period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotalsRow {
    /// The kind.
    pub kind: CdrKind,
    /// The currency.
    pub currency: Currency,
    /// How many.
    pub cdrs: u64,
    /// How many of them are booked here because their own period was closed.
    pub late: u64,
    /// Their amounts, micro-units.
    pub amount: i128,
    /// Their movements.
    pub moved: Vec<Moved>,
}

/// What moved of one holding and origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Of what.
    pub holding: Holding,
    /// Paid or granted.
    pub origin: Origin,
    /// Movements above 0, micro-units or units.
    pub given: i128,
    /// Movements below 0, as a positive number.
    pub taken: i128,
    /// What was paid for all of it, with its sign, micro-units.
    pub cost: i128,
}

/// Writes a head at the end of `out`.
pub fn encode_totals_head(out: &mut Vec<u8>, head: &TotalsHead) {
    let TotalsHead { since, since_chain, through, chain, at } = head;
    let mut w = Writer::new(out);
    w.u8(VERSION);
    w.u64(since.get());
    w.raw(since_chain.octets());
    w.u64(through.get());
    w.raw(chain.octets());
    w.time(*at);
}

/// Reads a head.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_totals_head(octets: &[u8]) -> Result<TotalsHead, RecordError> {
    let mut r = Reader::new(octets);
    r.version(VERSION, "head of control totals")?;
    let mut place = |position, chain| {
        Ok::<_, RecordError>((CdrPosition::new(r.u64(position)?), HashChain::from_octets(r.array(chain)?)))
    };
    let (since, since_chain) = place("since", "chain before")?;
    let (through, chain) = place("through", "chain after")?;
    let head = TotalsHead { since, since_chain, through, chain, at: r.time("written")? };
    r.finish("head of control totals")?;
    Ok(head)
}

/// Writes the rows of a period at the end of `out`.
pub fn encode_totals(out: &mut Vec<u8>, rows: &[TotalsRow]) {
    let mut w = Writer::new(out);
    w.u8(VERSION);
    w.list(rows, |w, TotalsRow { kind, currency, cdrs, late, amount, moved }| {
        w.coded(*kind);
        w.currency(*currency);
        w.u64(*cdrs);
        w.u64(*late);
        w.i128(*amount);
        w.list(moved, |w, Moved { holding, origin, given, taken, cost }| {
            w.coded(*holding);
            w.coded(*origin);
            w.i128(*given);
            w.i128(*taken);
            w.i128(*cost);
        });
    });
}

/// Reads the rows of a period.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_totals(octets: &[u8]) -> Result<Vec<TotalsRow>, RecordError> {
    let mut r = Reader::new(octets);
    r.version(VERSION, "control totals")?;
    let rows = r.list("rows", |r| {
        Ok(TotalsRow {
            kind: r.coded("kind")?,
            currency: r.currency("currency")?,
            cdrs: r.u64("CDRs")?,
            late: r.u64("late CDRs")?,
            amount: r.i128("amount")?,
            moved: r.list("movements", read_moved)?,
        })
    })?;
    r.finish("control totals")?;
    Ok(rows)
}

fn read_moved(r: &mut Reader<'_>) -> Read<Moved> {
    Ok(Moved {
        holding: r.code("holding", Holding::of_code)?,
        origin: r.code("origin", Origin::of_code)?,
        given: r.i128("given")?,
        taken: r.i128("taken")?,
        cost: r.i128("cost")?,
    })
}
