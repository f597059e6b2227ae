//! The parameterless LayerNorm as Burn sees it.

use super::*;
use crate::kernels::norms;

/// The norms that are not in [`FusedOps`].
#[backend_extension(Flex, Autodiff)]
pub(crate) trait NormOps: Backend {
    /// See `Kernels::layer_norm`.
    fn lm_layer_norm(x: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
}

impl NormOps for Flex {
    fn lm_layer_norm(x: FlexTensor, eps: f32) -> FlexTensor {
        let x = x.to_contiguous();
        shaped(norms::layer_norm(elements(&x), columns(&x), eps), &x)
    }
}

backward!(LayerNorm, 1, (FlexTensor, f32), |(x, eps), dy, parents, grads| {
    let dx = norms::layer_norm_backward(elements(&dy), elements(&x), columns(&x), eps);
    register!(grads, parents, [shaped(dx, &x)]);
});

impl<C: CheckpointStrategy> NormOps for Autodiff<Flex, C> {
    fn lm_layer_norm(x: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = x.to_contiguous();
        let y = Flex::lm_layer_norm(x.clone(), eps);
        match LayerNorm.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, eps), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
