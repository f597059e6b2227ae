//! Which parameters an optimiser treats differently: groups with their own rate and decay, and what is frozen.
//!
//! Parameters are named by globs over their Hugging Face names, `*` for any text and `?` for one character. A glob that
//! matches nothing is an error, since it would silently change nothing. Knows no tensor.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::init::{Role, role};

/// Rules of an optimiser.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Parameters with a rate or decay of their own. A parameter may belong to one group only.
    pub groups: Vec<Group>,
    /// What trains; the last entry that matches a parameter decides, one that none matches trains.
    pub trainable: Vec<Trainable>,
    /// Whether the input embedding is decayed too (OLMoE and OLMo-0424).
    pub decay_embeddings: bool,
}

/// Parameters with constants of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Globs of the parameters' names.
    pub params: Vec<String>,
    /// Multiple of the scheduled learning rate; `None`: 1.
    pub lr_factor: Option<f64>,
    /// Decoupled weight decay; `None`: that of the optimiser.
    pub weight_decay: Option<f64>,
}

/// What of some parameters trains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trainable {
    /// Glob of the parameters' names.
    pub params: String,
    /// What of them.
    pub part: Part,
}

/// A part of a parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All of it.
    #[default]
    All,
    /// Nothing: no gradient, no decay, no moments.
    Nothing,
    /// These entries of the first axis, such as one expert of a stack; the rest is frozen.
    Rows(Range<usize>),
}

impl Trainable {
    /// All of the parameters that match `params`.
    pub fn all(params: &str) -> Self {
        Self { params: params.into(), part: Part::All }
    }

    /// Nothing of the parameters that match `params`.
    pub fn nothing(params: &str) -> Self {
        Self { params: params.into(), part: Part::Nothing }
    }

    /// Entries `rows` of the first axis of the parameters that match `params`.
    pub fn rows(params: &str, rows: Range<usize>) -> Self {
        Self { params: params.into(), part: Part::Rows(rows) }
    }
}

/// Why rules do not fit a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A glob names nothing.
    #[error("`{glob}` matches no parameter of this model{}", nearest.as_ref().map(|name| format!("; there is `{name}`")).unwrap_or_default())]
    Nothing {
        /// The glob.
        glob: String,
        /// A parameter it may have meant.
        nearest: Option<String>,
    },
    /// Two groups name the same parameter.
    #[error("`{name}` belongs to two groups; make their globs disjoint")]
    TwoGroups {
        /// The parameter.
        name: String,
    },
    /// A parameter has fewer rows.
    #[error("rows {start}..{end} of `{name}` are asked for, which has {rows}")]
    Rows {
        /// The parameter.
        name: String,
        /// First row.
        start: usize,
        /// The row behind the last one.
        end: usize,
        /// Its rows.
        rows: usize,
    },
}

/// What the rules say of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) lr_factor: f64,
    /// `None`: that of the optimiser.
    pub(crate) weight_decay: Option<f64>,
    /// What trains of the flattened parameter; `None`: everything.
    pub(crate) elements: Option<Range<usize>>,
}

impl Rule {
    /// The rule of a parameter that no rule names.
    pub(crate) fn standard(name: &str) -> Self {
        let weight_decay = if role(name) == Role::Embedding { Some(0.0) } else { None };
        Self { lr_factor: 1.0, weight_decay, elements: None }
    }

    /// Whether nothing of the parameter trains.
    pub(crate) fn frozen(&self) -> bool {
        self.elements.as_ref().is_some_and(Range::is_empty)
    }
}

impl Rules {
    /// The rule of every parameter.
    pub(crate) fn resolve(&self, shapes: &[(String, Vec<usize>)]) -> Result<BTreeMap<String, Rule>, RuleError> {
        let globs = self.groups.iter().flat_map(|group| &group.params).chain(self.trainable.iter().map(|entry| &entry.params));
        for glob in globs {
            if !shapes.iter().any(|(name, _)| matches(glob, name)) {
                let common = |name: &str| glob.bytes().rev().zip(name.bytes().rev()).take_while(|(a, b)| a == b).count();
                let nearest = shapes.iter().map(|(name, _)| name).max_by_key(|name| common(name));
                return Err(RuleError::Nothing { glob: glob.clone(), nearest: nearest.cloned() });
            }
        }
        shapes.iter().map(|(name, shape)| Ok((name.clone(), self.rule(name, shape)?))).collect()
    }

