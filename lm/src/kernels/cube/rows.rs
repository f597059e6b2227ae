//! Kernels over rows: norms, rotations, gated activations, gathering and scattering embeddings, the AdamW update.
//!
//! Sums are 32-bit floats in a fixed order whatever the type of the rows; no atomics.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Turn;
use super::launch::{ROW_UNITS, arg, cube_sum, elem, per_element, per_row, unwritten, upload, whole, zeroed};
use crate::kernels::UpdateScale;

/// Rows that one cube adds up for the gradient of a gain.
const GAIN_ROWS: usize = 64;

#[cube(launch)]
fn norm_kernel<F: Float>(
    x: &[F],
    gain: &[f32],
    residual: &[F],
    out: &mut [F],
    rows: usize,
    width: usize,
    eps: f32,
    #[comptime] adds: bool,
    #[comptime] units: usize,
    #[define(F)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let start = row * width;
    let mut squares = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < width {
        let value = f32::cast_from(x[start + i]);
        squares += value * value;
        i += units;
    }
    let inverse = 1.0f32 / (cube_sum(squares, units) / width as f32 + eps).sqrt();
    let mut i = UNIT_POS as usize;
    while i < width {
        let mut value = f32::cast_from(x[start + i]) * inverse * gain[i];
        if adds {
            value += f32::cast_from(residual[start + i]);
        }
        out[start + i] = F::cast_from(value);
        i += units;
    }
}

/// `x / rms(x) * gain`, plus `residual` if there is one: `[n, d]` in the type of `x`.
pub(super) fn norm(x: CubeTensor, gain: CubeTensor, residual: Option<CubeTensor>, eps: f32) -> CubeTensor {
    let (x, gain) = (whole(x), whole(gain));
    let width = gain.meta.shape()[0];
    let rows = x.meta.num_elements() / width;
    let out = unwritten(&x, &[rows, width], x.dtype);
    let adds = residual.is_some();
    let residual = residual.map_or_else(|| x.clone(), whole);
    let (count, dim) = per_row(rows);
    let units = ROW_UNITS as usize;
    let client = x.client.clone();
    norm_kernel::launch(
        &client,
        count,
        dim,
        arg(&x),
        arg(&gain),
        arg(&residual),
        arg(&out),
        rows,
        width,
        eps,
        adds,
        units,
        elem(&x),
    );
    out
}

#[cube(launch)]
fn norm_backward_kernel<F: Float>(
    x: &[F],
    gain: &[f32],
    dy: &[F],
    dx: &mut [F],
    inverses: &mut [f32],
    rows: usize,
    width: usize,
    eps: f32,
    #[comptime] units: usize,
    #[define(F)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let start = row * width;
    let mut squares = 0.0f32;
    let mut products = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < width {
        let value = f32::cast_from(x[start + i]);
        squares += value * value;
        products += value * gain[i] * f32::cast_from(dy[start + i]);
        i += units;
    }
    let inverse = 1.0f32 / (cube_sum(squares, units) / width as f32 + eps).sqrt();
    let mean = cube_sum(products, units) / width as f32 * inverse * inverse;
    let mut i = UNIT_POS as usize;
    while i < width {
        let value = f32::cast_from(x[start + i]);
        let upstream = gain[i] * f32::cast_from(dy[start + i]);
        dx[start + i] = F::cast_from(inverse * (upstream - value * mean));
        i += units;
    }
    if UNIT_POS == 0 {
        inverses[row] = inverse;
    }
}

#[cube(launch)]
fn gain_kernel<F: Float>(
    x: &[F],
    dy: &[F],
    inverses: &[f32],
    partial: &mut [f32],
    rows: usize,
    width: usize,
    block: usize,
    #[define(F)] _dtype: ElemType,
) {
    let column = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    let first = CUBE_POS_Y as usize * block;
    if column < width {
        let mut sum = 0.0f32;
        let mut row = first;
        while row < first + block && row < rows {
            sum += f32::cast_from(x[row * width + column]) * f32::cast_from(dy[row * width + column]) * inverses[row];
            row += 1;
        }
        partial[CUBE_POS_Y as usize * width + column] = sum;
    }
}

