//! The `workbench` program: hands its arguments to the library.

use std::process::ExitCode;

/// Training allocates and frees large tensors at every step: keep their pages, and make them huge.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc before `main`.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; 65] = b"thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1,metadata_thp:auto\0";

fn main() -> ExitCode {
    workbench::cli::main()
}
