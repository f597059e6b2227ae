//! Where tensors live. The only file that names a Burn device.
//!
//! Knows no model. Work on the CPU runs on rayon's global pool, whose size the caller's process decides. A device is
//! asked for before it is used, because a backend that misses its libraries panics at its first tensor.

pub use burn::tensor::Device;

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name says nothing.
    #[error("`{0}` is no device; write `cpu`, `cuda`, `cuda:1` or `wgpu`")]
    Name(String),
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
            return Err(DeviceError::Index { name, index: 0, found: 0 });
        }
        Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
    }
    #[cfg(not(feature = "wgpu"))]
    Err(DeviceError::NotBuilt { name, feature: "wgpu" })
}

/// The device called `name`: `cpu`, `cuda` (GPU 0), `cuda:N`, or `wgpu`.
///
/// # Errors
/// When there is no such device; see [`cuda`] and [`wgpu`].
pub fn by_name(name: &str) -> Result<Device, DeviceError> {
    match name.split_once(':') {
        None if name == "cpu" => Ok(cpu()),
        None if name == "cuda" => cuda(0),
        None if name == "wgpu" => wgpu(),
        Some(("cuda", index)) => index.parse().map_or_else(|_| Err(DeviceError::Name(name.to_string())), cuda),
        _ => Err(DeviceError::Name(name.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_nothing_are_errors() {
        assert_eq!(by_name("cpu").unwrap(), cpu());
        for name in ["gpu", "cuda:", "cuda:x", "cpu:0", ""] {
            assert!(matches!(by_name(name), Err(DeviceError::Name(_))), "{name}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_backend_that_was_not_built_is_named() {
        let error = by_name("cuda").unwrap_err().to_string();
        assert!(error.contains("--features cuda"), "{error}");
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn an_absent_gpu_is_an_error() {
        // Whatever the machine has, there is no GPU of this number, and asking for it must not panic.
        let error = by_name("cuda:4096").unwrap_err();
        assert!(matches!(error, DeviceError::Library { .. } | DeviceError::Index { .. }), "{error}");
    }
}
