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
    /// MiB that are arriving and not yet kept. An object that arrives alone is held to the largest object's size only:
    /// refused for its own size it would be sent again for ever.
    pub in_flight_max_mib: u32,
}

impl Quota {
    /// Bytes that may be arriving, where there is a limit.
    fn in_flight_max_bytes(self) -> Option<u64> {
        (self.in_flight_max_mib > 0).then(|| u64::from(self.in_flight_max_mib) << 20)
    }
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

impl Used {
    /// Counts bytes of an object that has brought so many before. What others of the same caller have brought leaves only the
    /// rest to it.
    fn take(&mut self, bytes: u64, brought: u64, max_bytes: Option<u64>) -> Result<(), Over> {
        let total = self.in_flight_bytes.saturating_add(bytes);
        let is_alone = self.in_flight_bytes <= brought;
        if !is_alone && max_bytes.is_some_and(|max_bytes| total > max_bytes) {
            return Err(IN_FLIGHT);
        }
        self.in_flight_bytes = total;
        Ok(())
    }

    fn give_back(&mut self, bytes: u64) {
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(bytes);
    }
}

/// Over its quota: why, and when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) quota: &'static str,
    pub(crate) retry_after_s: u32,
}

const IN_FLIGHT: Over = Over {
    quota: "bytes that are arriving at once",
    retry_after_s: RETRY_IN_FLIGHT_S,
};

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
        let max_bytes = quota.in_flight_max_bytes();
        if max_bytes.is_some_and(|max_bytes| used.in_flight_bytes >= max_bytes) {
            return Err(IN_FLIGHT);
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
            max_bytes,
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

    /// `None` if nobody counts that caller, which cannot be while one of its objects arrives.
    fn change<T>(&self, caller: &str, change: impl FnOnce(&mut Used) -> T) -> Option<T> {
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(caller).map(change)
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
    max_bytes: Option<u64>,
}

impl Share {
    /// Counts bytes that arrived. Many objects may have begun when nothing had arrived yet, so that this is where the bytes
    /// are held to the quota.
    ///
    /// # Errors
    /// With them, and with what else its caller brings, it would be over the quota. They are not counted.
    pub(crate) fn add(&mut self, bytes: u64) -> Result<(), Over> {
        let Some(held) = &mut self.0 else {
            return Ok(());
        };
        let (brought, max_bytes) = (held.bytes, held.max_bytes);
        let taken = held
            .ledger
            .change(&held.caller, |used| used.take(bytes, brought, max_bytes));
        taken.unwrap_or(Ok(()))?;
        held.bytes += bytes;
        Ok(())
    }

    /// Its bytes are gone while its sender is still here: they leave room for its caller's other objects, its place does not.
    pub(crate) fn give_back_bytes(&mut self) {
        if let Some(held) = &mut self.0 {
            let bytes = std::mem::take(&mut held.bytes);
            held.ledger
                .change(&held.caller, |used| used.give_back(bytes));
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(held) = &self.0 {
            held.ledger.change(&held.caller, |used| {
                used.give_back(held.bytes);
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
        first.add(1 << 20).expect("within the quota");
        let mut second = ledger.begin(&peer("CT1"), now).expect("begun");
        second.add(1 << 20).expect("within the quota");
        let over = ledger.begin(&peer("CT1"), now).expect_err("over");
        assert_eq!(over.quota, "bytes that are arriving at once");
        drop(second);
        ledger.begin(&peer("CT1"), now).expect("room again");
    }

    #[test]
    fn who_is_over_its_quota_in_the_middle_of_an_object_is_told_then_and_the_other_object_goes_on()
    {
        let (ledger, now) = (ledger(0, 2), Instant::now());
        let [mut first, mut second] = [(); 2].map(|()| {
            let share = ledger.begin(&peer("CT1"), now);
            share.expect("nothing has arrived yet")
        });
        first.add(1 << 20).expect("within the quota");
        second.add(1 << 20).expect("the rest of the quota");
        let over = second.add(1).expect_err("over");
        assert_eq!(over, IN_FLIGHT);
        second.add(1).expect_err("and it is not forgotten");
        first.add(1).expect_err("nor is there room for the other");
        let mut other = ledger.begin(&peer("CT2"), now).expect("another peer");
        other.add(2 << 20).expect("a quota of its own");
        second.give_back_bytes();
        first.add(1 << 20).expect("room again");
        drop((first, second));
        let mut third = ledger.begin(&peer("CT1"), now).expect("begun");
        third.add(2 << 20).expect("all of the quota");
    }

    #[test]
    fn an_object_that_arrives_alone_may_be_larger_than_the_quota() {
        let (ledger, now) = (ledger(0, 2), Instant::now());
        let [mut alone, mut begun] =
            [(); 2].map(|()| ledger.begin(&peer("CT1"), now).expect("begun"));
        for _ in 0..4 {
            alone.add(1 << 20).expect("no other has brought anything");
        }
        begun.add(1).expect_err("the quota is used up");
        ledger.begin(&peer("CT1"), now).expect_err("used up");
        drop(alone);
        begun.add(1).expect("room again");
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
