//! Continuous batching: samples enter as soon as there is room and leave when they end.
//!
//! Decides which sequences advance together, which has no influence on what they say.

use std::collections::BTreeMap;

use super::pick::{self, Position};
use super::{Request, Sample};
use crate::model::decode::crew::Crew;
use crate::model::decode::{Decoder, Sequence};

/// A prompt as read, until its last sample has begun.
struct Prefix {
    sequence: Sequence,
    /// `[V]`.
    logits: Vec<f32>,
}

/// A sample in flight.
struct Slot {
    prompt: usize,
    number: usize,
    sequence: Sequence,
    sample: Sample,
    done: bool,
    scratch: Vec<f32>,
}

impl Slot {
    /// Draws the next token from `logits` `[V]`.
    fn draw(&mut self, logits: &[f32], request: &Request<'_>) {
        let at = Position { prompt: self.prompt as u32, sample: self.number as u32, token: self.sample.ids.len() as u32 };
        self.sample.push(pick::draw(logits, request.sampling, request.seed, at, &mut self.scratch));
        self.done = request.stop.reached(&mut self.sample) || self.sample.ids.len() == request.sampling.max_new_tokens;
    }
}

/// Samples with at most `max_rows` sequences in flight.
pub(super) fn run(decoder: &Decoder, request: &Request<'_>, max_rows: usize) -> Vec<Vec<Sample>> {
    request.sampling.validate().expect("sampling settings are checked where they are read");
    assert!(request.prompts.iter().all(|prompt| !prompt.is_empty()), "a prompt needs at least one token");
    Crew::with(decoder.helpers(), |crew| Batch::new(decoder, request).run(crew, max_rows))
}

struct Batch<'a> {
    decoder: &'a Decoder,
    request: &'a Request<'a>,
    /// Samples that have begun, counted over all prompts.
    n_begun: usize,
    prefixes: BTreeMap<usize, Prefix>,
    slots: Vec<Slot>,
    finished: Vec<Vec<Sample>>,
}

impl<'a> Batch<'a> {
    fn new(decoder: &'a Decoder, request: &'a Request<'a>) -> Self {
        let finished = vec![vec![Sample::default(); request.n_samples]; request.prompts.len()];
        Self { decoder, request, n_begun: 0, prefixes: BTreeMap::new(), slots: Vec::new(), finished }
    }

    fn run(mut self, crew: &Crew, max_rows: usize) -> Vec<Vec<Sample>> {
        let n_samples = self.request.n_samples * self.request.prompts.len();
        loop {
            while self.slots.len() < max_rows && self.n_begun < n_samples {
                self.begin(crew, (max_rows - self.slots.len()).min(n_samples - self.n_begun));
                self.retire();
            }
            if self.slots.is_empty() {
                return self.finished;
            }
            self.advance(crew);
            self.retire();
        }
    }

    /// Begins the next `n` samples, after reading their prompts.
    fn begin(&mut self, crew: &Crew, n: usize) {
        let each = self.request.n_samples;
        let samples = self.n_begun..self.n_begun + n;
        self.n_begun = samples.end;
        let prompts = samples.start / each..(samples.end - 1) / each + 1;
        let unread: Vec<usize> = prompts.filter(|prompt| !self.prefixes.contains_key(prompt)).collect();
        let mut sequences = vec![self.decoder.sequence(); unread.len()];
        let ids: Vec<&[u32]> = unread.iter().map(|prompt| self.request.prompts[*prompt].as_slice()).collect();
        let logits = self.decoder.feed(crew, &mut sequences.iter_mut().collect::<Vec<_>>(), &ids);
        let rows = logits.chunks_exact(self.decoder.config().vocab_size);
        for ((prompt, sequence), logits) in unread.into_iter().zip(sequences).zip(rows) {
            self.prefixes.insert(prompt, Prefix { sequence, logits: logits.to_vec() });
        }
        let first_new = self.slots.len();
        self.slots.extend(samples.map(|sample| {
            let (prompt, number) = (sample / each, sample % each);
            let sequence = self.prefixes[&prompt].sequence.clone();
            Slot { prompt, number, sequence, sample: Sample::default(), done: false, scratch: Vec::new() }
        }));
        let (prefixes, request) = (&self.prefixes, self.request);
        crew.each(&mut self.slots[first_new..], |_, slot| slot.draw(&prefixes[&slot.prompt].logits, request));
        // What all samples of a prompt have taken up is theirs alone.
        self.prefixes = self.prefixes.split_off(&(self.n_begun / each));
    }

    /// Reads every sample's last token and draws its next one.
    fn advance(&mut self, crew: &Crew) {
        let last: Vec<u32> = self.slots.iter().map(|slot| slot.sample.ids[slot.sample.ids.len() - 1]).collect();
        let tokens: Vec<&[u32]> = last.chunks_exact(1).collect();
        let mut sequences: Vec<&mut Sequence> = self.slots.iter_mut().map(|slot| &mut slot.sequence).collect();
        let logits = self.decoder.feed(crew, &mut sequences, &tokens);
        let v = self.decoder.config().vocab_size;
        let request = self.request;
        crew.each(&mut self.slots, |i, slot| slot.draw(&logits[i * v..(i + 1) * v], request));
    }

    fn retire(&mut self) {
        for slot in self.slots.extract_if(.., |slot| slot.done) {
            self.finished[slot.prompt][slot.number] = slot.sample;
        }
    }
}
