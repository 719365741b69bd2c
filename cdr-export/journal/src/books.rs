//! The books: a SQLite file with the sums of every day and the position up to which CDRs are in them, always changed together.
//!
//! A CDR is in the books or it is not, also after kill -9: one transaction has a batch's sums and its position, and is on disk before the
//! batch is acknowledged. Whoever sends a CDR again is passed over by position. Tables are plain, so that others may query them. Absent:
//! what is posted ([`crate::map`]), and where CDRs come from.

use std::path::Path;

use ocs_proto::cdr::v1::{CdrKind, RatedCdr};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::Failure;
use crate::day::Days;
use crate::map::{Map, Posting};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS place (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    partition INTEGER NOT NULL,
    since INTEGER NOT NULL,
    next INTEGER NOT NULL,
    chain BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS parked (position INTEGER PRIMARY KEY, reason TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS entries (
    day TEXT NOT NULL, kind TEXT NOT NULL, ledger_code TEXT NOT NULL, period TEXT NOT NULL, currency TEXT NOT NULL,
    cdrs INTEGER NOT NULL, micros INTEGER NOT NULL,
    PRIMARY KEY (day, kind, ledger_code, period, currency)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS postings (
    day TEXT NOT NULL, kind TEXT NOT NULL, ledger_code TEXT NOT NULL, period TEXT NOT NULL, currency TEXT NOT NULL,
    account TEXT NOT NULL, micros INTEGER NOT NULL,
    PRIMARY KEY (day, kind, ledger_code, period, currency, account)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS customers (
    customer INTEGER NOT NULL, day TEXT NOT NULL, ledger_code TEXT NOT NULL, currency TEXT NOT NULL,
    cdrs INTEGER NOT NULL, micros INTEGER NOT NULL,
    PRIMARY KEY (customer, day, ledger_code, currency)
) STRICT, WITHOUT ROWID;
";

/// Where the books stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Whose CDRs these are.
    pub(crate) partition: u32,
    /// The first CDR that is in.
    pub(crate) since: u64,
    /// The CDR that is due next.
    pub(crate) next: u64,
    /// The hash chain before it; empty where it is not known.
    pub(crate) chain: Vec<u8>,
}

/// What an entry of the journal is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The day of the booking.
    pub(crate) day: String,
    /// Kind of CDR.
    pub(crate) kind: String,
    /// Ledger code; empty where none is said.
    pub(crate) ledger_code: String,
    /// First instant of the accounting period; empty where none is kept.
    pub(crate) period: String,
    /// Currency.
    pub(crate) currency: String,
    /// How many CDRs it is of.
    pub(crate) cdrs: i64,
    /// The postings, by account.
    pub(crate) postings: Vec<Posting>,
}

/// What a customer was charged on a day under a ledger code.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct CustomerSum {
    /// The account's number in the charging system.
    pub(crate) account: u64,
    /// The day.
    pub(crate) day: String,
    /// Ledger code; empty where none is said.
    pub(crate) ledger_code: String,
    /// Currency.
    pub(crate) currency: String,
    /// How many CDRs.
    pub(crate) cdrs: i64,
    /// Their amounts, micro-units: charged above 0, paid in or given back below.
    pub(crate) micros: i64,
}

/// Count and amount of one kind and currency.
pub(crate) type KindSum = ((String, String), (i64, i64));

/// The books.
pub(crate) struct Books {
    file: Connection,
    map: Map,
    days: Days,
}

/// A CDR that was not booked, and why.
pub(crate) type Left = (u64, String);

impl Books {
    /// Opens the books in a folder, which is made where there is none.
    pub(crate) fn open(folder: &Path, map: Map, days: Days) -> Result<Self, Failure> {
        let path = folder.join("books.sqlite");
        let failed =
            |doing: &str, error: &dyn std::fmt::Display| Failure(format!("{doing} {}: {error}", path.display()));
        std::fs::create_dir_all(folder).map_err(|error| failed("making the folder of", &error))?;
        let file = Connection::open(&path).map_err(|error| failed("opening", &error))?;
        let prepared = file
            .pragma_update(None, "journal_mode", "wal")
            // What is acknowledged must be on disk.
            .and_then(|()| file.pragma_update(None, "synchronous", "full"))
            .and_then(|()| file.execute_batch(SCHEMA));
        prepared.map_err(|error| failed("preparing", &error))?;
        Ok(Self { file, map, days })
    }

    /// Where they stand; `None` for books in which nothing is.
    pub(crate) fn place(&self) -> Result<Option<Place>, Failure> {
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Place { partition: row.get(0)?, since: row.get(1)?, next: row.get(2)?, chain: row.get(3)? })
        };
        self.file
            .query_row("SELECT partition, since, next, chain FROM place", [], read)
            .optional()
            .map_err(Failure::from)
    }

    /// Begins books that nothing is in.
    pub(crate) fn begin(&mut self, partition: u32, since: u64) -> Result<Place, Failure> {
        let sql = "INSERT INTO place (id, partition, since, next, chain) VALUES (0, ?1, ?2, ?2, x'')";
        self.file.execute(sql, params![partition, since])?;
        Ok(Place { partition, since, next: since, chain: Vec::new() })
    }

    /// Books a batch and moves the place to `next`, all or nothing. CDRs below the place are in already; what cannot be booked is
    /// noted as parked, and returned.
    pub(crate) fn book(&mut self, records: &[RatedCdr], next: u64, chain: &[u8]) -> Result<Vec<Left>, Failure> {
        let place = self.place()?.ok_or_else(|| Failure("the books were not begun".to_owned()))?;
        let transaction = self.file.transaction()?;
        let mut left = Vec::new();
        for cdr in records.iter().filter(|cdr| cdr.position >= place.next) {
            if let Err(reason) = book_one(&transaction, &self.map, &self.days, cdr)? {
                transaction
                    .execute("INSERT INTO parked (position, reason) VALUES (?1, ?2)", params![cdr.position, reason])?;
                left.push((cdr.position, reason));
            }
        }
        transaction.execute("UPDATE place SET next = max(next, ?1), chain = ?2", params![next, chain])?;
        transaction.commit()?;
        Ok(left)
    }

    /// Books a CDR that was parked; says why it still cannot be, or `None` when it is in the books now, or was.
    pub(crate) fn book_parked(&mut self, cdr: &RatedCdr) -> Result<Option<String>, Failure> {
        let transaction = self.file.transaction()?;
        let is_parked = transaction
            .query_row("SELECT 1 FROM parked WHERE position = ?1", [cdr.position], |_| Ok(()))
            .optional()?
            .is_some();
        // It was booked before, and the word of it was lost.
        if !is_parked {
            return Ok(None);
        }
        if let Err(reason) = book_one(&transaction, &self.map, &self.days, cdr)? {
            return Ok(Some(reason));
        }
        transaction.execute("DELETE FROM parked WHERE position = ?1", [cdr.position])?;
        transaction.commit()?;
        Ok(None)
    }

    /// CDRs that are parked, with why.
    pub(crate) fn parked(&self) -> Result<Vec<Left>, Failure> {
        let mut query = self.file.prepare("SELECT position, reason FROM parked ORDER BY position")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The journal from a day to a day, in the order of days, kinds and codes.
    pub(crate) fn journal(&self, from: &str, to: &str) -> Result<Vec<Entry>, Failure> {
        let sql =
            "SELECT e.day, e.kind, e.ledger_code, e.period, e.currency, e.cdrs, p.account, p.micros FROM entries e
             JOIN postings p USING (day, kind, ledger_code, period, currency)
             WHERE e.day >= ?1 AND e.day <= ?2
             ORDER BY e.day, e.kind, e.ledger_code, e.period, e.currency, p.account";
        let mut query = self.file.prepare(sql)?;
        let mut rows = query.query(params![from, to])?;
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(row) = rows.next()? {
            let entry = Entry {
                day: row.get(0)?,
                kind: row.get(1)?,
                ledger_code: row.get(2)?,
                period: row.get(3)?,
                currency: row.get(4)?,
                cdrs: row.get(5)?,
                postings: Vec::new(),
            };
            let posting = Posting { account: row.get(6)?, micros: row.get(7)? };
            match entries.last_mut() {
                Some(last) if Entry { postings: Vec::new(), ..last.clone() } == entry => last.postings.push(posting),
                Some(_) | None => entries.push(Entry { postings: vec![posting], ..entry }),
            }
        }
        Ok(entries)
    }

    /// What customers were charged from a day to a day.
    pub(crate) fn customers(&self, from: &str, to: &str) -> Result<Vec<CustomerSum>, Failure> {
        let sql = "SELECT customer, day, ledger_code, currency, cdrs, micros FROM customers
             WHERE day >= ?1 AND day <= ?2 ORDER BY customer, day, ledger_code, currency";
        let mut query = self.file.prepare(sql)?;
        let rows = query.query_map(params![from, to], |row| {
            Ok(CustomerSum {
                account: row.get(0)?,
                day: row.get(1)?,
                ledger_code: row.get(2)?,
                currency: row.get(3)?,
                cdrs: row.get(4)?,
                micros: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Count and amount by kind and currency: what control totals must say.
    pub(crate) fn kinds(&self) -> Result<Vec<KindSum>, Failure> {
        let sql = "SELECT kind, currency, sum(cdrs), sum(micros) FROM entries GROUP BY kind, currency ORDER BY kind, currency";
        let mut query = self.file.prepare(sql)?;
        let rows = query.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Books one CDR; `Ok(Err)` says why it cannot be.
fn book_one(
    transaction: &Transaction<'_>,
    map: &Map,
    days: &Days,
    cdr: &RatedCdr,
) -> Result<Result<(), String>, Failure> {
    let postings = match map.postings(cdr) {
        Ok(postings) => postings,
        Err(reason) => return Ok(Err(reason.to_string())),
    };
    let (Some(amount), Some(day)) = (&cdr.amount, days.day(cdr.accepted.as_ref())) else {
        return Ok(Err("says neither amount nor time".to_owned()));
    };
    let (kind, code, currency) = (kind_of(cdr), &cdr.ledger_code, &amount.currency);
    let period = cdr.accounting_period.as_ref().and_then(|at| days.day(Some(at))).unwrap_or_default();
    // Sums that do not fit are an error of SQLite in a STRICT table: nothing of the batch is booked then.
    transaction
        .prepare_cached(
            "INSERT INTO entries VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6)
             ON CONFLICT DO UPDATE SET cdrs = cdrs + 1, micros = micros + excluded.micros",
        )?
        .execute(params![day, kind, code, period, currency, amount.mantissa])?;
    for Posting { account, micros } in &postings {
        transaction
            .prepare_cached(
                "INSERT INTO postings VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET micros = micros + excluded.micros",
            )?
            .execute(params![day, kind, code, period, currency, account, micros])?;
    }
    transaction
        .prepare_cached(
            "INSERT INTO customers VALUES (?1, ?2, ?3, ?4, 1, ?5)
             ON CONFLICT DO UPDATE SET cdrs = cdrs + 1, micros = micros + excluded.micros",
        )?
        .execute(params![cdr.account_id, day, code, currency, amount.mantissa])?;
    Ok(Ok(()))
}

/// The kind of a CDR, in one word.
fn kind_of(cdr: &RatedCdr) -> String {
    word(CdrKind::try_from(cdr.kind).unwrap_or_default())
}

/// A kind, in one word.
pub(crate) fn word(kind: CdrKind) -> String {
    kind.as_str_name().trim_start_matches("CDR_KIND_").to_lowercase().replace('_', "-")
}
