//! What threads and processes have used, asked of the operating system. It does not know steps.

use std::io;
use std::process::{Child, ExitStatus};

/// Processor seconds of the calling thread so far.
pub fn thread_cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for the length of the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if status == 0 { time.tv_sec as f64 + time.tv_nsec as f64 / 1e9 } else { 0.0 }
}

/// How a process ended, and what it and the children it waited for have used.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// Its status.
    pub status: ExitStatus,
    /// Processor seconds, user and system.
    pub cpu_seconds: f64,
    /// Most memory one of them had, in MiB, rounded up.
    pub peak_memory_mib: u64,
}

/// Asks whether a child has ended; after it has, neither this nor the methods of `Child` that wait may be used again.
///
/// # Errors
/// If it is no child of this process.
pub fn try_wait(child: &Child) -> io::Result<Option<Ending>> {
    use std::os::unix::process::ExitStatusExt;
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid one.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the length of the call.
    match unsafe { libc::wait4(child.id() as libc::pid_t, &raw mut status, libc::WNOHANG, &raw mut usage) } {
        0 => Ok(None),
        -1 => Err(io::Error::last_os_error()),
        _ => {
            let (cpu_seconds, peak_memory_mib) = of(&usage);
            Ok(Some(Ending { status: ExitStatus::from_raw(status), cpu_seconds, peak_memory_mib }))
        }
    }
}

/// Processor seconds and peak memory in MiB of a record of the operating system.
pub fn of(usage: &libc::rusage) -> (f64, u64) {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    // Linux counts KiB, macOS bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let bytes = u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(unit);
    (seconds(usage.ru_utime) + seconds(usage.ru_stime), bytes.div_ceil(1 << 20))
}

/// Kills a child that was not waited for yet.
pub fn kill(child: &Child) {
    // SAFETY: a process id that was not waited for is not given to another process.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGKILL) };
}
