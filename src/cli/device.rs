//! `--device`: names of devices, what may have been meant, and whether they are there. It does not know what is computed.

use lm::device::{Device, DeviceError, Devices};

use crate::error::CliError;
use crate::steps::params::closest;

/// What people call devices elsewhere, and the name here.
const OTHER_NAMES: [(&str, &str); 7] = [
    ("gpu", "cuda"),
    ("nvidia", "cuda"),
    ("host", "cpu"),
    ("vulkan", "wgpu"),
    ("webgpu", "wgpu"),
    ("metal", "wgpu"),
    ("mps", "wgpu"),
];

/// Reads a device's name.
pub(super) fn parse(text: &str) -> Result<Devices, String> {
    text.parse().map_err(|error: DeviceError| {
        let lower = text.to_lowercase();
        let (backend, numbers) = lower.split_at(lower.find(':').unwrap_or(lower.len()));
        let other = OTHER_NAMES.iter().find(|(name, _)| *name == backend).map(|(_, name)| (*name).to_owned());
        let meant = other.or_else(|| closest(backend, ["cpu", "cuda", "wgpu"])).map(|backend| format!("{backend}{numbers}"));
        // A suggestion is a name that can be read and is another one.
        match meant.filter(|meant| meant != text && meant.parse::<Devices>().is_ok()) {
            Some(meant) => format!("{error}; did you mean `{meant}`?"),
            None => error.to_string(),
        }
    })
}

/// The devices, after making sure that they are there.
pub(super) fn open(devices: &Devices) -> Result<Vec<Device>, CliError> {
    devices.open().map_err(|error| match error {
        DeviceError::Library { .. } | DeviceError::Index { .. } | DeviceError::NoAdapter { .. } => {
            CliError::system(error).hint("`workbench doctor` lists the devices of this machine")
        }
        DeviceError::Name(_) | DeviceError::Twice { .. } | DeviceError::NotBuilt { .. } => CliError::user(error.to_string()),
    })
}

/// The device, where only one can be used.
pub(super) fn open_one(devices: &Devices) -> Result<Device, CliError> {
    match open(devices)?.as_slice() {
        [device] => Ok(device.clone()),
        several => {
            Err(CliError::user(format!("`--device {devices}` names {} devices; this command computes on one", several.len())))
        }
    }
}

/// The devices of this machine that this program can use, and why it cannot use others.
pub(super) fn list() -> String {
    let (mut found, mut reasons) = (vec!["cpu".to_owned()], Vec::new());
    for index in 0.. {
        match Devices::Cuda(vec![index]).open() {
            Ok(_) => found.push(format!("cuda:{index}")),
            // The numbers end here.
            Err(DeviceError::Index { .. }) if index > 0 => break,
            Err(error) => {
                reasons.push(error.to_string());
                break;
            }
        }
    }
    match Devices::Wgpu.open() {
        Ok(_) => found.push("wgpu".to_owned()),
        Err(error) => reasons.push(error.to_string()),
    }
    [found.join(", ")].into_iter().chain(reasons).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant() {
        assert_eq!(parse("cuda:0,1"), Ok(Devices::Cuda(vec![0, 1])));
        for (text, meant) in
            [("gpu", "cuda"), ("GPU:1", "cuda:1"), ("cudda", "cuda"), ("CPU", "cpu"), ("vulkan", "wgpu"), ("wpgu", "wgpu")]
        {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("did you mean `{meant}`?")), "{error}");
        }
        for text in ["tpu9000", "cuda:x", "cuda:1,1"] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("did you mean"), "{error}");
        }
    }
}
