//! Where tensors live. The only file that names a Burn device.
//!
//! Knows no model. Work on the CPU runs on rayon's global pool, whose size the caller's process decides.

use burn::tensor::Device;

/// The CPU, through Burn's pure-Rust `flex` backend.
pub fn cpu() -> Device {
    Device::flex()
}