#[cube(launch)]
fn column_sum_kernel(partial: &[f32], out: &mut [f32], rows: usize, width: usize) {
    let column = ABSOLUTE_POS;
    if column < width {
        let mut sum = 0.0f32;
        let mut row = 0usize;
        while row < rows {
            sum += partial[row * width + column];
            row += 1;
        }
        out[column] = sum;
    }
}

/// Gradients of `norm` for `x` and `gain`.
pub(super) fn norm_backward(x: CubeTensor, gain: CubeTensor, dy: CubeTensor, eps: f32) -> (CubeTensor, CubeTensor) {
    let (x, gain, dy) = (whole(x), whole(gain), whole(dy));
    let width = gain.meta.shape()[0];
    let rows = x.meta.num_elements() / width;
    let dx = unwritten(&x, &[rows, width], x.dtype);
    let inverses = unwritten(&x, &[rows], DType::F32);
    let client = x.client.clone();
    let (count, dim) = per_row(rows);
    norm_backward_kernel::launch(
        &client,
        count,
        dim,
        arg(&x),
        arg(&gain),
        arg(&dy),
        arg(&dx),
        arg(&inverses),
        rows,
        width,
        eps,
        ROW_UNITS as usize,
        elem(&x),
    );
    let blocks = rows.div_ceil(GAIN_ROWS);
    let partial = unwritten(&x, &[blocks, width], DType::F32);
    let count = CubeCount::Static((width as u32).div_ceil(ROW_UNITS), blocks as u32, 1);
    gain_kernel::launch(&client, count, dim, arg(&x), arg(&dy), arg(&inverses), arg(&partial), rows, width, GAIN_ROWS, elem(&x));
    let dgain = unwritten(&x, &[width], DType::F32);
    let (count, dim) = per_element(&x, width);
    column_sum_kernel::launch(&client, count, dim, arg(&partial), arg(&dgain), blocks, width);
    (dx, dgain)
}

#[cube(launch)]
fn rotate_kernel<F: Float>(
    x: &[F],
    cos: &[f32],
    sin: &[f32],
    out: &mut [F],
    pairs: usize,
    width: usize,
    length: usize,
    half: usize,
    #[comptime] inverse: bool,
    #[define(F)] _dtype: ElemType,
) {
    let pair = ABSOLUTE_POS;
    if pair < pairs {
        let per_row = width / 2;
        let row = pair / per_row;
        let within = pair % per_row;
        let head = within / half;
        let i = within % half;
        let at = row * width + head * 2 * half + i;
        let entry = (row % length) * half + i;
        let c = cos[entry];
        let mut s = sin[entry];
        if inverse {
            s = -s;
        }
        let first = f32::cast_from(x[at]);
        let second = f32::cast_from(x[at + half]);
        out[at] = F::cast_from(first * c - second * s);
        out[at + half] = F::cast_from(second * c + first * s);
    }
}

/// Rotates the halves of every head of `x` `[n, heads * D]` by the angles of the row's position, or back.
pub(super) fn rotate(x: CubeTensor, cos: CubeTensor, sin: CubeTensor, turn: Turn) -> CubeTensor {
    let (x, cos, sin) = (whole(x), whole(cos), whole(sin));
    let (rows, width) = (x.meta.shape()[0], x.meta.shape()[1]);
    let (length, half) = (cos.meta.shape()[0], cos.meta.shape()[1]);
    let out = unwritten(&x, &[rows, width], x.dtype);
    let pairs = rows * width / 2;
    let (count, dim) = per_element(&x, pairs);
    let client = x.client.clone();
    rotate_kernel::launch(
        &client,
        count,
        dim,
        arg(&x),
        arg(&cos),
        arg(&sin),
        arg(&out),
        pairs,
        width,
        length,
        half,
        turn == Turn::Back,
        elem(&x),
    );
    out
}

#[cube]
fn sigmoid(x: f32) -> f32 {
    1.0f32 / (1.0f32 + (-x).exp())
}

#[cube(launch)]
fn swiglu_kernel<F: Float>(gate: &[F], up: &[F], out: &mut [F], total: usize, #[define(F)] _dtype: ElemType) {
    let at = ABSOLUTE_POS;
    if at < total {
        let g = f32::cast_from(gate[at]);
        out[at] = F::cast_from(g * sigmoid(g) * f32::cast_from(up[at]));
    }
}

