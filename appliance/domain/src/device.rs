//! What models compute on.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What models compute on, as the configuration names it: `cpu`, `cuda`, `cuda:1`, `metal`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(u16),
    /// Apple's GPU.
    Metal,
}

/// How the keys and values of language models are kept, as the configuration names it: `f16`, `q8`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvForm {
    /// Sixteen-bit floats.
    #[default]
    F16,
    /// Eight bits and a scale for each 32: little more than half the memory, a little less exact. On the processor only.
    Q8,
}

/// It names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device; \"cpu\", \"cuda\", \"cuda:1\" and \"metal\" are")]
pub struct DeviceError(String);

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            _ => {
                let number = text.strip_prefix("cuda:").and_then(|n| n.parse().ok());
                number
                    .map(Self::Cuda)
                    .ok_or_else(|| DeviceError(text.to_owned()))
            }
        }
    }
}

impl TryFrom<String> for Device {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_and_nothing_else_is_one() {
        for (text, device) in [
            ("cpu", Device::Cpu),
            ("cuda", Device::Cuda(0)),
            ("cuda:3", Device::Cuda(3)),
            ("metal", Device::Metal),
        ] {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for text in ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:70000", "cpu "] {
            assert!(text.parse::<Device>().is_err(), "{text:?}");
        }
    }
}
