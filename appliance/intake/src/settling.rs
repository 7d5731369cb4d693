//! When a study is complete: the one replaceable decision.
//!
//! Asked twice. At every object: when may the study be complete if nothing else comes ([`Settling`])? And when that time has
//! come, or an association has ended: is it ([`Completeness`])? Then speak, in this order: associations that are open, what
//! the source has, what was ordered and what the rules require, and last how long nothing came.

use crate::visit::Visits;
use pericard_domain::job::Priority;
use pericard_domain::order::Expecting;
use pericard_domain::rule::Rule;
use pericard_domain::settling::{Because, Completeness, SeriesCounts, Standing, Verdict};
use pericard_domain::study::{Instance, InstanceFacts, ObjectIdentity};
use pericard_domain::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long until it is looked again whether an association has ended; its end is a reason to look at once.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// When a study may be complete, and how urgent it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Not before this, if nothing else arrives.
    pub at: Timestamp,
    /// As far as this object tells.
    pub priority: Priority,
}

/// Decides when a study may be complete. Asked at every object; the latest answer holds.
pub trait Settling: Send + Sync + 'static {
    /// When the study of an object that is admitted now may be complete.
    fn settled(&self, identity: &ObjectIdentity, facts: &InstanceFacts, now: Timestamp) -> Settled;

    /// Whether a study over which no association is open any more need not be waited for.
    fn is_whole(&self, _standing: &Standing, _now: Timestamp) -> bool {
        false
    }
}

/// After a while without a new object: the longest that any rule which the object matches asks for.
#[derive(Debug, Clone)]
pub struct IdleTimeout {
    /// The configured rules, by now.
    pub rules: watch::Receiver<Arc<[Rule]>>,
    /// For an object that no rule matches, seconds.
    pub otherwise_s: u32,
}

impl Settling for IdleTimeout {
    fn settled(&self, identity: &ObjectIdentity, facts: &InstanceFacts, now: Timestamp) -> Settled {
        let rules = self.rules.borrow();
        let matching = || {
            rules
                .iter()
                .filter(|rule| rule.when.fits(&identity.sop_class, facts))
        };
        let wait_s = matching()
            .map(|rule| rule.idle_timeout_s)
            .max()
            .unwrap_or(self.otherwise_s);
        let priority = matching()
            .map(|rule| rule.priority)
            .min()
            .unwrap_or_default();
        Settled {
            at: now.after(Duration::from_secs(wait_s.into())),
            priority,
        }
    }

    fn is_whole(&self, standing: &Standing, now: Timestamp) -> bool {
        let asked = Asked::of(&self.rules.borrow(), standing, self.otherwise_s);
        matches!(asked.verdict(standing, now), Verdict::Complete(_))
    }
}

/// Whether a study is complete, by all that is known.
#[derive(Debug, Clone)]
pub struct AllThatIsKnown {
    /// The configured rules, and how long to wait where none matches.
    pub idle: IdleTimeout,
    /// Which studies come over associations that are open.
    pub visits: Visits,
}

impl Completeness for AllThatIsKnown {
    fn verdict(&self, standing: &Standing, now: Timestamp) -> Verdict {
        let asked = Asked::of(&self.idle.rules.borrow(), standing, self.idle.otherwise_s);
        let may_wait_until = standing.last_received_at.after(asked.wait_max);
        if self.visits.is_open(&standing.study) && now < may_wait_until {
            return Verdict::Wait {
                until: now.after(LOOK_AGAIN).min(may_wait_until),
                why: Because::AssociationOpen,
            };
        }
        asked.verdict(standing, now)
    }
}

/// What the rules that a study matches ask of it.
struct Asked {
    idle: Duration,
    wait_max: Duration,
    /// What they require and the study does not hold.
    lacking: Option<String>,
}

