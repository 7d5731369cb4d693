//! Places for connections: so many in all, and from one address no more than leaves the others some. Interfaces stay
//! connected for days, so that one that opens a new connection for every message would otherwise take them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// One address may hold one in so many of all places, and always one.
const SHARE_OF_AN_ADDRESS: usize = 2;

/// Who holds places.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    connections_max: usize,
    // A plain lock: held for one look into a map, never across an await. No larger than `connections_max`.
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("as many connections are open as may be; see hl7.connections_max")]
    Door,
    #[error(
        "its address has half of hl7.connections_max open, and the others must find a place, too"
    )]
    Address,
}

impl Places {
    pub(crate) fn new(connections_max: usize) -> Self {
        Self {
            connections_max,
            held: Arc::default(),
        }
    }

    pub(crate) fn take(&self, address: IpAddr) -> Result<Place, Full> {
        let address = address.to_canonical();
        let per_address_max = self.connections_max.div_ceil(SHARE_OF_AN_ADDRESS);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(&address).is_some_and(|n| *n >= per_address_max) {
            return Err(Full::Address);
        }
        if held.values().sum::<usize>() >= self.connections_max {
            return Err(Full::Door);
        }
        *held.entry(address).or_insert(0) += 1;
        Ok(Place {
            places: self.clone(),
            address,
        })
    }
}

/// A connection's place, given back when it ends.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let held = self.places.held.lock();
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = held.get_mut(&self.address) {
            *n -= 1;
            if *n == 0 {
                held.remove(&self.address);
            }
        }
    }
}
