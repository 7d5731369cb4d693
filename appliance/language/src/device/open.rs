//! The device by its name, or why it cannot be had.

use candle_core::Device;
use pericard_domain::device::Device as Named;

/// Opens what the configuration names. Never another in its place.
///
/// # Errors
/// Why it cannot be had, and what to do.
pub(crate) fn open(named: Named) -> Result<Device, String> {
    match named {
        Named::Cpu => Ok(Device::Cpu),
        Named::Cuda(number) => cuda(number.into()),
        Named::Metal => metal(),
    }
}

#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Result<Device, String> {
    super::libraries::check()?;
    // What the driver lacks is a panic in the crate that loads it, not an error.
    let opened = std::panic::catch_unwind(|| Device::new_cuda(number));
    let device = match opened {
        Ok(Ok(device)) => device,
        Ok(Err(error)) => return Err(format!("the driver gives no GPU {number}: {error}")),
        Err(_) => {
            return Err("the driver is too old for this program; install 580 or newer".into());
        }
    };
    suits(&device)?;
    Ok(device)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device, String> {
    Err(
        "this program was built without CUDA; install pericard-cuda, or set `device = \"cpu\"`"
            .into(),
    )
}

/// Whether the kernels in this program are made for this GPU: machine code runs on GPUs of the same generation only, and
/// nobody says so when it does not.
#[cfg(feature = "cuda")]
fn suits(device: &Device) -> Result<(), String> {
    use candle_core::cuda_backend::cudarc::driver::sys::CUdevice_attribute as Attribute;
    let context = device
        .as_cuda_device()
        .map_err(|error| error.to_string())?
        .cuda_stream()
        .context()
        .clone();
    let ask = |attribute| {
        let answer = context.attribute(attribute);
        answer.map_err(|error| format!("the driver does not say what GPU it is: {error}"))
    };
    let major = ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    let made_for = option_env!("PERICARD_CUDA_ARCHITECTURES").unwrap_or_default();
    if fits(made_for, major, minor) {
        return Ok(());
    }
    Err(format!(
        "the GPU has compute capability {major}.{minor}, and the kernels of this program are made for {made_for:?}; \
         install a build for it"
    ))
}

/// Machine code for 8.0 runs on 8.6, and neither on 8.0's predecessor nor on 9.0.
#[cfg(any(test, feature = "cuda"))]
fn fits(made_for: &str, major: i32, minor: i32) -> bool {
    let known = made_for.split_ascii_whitespace().filter_map(|name| {
        // `90a` is for 9.0 and nothing else.
        let (digits, exact) = match name.strip_suffix('a') {
            Some(digits) => (digits, true),
            None => (name, false),
        };
        let number: i32 = digits.parse().ok()?;
        Some((number / 10, number % 10, exact))
    });
    known
        .into_iter()
        .any(|(m, n, exact)| major == m && if exact { minor == n } else { minor >= n })
}

#[cfg(feature = "metal")]
fn metal() -> Result<Device, String> {
    Device::new_metal(0).map_err(|error| format!("there is no Metal device: {error}"))
}

#[cfg(not(feature = "metal"))]
fn metal() -> Result<Device, String> {
    Err("this program was built without Metal; set `device = \"cpu\"`".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_fit_their_own_generation_only() {
        assert!(fits("80", 8, 0) && fits("80", 8, 9) && fits("75 80 86 90", 9, 0));
        assert!(!fits("80", 9, 0) && !fits("80", 7, 5) && !fits("86", 8, 0));
        assert!(fits("90a", 9, 0) && !fits("90a", 9, 1) && !fits("", 8, 0));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn what_is_not_built_in_is_refused_and_never_replaced() {
        for named in [Named::Cuda(0), Named::Metal] {
            let why = open(named).expect_err("not here");
            assert!(why.contains("device = \"cpu\""), "{why}");
        }
    }
}
