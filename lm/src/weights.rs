//! Arrays of 32-bit floats on the host, by name: what checkpoints hold and growth and averaging work on.
//!
//! Knows no device and no file.

use std::collections::BTreeMap;

/// A dense row-major array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extent of each axis, outermost first.
    pub shape: Vec<usize>,
    /// The elements, last axis fastest.
    pub data: Vec<f32>,
}

impl Array {
    /// An array of `shape` over `data`.
    ///
    /// # Panics
    /// When the number of elements does not fit the shape.
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "elements fill the shape");
        Self { shape, data }
    }

    /// An array of `shape` filled with `value`.
    pub fn filled(shape: &[usize], value: f32) -> Self {
        Self { shape: shape.to_vec(), data: vec![value; shape.iter().product()] }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The same array with `f` applied to every element.
    #[must_use]
    pub fn map(&self, f: impl Fn(f32) -> f32) -> Self {
        Self { shape: self.shape.clone(), data: self.data.iter().map(|x| f(*x)).collect() }
    }
}

/// Arrays by their Hugging Face tensor name, in byte order of the name.
pub type NamedArrays = BTreeMap<String, Array>;
