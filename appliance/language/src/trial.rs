//! A device tried before any model is loaded onto it: whether it can be had, and whether it computes right.

use pericard_domain::device::Device;

/// Opens a device and asks it for known answers in every form of weights. The processor needs no trial: its kernels are ours.
///
/// # Errors
/// Why it cannot be used, and what to do.
pub fn try_device(device: Device) -> Result<(), String> {
    match device {
        Device::Cpu => Ok(()),
        #[cfg(feature = "device")]
        device => crate::device::try_it(device),
        #[cfg(not(feature = "device"))]
        device => Err(crate::backend::not_built(device)),
    }
}

#[cfg(all(test, not(feature = "device")))]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_built_in_is_refused() {
        assert_eq!(try_device(Device::Cpu), Ok(()));
        for device in [Device::Cuda(0), Device::Metal] {
            let why = try_device(device).expect_err("not here");
            assert!(why.contains(&device.to_string()), "{why}");
        }
    }
}