/// `silu(gate) * up`: `[n, f]`.
pub(super) fn swiglu(gate: CubeTensor, up: CubeTensor) -> CubeTensor {
    let (gate, up) = (whole(gate), whole(up));
    let total = gate.meta.num_elements();
    let out = unwritten(&gate, gate.meta.shape(), gate.dtype);
    let (count, dim) = per_element(&gate, total);
    swiglu_kernel::launch(&gate.client, count, dim, arg(&gate), arg(&up), arg(&out), total, elem(&gate));
    out
}

#[cube(launch)]
fn swiglu_backward_kernel<F: Float>(
    gate: &[F],
    up: &[F],
    dy: &[F],
    dgate: &mut [F],
    dup: &mut [F],
    total: usize,
    #[define(F)] _dtype: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < total {
        let g = f32::cast_from(gate[at]);
        let upstream = f32::cast_from(dy[at]);
        let s = sigmoid(g);
        dgate[at] = F::cast_from(upstream * f32::cast_from(up[at]) * s * (1.0f32 + g * (1.0f32 - s)));
        dup[at] = F::cast_from(upstream * g * s);
    }
}

/// Gradients of `swiglu` for `gate` and `up`.
pub(super) fn swiglu_backward(gate: CubeTensor, up: CubeTensor, dy: CubeTensor) -> (CubeTensor, CubeTensor) {
    let [gate, up, dy] = [gate, up, dy].map(whole);
    let total = gate.meta.num_elements();
    let [dgate, dup] = [(); 2].map(|()| unwritten(&gate, gate.meta.shape(), gate.dtype));
    let (count, dim) = per_element(&gate, total);
    swiglu_backward_kernel::launch(
        &gate.client,
        count,
        dim,
        arg(&gate),
        arg(&up),
        arg(&dy),
        arg(&dgate),
        arg(&dup),
        total,
        elem(&gate),
    );
    (dgate, dup)
}

#[cube(launch)]
fn pick_kernel<S: Float, F: Float>(
    weight: &[S],
    ids: &[u32],
    out: &mut [F],
    total: usize,
    width: usize,
    #[define(S, F)] _dtypes: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < total {
        let id = ids[at / width] as usize;
        out[at] = F::cast_from(weight[id * width + at % width]);
    }
}

/// Rows of `weight` `[V, d]` picked by `ids`, as `dtype`: `[n, d]`.
pub(super) fn pick(weight: CubeTensor, ids: &[u32], dtype: DType) -> CubeTensor {
    let weight = whole(weight);
    let width = weight.meta.shape()[1];
    let out = unwritten(&weight, &[ids.len(), width], dtype);
    let total = ids.len() * width;
    let (count, dim) = per_element(&weight, total);
    let client = weight.client.clone();
    pick_kernel::launch(
        &client,
        count,
        dim,
        arg(&weight),
        arg(&upload(&weight, ids)),
        arg(&out),
        total,
        width,
        [elem(&weight), elem(&out)],
    );
    out
}

#[cube(launch)]
fn add_up_kernel<F: Float>(
    dy: &[F],
    order: &[u32],
    starts: &[u32],
    ids: &[u32],
    out: &mut [f32],
    segments: usize,
    width: usize,
    #[define(F)] _dtype: ElemType,
) {
    let segment = CUBE_POS_Y as usize + CUBE_POS_Z as usize * CUBE_COUNT_Y as usize;
    let column = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    if segment < segments && column < width {
        let end = starts[segment + 1] as usize;
        let mut at = starts[segment] as usize;
        let mut sum = 0.0f32;
        while at < end {
            sum += f32::cast_from(dy[order[at] as usize * width + column]);
            at += 1;
        }
        out[ids[segment] as usize * width + column] = sum;
    }
}

