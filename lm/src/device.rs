//! Where tensors live. The only file that names a Burn device.
//!
//! Knows no model. Work on the CPU runs on rayon's global pool, whose size the caller's process decides. A device is
//! asked for before it is used, because a backend that misses its libraries panics at its first tensor.

use std::fmt;
use std::str::FromStr;

pub use burn::tensor::Device;

/// Why a device cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The name says nothing.
    #[error("`{0}` is no device; write `cpu`, `cuda` (the first GPU), `cuda:1`, `cuda:0,1` (both together) or `wgpu`")]
    Name(String),
    /// A device is named more than once.
    #[error("`{name}`: number {index} is named twice")]
    Twice {
        /// The devices.
        name: String,
        /// The number.
        index: usize,
    },
    /// The program was built without the device's backend.
    #[error("`{name}`: this program was built without it; build with `--features {feature}`")]
    NotBuilt {
        /// The device.
        name: String,
        /// The feature that brings it.
        feature: &'static str,
    },
    /// A library of the system is missing.
    #[error("`{name}`: {library} cannot be loaded; {help}")]
    Library {
        /// The device.
        name: String,
        /// The library.
        library: &'static str,
        /// What to install or set.
        help: &'static str,
    },
    /// There are fewer devices.
    #[error("`{name}`: there is no device {index}; found {found}")]
    Index {
        /// The device.
        name: String,
        /// The index asked for.
        index: usize,
        /// How many there are.
        found: usize,
    },
    /// There is no GPU with a driver.
    #[error("`{name}`: no GPU with a Vulkan driver was found; install one, or a software one such as mesa-vulkan-drivers")]
    NoAdapter {
        /// The device.
        name: String,
    },
}

/// What tensors compute on, by name: one device, or several that train a model together. Naming one asks nothing of the
/// machine; [`Devices::open`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// `cpu`. So many replicas share it, more than one (`cpu:0,1`) only to try what several devices do.
    Cpu(usize),
    /// `cuda`, `cuda:1`, `cuda:0,1`: NVIDIA GPUs by number, one replica each.
    Cuda(Vec<usize>),
    /// `wgpu`: the GPU that wgpu likes best.
    Wgpu,
}

impl FromStr for Devices {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Name(name.to_string());
        let (backend, numbers) = match name.split_once(':') {
            Some((backend, numbers)) => (backend, Some(numbers)),
            None => (name, None),
        };
        let mut indices = Vec::new();
        for number in numbers.into_iter().flat_map(|numbers| numbers.split(',')) {
            // `usize::from_str` would take a sign.
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(unknown());
            }
            let index = number.parse().map_err(|_| unknown())?;
            if indices.contains(&index) {
                return Err(DeviceError::Twice { name: name.to_string(), index });
            }
            indices.push(index);
        }
        match (backend, indices.as_slice()) {
            ("cpu", []) => Ok(Self::Cpu(1)),
            // One CPU has no number.
            ("cpu", [_, _, ..]) => Ok(Self::Cpu(indices.len())),
            ("cuda", []) => Ok(Self::Cuda(vec![0])),
            ("cuda", _) => Ok(Self::Cuda(indices)),
            ("wgpu", []) => Ok(Self::Wgpu),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |indices: &mut dyn Iterator<Item = usize>| indices.map(|i| i.to_string()).collect::<Vec<_>>().join(",");
        match self {
            Self::Cpu(1) => f.write_str("cpu"),
            Self::Cpu(n) => write!(f, "cpu:{}", list(&mut (0..*n))),
            Self::Cuda(indices) => write!(f, "cuda:{}", list(&mut indices.iter().copied())),
            Self::Wgpu => f.write_str("wgpu"),
        }
    }
}

impl Devices {
    /// The devices, after making sure that they are there.
    ///
    /// # Errors
    /// When one is not; see [`cuda`] and [`wgpu`].
    pub fn open(&self) -> Result<Vec<Device>, DeviceError> {
        match self {
            Self::Cpu(n) => Ok(vec![cpu(); *n]),
            Self::Cuda(indices) => indices.iter().map(|index| cuda(*index)).collect(),
            Self::Wgpu => Ok(vec![wgpu()?]),
        }
    }
}

/// The CPU, through Burn's pure-Rust `flex` backend.
pub fn cpu() -> Device {
    Device::flex()
}

