//! Canaries: tariff versions that are published for a share of subscribers first.
//!
//! A dossier says step by step whom its version is for; [`schedule`] makes of it what [`rating_engine::tariffs::Tariffs`] goes by, and
//! nothing else does: at a start, and on a running system. Steps are added, never changed. Each counts from an instant on that lies a
//! little ahead of when it is written ([`LEAD_MILLIS`]). Pure but for the counters. Absent: who may say so.

use std::collections::BTreeSet;
use std::sync::Arc;

use balance_store::records::{CanaryStep, Deed, Dossier};
use metrics::Counter;
use rating_engine::cdr::{CdrKind, RatedCdr};
use rating_engine::ids::{SubscriberId, TariffName};
use rating_engine::reach::{Reach, Share, Steps};

use crate::telemetry;

/// Steps of one canary; the last is left for the whole.
pub const STEPS_MAX: usize = 64;
/// Subscribers that are in one canary by name.
pub const NAMED_MAX: usize = 100;
/// Canaries that run at a time.
pub const RUNNING_MAX: usize = 16;
/// How long before it counts a step is written, milliseconds: every shard has it in memory when its instant comes, so that at each
/// instant all of them charge a subscriber by the same version.
pub const LEAD_MILLIS: i64 = 100;

/// The share that a version is for, while that is not all of them.
pub fn running(dossier: &Dossier) -> Option<Share> {
    let last = dossier.canary.last().filter(|_| dossier.withdrawn.is_none())?;
    Some(last.share).filter(|share| *share < Share::WHOLE)
}

/// Who is in by name.
pub fn named(dossier: &Dossier) -> BTreeSet<SubscriberId> {
    dossier.canary.iter().flat_map(|step| &step.named).copied().collect()
}

/// Whom a version is for, in time.
pub fn schedule(dossier: &Dossier) -> Steps {
    let (mut names, mut steps) = (BTreeSet::new(), Steps::default());
    for CanaryStep { said, share, named } in &dossier.canary {
        names.extend(named);
        let reach = if *share == Share::WHOLE {
            Reach::Everybody
        } else {
            Reach::Some(*share, names.iter().copied().collect::<Vec<_>>().into())
        };
        steps.push(said.at, reach);
    }
    dossier.withdrawn.iter().for_each(|withdrawn| steps.push(withdrawn.at, Reach::Nobody));
    steps
}

/// The next step of a canary: a share, and who is in by name. A share of nothing asks for the one that there is.
///
/// # Errors
/// Why it cannot be, for people.
pub fn step(dossier: &Dossier, share: Share, asked: &BTreeSet<SubscriberId>, said: Deed) -> Result<CanaryStep, String> {
    let (there, known) = (running(dossier).unwrap_or_default(), named(dossier));
    let new: Vec<SubscriberId> = asked.difference(&known).copied().collect();
    let share = if share == Share::NONE { there } else { share };
    if share < there {
        return Err(format!("is for {there} of subscribers, and a share only grows; roll it back instead"));
    }
    if share == there && new.is_empty() {
        return Err(format!("is for {there} of subscribers, and for these by name; nothing would change"));
    }
    if known.len() + new.len() > NAMED_MAX {
        return Err(format!(
            "would be for {} subscribers by name, and may be for {NAMED_MAX}",
            known.len() + new.len()
        ));
    }
    if dossier.canary.len() + 1 >= STEPS_MAX {
        return Err(format!("has been raised {} times; promote it, or roll it back", dossier.canary.len()));
    }
    Ok(CanaryStep { said, share, named: new })
}

/// Counts what is charged under tariffs of which a version is for a share only.
#[derive(Default)]
pub struct Counters(Vec<(TariffName, u32, [Part; 2])>);

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Counters").field(&self.0.len()).finish()
    }
}

/// What was charged by the version of a canary, or by the others of its tariff.
struct Part {
    charges: Counter,
    micros: Counter,
}

impl Counters {
    /// Of the canaries that run: tariff and version.
    pub fn of(running: impl IntoIterator<Item = (TariffName, u32)>) -> Arc<Self> {
        let counted = running.into_iter().map(|(tariff, version)| {
            let parts = ["canary", "rest"].map(|part| {
                let [charges, micros] = telemetry::of_canary(&tariff, version, part);
                Part { charges, micros }
            });
            (tariff, version, parts)
        });
        Arc::new(Self(counted.collect()))
    }

