//! A charge given back by a person (R29): to who paid it, what was paid last first.

use super::mutate::{CLOSED, NO_ACCOUNT, NOT_POSITIVE};
use super::{Archived, Shard};
use crate::account::{Account, AccountState, Holding};
use crate::cdr::{Cause, CdrKind, CdrSource, Movements, Payer, RatedCdr};
use crate::command::{Change, Effects, Mutation, Refusal, SessionChange, Write};
use crate::money::Money;
use crate::refund::GiveBack;
use crate::time::Timestamp;
use crate::units::{MoneyUnits, Units};

impl Shard {
    /// The archived session that has to be recalled before `mutation` can be done: the event that keeps what was given back of
    /// its charge.
    pub fn wants_for(&self, mutation: &Mutation) -> Option<&Archived> {
        let back = match &mutation.change {
            Change::GiveBack(back) => back,
            Change::Correct(correction) => &correction.known,
            Change::OpenAccount(_)
            | Change::PutSubscriber(_)
            | Change::TopUp { .. }
            | Change::Adjust { .. }
            | Change::Extend { .. }
            | Change::Buy { .. }
            | Change::Cancel { .. }
            | Change::Replace { .. }
            | Change::SetState { .. }
            | Change::SetCredit { .. }
            | Change::RemoveMember { .. }
            | Change::Describe(_)
            | Change::Release { .. } => return None,
        };
        let event = back.event.as_ref().filter(|event| !self.sessions.contains_key(*event))?;
        self.archived.get(event)
    }

    /// Gives back what is left of a CDR's charge, or an amount of it. The event that charged it, if it is remembered, knows of
    /// it afterwards, so that the network gets back no more than what is left.
    pub(super) fn give_back(
        &mut self,
        back: &GiveBack,
        source: CdrSource,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<(), Refusal> {
        if back.amount.is_some_and(|amount| amount <= Money::ZERO) {
            return Err(NOT_POSITIVE);
        }
        let movements = self.go_back(back, now, effects)?;
        let account = &self.accounts.get(&back.account).ok_or(NO_ACCOUNT)?.value;
        let money = movements.iter().filter(|movement| movement.holding == Holding::Money);
        let money = money.fold(0i64, |sum, movement| sum.saturating_add(movement.delta));
        let (money, currency) = (Money::from_micros(money), Some(account.currency.numeric()));
        effects.cdrs.push(RatedCdr {
            corrects: Some(back.position),
            subscriber: back.subscriber,
            gives_back: back.used_from,
            reported: Units { money: Some(MoneyUnits { amount: money, currency }), ..Units::default() },
            amount: Money::ZERO.saturating_sub(money),
            movements,
            ..RatedCdr::draft(CdrKind::Refund, account, source, Cause::Operator, now)
        });
        effects.facts.charged_micros = effects.facts.charged_micros.saturating_sub(money.micros());
        Ok(())
    }

    /// Has what is wanted of a charge go back to who paid it, what was paid last first, and the event know of it.
    pub(super) fn go_back(
        &mut self,
        back: &GiveBack,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<Movements, Refusal> {
        let Self { accounts, sessions, .. } = self;
        let account = &mut accounts.get_mut(&back.account).ok_or(NO_ACCOUNT)?.value;
        still_so(account, back)?;
        let wanted = back.wanted().ok_or(Refusal::NothingToRefund)?;
        let mut parts = back.parts();
        if !parts.iter().any(|part| part.charge == wanted && part.amount > 0) {
            return Err(Refusal::NothingToRefund);
        }
        let first = back.charges.first().map(|charge| charge.position);
        let event = back.event.as_ref().and_then(|event| sessions.get_mut(event));
        let mut event = event.filter(|slot| !slot.value.is_open());
        let known = event.as_mut().map(|slot| &mut slot.value.charges);
        let mut known = known.and_then(|charges| charges.iter_mut().find(|charge| Some(charge.cdr) == first));
        if known.as_ref().is_some_and(|known| !GiveBack::agree(&mut parts, known)) {
            return Err(Refusal::Invalid("its CDRs do not say what its event was charged; give it by a top-up"));
        }
        let chosen = back.choose(&parts, wanted).ok_or(Refusal::RefundBeyondCharge)?;
        let mut moves: Vec<(Payer, Holding, i64)> = Vec::with_capacity(chosen.len());
        for (place, amount) in chosen {
            let Some(part) = parts.get_mut(place) else { continue };
            part.left = part.left.saturating_sub(amount);
            moves.push((part.payer.clone(), part.holding, amount));
        }
        let ended = |payer: &Payer| match payer {
            Payer::Bucket(id) => account.bucket(id).is_none_or(|bucket| bucket.valid_to <= now),
            Payer::Credit | Payer::Debt => false,
        };
        let moves = account.way_back(&moves, now).ok_or(Refusal::OutOfRange)?;
        if moves.iter().any(|(payer, ..)| ended(payer)) {
            return Err(Refusal::Invalid(
                "a bucket that paid has ended; give the money back by a top-up into one that has not",
            ));
        }
        let movements = account.give_back(&moves, now).ok_or(Refusal::OutOfRange)?;
        if let (Some(known), Some(event)) = (&mut known, &back.event) {
            back.note(&parts, wanted, known);
            effects.writes.push(Write::Session(event.clone(), SessionChange::default()));
        }
        Ok(movements)
    }
}

/// Whether what is known of a charge is still all that is to be known.
pub(super) fn still_so(account: &Account, back: &GiveBack) -> Result<(), Refusal> {
    if account.state == AccountState::Closed {
        return Err(CLOSED);
    }
    // Something else went back since the CDRs were looked at: it may be of this charge.
    if account.given_back() == back.given_back { Ok(()) } else { Err(Refusal::Stale) }
}
