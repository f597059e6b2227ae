//! What a tagger found in one document: spans by type, types in the order of their first span.
//! Knows neither documents nor taggers.

use crate::document::Span;
use std::borrow::Cow;

/// Spans grouped by type, in the order of emission.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found(Vec<(Cow<'static, str>, Vec<Span>)>);

impl Found {
    /// Nothing.
    pub fn new() -> Found {
        Found::default()
    }

    /// One span of one type.
    pub fn one(name: &'static str, span: Span) -> Found {
        Found(vec![(Cow::Borrowed(name), vec![span])])
    }

    /// Adds a span of a type that is known beforehand.
    pub fn push(&mut self, name: &'static str, span: Span) {
        self.group(Cow::Borrowed(name)).push(span);
    }

    /// Adds a span of a type that is read from the data, such as a label of a classifier.
    pub fn push_named(&mut self, name: &str, span: Span) {
        match self.0.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, spans)) => spans.push(span),
            None => self.0.push((Cow::Owned(name.to_owned()), vec![span])),
        }
    }

    /// Adds spans of one type; nothing when there are none.
    pub fn extend(&mut self, name: &'static str, spans: Vec<Span>) {
        if !spans.is_empty() {
            self.group(Cow::Borrowed(name)).extend(spans);
        }
    }

    /// The spans of a type.
    pub fn get(&self, name: &str) -> &[Span] {
        self.0.iter().find(|(known, _)| known == name).map_or(&[], |(_, spans)| spans)
    }

    /// Types with their spans, in order.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &[Span])> {
        self.0.iter().map(|(name, spans)| (name.as_ref(), spans.as_slice()))
    }

    /// Types with their spans, in order.
    pub(crate) fn into_groups(self) -> impl Iterator<Item = (Cow<'static, str>, Vec<Span>)> {
        self.0.into_iter()
    }

    /// All spans with their types; of one type after another.
    pub fn spans(&self) -> impl Iterator<Item = (&str, Span)> {
        self.groups().flat_map(|(name, spans)| spans.iter().map(move |span| (name, *span)))
    }

    fn group(&mut self, name: Cow<'static, str>) -> &mut Vec<Span> {
        // Types are few, and the one met last comes again most often.
        match self.0.iter().rposition(|(known, _)| *known == name) {
            Some(index) => &mut self.0[index].1,
            None => {
                self.0.push((name, Vec::new()));
                let last = self.0.len() - 1;
                &mut self.0[last].1
            }
        }
    }
}
