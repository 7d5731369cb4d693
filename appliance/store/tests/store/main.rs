//! The store through its own door: every verb, then planned failures.

mod access;
mod admission;
mod assembly;
mod audit;
mod beside;
mod conclusion;
mod crash;
mod delivery;
mod faults;
mod holdings;
mod leases;
mod opening;
mod site;
