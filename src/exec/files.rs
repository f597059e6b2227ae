//! How many files this process may have open. It does not know who opens them.

/// As many as are of use to a run; more only costs those programs time that close every number at their start.
const ENOUGH: libc::rlim_t = 1 << 16;

/// Raises the limit as far as the system lets this user, and tells what it is. None where it cannot be asked for.
pub fn most_open() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is writable and lives until the call returns.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return None;
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = before.max(limit.rlim_max.min(ENOUGH));
    // SAFETY: as above; the structure is only read.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0;
    Some(if raised { limit.rlim_cur } else { before })
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_a_limit_and_it_only_grows() {
        let first = super::most_open().unwrap();
        assert!(first >= 64 && super::most_open() == Some(first));
    }
}