    fn rule(&self, name: &str, shape: &[usize]) -> Result<Rule, RuleError> {
        let mut rule = Rule::standard(name);
        if self.decay_embeddings {
            rule.weight_decay = None;
        }
        let mut groups = self.groups.iter().filter(|group| group.params.iter().any(|glob| matches(glob, name)));
        if let Some(group) = groups.next() {
            rule.lr_factor = group.lr_factor.unwrap_or(1.0);
            rule.weight_decay = group.weight_decay.or(rule.weight_decay);
        }
        if groups.next().is_some() {
            return Err(RuleError::TwoGroups { name: name.into() });
        }
        let part = self.trainable.iter().rev().find(|entry| matches(&entry.params, name)).map(|entry| &entry.part);
        rule.elements = match part {
            None | Some(Part::All) => None,
            Some(Part::Nothing) => Some(0..0),
            Some(Part::Rows(Range { start, end })) => {
                let rows = shape.first().copied().unwrap_or(0);
                if start >= end || *end > rows {
                    return Err(RuleError::Rows { name: name.into(), start: *start, end: *end, rows });
                }
                let width: usize = shape[1..].iter().product();
                Some(start * width..end * width)
            }
        };
        Ok(rule)
    }
}

/// Whether `glob` matches the whole of `name`.
fn matches(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    // Where to go back to when the text after the last star does not fit.
    let (mut g, mut n, mut back) = (0, 0, None);
    while n < name.len() {
        if g < glob.len() && glob[g] == b'*' {
            back = Some((g, n));
            g += 1;
        } else if g < glob.len() && (glob[g] == b'?' || glob[g] == name[n]) {
            g += 1;
            n += 1;
        } else if let Some((star, at)) = back {
            back = Some((star, at + 1));
            g = star + 1;
            n = at + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Family, Sizes};
    use crate::init::parameter_shapes;

    fn shapes() -> Vec<(String, Vec<usize>)> {
        let sizes = Sizes { n_layers: 2, hidden_size: 8, n_heads: 2, n_kv_heads: 2, intermediate_size: 4, vocab_size: 16 };
        parameter_shapes(&Family::FlexOlmo.model(&sizes))
    }

    #[test]
    fn globs() {
        for (glob, name, wanted) in [
            ("*", "anything", true),
            ("*.mlp.*", "a.mlp.b", true),
            ("*.mlp", "a.mlp.b", false),
            ("a?c", "abc", true),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "axbxbx", false),
            ("", "", true),
        ] {
            assert_eq!(matches(glob, name), wanted, "{glob} {name}");
        }
    }

    #[test]
    fn an_owners_expert_trains_alone() {
        let rules = Rules {
            trainable: vec![
                Trainable::nothing("*"),
                Trainable::rows("*.mlp.experts.*", 1..2),
                Trainable::rows("*.mlp.gate.weight", 1..2),
            ],
            ..Rules::default()
        };
        let resolved = rules.resolve(&shapes()).unwrap();
        assert!(resolved["lm_head.weight"].frozen());
        assert_eq!(resolved["model.layers.1.mlp.gate.weight"].elements, Some(8..16));
        assert_eq!(resolved["model.layers.0.mlp.experts.up_proj.weight"].elements, Some(32..64));
    }

    #[test]
    fn groups_override_and_mistakes_are_named() {
        let group = |glob: &str| Group { params: vec![glob.into()], lr_factor: Some(2.0), weight_decay: Some(0.5) };
        let rules = Rules { groups: vec![group("*norm.weight")], ..Rules::default() };
        let resolved = rules.resolve(&shapes()).unwrap();
        assert_eq!(resolved["model.norm.weight"], Rule { lr_factor: 2.0, weight_decay: Some(0.5), elements: None });
        assert_eq!(resolved["model.embed_tokens.weight"].weight_decay, Some(0.0));
        let decayed = Rules { decay_embeddings: true, ..Rules::default() }.resolve(&shapes()).unwrap();
        assert_eq!(decayed["model.embed_tokens.weight"].weight_decay, None);
        let fail = |rules: Rules| rules.resolve(&shapes()).unwrap_err().to_string();
        let twice = fail(Rules { groups: vec![group("*norm.weight"), group("model.norm.*")], ..Rules::default() });
        assert!(twice.contains("model.norm.weight"), "{twice}");
        let nothing = fail(Rules { trainable: vec![Trainable::nothing("embeddings.weight")], ..Rules::default() });
        assert!(nothing.contains("embeddings.weight") && nothing.contains("there is"), "{nothing}");
        let rows = fail(Rules { trainable: vec![Trainable::rows("*.mlp.gate.weight", 6..8)], ..Rules::default() });
        assert!(rows.contains("which has 7"), "{rows}");
    }
}
