//! How much one caller may bring: objects at once, objects a minute, and bytes that are arriving and not yet kept. One that sends too fast
//! is told to wait before its bytes are taken, and everybody else is served as before.

use pericard_domain::actor::Actor;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How many callers are counted at once; beyond that, those that bring nothing now are forgotten.
const MAX_CALLERS: usize = 4096;
const MINUTE_S: f64 = 60.0;
/// When a caller whose bytes are still arriving is told to come back.
const RETRY_IN_FLIGHT_S: u32 = 5;

/// What one caller may bring. 0 stands for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Objects that are arriving at once: nobody may hold every place.
    pub arriving_max: u32,
    /// Objects a minute; as many may come at once after a quiet minute.
    pub objects_per_minute_max: u32,
    /// MiB that are arriving and not yet kept.
    pub in_flight_max_mib: u32,
}

/// What callers may bring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// One DICOM peer, by its application entity title.
    pub per_peer: Quota,
    /// One bearer token.
    pub per_token: Quota,
}

/// What a caller has used of its quota.
#[derive(Debug, Clone, Copy)]
struct Used {
    /// Objects that it may bring now.
    objects_left: f64,
    filled_at: Instant,
    in_flight_bytes: u64,
    parcels: u32,
}

/// Counts what callers bring.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    quotas: Quotas,
    // A plain lock: held for one look into a map, never across an await.
    used: Mutex<HashMap<String, Used>>,
}

/// Over its quota: why, and when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) quota: &'static str,
    pub(crate) retry_after_s: u32,
}

impl Ledger {
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self {
            quotas,
            used: Mutex::default(),
        }
    }

    /// Counts an object that begins to arrive.
    pub(crate) fn begin(self: &Arc<Self>, by: &Actor, now: Instant) -> Result<Share, Over> {
        let Some((caller, quota)) = self.of(by) else {
            return Ok(Share(None));
        };
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut all);
        let per_minute = f64::from(quota.objects_per_minute_max);
        let used = all.entry(caller.clone()).or_insert(Used {
            objects_left: per_minute,
            filled_at: now,
            in_flight_bytes: 0,
            parcels: 0,
        });
        if quota.arriving_max > 0 && used.parcels >= quota.arriving_max {
            return Err(Over {
                quota: "objects at once",
                retry_after_s: RETRY_IN_FLIGHT_S,
            });
        }
        let max_bytes = u64::from(quota.in_flight_max_mib) << 20;
        if quota.in_flight_max_mib > 0 && used.in_flight_bytes >= max_bytes {
            let quota = "bytes that are arriving at once";
            return Err(Over {
                quota,
                retry_after_s: RETRY_IN_FLIGHT_S,
            });
        }
        if quota.objects_per_minute_max > 0 {
            let passed_s = now.saturating_duration_since(used.filled_at).as_secs_f64();
            let filled = used.objects_left + passed_s * per_minute / MINUTE_S;
            (used.objects_left, used.filled_at) = (filled.min(per_minute), now);
            if used.objects_left < 1.0 {
                let wait_s = (1.0 - used.objects_left) * MINUTE_S / per_minute;
                let retry_after_s = wait_s.ceil().clamp(1.0, MINUTE_S) as u32;
                return Err(Over {
                    quota: "objects a minute",
                    retry_after_s,
                });
            }
            used.objects_left -= 1.0;
        }
        used.parcels += 1;
        Ok(Share(Some(Held {
            ledger: Arc::clone(self),
            caller,
            bytes: 0,
        })))
    }

    /// Who is counted, and against what.
    fn of(&self, by: &Actor) -> Option<(String, Quota)> {
        let (caller, quota) = match by {
            Actor::Peer { ae_title, .. } => (format!("peer {ae_title}"), self.quotas.per_peer),
            Actor::Token { id, .. } => (format!("token {id}"), self.quotas.per_token),
            Actor::Application { .. }
            | Actor::Unknown { .. }
            | Actor::CommandLine
            | Actor::Room { .. } => return None,
        };
        (quota != Quota::default()).then_some((caller, quota))
    }

    fn change(&self, caller: &str, change: impl FnOnce(&mut Used)) {
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = all.get_mut(caller) {
            change(used);
        }
    }
}

/// An arriving object's part of its caller's quota. Dropped, its bytes are given back.
#[derive(Debug)]
pub(crate) struct Share(Option<Held>);