/// NVIDIA GPU number `index`, counted from 0.
///
/// # Errors
/// Without the feature `cuda`, without the NVIDIA driver or NVRTC, or when there are fewer GPUs.
pub fn cuda(index: usize) -> Result<Device, DeviceError> {
    let name = format!("cuda:{index}");
    #[cfg(feature = "cuda")]
    {
        let library = |library, help| DeviceError::Library { name: name.clone(), library, help };
        // SAFETY: the calls only try to load the libraries by their usual names.
        let (driver, nvrtc) = unsafe { (cudarc::driver::sys::is_culib_present(), cudarc::nvrtc::sys::is_culib_present()) };
        if !driver {
            return Err(library("libcuda", "install the NVIDIA driver"));
        }
        if !nvrtc {
            return Err(library("libnvrtc", "install the CUDA toolkit, put its lib64 into LD_LIBRARY_PATH and set CUDA_PATH"));
        }
        let found = Device::enumerate(burn::tensor::DeviceType::Cuda).into_iter().count();
        if index >= found {
            return Err(DeviceError::Index { name, index, found });
        }
        Ok(Device::cuda(index))
    }
    #[cfg(not(feature = "cuda"))]
    Err(DeviceError::NotBuilt { name, feature: "cuda" })
}

/// The GPU that wgpu likes best; a software driver where there is no other.
///
/// # Errors
/// Without the feature `wgpu`, or when there is no adapter.
pub fn wgpu() -> Result<Device, DeviceError> {
    let name = "wgpu".to_string();
    #[cfg(feature = "wgpu")]
    {
        if Device::enumerate(burn::tensor::DeviceType::Wgpu).into_iter().count() == 0 {
            return Err(DeviceError::NoAdapter { name });
        }
        Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
    }
    #[cfg(not(feature = "wgpu"))]
    Err(DeviceError::NotBuilt { name, feature: "wgpu" })
}

/// Whether matrix products on `device` can be in bf16: always on the CPU, where the program's own kernels round.
pub fn has_bf16(device: &Device) -> bool {
    *device == cpu() || device.supports_dtype(burn::tensor::DType::BF16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_canonical_form() {
        for (name, devices, canonical) in [
            ("cpu", Devices::Cpu(1), "cpu"),
            ("cpu:0,1,2", Devices::Cpu(3), "cpu:0,1,2"),
            ("cuda", Devices::Cuda(vec![0]), "cuda:0"),
            ("cuda:3", Devices::Cuda(vec![3]), "cuda:3"),
            ("cuda:2,0", Devices::Cuda(vec![2, 0]), "cuda:2,0"),
            ("wgpu", Devices::Wgpu, "wgpu"),
        ] {
            let found: Devices = name.parse().unwrap();
            assert_eq!((&found, found.to_string().as_str()), (&devices, canonical), "{name}");
            assert_eq!(found.to_string().parse(), Ok(found));
        }
        assert_eq!("cpu:0,1".parse::<Devices>().unwrap().open().unwrap(), [cpu(), cpu()]);
    }

    #[test]
    fn names_that_mean_nothing_are_errors() {
        for name in [
            "gpu",
            "CPU",
            "cuda:",
            "cuda:x",
            "cuda:+1",
            "cuda:0,",
            "cuda:0,,1",
            "cuda:99999999999999999999",
            "cpu:0",
            "wgpu:0",
            "",
        ] {
            assert_eq!(name.parse::<Devices>(), Err(DeviceError::Name(name.into())), "{name}");
        }
        assert_eq!("cuda:1,1".parse::<Devices>(), Err(DeviceError::Twice { name: "cuda:1,1".into(), index: 1 }));
    }

    #[test]
    fn the_cpu_has_bf16() {
        assert!(has_bf16(&cpu()));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_backend_that_was_not_built_is_named() {
        let error = Devices::Cuda(vec![0, 1]).open().unwrap_err().to_string();
        assert!(error.contains("`cuda:0`") && error.contains("--features cuda"), "{error}");
    }

    #[cfg(not(feature = "wgpu"))]
    #[test]
    fn the_feature_of_wgpu_is_named() {
        assert_eq!(Devices::Wgpu.open(), Err(DeviceError::NotBuilt { name: "wgpu".into(), feature: "wgpu" }));
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn an_absent_gpu_is_an_error() {
        // Whatever the machine has, there is no GPU of this number, and asking for it must not panic.
        let error = Devices::Cuda(vec![4096]).open().unwrap_err();
        assert!(matches!(error, DeviceError::Library { .. } | DeviceError::Index { .. }), "{error}");
    }
}
