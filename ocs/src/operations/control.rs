//! Control totals, as finance asks for them.

use ocs_api::{ControlOperations, ControlRefusal, OperationError};
use ocs_proto::cdr::convert::kind;
use ocs_proto::cdr::v1 as wire;
use ocs_proto::charging::convert::{holding, money, origin, time};
use rating_engine::cdr::CdrKind;
use rating_engine::money::{Currency, Money};
use rating_engine::time::Timestamp;

use super::Desk;
use crate::control::{Movements, Reconciled, Row, Totals};

impl ControlOperations for Desk {
    async fn control_totals(
        &self,
        period: Option<Timestamp>,
    ) -> Result<wire::GetControlTotalsResponse, ControlRefusal> {
        let (control, journal) = (self.control.clone(), self.charging.journal.clone());
        let read = tokio::task::spawn_blocking(move || {
            let totals = control.totals(&journal)?;
            Ok((control.partition(), totals))
        });
        let (partition, totals) = read.await.map_err(|_| OperationError::Stopping)?.map_err(ControlRefusal::Unsound)?;
        // Nothing is added up that is not durable.
        let Totals { since, since_chain, through, chain, sums } = totals;
        let wanted = sums.0.iter().filter(|(of, _)| period.is_none() || **of == period);
        let periods = wanted.map(|(period, rows)| {
            let totals = rows.iter().map(|((kind, currency), row)| shown_row(*kind, *currency, row));
            Ok(wire::PeriodTotals { accounting_period: period.map(time), totals: totals.collect::<Result<_, _>>()? })
        });
        Ok(wire::GetControlTotalsResponse {
            partition: partition.get().into(),
            since_position: since.get(),
            since_chain_hash: since_chain.octets().to_vec(),
            through_position: through.get(),
            chain_hash: chain.octets().to_vec(),
            periods: periods.collect::<Result<_, ControlRefusal>>()?,
        })
    }

    async fn reconcile(&self) -> Result<wire::ReconcileResponse, ControlRefusal> {
        let (control, charging) = (self.control.clone(), self.charging.clone());
        let compared = tokio::task::spawn_blocking(move || control.reconcile(&charging));
        let compared = compared.await.map_err(|_| OperationError::Stopping)?.ok_or(ControlRefusal::Comparing)?;
        shown_comparison(compared.map_err(ControlRefusal::Unsound)?)
    }
}

fn shown_row(of: CdrKind, currency: Currency, row: &Row) -> Result<wire::ControlTotal, ControlRefusal> {
    let movements = row.moved.iter().map(|((what, from), moved)| {
        let Movements { given, taken, cost } = *moved;
        Ok(wire::MovementTotal {
            holding: holding(*what).into(),
            origin: origin(*from).into(),
            given: fitting(given)?,
            taken: fitting(taken)?,
            cost: fitting(cost)?,
        })
    });
    Ok(wire::ControlTotal {
        kind: kind(of).into(),
        currency: currency.letters().to_owned(),
        cdr_count: row.cdrs,
        late_count: row.late,
        amount: Some(money(Money::from_micros(fitting(row.amount)?), currency)),
        movements: movements.collect::<Result<_, ControlRefusal>>()?,
    })
}

fn shown_comparison(compared: Reconciled) -> Result<wire::ReconcileResponse, ControlRefusal> {
    let Reconciled { through, accounts, holdings, findings, finding_count } = compared;
    let holdings = holdings.into_iter().map(|((currency, what), row)| {
        let by_cdrs = row.by_cdrs.map(|(given, taken)| Ok::<_, ControlRefusal>((fitting(given)?, fitting(taken)?)));
        let (given_by_cdrs, taken_by_cdrs) = by_cdrs.transpose()?.unzip();
        Ok(wire::ReconciledHolding {
            currency: currency.letters().to_owned(),
            holding: holding(what).into(),
            opening: fitting(row.opening)?,
            given: fitting(row.given)?,
            taken: fitting(row.taken)?,
            closing: fitting(row.closing)?,
            given_by_cdrs,
            taken_by_cdrs,
        })
    });
    Ok(wire::ReconcileResponse {
        through_position: through.get(),
        account_count: accounts,
        holdings: holdings.collect::<Result<_, ControlRefusal>>()?,
        findings,
        finding_count,
    })
}

fn fitting(sum: i128) -> Result<i64, ControlRefusal> {
    i64::try_from(sum).map_err(|_| ControlRefusal::OutOfRange)
}
