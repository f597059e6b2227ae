//! Moving parameters between the host and a device, and walking over them by name.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};

use super::Model;
use crate::weights::{Array, NamedArrays};

/// A trainable parameter holding `array`.
pub(crate) fn parameter<const D: usize>(array: Array, device: &Device) -> Param<Tensor<D>> {
    Param::from_data(TensorData::new(array.data, array.shape), device)
}

/// The elements of a float tensor, copied to the host, last axis fastest.
pub fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let tensor = if tensor.dtype() == DType::F32 { tensor } else { tensor.cast(FloatDType::F32) };
    tensor.into_data().try_into_vec::<f32>().expect("the tensor was made one of 32-bit floats")
}

/// The same elements in one dimension.
pub(crate) fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let n = tensor.shape().num_elements();
    tensor.reshape([n])
}

/// All parameters by name.
pub(crate) fn weights(model: &Model) -> NamedArrays {
    let mut arrays = NamedArrays::new();
    visit(model, |name, shape, flat| {
        arrays.insert(name.to_string(), Array::new(shape, host(flat)));
    });
    arrays
}

/// Calls `f` with the name, the shape and the flattened value (without gradient) of every parameter.
pub(crate) fn visit(model: &Model, f: impl FnMut(&str, Vec<usize>, Tensor<1>)) {
    struct Visit<F> {
        path: Vec<String>,
        f: F,
    }
    impl<F: FnMut(&str, Vec<usize>, Tensor<1>)> ModuleVisitor for Visit<F> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val().without_autodiff();
            let shape = value.dims().to_vec();
            (self.f)(&self.path.join("."), shape, flat(value));
        }
    }
    model.visit(&mut Visit { path: Vec::new(), f });
}

/// Calls `f` with the name and the value of every parameter, uniquely owned and flattened, and puts its result back.
pub(crate) fn update(model: Model, f: impl FnMut(&str, Tensor<1>) -> Tensor<1>) -> Model {
    struct Update<F> {
        path: Vec<String>,
        f: F,
    }
    impl<F: FnMut(&str, Tensor<1>) -> Tensor<1>> ModuleMapper for Update<F> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let name = self.path.join(".");
            param.map(|value| {
                let (autodiff, tracked) = (value.is_autodiff(), value.is_require_grad());
                let shape = value.shape();
                let flat = (self.f)(&name, flat(value.without_autodiff()));
                let value = flat.reshape(shape);
                if autodiff { value.autodiff().set_require_grad(tracked) } else { value }
            })
        }
    }
    model.map(&mut Update { path: Vec::new(), f })
}

/// The same model, where the parameters that `frozen` names take part in no graph.
pub(crate) fn freeze(model: Model, frozen: impl Fn(&str) -> bool) -> Model {
    struct Freeze<F> {
        path: Vec<String>,
        frozen: F,
    }
    impl<F: Fn(&str) -> bool> ModuleMapper for Freeze<F> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if (self.frozen)(&self.path.join(".")) { param.set_require_grad(false) } else { param }
        }
    }
    model.map(&mut Freeze { path: Vec::new(), frozen })
}
