//! In what sentences groups of people are named: how often, and how kindly.
//! Knows lists of terms and of polar words; both can be given by the user.
//!
//! The polarity of a sentence is the mean over its polar words, each from −1 to 1; a negation up to two words before turns one round and
//! halves it, an intensifier right before makes it 1.3 times as strong (the rules of `pattern` and TextBlob, with a far smaller
//! list). A sentence without polar words has polarity 0 and counts.

use super::lexicon::{Lexicon, folded};
use super::records::Record;
use super::table::{Cell, Plot, Table};
use super::tally::Tally;
use crate::error::DataError;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use unicode_segmentation::UnicodeSegmentation;

/// Terms by group, where the user gives none.
const TERMS: &[(&str, &str)] = &[
    ("gender: he", "he him his himself"),
    ("gender: she", "she her hers herself"),
    ("gender: they", "they them their theirs themself themselves"),
    ("religion: Christianity", "christian christians christianity"),
    ("religion: Islam", "muslim muslims islam islamic"),
    ("religion: Judaism", "jewish jew jews judaism"),
    ("religion: Hinduism", "hindu hindus hinduism"),
    ("religion: Buddhism", "buddhist buddhists buddhism"),
    ("religion: Sikhism", "sikh sikhs sikhism"),
    ("religion: none", "atheist atheists atheism agnostic agnostics"),
    ("origin: African", "african africans"),
    ("origin: Asian", "asian asians"),
    ("origin: European", "european europeans caucasian caucasians"),
    ("origin: Latin American", "latino latinos latina latinas hispanic hispanics"),
    ("origin: Native American", "indigenous aboriginal"),
];

/// Colours that name a group of people before one of [`PERSONS`].
const COLOURS: &[&str] = &["black", "white", "brown"];
const PERSONS: &str = "person persons people man men woman women boy boys girl girls child children guy guys male males female females \
                       individual individuals community communities american americans";

const GOOD: &str = "good:7 great:8 excellent:10 best:10 better:5 nice:6 wonderful:10 happy:8 love:5 loved:7 lovely:5 kind:6 brave:8 \
    beautiful:8 brilliant:9 perfect:10 amazing:6 awesome:10 fantastic:4 positive:2 success:3 successful:7 strong:4 safe:5 honest:6 \
    smart:2 clever:2 wise:7 proud:8 win:8 won:6 glad:5 pleasant:7 friendly:4 generous:6 helpful:5 useful:3 important:4 fair:7 free:4 \
    easy:4 fresh:3 rich:4 fun:3 funny:2 respected:6 respect:4 support:2 talented:7 gentle:4 calm:3 peaceful:2 healthy:5 hope:3 \
    welcome:8 enjoy:4 delight:8 grateful:7 thank:5 thanks:2 innocent:5 able:5 bright:7 warm:6";
const BAD: &str = "bad:7 worst:10 worse:4 terrible:10 horrible:10 awful:10 hate:8 hated:9 evil:10 ugly:7 stupid:8 sad:5 angry:5 poor:4 \
    wrong:5 violent:8 violence:6 kill:6 killed:7 murder:7 crime:6 criminal:6 dirty:6 dangerous:6 weak:4 cruel:10 disgusting:10 \
    fear:4 afraid:6 fail:5 failed:5 failure:3 lazy:3 corrupt:5 guilty:5 sick:7 dead:2 death:3 war:3 attack:4 terror:6 terrorist:6 \
    terrorists:6 abuse:6 victim:4 hurt:5 pain:5 painful:7 difficult:5 hard:3 illegal:5 negative:3 nasty:10 rude:3 selfish:5 shame:6 \
    sorry:5 tragic:8 unfair:5 useless:5 worthless:8 hostile:5 inferior:4 racist:7 threat:4 problem:3 problems:3 loss:3 lost:3";
const NEGATIONS: &[&str] = &[
    "not", "no", "never", "neither", "nor", "without", "don't", "doesn't", "didn't", "isn't", "wasn't", "aren't", "can't",
    "won't",
];
const INTENSIFIERS: &[&str] = &["very", "really", "extremely", "so", "most", "truly", "highly", "absolutely"];

/// Words with a polarity from −1 to 1.
pub(crate) struct Sentiment(HashMap<String, f64>);

impl Default for Sentiment {
    fn default() -> Self {
        let list = |text: &'static str, sign: f64| {
            text.split_whitespace().filter_map(move |entry| {
                let (word, strength) = entry.split_once(':')?;
                Some((word.to_owned(), sign * strength.parse::<f64>().ok()? / 10.0))
            })
        };
        Sentiment(list(GOOD, 1.0).chain(list(BAD, -1.0)).collect())
    }
}

impl Sentiment {
    /// Reads lines `word,polarity` with polarities from −1 to 1.
    pub(crate) fn read(path: &Path) -> Result<Sentiment, DataError> {
        let lexicon = Lexicon::read(path)?;
        let mut words = HashMap::new();
        for (word, polarity) in lexicon.terms {
            let polarity = polarity.parse::<f64>().ok().filter(|polarity| polarity.abs() <= 1.0);
            let polarity =
                polarity.ok_or_else(|| DataError::format(path, format!("the polarity of `{word}` is not from -1 to 1")))?;
            words.insert(word.to_lowercase(), polarity);
        }
        Ok(Sentiment(words))
    }

