//! The parameters of a gated delta layer under the names that files give them.

#![allow(non_snake_case, reason = "the path of a field is the name of its tensor in files")]

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::{Gain, Matrix};

/// A parameter that is no matrix or gain of its own.
#[derive(Module, Debug)]
pub struct Taps {
    /// `[channels, 1, K]`.
    pub weight: Param<Tensor<3>>,
}

/// Parameters of a gated delta layer.
#[derive(Module, Debug)]
pub struct LinearAttention {
    pub(super) q_proj: Matrix,
    pub(super) k_proj: Matrix,
    pub(super) v_proj: Matrix,
    pub(super) a_proj: Matrix,
    pub(super) b_proj: Matrix,
    pub(super) g_proj: Matrix,
    pub(super) conv1d: Taps,
    pub(super) A_log: Param<Tensor<1>>,
    pub(super) dt_bias: Param<Tensor<1>>,
    pub(super) o_norm: Gain,
    pub(super) o_proj: Matrix,
}
