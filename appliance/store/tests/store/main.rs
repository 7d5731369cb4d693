//! The store through its own door: every verb, then planned failures.

mod access;
mod admission;
mod assembly;
mod audit;
mod backup;
mod beside;
mod care;
mod commitment;
mod conclusion;
mod crash;
mod delivery;
mod faults;
mod furnishing;
mod holdings;
mod leases;
mod migration;
mod opening;
mod retention;
mod review;
mod site;
mod week;
mod workitem;
mod worklist;
