//! A model's parameters by name, given away one after the other so that each is in memory twice only while it is packed.

use std::collections::BTreeMap;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;

use crate::kernels::{self, fused};
use crate::model::{Model, parameters};
use crate::weights::NamedArrays;

/// The elements of one parameter.
#[derive(Clone, Debug)]
pub(super) enum Values {
    /// Shared with a model.
    Shared(FlexTensor),
    /// Owned.
    Owned(Vec<f32>),
}

impl std::ops::Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Shared(tensor) => fused::elements(tensor),
            Self::Owned(values) => values,
        }
    }
}

/// Parameters by name.
pub(super) struct Named(BTreeMap<String, Values>);

impl Named {
    /// The parameters of a model: shared when they are on the CPU, copied from another device.
    pub(super) fn of_model(model: &Model) -> Self {
        let mut named = BTreeMap::new();
        parameters::visit(model, |name, _, flat| {
            let values = match flat.clone().try_into_primitive::<Flex>() {
                Ok(_) => Values::Shared(kernels::flex(flat)),
                Err(_) => Values::Owned(parameters::host(flat)),
            };
            named.insert(name.to_string(), values);
        });
        Self(named)
    }

    pub(super) fn of_arrays(arrays: NamedArrays) -> Self {
        Self(arrays.into_iter().map(|(name, array)| (name, Values::Owned(array.data))).collect())
    }

    /// Takes a parameter out.
    pub(super) fn take(&mut self, name: &str) -> Values {
        self.find(name).expect("the configuration was checked against the parameters")
    }

    /// Takes a parameter out, if it is there.
    pub(super) fn find(&mut self, name: &str) -> Option<Values> {
        self.0.remove(name)
    }
}
