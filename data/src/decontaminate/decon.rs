//! decon's rule: clusters of question n-grams, weighted by rarity, then the answer and the passage beside them. Knows hashes of words.
//!
//! A document is sampled: every `sample_every` words one n-gram is looked up. A hit opens a cluster, which grows to the left and to the
//! right as long as each problem goes on matching: one is given up after `misses` n-grams in a row that bring nothing new. The question
//! scores `Σ idf(matched) / Σ idf(all)` over distinct n-grams, `idf = ln(problems / problems with it)`. An answer of up to
//! `short_answer` words must stand within `short_window` words of the question; a longer one scores by its n-grams within
//! `max(long_window, 2 · its words)`. The passage scores by its n-grams, from at most `passage_distance` words away.
//!
//! Weights: question, answer and passage .70/.20/.10; question and answer .75/.25; question and passage .85/.15. An answer of fewer
//! than 4 words has its weight times `.5 + .5 · words / 4`, and the rest goes to the question. The least score falls from 1 at
//! `decay.0` matched words to `threshold` at `decay.1`.

use super::ngram::ByNgram;
use super::{Found, Instance, Words, window};
use crate::error::DataError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The constants of the rule; defaults are decon's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeconParams {
    /// Words of a question's n-gram.
    pub ngram: usize,
    /// Words from one look-up to the next.
    pub sample_every: usize,
    /// N-grams in a row that bring nothing new before a problem is given up.
    pub misses: usize,
    /// Least score once enough words match.
    pub threshold: f64,
    /// Matched words up to which the score must be 1, and from which `threshold` is enough.
    pub decay: (usize, usize),
    /// Words up to which an answer must stand there exactly.
    pub short_answer: usize,
    /// Words around the question in which it is looked for.
    pub short_window: usize,
    /// Words of an n-gram of longer answers.
    pub answer_ngram: usize,
    /// Words around the question for longer answers, at least.
    pub long_window: usize,
    /// Words of a passage's n-gram.
    pub passage_ngram: usize,
    /// Words between question and passage, at most.
    pub passage_distance: usize,
    /// N-grams in a row that do not match before the passage ends.
    pub passage_misses: usize,
    /// Problems of fewer words are not looked for.
    pub least_words: usize,
    /// Nor those of fewer distinct words.
    pub least_distinct: usize,
    /// N-grams in more problems than this open no cluster.
    pub hot: usize,
}

impl Default for DeconParams {
    fn default() -> DeconParams {
        DeconParams {
            ngram: 5,
            sample_every: 10,
            misses: 11,
            threshold: 0.8,
            decay: (20, 50),
            short_answer: 3,
            short_window: 50,
            answer_ngram: 3,
            long_window: 100,
            passage_ngram: 4,
            passage_distance: 100,
            passage_misses: 2,
            least_words: 20,
            least_distinct: 4,
            hot: 1000,
        }
    }
}

impl DeconParams {
    pub(super) fn check(&self) -> Result<(), DataError> {
        let lengths = [self.ngram, self.sample_every, self.answer_ngram, self.passage_ngram, self.misses];
        if lengths.contains(&0) || !(self.threshold > 0.0 && self.threshold <= 1.0) || self.decay.0 > self.decay.1 {
            let message = "n-grams, samples and misses are at least 1, the threshold lies between 0 and 1, and the decay ascends";
            return Err(DataError::Params(message.to_owned()));
        }
        Ok(())
    }

    /// The least score for so many matched words.
    fn required(&self, matched: usize) -> f64 {
        let (start, end) = (self.decay.0 as f64, self.decay.1 as f64);
        let share = if matched as f64 >= end { 1.0 } else { ((matched as f64 - start) / (end - start)).max(0.0) };
        1.0 - (1.0 - self.threshold) * share
    }
}

/// The n-grams of one part of a problem and what they weigh together.
#[derive(Debug, Default)]
struct Part {
    ngrams: BTreeSet<u64>,
    weight: f64,
    words: Vec<u64>,
}

/// N-grams of one kind over all problems.
#[derive(Debug, Default)]
struct Postings {
    problems: ByNgram<Vec<u32>>,
    count: usize,
}

impl Postings {
    fn part(&mut self, instance: u32, words: Vec<u64>, length: usize) -> Part {
        let ngrams: BTreeSet<u64> = words.windows(length).map(window).collect();
        for ngram in &ngrams {
            self.problems.entry(*ngram).or_default().push(instance);
        }
        self.count += usize::from(!ngrams.is_empty());
        Part { ngrams, weight: 0.0, words }
    }

