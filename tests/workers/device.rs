//! A device that cannot be had: no model is loaded, the reason is told, and the processor never takes its place.

use crate::stage::{config, package};
use pericard_domain::device::Device;
use pericard_runner::{RunFailure, Runner};

#[test]
fn what_cannot_be_had_loads_nothing_and_is_never_replaced() {
    let (Some(mut config), Some(text), Some(chat)) = (
        config(),
        package("burned-in-text"),
        package("smollm2-135m-instruct"),
    ) else {
        return;
    };
    // No GPU of this number is in any machine.
    config.device = Device::Cuda(u16::MAX);
    let runner = Runner::new(config);
    let trying = runner.device_trouble().expect("not tried yet");
    assert!(trying.contains("being tried"), "{trying}");
    let why = runner.try_device().expect_err("there is none");
    assert!(why.contains("cuda:65535"), "{why}");
    assert_eq!(runner.device_trouble(), Some(why.clone()));
    for package in [text, chat] {
        let failure = runner.load(&package).expect_err("nothing to load it onto");
        assert!(
            matches!(&failure, RunFailure::Load { reason, .. } if *reason == why),
            "{failure}"
        );
    }
    assert!(runner.loaded().is_empty());
}

#[test]
fn the_processor_needs_no_trial() {
    let Some(config) = config() else { return };
    let runner = Runner::new(config);
    assert_eq!(runner.device_trouble(), None);
    assert_eq!(runner.try_device(), Ok(()));
}