/// The gradient of `pick` for `weight`: the rows of `dy` `[n, d]` added up by id, in the order of the rows.
pub(super) fn add_up(dy: CubeTensor, ids: &[u32], vocab: usize) -> CubeTensor {
    let dy = whole(dy);
    let width = dy.meta.shape()[1];
    let out = zeroed(&dy, &[vocab, width], DType::F32);
    let Segments { order, starts, ids } = Segments::of(ids);
    if ids.is_empty() {
        return out;
    }
    let y = ids.len().min(32768);
    let count = CubeCount::Static((width as u32).div_ceil(ROW_UNITS), y as u32, ids.len().div_ceil(y) as u32);
    let client = dy.client.clone();
    add_up_kernel::launch(
        &client,
        count,
        CubeDim::new_1d(ROW_UNITS),
        arg(&dy),
        arg(&upload(&dy, &order)),
        arg(&upload(&dy, &starts)),
        arg(&upload(&dy, &ids)),
        arg(&out),
        ids.len(),
        width,
        elem(&dy),
    );
    out
}

/// Positions grouped by id.
#[derive(Debug, PartialEq)]
struct Segments {
    /// All positions, sorted by their id, equal ids in order.
    order: Vec<u32>,
    /// Where each id's positions begin in `order`, and their end.
    starts: Vec<u32>,
    /// The ids that occur, ascending.
    ids: Vec<u32>,
}

impl Segments {
    fn of(ids: &[u32]) -> Self {
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_by_key(|position| ids[*position as usize]);
        let (mut starts, mut distinct) = (Vec::new(), Vec::new());
        for (at, position) in order.iter().enumerate() {
            let id = ids[*position as usize];
            if distinct.last() != Some(&id) {
                distinct.push(id);
                starts.push(at as u32);
            }
        }
        starts.push(order.len() as u32);
        Self { order, starts, ids: distinct }
    }
}

#[cube(launch)]
fn adamw_kernel(
    value: &[f32],
    gradient: &[f32],
    first: &[f32],
    second: &[f32],
    value_out: &mut [f32],
    first_out: &mut [f32],
    second_out: &mut [f32],
    n: usize,
    lr: f32,
    keep: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    first_correction: f32,
    second_correction: f32,
    factor: f32,
) {
    let i = ABSOLUTE_POS;
    if i < n {
        let g = gradient[i] * factor;
        let m = first[i] * beta1 + g * (1.0f32 - beta1);
        let v = second[i] * beta2 + g * g * (1.0f32 - beta2);
        let update = m * first_correction / ((v * second_correction).sqrt() + eps);
        value_out[i] = value[i] * keep - lr * update;
        first_out[i] = m;
        second_out[i] = v;
    }
}

/// One AdamW update; each result takes the memory of its operand where nothing else uses that.
pub(super) fn adamw(
    value: CubeTensor,
    gradient: CubeTensor,
    first: CubeTensor,
    second: CubeTensor,
    scale: UpdateScale,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [value, gradient, first, second] = [value, gradient, first, second].map(whole);
    let n = value.meta.num_elements();
    let (count, dim) = per_element(&value, n);
    let place = |tensor: &CubeTensor| match tensor.handle.can_mut() {
        true => (tensor.clone(), true),
        false => (unwritten(tensor, &[n], DType::F32), false),
    };
    let ((value_out, value_alias), (first_out, first_alias), (second_out, second_alias)) =
        (place(&value), place(&first), place(&second));
    let target = |tensor: &CubeTensor, alias: bool, position: usize| match alias {
        true => tensor.as_tensor_alias(position).into_buffer_arg(),
        false => arg(tensor),
    };
    let client = value.client.clone();
    adamw_kernel::launch(
        &client,
        count,
        dim,
        arg(&value),
        arg(&gradient),
        arg(&first),
        arg(&second),
        target(&value_out, value_alias, 0),
        target(&first_out, first_alias, 2),
        target(&second_out, second_alias, 3),
        n,
        scale.lr,
        scale.keep,
        scale.beta1,
        scale.beta2,
        scale.eps,
        scale.first_correction,
        scale.second_correction,
        scale.gradient,
    );
    (value_out, first_out, second_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_grouped_by_id_in_order() {
        let segments = Segments::of(&[5, 2, 5, 0, 2, 5]);
        assert_eq!(segments.order, [3, 1, 4, 0, 2, 5]);
        assert_eq!(segments.starts, [0, 1, 3, 6]);
        assert_eq!(segments.ids, [0, 2, 5]);
    }
}