impl Asked {
    fn of(rules: &[Rule], standing: &Standing, otherwise_s: u32) -> Self {
        let received = || standing.instances.iter().filter(|i| !i.is_result);
        let matching: Vec<&Rule> = rules
            .iter()
            .filter(|rule| received().any(|i| rule.when.matches(i)))
            .collect();
        let longest = |of: fn(&Rule) -> u32| matching.iter().map(|rule| of(rule)).max();
        let seconds = |s: u32| Duration::from_secs(s.into());
        let unmet = |rule: &&Rule| {
            let met = |n: &usize| received().any(|i| rule.requires[*n].matches(i));
            let first = (0..rule.requires.len()).find(|n| !met(n))?;
            Some(format!("requirement {} of rule {:?}", first + 1, rule.name))
        };
        let idle = seconds(longest(|rule| rule.idle_timeout_s).unwrap_or(otherwise_s));
        // An order may ask for an analysis of what no rule matches, and is as sure of what will come.
        let wait_max = seconds(longest(|rule| rule.wait_max_s).unwrap_or(Rule::usual_wait_s()));
        Self {
            idle,
            wait_max: wait_max.max(idle),
            lacking: matching.iter().find_map(unmet),
        }
    }

    fn verdict(&self, standing: &Standing, now: Timestamp) -> Verdict {
        let last = standing.last_received_at;
        let lacking = self.lacking.clone().or_else(|| not_come(standing));
        let (source, missing) = counted(standing);
        let why = match (missing, lacking) {
            (Some(missing), _) => missing,
            (None, Some(what)) => Because::Lacking { what },
            (None, None) => {
                if let Some(whole) = source {
                    return Verdict::Complete(whole);
                }
                return self.idle(last, now);
            }
        };
        let until = last.after(self.wait_max);
        if now < until {
            return Verdict::Wait { until, why };
        }
        Verdict::Complete(Because::GaveUp {
            seconds: self.wait_max.as_secs(),
            lacking: said(&why),
        })
    }

    fn idle(&self, last: Timestamp, now: Timestamp) -> Verdict {
        let seconds = self.idle.as_secs();
        let until = last.after(self.idle);
        match now < until {
            true => Verdict::Wait {
                until,
                why: Because::Idle { seconds },
            },
            false => Verdict::Complete(Because::Idle { seconds }),
        }
    }
}

fn said(why: &Because) -> String {
    match why {
        Because::Missing { source, objects } => format!("{objects} objects that {source} has"),
        Because::Lacking { what } => what.clone(),
        _ => "nothing".to_owned(),
    }
}

/// A modality that was ordered and of which nothing came.
fn not_come(standing: &Standing) -> Option<String> {
    let has = |modality: &String| {
        let is = |i: &Instance| !i.is_result && i.facts.modality.as_ref() == Some(modality);
        standing.instances.iter().any(is)
    };
    let open = standing
        .expected
        .iter()
        .filter(|expected| expected.state == Expecting::Expected);
    let mut ordered = open.filter_map(|expected| expected.order.modality.as_ref());
    let absent = ordered.find(|modality| !has(modality))?;
    Some(format!("{absent}, which was ordered"))
}

/// That a source has as much as is here, or what is here of it less.
fn counted(standing: &Standing) -> (Option<Because>, Option<Because>) {
    let mut here: BTreeMap<&str, u32> = BTreeMap::new();
    let mut ours: BTreeMap<&str, u32> = BTreeMap::new();
    for instance in &standing.instances {
        let of = if instance.is_result {
            &mut ours
        } else {
            &mut here
        };
        *of.entry(instance.identity.series.as_str()).or_default() += 1;
    }
    let mut whole = None;
    for (source, series) in &standing.counts {
        let (all, missing) = compared(series, &here, &ours);
        if missing > 0 {
            let source = source.clone();
            let objects = missing;
            return (None, Some(Because::Missing { source, objects }));
        }
        if all > 0 {
            let source = source.clone();
            whole = Some(Because::Counted {
                source,
                objects: all,
            });
        }
    }
    (whole, None)
}

/// How many objects the source has, and how many of them are not here. Series that we made do not count.
fn compared(
    series: &SeriesCounts,
    here: &BTreeMap<&str, u32>,
    ours: &BTreeMap<&str, u32>,
) -> (u32, u32) {
    let received = series
        .iter()
        .filter(|(uid, _)| here.contains_key(uid.as_str()) || !ours.contains_key(uid.as_str()));
    let (mut all, mut missing) = (0u32, 0u32);
    for (uid, count) in received {
        let held = here.get(uid.as_str()).copied().unwrap_or(0);
        all = all.saturating_add(*count);
        missing = missing.saturating_add(count.saturating_sub(held));
    }
    // What the source does not know of yet is still on its way to it, so its word is not the last.
    let unknown = here.keys().any(|uid| !series.contains_key(*uid));
    (if unknown { 0 } else { all }, missing)
}

#[cfg(test)]
mod tests;
