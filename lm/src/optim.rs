//! AdamW and the optimisation step that every kind of training shares.
//!
//! Decoupled weight decay `p *= 1 - lr * wd` on every parameter but the input embedding, then the Adam update with bias
//! correction (Loshchilov and Hutter, arXiv 1711.05101; as OLMo-core applies it). Knows no data and no schedule: the
//! caller passes each step's learning rate and a loss already divided by the targets of the whole batch.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::distributed::{ReduceOperation, all_reduce};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::init::{Role, role};
use crate::kernels::{Kernels, UpdateScale};
use crate::model::{Model, parameters};
use crate::weights::{Array, NamedArrays};

/// Constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    /// The constants of every OLMo 2 run.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 }
    }
}

/// An optimiser's memory on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OptimizerState {
    /// Updates done.
    pub step: u64,
    /// First moments by parameter name, in the parameter's shape.
    pub first: NamedArrays,
    /// Second moments.
    pub second: NamedArrays,
}

#[derive(Debug)]
struct Moments {
    first: Tensor<1>,
    second: Tensor<1>,
}

/// The AdamW optimiser with its state.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    step: u64,
    moments: BTreeMap<String, Moments>,
    restored: OptimizerState,
}

impl AdamW {
    /// An optimiser that has seen no gradient.
    pub fn new(config: AdamWConfig) -> Self {
        Self::from_state(config, OptimizerState::default())
    }

    /// An optimiser that goes on from `state`. Parameters without moments start from 0.
    pub fn from_state(config: AdamWConfig, state: OptimizerState) -> Self {
        Self { config, step: state.step, moments: BTreeMap::new(), restored: state }
    }

    /// Updates done so far.
    pub fn step_number(&self) -> u64 {
        self.step
    }

    /// The state on the host, in the shapes of `model`'s parameters.
    pub fn state(&self, model: &Model) -> OptimizerState {
        let mut state = OptimizerState { step: self.step, ..OptimizerState::default() };
        parameters::visit(model, |name, shape, _| {
            let (first, second) = match self.moments.get(name) {
                Some(Moments { first, second }) => (
                    Array::new(shape.clone(), parameters::host(first.clone())),
                    Array::new(shape, parameters::host(second.clone())),
                ),
                None => (
                    self.restored.first.get(name).cloned().unwrap_or_else(|| Array::filled(&shape, 0.0)),
                    self.restored.second.get(name).cloned().unwrap_or_else(|| Array::filled(&shape, 0.0)),
                ),
            };
            state.first.insert(name.to_string(), first);
            state.second.insert(name.to_string(), second);
        });
        state
    }

    /// Updates every parameter of `model` that has a gradient, at learning rate `lr`; gradients are multiplied by `scale`.
    fn apply(&mut self, model: Model, mut gradients: Gradients, lr: f64, scale: f64) -> Model {
        self.step += 1;
        let kernels = model.kernels();
        let config = self.config;
        let exponent = self.step as f64;
        parameters::update(model, |name, value| {
            let Some(gradient) = gradients.0.remove(name) else { return value };
            let decay = if role(name) == Role::Embedding { 0.0 } else { config.weight_decay };
            let moments = self.moments.remove(name).unwrap_or_else(|| {
                let device = value.device();
                let n = value.dims()[0];
                let restore = |from: &mut NamedArrays| {
                    let data = from.remove(name).map_or_else(|| vec![0.0; n], |array| array.data);
                    Tensor::from_data(TensorData::new(data, [n]), &device)
                };
                Moments { first: restore(&mut self.restored.first), second: restore(&mut self.restored.second) }
            });
            let update = UpdateScale {
                lr: lr as f32,
                keep: (1.0 - lr * decay) as f32,
                beta1: config.beta1 as f32,
                beta2: config.beta2 as f32,
                eps: config.eps as f32,
                first_correction: (1.0 / (1.0 - config.beta1.powf(exponent))) as f32,
                second_correction: (1.0 / (1.0 - config.beta2.powf(exponent))) as f32,
                gradient: scale as f32,
            };
            let (value, [first, second]) = kernels.adamw(value, gradient, [moments.first, moments.second], update);
            self.moments.insert(name.to_string(), Moments { first, second });
            value
        })
    }
}

/// Gradients by parameter name, flattened.
#[derive(Debug, Default)]
pub struct Gradients(BTreeMap<String, Tensor<1>>);