    /// Counts the usage among what was charged. Mostly no canary runs.
    pub fn count(&self, cdrs: &[RatedCdr]) {
        if self.0.is_empty() {
            return;
        }
        for cdr in cdrs.iter().filter(|cdr| cdr.kind == CdrKind::Usage) {
            let Some(rating) = &cdr.rating else { continue };
            for (_, version, [canary, rest]) in self.0.iter().filter(|(name, ..)| name == rating.tariff.name()) {
                let part = if rating.tariff.version() == *version { canary } else { rest };
                part.charges.increment(1);
                part.micros.increment(u64::try_from(cdr.amount.micros()).unwrap_or(0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rating_engine::time::Timestamp;

    use super::*;

    fn deed(seconds: i64) -> Deed {
        Deed { who: "carl".into(), at: Timestamp::from_seconds(seconds) }
    }

    fn ids(ids: &[u64]) -> BTreeSet<SubscriberId> {
        ids.iter().map(|id| SubscriberId::new(*id)).collect()
    }

    fn share(basis_points: u32) -> Share {
        Share::new(basis_points).unwrap()
    }

    fn dossier() -> Dossier {
        Dossier {
            source: None,
            drafted: None,
            approved: None,
            scheduled: None,
            published: Some(deed(0)),
            withdrawn: None,
            failure: Box::default(),
            canary: Vec::new(),
        }
    }

    /// 5 % from 10 s, then 7 and 3 by name, too, then all, then nobody.
    #[test]
    fn steps_add_up_to_a_schedule() {
        let mut dossier = dossier();
        assert_eq!((schedule(&dossier), running(&dossier)), (Steps::default(), None));
        dossier.canary.push(step(&dossier, share(500), &ids(&[]), deed(10)).unwrap());
        dossier.canary.push(step(&dossier, Share::NONE, &ids(&[7, 3]), deed(20)).unwrap());
        let more = step(&dossier, share(600), &ids(&[7, 5]), deed(30)).unwrap();
        assert_eq!(more.named, [SubscriberId::new(5)], "7 is in already");
        dossier.canary.push(more);
        assert_eq!(running(&dossier), Some(share(600)));
        dossier.canary.push(CanaryStep { said: deed(40), share: Share::WHOLE, named: Vec::new() });
        assert_eq!(running(&dossier), None);
        dossier.withdrawn = Some(deed(50));
        let some = |basis_points, names: &[u64]| {
            Reach::Some(share(basis_points), ids(names).into_iter().collect::<Vec<_>>().into())
        };
        let expected = [
            (10, some(500, &[])),
            (20, some(500, &[3, 7])),
            (30, some(600, &[3, 5, 7])),
            (40, Reach::Everybody),
            (50, Reach::Nobody),
        ];
        let mut steps = Steps::default();
        expected.into_iter().for_each(|(at, reach)| steps.push(Timestamp::from_seconds(at), reach));
        assert_eq!(schedule(&dossier), steps);
    }

    #[test]
    fn a_step_that_is_none_is_refused() {
        let mut dossier = dossier();
        dossier.canary.push(step(&dossier, share(500), &ids(&[7]), deed(10)).unwrap());
        for (asked, names, why) in [
            (share(499), ids(&[8]), "only grows"),
            (share(500), ids(&[7]), "nothing would change"),
            (Share::NONE, ids(&[]), "nothing would change"),
            (share(600), (1..=100).map(SubscriberId::new).chain([SubscriberId::new(200)]).collect(), "may be for 100"),
        ] {
            let refused = step(&dossier, asked, &names, deed(20)).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        let all: BTreeSet<_> = (1..=100).map(SubscriberId::new).collect();
        assert!(step(&dossier, share(600), &all, deed(20)).is_ok());
        // 64 steps, the last of which makes it whole.
        while dossier.canary.len() < STEPS_MAX - 1 {
            let raised = share(500 + u32::try_from(dossier.canary.len()).unwrap());
            dossier.canary.push(step(&dossier, raised, &ids(&[]), deed(20)).unwrap());
        }
        assert!(step(&dossier, share(9_000), &ids(&[]), deed(20)).unwrap_err().contains("63 times"));
    }
}
