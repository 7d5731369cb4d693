//! The appliance through its real doors, with peers of other makes.
//!
//! One binary, so that the heavy link is made once. Every test reaches the appliance as the world does: as a process
//! with a configuration file, DICOM and HTTPS ports, signals, and a command line. Peers that are missing are said on
//! stderr and passed over; with `CI=true` they are a failure.

mod acceptance;
mod arrivals;
mod audit;
mod backup;
mod care;
mod chat;
mod cli;
mod console;
mod deidentify;
mod device;
mod doctor;
mod hub;
mod malformed;
mod monitoring;
#[path = "../../appliance/hub/tests/nation/mod.rs"]
mod nation;
mod network;
mod orders;
mod orthanc;
mod orthanc_web;
mod pressure;
#[path = "../../appliance/src/cli/doctor/recorded.rs"]
mod recorded;
mod rejections;
mod reload;
mod strangers;
mod support;
mod texts;
mod units;
mod web;
