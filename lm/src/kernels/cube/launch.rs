//! Making buffers and grids for kernels; sums over a cube.
//!
//! Knows no operation.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::{empty_device_contiguous_dtype, zeros};
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

/// Units of a cube that works through one row.
pub(super) const ROW_UNITS: u32 = 256;

/// A tensor without gaps.
pub(super) fn whole(tensor: CubeTensor) -> CubeTensor {
    into_contiguous(tensor)
}

/// An unwritten tensor beside `like`.
pub(super) fn unwritten(like: &CubeTensor, shape: &[usize], dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), Shape::from(shape.to_vec()), dtype)
}

/// A tensor of zeros beside `like`.
pub(super) fn zeroed(like: &CubeTensor, shape: &[usize], dtype: DType) -> CubeTensor {
    // Made in one dimension because Burn would leave gaps between rows.
    let flat = zeros(like.device.clone(), Shape::from(vec![shape.iter().product::<usize>()]), dtype);
    CubeTensor::new_contiguous(flat.client, flat.device, Shape::from(shape.to_vec()), flat.handle, dtype)
}

/// Numbers from the host beside `like`.
pub(super) fn upload(like: &CubeTensor, values: &[u32]) -> CubeTensor {
    let handle = like.client.create_from_slice(bytemuck::cast_slice(values));
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), Shape::from(vec![values.len()]), handle, DType::U32)
}

/// `tensor` as an argument of a kernel that sees its elements in order.
pub(super) fn arg(tensor: &CubeTensor) -> BufferArg {
    tensor.clone().into_buffer_arg()
}

/// The element type of `tensor`.
pub(super) fn elem(tensor: &CubeTensor) -> ElemType {
    dtype_to_storage_type(tensor.dtype)
}

/// One unit per element of `n`.
pub(super) fn per_element(like: &CubeTensor, n: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new_1d(ROW_UNITS);
    (calculate_cube_count_elemwise(&like.client, n, dim), dim)
}

/// One cube per row of `n`.
pub(super) fn per_row(n: usize) -> (CubeCount, CubeDim) {
    // 65535 is the least limit of a grid's axis that any API promises.
    let x = n.clamp(1, 32768);
    (CubeCount::Static(x as u32, n.div_ceil(x) as u32, 1), CubeDim::new_1d(ROW_UNITS))
}

/// The sum of `value` over all units of the cube, the same in each, added in a fixed order.
#[cube]
pub(super) fn cube_sum(value: f32, #[comptime] units: usize) -> f32 {
    let mut shared = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = CUBE_DIM as usize / 2;
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    let total = shared[0];
    sync_cube();
    total
}

/// The largest `value` of all units of the cube.
#[cube]
pub(super) fn cube_max(value: f32, #[comptime] units: usize) -> f32 {
    let mut shared = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = CUBE_DIM as usize / 2;
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            if other > shared[unit] {
                shared[unit] = other;
            }
        }
        sync_cube();
        half /= 2;
    }
    let most = shared[0];
    sync_cube();
    most
}