impl Gradients {
    /// The gradients of a scalar `loss` of `model`; consumes the graph that `loss` stands on.
    pub fn of(loss: &Tensor<1>, model: &Model) -> Self {
        struct Collect {
            path: Vec<String>,
            all: burn::tensor::Gradients,
            named: BTreeMap<String, Tensor<1>>,
        }
        impl ModuleVisitor for Collect {
            fn enter_module(&mut self, name: &str, _container_type: &str) {
                self.path.push(name.to_string());
            }
            fn exit_module(&mut self, _name: &str, _container_type: &str) {
                self.path.pop();
            }
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = param.val().grad_remove(&mut self.all) {
                    self.named.insert(self.path.join("."), parameters::flat(gradient));
                }
            }
        }
        let mut collect = Collect { path: Vec::new(), all: loss.backward(), named: BTreeMap::new() };
        model.visit(&mut collect);
        Self(collect.named)
    }

    /// Adds `other` to these gradients.
    pub fn add(&mut self, other: Self) {
        for (name, gradient) in other.0 {
            let sum = match self.0.remove(&name) {
                Some(before) => before.add(gradient),
                None => gradient,
            };
            self.0.insert(name, sum);
        }
    }

    /// The L2 norm over all gradients together; sums in a fixed order.
    pub fn norm(&self, kernels: Kernels) -> f64 {
        kernels.sum_of_squares(self.0.values()).sqrt()
    }

    /// The parameters that have a gradient.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }

    /// Gradients from the host, flattened.
    pub(crate) fn from_host(host: &BTreeMap<String, Vec<f32>>, device: &Device) -> Self {
        let tensor = |values: &Vec<f32>| Tensor::from_data(TensorData::new(values.clone(), [values.len()]), device);
        Self(host.iter().map(|(name, values)| (name.clone(), tensor(values))).collect())
    }

    /// Replaces every gradient by the sum over `devices`, each of which calls this at the same time from its own thread
    /// with gradients of the same names.
    pub(crate) fn all_reduce(&mut self, devices: &[Device]) {
        let reduce = |gradient| all_reduce(gradient, ReduceOperation::Sum, devices.to_vec());
        // All are on their way before the first is waited for.
        let moving: Vec<_> = std::mem::take(&mut self.0).into_iter().map(|(name, gradient)| (name, reduce(gradient))).collect();
        self.0 = moving.into_iter().map(|(name, gradient)| (name, gradient.resolve())).collect();
    }

    /// The gradients on the host, flattened, by parameter name.
    pub fn host(&self) -> BTreeMap<String, Vec<f32>> {
        self.0.iter().map(|(name, gradient)| (name.clone(), parameters::host(gradient.clone()))).collect()
    }
}

/// A model in training: accumulates gradients of micro-batches and updates the parameters.
#[derive(Debug)]
pub struct Trainer {
    model: Option<Model>,
    optimizer: AdamW,
    max_grad_norm: Option<f64>,
    gradients: Gradients,
}

const HAS_MODEL: &str = "the model is only away inside `update`";

impl Trainer {
    /// Trains `model` with `optimizer`, clipping the global gradient norm to `max_grad_norm`.
    pub fn new(model: Model, optimizer: AdamW, max_grad_norm: Option<f64>) -> Self {
        Self { model: Some(model.train()), optimizer, max_grad_norm, gradients: Gradients::default() }
    }

    /// The model as it is now, with gradients on.
    pub fn model(&self) -> &Model {
        self.model.as_ref().expect(HAS_MODEL)
    }

    /// The optimiser as it is now.
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// The optimiser's state on the host.
    pub fn optimizer_state(&self) -> OptimizerState {
        self.optimizer.state(self.model())
    }

    /// Differentiates the scalar `loss` and adds its gradients to those of the step.
    pub fn accumulate(&mut self, loss: &Tensor<1>) {
        let gradients = Gradients::of(loss, self.model());
        self.gradients.add(gradients);
    }

    /// Clips, updates the parameters at learning rate `lr`, and clears the gradients. Returns the norm before clipping.
    ///
    /// The factor is `min(1, max / (norm + 1e-6))`, as in PyTorch and OLMo-core.
    pub fn update(&mut self, lr: f64) -> f64 {
        let norm = self.grad_norm();
        self.update_at_norm(lr, norm);
        norm
    }

    /// The global norm of the gradients of the step so far.
    pub fn grad_norm(&self) -> f64 {
        self.gradients.norm(self.model().kernels())
    }

    /// The gradients of the step so far.
    pub(crate) fn gradients_mut(&mut self) -> &mut Gradients {
        &mut self.gradients
    }

    /// Gives a gradient of zeros to each parameter of `names` that has none.
    pub(crate) fn zero_missing_gradients(&mut self, names: &BTreeSet<String>) {
        let model = self.model.as_ref().expect(HAS_MODEL);
        let gradients = &mut self.gradients.0;
        parameters::visit(model, |name, _, value| {
            if names.contains(name) && !gradients.contains_key(name) {
                gradients.insert(name.to_string(), value.zeros_like());
            }
        });
    }

    /// `update`, where the gradient norm is known already.
    pub(crate) fn update_at_norm(&mut self, lr: f64, norm: f64) {
        let model = self.model.take().expect(HAS_MODEL);
        let gradients = std::mem::take(&mut self.gradients);
        let scale = self.max_grad_norm.map_or(1.0, |max| (max / (norm + 1e-6)).min(1.0));
        self.model = Some(self.optimizer.apply(model, gradients, lr, scale));
    }

    /// The model with gradients off, and the optimiser.
    pub fn into_parts(self) -> (Model, AdamW) {
        (self.model.expect(HAS_MODEL).valid(), self.optimizer)
    }
}
