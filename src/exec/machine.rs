//! Samples the machine's load for the dashboard. GPUs are asked through `nvidia-smi` where it exists. It does not know runs.

use std::process::{Command, Stdio};

use plan::Machine;
use sysinfo::System;

/// Takes one sample at a time.
pub struct Sampler {
    system: Option<System>,
    gpus: Gpus,
}

#[derive(PartialEq, Eq)]
enum Gpus {
    Ask,
    None,
}

impl Sampler {
    /// A sampler; the first sample's processor share is not meaningful yet.
    pub fn new() -> Self {
        let mut system = System::new().ok();
        if let Some(system) = &mut system {
            system.refresh_cpu_usage();
        }
        Self { system, gpus: Gpus::Ask }
    }

    /// The load now.
    pub fn sample(&mut self) -> Machine {
        let gpus = if self.gpus == Gpus::Ask { gpus() } else { None };
        if gpus.is_none() {
            self.gpus = Gpus::None;
        }
        let mut machine = Machine { gpus: gpus.unwrap_or_default(), ..Machine::default() };
        if let Some(system) = &mut self.system {
            system.refresh_cpu_usage();
            system.refresh_memory();
            machine.cpu_percent = f64::from((system.global_cpu_usage() * 10.0).round() / 10.0);
            machine.memory_mib = system.used_memory() >> 20;
            machine.memory_total_mib = system.total_memory() >> 20;
            machine.load = System::load_average().map_or(0.0, |load| load.one);
        }
        machine
    }
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

/// All memory of the machine, in MiB; 4 GiB where it cannot be asked.
pub fn total_memory_mib() -> u64 {
    System::new().map_or(4096, |mut system| {
        system.refresh_memory();
        system.total_memory() >> 20
    })
}

/// Name, utilisation in percent, memory used and total in MiB of each GPU; none without a driver.
pub fn gpus() -> Option<Vec<(String, f64, u64, u64)>> {
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=name,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.rsplitn(4, ',').map(str::trim);
        let (total, used, busy, name) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
        Some((name.to_owned(), busy.parse().unwrap_or(0.0), used.parse().unwrap_or(0), total.parse().unwrap_or(0)))
    });
    Some(rows.collect())
}
