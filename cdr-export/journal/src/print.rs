//! The journal as text: hledger's plain-text format, and CSV.
//!
//! The same books give the same octets. hledger refuses an entry that does not add up to nothing: so it is an independent check.

use std::io::{self, Write};

use cdr_client::{decimal, quoted};

use crate::books::{CustomerSum, Entry};

/// Entries that moved money, one transaction each.
pub(crate) fn hledger(out: &mut dyn Write, entries: &[Entry]) -> io::Result<()> {
    for entry in entries.iter().filter(|entry| entry.postings.iter().any(|posting| posting.micros != 0)) {
        let Entry { day, kind, ledger_code, period, cdrs, currency, postings } = entry;
        let code = if ledger_code.is_empty() { String::new() } else { format!(" {}", plain(ledger_code)) };
        let period = if period.is_empty() { String::new() } else { format!(", period:{period}") };
        writeln!(out, "{day} {kind}{code}  ; cdrs:{cdrs}{period}")?;
        for posting in postings.iter().filter(|posting| posting.micros != 0) {
            writeln!(out, "    {}  {} {currency}", plain(&posting.account), decimal(posting.micros))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// What a text may not have in hledger's format: two spaces end an account's name, a semicolon begins a remark.
fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace(';', ",")
}

/// One row a posting.
pub(crate) fn csv(out: &mut dyn Write, entries: &[Entry]) -> io::Result<()> {
    writeln!(out, "day,kind,ledger_code,accounting_period,currency,cdrs,account,debit,credit")?;
    for Entry { day, kind, ledger_code, period, currency, cdrs, postings } in entries {
        for posting in postings.iter().filter(|posting| posting.micros != 0) {
            let amount = decimal(posting.micros).trim_start_matches('-').to_owned();
            let (debit, credit) = if posting.micros > 0 { (amount, String::new()) } else { (String::new(), amount) };
            let (code, account) = (quoted(ledger_code), quoted(&posting.account));
            writeln!(out, "{day},{kind},{code},{period},{currency},{cdrs},{account},{debit},{credit}")?;
        }
    }
    Ok(())
}

/// What customers were charged, one row each day and ledger code.
pub(crate) fn customers(out: &mut dyn Write, sums: &[CustomerSum]) -> io::Result<()> {
    writeln!(out, "account,day,ledger_code,currency,cdrs,amount")?;
    for CustomerSum { account, day, ledger_code, currency, cdrs, micros } in sums {
        writeln!(out, "{account},{day},{},{currency},{cdrs},{}", quoted(ledger_code), decimal(*micros))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Posting;

    fn entry() -> Entry {
        let posting = |account: &str, micros| Posting { account: account.to_owned(), micros };
        Entry {
            day: "2027-01-31".into(),
            kind: "usage".into(),
            ledger_code: "45;00".into(),
            period: "2027-01-01".into(),
            currency: "EUR".into(),
            cdrs: 3,
            postings: vec![
                posting("liabilities:contract", 1_500_000),
                posting("revenue,  usage", -1_500_000),
                posting("empty", 0),
            ],
        }
    }

    fn text(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_entry_is_a_transaction() {
        assert_eq!(
            text(|out| hledger(out, &[entry()])),
            "2027-01-31 usage 45,00  ; cdrs:3, period:2027-01-01\n    liabilities:contract  1.500000 EUR\n    revenue, usage  -1.500000 EUR\n\n"
        );
        assert_eq!(
            text(|out| csv(out, &[entry()])),
            "day,kind,ledger_code,accounting_period,currency,cdrs,account,debit,credit\n\
             2027-01-31,usage,45;00,2027-01-01,EUR,3,liabilities:contract,1.500000,\n\
             2027-01-31,usage,45;00,2027-01-01,EUR,3,\"revenue,  usage\",,1.500000\n"
        );
    }
}
