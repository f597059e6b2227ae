//! Scratch memory on cache-line boundaries; dropped, it is kept for the thread's next product.

use std::cell::RefCell;

/// One cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Floats on a cache-line boundary.
#[derive(Debug)]
pub(super) struct Buffer {
    lines: Vec<Line>,
}

/// Buffers a thread keeps at most.
const KEPT: usize = 4;
/// Larger buffers go back to the allocator, in floats.
const KEPT_SIZE: usize = 4 << 20;

thread_local! {
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

impl Buffer {
    /// At least `n` floats of unspecified content.
    pub(super) fn take(n: usize) -> Self {
        let mut lines = FREE.with_borrow_mut(|free| {
            let fitting = free.iter().position(|lines| lines.capacity() * 16 >= n);
            fitting.map(|i| free.swap_remove(i)).or_else(|| free.pop()).unwrap_or_default()
        });
        lines.clear();
        lines.reserve(n.div_ceil(16));
        Self { lines }
    }

    /// The first float.
    pub(super) fn start(&self) -> *const f32 {
        self.lines.as_ptr().cast()
    }

    /// The first float, to write.
    pub(super) fn start_mut(&mut self) -> *mut f32 {
        self.lines.as_mut_ptr().cast()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if lines.capacity() == 0 || lines.capacity() * 16 > KEPT_SIZE {
            return;
        }
        // Where the thread is ending, its buffers are gone already.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(lines);
            }
        });
    }
}
