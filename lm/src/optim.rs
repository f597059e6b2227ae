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

use crate::batch::Batch;
use crate::init::parameter_shapes;
use crate::kernels::{Kernels, LossScale, UpdateScale};
use crate::model::recompute::Recompute;
use crate::model::{Loss, Model, parameters};
use crate::weights::{Array, NamedArrays};

pub mod passes;
pub mod rules;
pub mod skip;

use rules::{Rule, RuleError, Rules};
use skip::{History, SkipStepConfig};

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
    /// Of the parameters that are treated differently; all others have the standard one.
    rules: BTreeMap<String, Rule>,
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
        Self { config, rules: BTreeMap::new(), step: state.step, moments: BTreeMap::new(), restored: state }
    }

    /// The same optimiser under `rules`, for the parameters of `model`. Call before the first update.
    ///
    /// # Errors
    /// When a glob matches no parameter, two groups share one, or rows are not there.
    pub fn with_rules(mut self, rules: &Rules, model: &Model) -> Result<Self, RuleError> {
        self.rules = rules.resolve(&parameter_shapes(model.config()))?;
        Ok(self)
    }

    fn rule(&self, name: &str) -> Rule {
        self.rules.get(name).cloned().unwrap_or_else(|| Rule::standard(name))
    }

    /// Updates done so far.
    pub fn step_number(&self) -> u64 {
        self.step
    }

    /// The state on the host, in the shapes of `model`'s parameters; frozen ones have none, frozen rows are 0.
    pub fn state(&self, model: &Model) -> OptimizerState {
        let mut state = OptimizerState { step: self.step, ..OptimizerState::default() };
        parameters::visit(model, |name, shape, _| {
            let rule = self.rule(name);
            if rule.frozen() {
                return;
            }
            let whole = |moment: &Tensor<1>| {
                let part = parameters::host(moment.clone());
                match &rule.elements {
                    None => Array::new(shape.clone(), part),
                    Some(range) => {
                        let mut array = Array::filled(&shape, 0.0);
                        array.data[range.clone()].copy_from_slice(&part);
                        array
                    }
                }
            };
            let (first, second) = match self.moments.get(name) {
                Some(Moments { first, second }) => (whole(first), whole(second)),
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
            let rule = self.rule(name);
            let decay = rule.weight_decay.unwrap_or(config.weight_decay);
            let lr = lr * rule.lr_factor;
            let n = gradient.dims()[0];
            let device = value.device();
            let moments = self.moments.remove(name).unwrap_or_else(|| {
                let restore = |from: &mut NamedArrays| {
                    let data = match (from.remove(name), &rule.elements) {
                        (None, _) => vec![0.0; n],
                        (Some(array), None) => array.data,
                        (Some(array), Some(range)) => array.data[range.clone()].to_vec(),
                    };
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
            let moments = [moments.first, moments.second];
            let (value, [first, second]) = match &rule.elements {
                None => kernels.adamw(value, gradient, moments, update),
                Some(range) => {
                    let part = value.clone().slice([range.clone()]);
                    let (part, moments) = kernels.adamw(part, gradient, moments, update);
                    (value.slice_assign([range.clone()], part), moments)
                }
            };
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
        Self::with_input(loss, model, None).0
    }

    /// The same, and the gradient of `input`, a leaf of the graph.
    pub(crate) fn with_input(loss: &Tensor<1>, model: &Model, input: Option<&Tensor<2>>) -> (Self, Option<Tensor<2>>) {
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
        let input = input.and_then(|input| input.grad_remove(&mut collect.all));
        (Self(collect.named), input)
    }

    /// What of these gradients the rules let through: the elements that train.
    fn restricted(self, optimizer: &AdamW) -> Self {
        let parts = self.0.into_iter().filter_map(|(name, gradient)| {
            let rule = optimizer.rule(&name);
            let gradient = match rule.elements.clone() {
                None => gradient,
                Some(_) if rule.frozen() => return None,
                Some(range) => gradient.slice([range]),
            };
            Some((name, gradient))
        });
        Self(parts.collect())
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

/// How an update is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// The learning rate.
    pub lr: f64,
    /// Bound of the global gradient norm, `None` for none.
    pub max_grad_norm: Option<f64>,
    /// The loss of the batch, which decides whether the step is skipped.
    pub loss: f64,
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Updated {
    /// The global gradient norm before clipping, over what trains.
    pub grad_norm: f64,
    /// Whether the update was left out: parameters, moments and the optimiser's step are as before.
    pub skipped: bool,
}

/// A model in training: accumulates gradients of micro-batches and updates the parameters.
///
/// The gradient of a batch is `((g1 + g2) + g3) + ...`, one term per call of [`Trainer::accumulate`], in that order. How
/// a batch is cut is therefore part of what a run computes: each term is one product over the rows of its micro-batch.
#[derive(Debug)]
pub struct Trainer {
    model: Option<Model>,
    optimizer: AdamW,
    max_grad_norm: Option<f64>,
    skip_step: Option<(SkipStepConfig, History)>,
    gradients: Gradients,
}

/// The factor that brings gradients of norm `norm` under a bound: `min(1, max / (norm + 1e-6))`, as in PyTorch and
/// OLMo-core.
pub(crate) fn clipping(norm: f64, max_grad_norm: Option<f64>) -> f64 {
    max_grad_norm.map_or(1.0, |max| (max / (norm + 1e-6)).min(1.0))
}

const HAS_MODEL: &str = "the model is only away inside `update`";

impl Trainer {
    /// Trains `model` with `optimizer`, clipping the global gradient norm to `max_grad_norm`.
    pub fn new(model: Model, optimizer: AdamW, max_grad_norm: Option<f64>) -> Self {
        let model = parameters::freeze(model, |name| optimizer.rule(name).frozen()).train();
        Self { model: Some(model), optimizer, max_grad_norm, skip_step: None, gradients: Gradients::default() }
    }

    /// The same trainer, leaving out updates that [`History::skips`].
    #[must_use]
    pub fn with_skip_step(mut self, config: SkipStepConfig, history: History) -> Self {
        self.skip_step = Some((config, history));
        self
    }

    /// Losses and gradient norms that decide whether a step is skipped, if any step may be.
    pub fn history(&self) -> Option<&History> {
        self.skip_step.as_ref().map(|(_, history)| history)
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
        self.add(gradients);
    }

    /// Differentiates the loss of a micro-batch and adds its gradients to those of the step. Returns the loss.
    pub fn accumulate_batch(&mut self, batch: &Batch, scale: LossScale, recompute: Recompute) -> Loss {
        match recompute {
            Recompute::None => {
                let loss = self.model().loss(batch, scale);
                self.accumulate(&loss.tensor());
                loss
            }
            Recompute::Blocks => {
                let (loss, gradients) = self.model().recomputed_gradients(batch, scale);
                self.add(gradients);
                loss
            }
        }
    }

    /// Adds gradients of the model to those of the step.
    pub fn add(&mut self, gradients: Gradients) {
        self.gradients.add(gradients.restricted(&self.optimizer));
    }

    /// Clips, updates the parameters at learning rate `lr`, and clears the gradients. Returns the norm before clipping.
    pub fn update(&mut self, lr: f64) -> f64 {
        let max_grad_norm = self.max_grad_norm;
        self.step(Update { lr, max_grad_norm, loss: 0.0 }).grad_norm
    }

    /// Clips, updates the parameters unless the step is to be skipped, and clears the gradients.
    pub fn step(&mut self, update: Update) -> Updated {
        let model = self.model.take().expect(HAS_MODEL);
        let gradients = std::mem::take(&mut self.gradients);
        let grad_norm = gradients.norm(model.kernels());
        let skipped = match &mut self.skip_step {
            Some((config, history)) => history.skips(update.loss, grad_norm, *config),
            None => false,
        };
        let scale = clipping(grad_norm, update.max_grad_norm);
        self.model = Some(if skipped { model } else { self.optimizer.apply(model, gradients, update.lr, scale) });
        Updated { grad_norm, skipped }
    }

    /// The global norm of the gradients of the step so far.
    pub fn grad_norm(&self) -> f64 {
        self.gradients.norm(self.model().kernels())
    }

    /// The gradients of the step so far.
    pub(crate) fn gradients_mut(&mut self) -> &mut Gradients {
        &mut self.gradients
    }

    /// Gives a gradient of zeros, of what trains, to each parameter of `names` that has none.
    pub(crate) fn zero_missing_gradients(&mut self, names: &BTreeSet<String>) {
        let (model, optimizer) = (self.model.as_ref().expect(HAS_MODEL), &self.optimizer);
        let gradients = &mut self.gradients.0;
        parameters::visit(model, |name, _, value| {
            if names.contains(name) && !gradients.contains_key(name) {
                let zeros = value.zeros_like();
                let zeros = match optimizer.rule(name).elements {
                    Some(range) => zeros.slice([range]),
                    None => zeros,
                };
                gradients.insert(name.to_string(), zeros);
            }
        });
    }

    /// Updates the parameters by the gradients times `scale`, and clears them.
    pub(crate) fn update_scaled(&mut self, lr: f64, scale: f64) {
        let model = self.model.take().expect(HAS_MODEL);
        let gradients = std::mem::take(&mut self.gradients);
        self.model = Some(self.optimizer.apply(model, gradients, lr, scale));
    }

    /// The model with gradients off, and the optimiser.
    pub fn into_parts(self) -> (Model, AdamW) {
        (self.model.expect(HAS_MODEL).valid(), self.optimizer)
    }
}

#[cfg(test)]
mod tests;