#[derive(Debug)]
struct Held {
    ledger: Arc<Ledger>,
    caller: String,
    bytes: u64,
}

impl Share {
    /// Counts bytes that arrived.
    pub(crate) fn add(&mut self, bytes: u64) {
        if let Some(held) = &mut self.0 {
            held.bytes += bytes;
            held.ledger
                .change(&held.caller, |used| used.in_flight_bytes += bytes);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(held) = &self.0 {
            held.ledger.change(&held.caller, |used| {
                used.in_flight_bytes = used.in_flight_bytes.saturating_sub(held.bytes);
                used.parcels = used.parcels.saturating_sub(1);
            });
        }
    }
}

/// Forgets callers that bring nothing now. One that is forgotten begins with a full minute again, which costs less than a
/// map that anybody can grow.
fn make_room(all: &mut HashMap<String, Used>) {
    if all.len() >= MAX_CALLERS {
        all.retain(|_, used| used.parcels > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::ae::AeTitle;
    use std::time::Duration;

    fn ledger(objects_per_minute_max: u32, in_flight_max_mib: u32) -> Arc<Ledger> {
        of_a_peer(Quota {
            objects_per_minute_max,
            in_flight_max_mib,
            ..Quota::default()
        })
    }

    fn of_a_peer(per_peer: Quota) -> Arc<Ledger> {
        Arc::new(Ledger::new(Quotas {
            per_peer,
            per_token: Quota::default(),
        }))
    }

    fn peer(title: &str) -> Actor {
        Actor::Peer {
            ae_title: AeTitle::new(title).expect("a title"),
            address: [127, 0, 0, 1].into(),
        }
    }

    #[test]
    fn who_sends_too_fast_waits_and_nobody_else_does() {
        let (ledger, now) = (ledger(3, 0), Instant::now());
        for _ in 0..3 {
            ledger.begin(&peer("CT1"), now).expect("within the minute");
        }
        let over = ledger.begin(&peer("CT1"), now).expect_err("over");
        assert_eq!((over.quota, over.retry_after_s), ("objects a minute", 20));
        ledger.begin(&peer("CT2"), now).expect("another peer");
        ledger
            .begin(&Actor::CommandLine, now)
            .expect("nobody counts this machine");
        let later = now + Duration::from_secs(20);
        ledger.begin(&peer("CT1"), later).expect("after the wait");
        ledger.begin(&peer("CT1"), later).expect_err("and no more");
    }

    #[test]
    fn bytes_in_flight_are_given_back_when_the_object_is_kept_or_dropped() {
        let (ledger, now) = (ledger(0, 2), Instant::now());
        let mut first = ledger.begin(&peer("CT1"), now).expect("begun");
        first.add(1 << 20);
        let mut second = ledger.begin(&peer("CT1"), now).expect("begun");
        second.add(1 << 20);
        let over = ledger.begin(&peer("CT1"), now).expect_err("over");
        assert_eq!(over.quota, "bytes that are arriving at once");
        drop(second);
        ledger.begin(&peer("CT1"), now).expect("room again");
    }

    #[test]
    fn nobody_holds_every_place() {
        let quota = Quota {
            arriving_max: 2,
            ..Quota::default()
        };
        let (ledger, now) = (of_a_peer(quota), Instant::now());
        let held = [(); 2].map(|()| ledger.begin(&peer("CT1"), now).expect("a place"));
        let over = ledger.begin(&peer("CT1"), now).expect_err("over");
        assert_eq!(
            (over.quota, over.retry_after_s),
            ("objects at once", RETRY_IN_FLIGHT_S)
        );
        let other = ledger.begin(&peer("CT2"), now);
        other.expect("another peer's places are its own");
        drop(held);
        ledger.begin(&peer("CT1"), now).expect("a place again");
    }

    #[test]
    fn many_names_do_not_fill_the_memory() {
        let (ledger, now) = (ledger(3, 0), Instant::now());
        let held = ledger.begin(&peer("HELD"), now).expect("begun");
        for n in 0..3 * MAX_CALLERS {
            drop(ledger.begin(&peer(&format!("AE{n}")), now));
        }
        let used = ledger.used.lock().expect("not poisoned");
        assert!(used.len() <= MAX_CALLERS && used.contains_key("peer HELD"));
        drop(used);
        drop(held);
    }
}