    fn idf(&self, ngram: u64) -> f64 {
        self.problems.get(&ngram).map_or(0.0, |problems| (self.count as f64 / problems.len() as f64).ln())
    }

    /// The share of a part that these n-grams of it make; unweighted when all of it stands in every problem.
    fn share(&self, part: &Part, matched: &BTreeSet<u64>) -> f64 {
        match (part.ngrams.len(), matched.len()) {
            (0, _) => 0.0,
            (all, some) if all == some => 1.0,
            (all, some) if part.weight <= 0.0 => some as f64 / all as f64,
            _ => matched.iter().map(|ngram| self.idf(*ngram)).sum::<f64>() / part.weight,
        }
    }
}

#[derive(Debug)]
struct Problem {
    question: Part,
    answer: Part,
    passage: Part,
}

/// All problems.
#[derive(Debug)]
pub(super) struct Index {
    params: DeconParams,
    problems: Vec<Problem>,
    questions: Postings,
    answers: Postings,
    passages: Postings,
}

/// What a cluster has of one problem.
#[derive(Debug)]
struct Match {
    words: Range<usize>,
    ngrams: BTreeSet<u64>,
}

impl Index {
    /// Indexes problems, and says which of them are looked for: long enough ones, of equal ones the first.
    pub(super) fn new(instances: &[Instance], params: &DeconParams) -> (Index, Vec<bool>) {
        let mut index = Index {
            params: params.clone(),
            problems: Vec::new(),
            questions: Postings::default(),
            answers: Postings::default(),
            passages: Postings::default(),
        };
        let mut known = BTreeSet::new();
        let mut checked = Vec::new();
        for (number, instance) in (0..).zip(instances) {
            let [question, answer, passage] =
                [&instance.question, &instance.answer, &instance.passage].map(|part| Words::of(part).hashes);
            let all: Vec<u64> = [question.as_slice(), &answer, &passage].concat();
            let distinct = all.iter().collect::<BTreeSet<_>>().len();
            let long = all.len() >= params.least_words && distinct >= params.least_distinct && question.len() >= params.ngram;
            let looked_for = long && known.insert((instance.task.as_str(), all.clone()));
            checked.push(looked_for);
            let words = |words: Vec<u64>| if looked_for { words } else { Vec::new() };
            index.problems.push(Problem {
                question: index.questions.part(number, words(question), params.ngram),
                answer: index.answers.part(number, words(answer), params.answer_ngram),
                passage: index.passages.part(number, words(passage), params.passage_ngram),
            });
        }
        for problem in &mut index.problems {
            for (part, postings) in [
                (&mut problem.question, &index.questions),
                (&mut problem.answer, &index.answers),
                (&mut problem.passage, &index.passages),
            ] {
                part.weight = part.ngrams.iter().map(|ngram| postings.idf(*ngram)).sum();
            }
        }
        (index, checked)
    }

    /// The problems that count as found, best match each.
    pub(super) fn find(&self, words: &Words) -> Vec<Found> {
        let length = self.params.ngram;
        let Some(last) = words.hashes.len().checked_sub(length) else { return Vec::new() };
        let ngram = |at: usize| window(&words.hashes[at..at + length]);
        let mut best: BTreeMap<u32, Found> = BTreeMap::new();
        let mut at = 0;
        while at <= last {
            let problems = self.questions.problems.get(&ngram(at));
            let Some(problems) = problems else {
                at += self.params.sample_every;
                continue;
            };
            if problems.len() > self.params.hot {
                at += 1;
                continue;
            }
            let cluster = self.grow(at, last, problems, &ngram);
            let mut end = at;
            for (instance, found) in cluster {
                end = end.max(found.words.end);
                let Some(score) = self.score(instance, &found, words) else { continue };
                let better = best.get(&instance).is_none_or(|other| other.score < score);
                if better {
                    best.insert(instance, Found { instance, words: found.words, score });
                }
            }
            at = end.max(at + 1);
        }
        best.into_values().collect()
    }

