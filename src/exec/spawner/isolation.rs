//! Namespaces of Linux: no network, a file system that can be read but written in one place only, processes that end together. What
//! the system does not allow is reported and done without. It does not know what runs inside.

use std::path::Path;

use super::Network;

/// Enters the namespaces that this process may enter; tells what could not be kept apart, and whether the next child is process 1.
#[cfg(target_os = "linux")]
pub(super) fn enter(network: Network, writable: &Path) -> (Vec<String>, bool) {
    let mut gaps = Vec::new();
    let nets = if network == Network::None { libc::CLONE_NEWNET } else { 0 };
    let wanted = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | nets;
    // SAFETY: unshare touches nothing but this process, which has one thread.
    let entered = unsafe { libc::unshare(wanted) } == 0 || {
        // SAFETY: these calls only ask.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        // SAFETY: as above. Users that are not root need a user namespace, where they keep their own numbers.
        let new_user = unsafe { libc::unshare(libc::CLONE_NEWUSER | wanted) } == 0;
        if new_user {
            // Without this, unprivileged users cannot set groups; where there is no such file, they can.
            let _ = std::fs::write("/proc/self/setgroups", "deny");
        }
        new_user
            && std::fs::write("/proc/self/uid_map", format!("{user} {user} 1")).is_ok()
            && std::fs::write("/proc/self/gid_map", format!("{group} {group} 1")).is_ok()
    };
    if !entered {
        let error = std::io::Error::last_os_error();
        let what = if network == Network::None { "the network and other files" } else { "other files" };
        gaps.push(format!("commands are not kept away from {what}: this system allows no namespaces ({error})"));
        return (gaps, false);
    }
    if let Err(error) = protect(writable) {
        gaps.push(format!("commands can write outside their folder: {error}"));
    }
    (gaps, true)
}

/// Makes every mount read-only but the devices and `writable`.
#[cfg(target_os = "linux")]
fn protect(writable: &Path) -> std::io::Result<()> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(std::io::Error::other);
    let (root, writable) = (path(Path::new("/"))?, path(writable)?);
    let mount = |from: *const libc::c_char, to: &CString, flags: libc::c_ulong| {
        // SAFETY: the pointers are valid or null, as mount(2) asks.
        match unsafe { libc::mount(from, to.as_ptr(), std::ptr::null(), flags, std::ptr::null()) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // What happens here must not be seen outside.
    mount(std::ptr::null(), &root, libc::MS_REC | libc::MS_PRIVATE)?;
    mount(writable.as_ptr(), &writable, libc::MS_BIND)?;
    set_read_only(&root, true, true)?;
    set_read_only(&writable, false, false)?;
    for devices in ["/dev", "/dev/shm"] {
        // Not everywhere a mount of its own.
        let _ = set_read_only(&path(Path::new(devices))?, false, true);
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn set_read_only(path: &std::ffi::CString, read_only: bool, recursive: bool) -> std::io::Result<()> {
    #[repr(C)]
    struct MountAttributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    const READ_ONLY: u64 = 1;
    let (set, clear) = if read_only { (READ_ONLY, 0) } else { (0, READ_ONLY) };
    let attributes = MountAttributes { set, clear, propagation: 0, user_namespace: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: mount_setattr(2) with a valid path and a structure of the size given.
    let status = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if status == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Elsewhere there is nothing to enter.
#[cfg(not(target_os = "linux"))]
pub(super) fn enter(_network: Network, _writable: &Path) -> (Vec<String>, bool) {
    (vec!["commands are not kept away from the network and other files: this system has no namespaces".into()], false)
}
