//! Re-ratings, as operators ask for them.

use balance_store::records::{Rerating, ReratingState};
use ocs_api::{Caller, Operations, ReratingAsked, ReratingOperations, ReratingRefusal, name};
use ocs_proto::charging::convert::{money, time};
use ocs_proto::operator::v1 as wire;
use rating_engine::account::Account;
use rating_engine::ids::TariffName;
use rating_engine::shard::Shard;

use super::{Desk, look};

impl Desk {
    fn job(&self, number: u64, rerating: &Rerating) -> wire::ReratingJob {
        let (state, failure) = match &rerating.state {
            ReratingState::Planning => (wire::ReratingState::Planning, String::new()),
            ReratingState::Planned => (wire::ReratingState::Planned, String::new()),
            ReratingState::Running => (wire::ReratingState::Running, String::new()),
            ReratingState::Done => (wire::ReratingState::Done, String::new()),
            ReratingState::Cancelled => (wire::ReratingState::Cancelled, String::new()),
            ReratingState::Failed { reason } => (wire::ReratingState::Failed, reason.to_string()),
        };
        let plan = rerating.plan.as_ref();
        let account = rerating.account.and_then(|id| {
            let group = self.charging.directory.group_of(id);
            self.charging.shards.with(group, |shard| shard.account(id).map(|account| name::account(account.tenant, id)))
        });
        let (approved_by, approve_time) =
            rerating.approved.as_ref().map_or_else(Default::default, |(by, at)| (by.to_string(), Some(time(*at))));
        let unpriced = plan.map_or(0, |plan| plan.unpriced);
        wire::ReratingJob {
            name: name::rerating(number),
            state: state.into(),
            tariff: rerating.tariff.as_str().to_owned(),
            from: Some(time(rerating.from)),
            to: Some(time(rerating.to)),
            account: account.unwrap_or_default(),
            reason: rerating.reason.to_string(),
            requested_by: rerating.asked_by.to_string(),
            request_time: Some(time(rerating.asked)),
            approved_by,
            approve_time,
            through_position: plan.map_or(0, |plan| plan.through.get()),
            corrections: plan.map_or(0, |plan| plan.corrections),
            sums: plan
                .iter()
                .flat_map(|plan| &plan.sums)
                .map(|(currency, more, back)| wire::ReratingSum {
                    charged_more: Some(money(*more, *currency)),
                    given_back: Some(money(*back, *currency)),
                })
                .collect(),
            left: unpriced.saturating_add(rerating.dealt_with.saturating_sub(rerating.booked)),
            left_named: rerating
                .left
                .iter()
                .map(|(position, reason)| wire::ReratingLeft { position: position.get(), reason: reason.to_string() })
                .collect(),
            booked: rerating.booked,
            failure,
        }
    }

    /// Says something of re-ratings when what it follows from is durable.
    async fn when_durable<T>(&self, said: Result<T, ReratingRefusal>) -> Result<T, ReratingRefusal> {
        self.durable(self.charging.journal.appended_lsn()).await?;
        said
    }
}

impl ReratingOperations for Desk {
    async fn plan(&self, caller: Caller, asked: ReratingAsked) -> Result<(wire::ReratingJob, bool), ReratingRefusal> {
        let ReratingAsked { tariff, from, to, account, asked } = asked;
        let found = |_: &Shard, account: &Account| account.id;
        let account = account.map(|selection| look(&self.charging, &selection, found)).transpose()?;
        let target = account.map(|account| format!("accounts/{account}")).unwrap_or_default();
        let request = asked.request(&target);
        let wanted = Rerating {
            tariff: TariffName::new(&tariff),
            from,
            to,
            account,
            asked_by: (*caller.name).into(),
            asked: self.charging.clock.now(),
            key: request.key,
            digest: request.digest,
            reason: request.reason,
            state: ReratingState::Planning,
            plan: None,
            approved: None,
            dealt_with: 0,
            booked: 0,
            left: Vec::new(),
        };
        let planned = self.rerater.plan(wanted);
        let (number, rerating, repeated) = self.when_durable(planned).await?;
        Ok((self.job(number, &rerating), repeated))
    }

    async fn reratings(
        &self,
        after: Option<u64>,
        max: usize,
    ) -> Result<Vec<(u64, wire::ReratingJob)>, ReratingRefusal> {
        let found = self.when_durable(self.rerater.list(after, max).map_err(ReratingRefusal::from)).await?;
        Ok(found.into_iter().map(|(number, rerating)| (number, self.job(number, &rerating))).collect())
    }

    async fn rerating(&self, number: u64) -> Result<wire::ReratingJob, ReratingRefusal> {
        let found = self.when_durable(self.rerater.find(number).map_err(ReratingRefusal::from)).await?;
        found.map(|rerating| self.job(number, &rerating)).ok_or(ReratingRefusal::Unknown)
    }

    async fn approve_rerating(
        &self,
        caller: Caller,
        number: u64,
    ) -> Result<(wire::ReratingJob, bool), ReratingRefusal> {
        let done = self.rerater.approve(&caller, number);
        let (rerating, repeated) = self.when_durable(done).await?;
        Ok((self.job(number, &rerating), repeated))
    }

    async fn cancel_rerating(
        &self,
        caller: Caller,
        number: u64,
        reason: Box<str>,
    ) -> Result<(wire::ReratingJob, bool), ReratingRefusal> {
        let done = self.rerater.cancel(&caller.name, number, &reason);
        let (rerating, repeated) = self.when_durable(done).await?;
        Ok((self.job(number, &rerating), repeated))
    }
}