    /// Follows the problems of an n-gram to both sides.
    fn grow(&self, at: usize, last: usize, problems: &[u32], ngram: &impl Fn(usize) -> u64) -> BTreeMap<u32, Match> {
        let first = ngram(at);
        let one = || Match { words: at..at + self.params.ngram, ngrams: BTreeSet::from([first]) };
        let mut cluster: BTreeMap<u32, Match> = problems.iter().map(|problem| (*problem, one())).collect();
        let left: &mut dyn Iterator<Item = usize> = &mut (0..at).rev();
        let right: &mut dyn Iterator<Item = usize> = &mut (at + 1..=last);
        for places in [left, right] {
            let mut misses: BTreeMap<u32, usize> = problems.iter().map(|problem| (*problem, 0)).collect();
            for place in places {
                let here = ngram(place);
                let having = self.questions.problems.get(&here).map_or(&[][..], Vec::as_slice);
                misses.retain(|problem, missed| {
                    // Lists of problems ascend.
                    let new = having.binary_search(problem).is_ok()
                        && cluster.get(problem).is_some_and(|found| !found.ngrams.contains(&here));
                    if new && let Some(found) = cluster.get_mut(problem) {
                        found.ngrams.insert(here);
                        found.words = found.words.start.min(place)..found.words.end.max(place + self.params.ngram);
                        *missed = 0;
                        return true;
                    }
                    *missed += 1;
                    *missed < self.params.misses
                });
                if misses.is_empty() {
                    break;
                }
            }
        }
        cluster
    }

    /// The score of a match, if it is enough.
    fn score(&self, instance: u32, found: &Match, words: &Words) -> Option<f64> {
        let (params, problem) = (&self.params, &self.problems[instance as usize]);
        let question = self.questions.share(&problem.question, &found.ngrams);
        if question < (params.threshold - 0.3) / 0.7 {
            return None;
        }
        let mut matched = (found.ngrams.len() + params.ngram - 1).min(problem.question.words.len());
        let (answer, passage) = (&problem.answer, &problem.passage);
        let around = |distance: usize| {
            let range = found.words.start.saturating_sub(distance)..(found.words.end + distance).min(words.hashes.len());
            &words.hashes[range]
        };
        let mut answer_score = 0.0;
        if !answer.words.is_empty() {
            if answer.words.len() <= params.short_answer || answer.ngrams.is_empty() {
                let near = around(params.short_window);
                answer_score = f64::from(u8::from(near.windows(answer.words.len()).any(|words| words == answer.words)));
                matched += if answer_score > 0.0 { answer.words.len() } else { 0 };
            } else {
                let near = around(params.long_window.max(2 * answer.words.len()));
                let shared: BTreeSet<u64> =
                    near.windows(params.answer_ngram).map(window).filter(|ngram| answer.ngrams.contains(ngram)).collect();
                answer_score = self.answers.share(answer, &shared);
                matched += if shared.is_empty() { 0 } else { (shared.len() + params.answer_ngram - 1).min(answer.words.len()) };
            }
        }
        let mut passage_score = 0.0;
        if !passage.ngrams.is_empty() {
            let shared = self.beside(passage, found, words);
            passage_score = self.passages.share(passage, &shared);
            matched += if shared.is_empty() { 0 } else { (shared.len() + params.passage_ngram - 1).min(passage.words.len()) };
        }
        let (mut of_question, mut of_answer, of_passage) = match (answer.words.is_empty(), passage.ngrams.is_empty()) {
            (false, false) => (0.70, 0.20, 0.10),
            (false, true) => (0.75, 0.25, 0.0),
            (true, false) => (0.85, 0.0, 0.15),
            (true, true) => (1.0, 0.0, 0.0),
        };
        if answer.words.len() < 4 {
            let trusted = of_answer * (0.5 + 0.5 * answer.words.len() as f64 / 4.0);
            of_question += of_answer - trusted;
            of_answer = trusted;
        }
        let score = of_question * question + of_answer * answer_score + of_passage * passage_score;
        // Sums of weights are not exact.
        (score + 1e-9 >= params.required(matched)).then_some(score.min(1.0))
    }

    /// The passage's n-grams to the left and right of a match.
    fn beside(&self, passage: &Part, found: &Match, words: &Words) -> BTreeSet<u64> {
        let length = self.params.passage_ngram;
        let Some(last) = words.hashes.len().checked_sub(length) else { return BTreeSet::new() };
        let mut shared = BTreeSet::new();
        let left: &mut dyn Iterator<Item = usize> = &mut (0..=found.words.start.min(last)).rev();
        let right: &mut dyn Iterator<Item = usize> = &mut (found.words.end.saturating_sub(length)..=last);
        for places in [left, right] {
            let (mut misses, mut begun) = (0, false);
            for place in places {
                let ngram = window(&words.hashes[place..place + length]);
                if passage.ngrams.contains(&ngram) {
                    shared.insert(ngram);
                    (misses, begun) = (0, true);
                    continue;
                }
                misses += 1;
                if misses > if begun { self.params.passage_misses } else { self.params.passage_distance } {
                    break;
                }
            }
        }
        shared
    }
}
