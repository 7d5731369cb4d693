//! When may a study that has just received an object be complete? The one replaceable decision.

use pericard_domain::job::Priority;
use pericard_domain::rule::Rule;
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use pericard_domain::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

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
}