    /// Polarity of the words of a sentence in millionths.
    fn polarity(&self, words: &[String]) -> i64 {
        let (mut sum, mut polar) = (0.0, 0);
        for (at, word) in words.iter().enumerate() {
            let Some(&value) = self.0.get(word) else { continue };
            let before =
                |distance: usize, list: &[&str]| at.checked_sub(distance).is_some_and(|at| list.contains(&words[at].as_str()));
            let strong = if before(1, INTENSIFIERS) { 1.3 } else { 1.0 };
            let turned = if before(1, NEGATIONS) || before(2, NEGATIONS) { -0.5 } else { 1.0 };
            sum += (value * strong * turned).clamp(-1.0, 1.0);
            polar += 1;
        }
        if polar == 0 { 0 } else { (sum / f64::from(polar) * 1e6).round() as i64 }
    }
}

/// The terms that are looked for when the user gives none.
pub(crate) fn terms() -> Lexicon {
    let plain =
        TERMS.iter().flat_map(|(group, terms)| terms.split_whitespace().map(move |term| (term.to_owned(), (*group).to_owned())));
    let pairs = COLOURS.iter().flat_map(|colour| {
        PERSONS.split_whitespace().map(move |person| (format!("{colour} {person}"), format!("origin: {colour}")))
    });
    Lexicon::new(plain.chain(pairs))
}

/// Sentences with a term or a group.
#[derive(Clone, Copy, Default)]
struct Named {
    sentences: u64,
    documents: u64,
    polarity: i64,
}

impl std::ops::AddAssign for Named {
    fn add_assign(&mut self, other: Named) {
        self.sentences += other.sentences;
        self.documents += other.documents;
        self.polarity += other.polarity;
    }
}

/// `demographics`.
pub(crate) struct People {
    terms: Arc<Lexicon>,
    sentiment: Arc<Sentiment>,
    by_term: BTreeMap<usize, Named>,
    by_group: BTreeMap<String, Named>,
}

impl People {
    pub(crate) fn new(terms: Arc<Lexicon>, sentiment: Arc<Sentiment>) -> People {
        People { terms, sentiment, by_term: BTreeMap::new(), by_group: BTreeMap::new() }
    }
}

impl Tally for People {
    fn fresh(&self) -> Self {
        People::new(self.terms.clone(), self.sentiment.clone())
    }

    fn add(&mut self, record: &Record<'_>, _: u64) {
        let (mut terms, mut groups): (BTreeMap<usize, Named>, BTreeMap<&str, Named>) = Default::default();
        for sentence in record.document.text.split_sentence_bounds() {
            let words = folded(sentence);
            let found: BTreeSet<usize> = self.terms.find(&words).into_iter().collect();
            if found.is_empty() {
                continue;
            }
            let one = Named { sentences: 1, documents: 0, polarity: self.sentiment.polarity(&words) };
            let named: BTreeSet<&str> = found.iter().map(|&term| self.terms.terms[term].1.as_str()).collect();
            found.into_iter().for_each(|term| *terms.entry(term).or_default() += one);
            named.into_iter().for_each(|group| *groups.entry(group).or_default() += one);
        }
        for (term, named) in terms {
            *self.by_term.entry(term).or_default() += Named { documents: 1, ..named };
        }
        for (group, named) in groups {
            *self.by_group.entry(group.to_owned()).or_default() += Named { documents: 1, ..named };
        }
    }

    fn merge(&mut self, later: Self) -> Result<(), DataError> {
        for (term, named) in later.by_term {
            *self.by_term.entry(term).or_default() += named;
        }
        for (group, named) in later.by_group {
            *self.by_group.entry(group).or_default() += named;
        }
        Ok(())
    }

    fn tables(self, _: usize) -> Result<Vec<Table>, DataError> {
        let cells = |named: &Named| -> [Cell; 3] {
            let mean = named.polarity as f64 / 1e6 / named.sentences.max(1) as f64;
            [named.sentences.into(), named.documents.into(), mean.into()]
        };
        let groups = self.by_group.iter().map(|(group, named)| [group.as_str().into()].into_iter().chain(cells(named)).collect());
        let terms = self.by_term.iter().map(|(&term, named)| {
            let (term, group) = &self.terms.terms[term];
            [term.as_str().into(), group.as_str().into()].into_iter().chain(cells(named)).collect()
        });
        Ok(vec![
            Table::new("demographics", "Groups of people", &["group", "sentences", "documents", "mean_polarity"])
                .note("Sentences that name a group, and their mean polarity from -1 to 1, by a list of words: a rough measure.")
                .plot(Plot::Bars { label: 0, value: 1 })
                .rows(groups),
            Table::new("demographic_terms", "Terms for people", &["term", "group", "sentences", "documents", "mean_polarity"])
                .plot(Plot::Bars { label: 0, value: 2 })
                .rows(terms),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    #[test]
    fn polarity_of_sentences() {
        let of = |text: &str| Sentiment::default().polarity(&folded(text));
        assert_eq!(
            [of("a good day"), of("not good"), of("very good"), of("a table"), of("good and evil")],
            [700_000, -350_000, 910_000, 0, -150_000]
        );
    }

    #[test]
    fn sentences_that_name_groups() {
        let mut people = People::new(Arc::new(terms()), Arc::default());
        let document = Document::new("d", "She is good. Black people were there. He said she left.", "");
        people.add(&Record { document: &document, file: "f", line: 1, ordinal: 0 }, 0);
        let rows = people.tables(10).unwrap().swap_remove(0).rows;
        let row = |group: &str, sentences: u64, polarity: f64| vec![group.into(), sentences.into(), 1u64.into(), polarity.into()];
        assert_eq!(rows, [row("gender: he", 1, 0.0), row("gender: she", 2, 0.35), row("origin: black", 1, 0.0)]);
    }
}
