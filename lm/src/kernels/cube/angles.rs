//! Tables of rotary angles on a device; they are the same in every layer and every step, so the last few are kept.

use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, Tensor, TensorData};

use crate::kernels::RopeTable;

/// How many tables are kept.
const KEPT: usize = 16;

static TABLES: Mutex<Vec<Table>> = Mutex::new(Vec::new());

struct Table {
    host: RopeTable,
    device: Device,
    cos: Tensor<2>,
    sin: Tensor<2>,
}

/// Cosines and sines of `table`, `shape` = `[length, D / 2]`, on `device`.
pub(super) fn on(device: &Device, table: &RopeTable, shape: [usize; 2]) -> (Tensor<2>, Tensor<2>) {
    let device = device.clone().without_autodiff();
    let mut kept = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.iter().find(|known| known.device == device && known.host.is(table)) {
        return (known.cos.clone(), known.sin.clone());
    }
    let upload = |values: &[f32]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), &device);
    let (cos, sin) = (upload(&table.cos), upload(&table.sin));
    if kept.len() == KEPT {
        kept.remove(0);
    }
    kept.push(Table { host: table.clone(), device, cos: cos.clone(), sin: sin.clone() });
    (cos, sin)
}
