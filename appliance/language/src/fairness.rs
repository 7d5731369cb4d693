//! Whose turn it is among callers: who was served least goes first, within a class.
//!
//! Each caller that has something under way has a count of the tokens that were computed for it. One that comes back after a
//! while begins where the least served is, so that nobody saves up turns, and nobody is made to wait for what others asked
//! while it was away.

use std::collections::HashMap;

/// Differences below this do not change an order: otherwise two callers would take turns at every token.
const QUANTUM_TOKENS: u64 = 512;

/// What was computed for each caller that has something under way.
#[derive(Debug, Default)]
pub(crate) struct Fairness {
    tenants: HashMap<String, Tenant>,
    /// The number that the next caller gets.
    next: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tenant {
    number: u64,
    served: u64,
    under_way: usize,
}

impl Fairness {
    /// One more request of a caller is under way.
    pub(crate) fn arrive(&mut self, tenant: &str) {
        let least = self.tenants.values().map(|tenant| tenant.served).min();
        let (tenants, next) = (&mut self.tenants, &mut self.next);
        let tenant = tenants.entry(tenant.to_owned()).or_insert_with(|| {
            *next += 1;
            Tenant {
                number: *next,
                served: least.unwrap_or(0),
                under_way: 0,
            }
        });
        tenant.under_way += 1;
    }

    /// One is over. A caller without any is forgotten.
    pub(crate) fn leave(&mut self, tenant: &str) {
        if let Some(left) = self.tenants.get_mut(tenant) {
            left.under_way = left.under_way.saturating_sub(1);
            if left.under_way == 0 {
                self.tenants.remove(tenant);
            }
        }
    }

    /// So many tokens were computed for a caller.
    pub(crate) fn charge(&mut self, tenant: &str, tokens: usize) {
        if let Some(tenant) = self.tenants.get_mut(tenant) {
            tenant.served = tenant.served.saturating_add(tokens as u64);
        }
    }

    /// How much a caller was served, compared with the others; less goes first.
    pub(crate) fn served(&self, tenant: &str) -> u64 {
        let least = self.tenants.values().map(|tenant| tenant.served).min();
        let served = self.tenants.get(tenant).map_or(0, |tenant| tenant.served);
        served.saturating_sub(least.unwrap_or(0)) / QUANTUM_TOKENS
    }

    /// What tells one caller from the others while it has something under way.
    pub(crate) fn number(&self, tenant: &str) -> u64 {
        self.tenants.get(tenant).map_or(0, |tenant| tenant.number)
    }

    /// How many requests a caller has under way, and how many callers have any.
    pub(crate) fn under_way(&self, tenant: &str) -> (usize, usize) {
        let own = self
            .tenants
            .get(tenant)
            .map_or(0, |tenant| tenant.under_way);
        (own, self.tenants.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_served_less_goes_first_and_nobody_saves_up() {
        let mut fairness = Fairness::default();
        fairness.arrive("a");
        fairness.charge("a", 10_000);
        fairness.arrive("b");
        assert_eq!((fairness.served("a"), fairness.served("b")), (0, 0));
        fairness.charge("a", 2_000);
        fairness.charge("b", 100);
        assert_eq!((fairness.served("a"), fairness.served("b")), (3, 0));
        fairness.leave("b");
        fairness.arrive("b");
        assert_eq!(fairness.served("b"), 0, "it begins where the least is");
        assert_eq!(fairness.under_way("b"), (1, 2));
        fairness.leave("a");
        fairness.leave("a");
        assert_eq!(fairness.under_way("a"), (0, 1));
    }
}
