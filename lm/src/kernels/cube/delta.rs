//! The inverse of lower triangular matrices with ones on the diagonal, which the chunked gated delta rule needs
//! (Yang et al., arXiv 2412.06464, section 3.3).
//!
//! Each unit solves for one column by forward substitution; columns do not depend on each other.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::Turned;
use super::attention::product;
use super::launch::{arg, per_element, unwritten, whole};

#[cube(launch)]
fn inverse_kernel(below: &[f32], out: &mut [f32], columns: usize, side: usize) {
    let at = ABSOLUTE_POS;
    if at < columns {
        let column = at % side;
        let base = at / side * side * side;
        let mut row = 0usize;
        while row < side {
            let mut value = 0.0f32;
            if row == column {
                value = 1.0f32;
            }
            let mut j = column;
            while j < row {
                value -= below[base + row * side + j] * out[base + j * side + column];
                j += 1;
            }
            out[base + row * side + column] = value;
            row += 1;
        }
    }
}

/// `(I + strict lower part of below)^-1` for every matrix of `below` `[m, c, c]`.
pub(super) fn unit_lower_inverse(below: CubeTensor) -> CubeTensor {
    let below = whole(below);
    let (m, side) = (below.meta.shape()[0], below.meta.shape()[1]);
    let out = unwritten(&below, &[m, side, side], DType::F32);
    let (count, dim) = per_element(&below, m * side);
    inverse_kernel::launch(&below.client, count, dim, arg(&below), arg(&out), m * side, side);
    out
}

#[cube(launch)]
fn negative_lower_kernel(values: &[f32], out: &mut [f32], total: usize, side: usize) {
    let at = ABSOLUTE_POS;
    if at < total {
        let column = at % side;
        let row = at / side % side;
        let mut value = 0.0f32;
        if column < row {
            value = -values[at];
        }
        out[at] = value;
    }
}

/// The gradient of `unit_lower_inverse` for its argument, from its result and the gradient of that.
pub(super) fn unit_lower_inverse_backward(inverse: CubeTensor, upstream: CubeTensor) -> CubeTensor {
    let (inverse, upstream) = (whole(inverse), whole(upstream));
    let inner = product(inverse.clone(), upstream, Turned::Left, DType::F32);
    let full = product(inner, inverse, Turned::Right, DType::F32);
    let total = full.meta.num_elements();
    let out = unwritten(&full, full.meta.shape(), DType::F32);
    let (count, dim) = per_element(&full, total);
    negative_lower_kernel::launch(&full.client, count, dim, arg(&full), arg(&out), total, full.meta.shape()[1]);
    out
}
