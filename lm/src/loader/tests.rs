//! The order of instances, what they hold, and that any batch is reached directly.

use super::*;
use crate::batch::IGNORED;

fn config(n_batches: u64) -> LoaderConfig {
    LoaderConfig::windows(4, 12, n_batches, 34521, 4000)
}

fn ingredient(label: &str, tokens: Vec<u32>, ratio: f64) -> Ingredient {
    Ingredient::new(label, tokens, ratio)
}

fn units(loader: &Loader, number: u64) -> Vec<(usize, u64)> {
    loader.instances(number).1.into_iter().map(|instance| (instance.ingredient, instance.unit)).collect()
}

/// Files of different lengths whose tokens say where they are from.
struct Files(Vec<u32>);

impl TokenSource for Files {
    fn file_lengths(&self) -> Vec<u64> {
        self.0.iter().map(|n| u64::from(*n)).collect()
    }
    fn read(&self, file: usize, start: u64, out: &mut [u32]) -> Result<(), ReadError> {
        for (i, token) in out.iter_mut().enumerate() {
            *token = 1000 * file as u32 + start as u32 + i as u32;
        }
        Ok(())
    }
}

/// Documents of these lengths, each of tokens from 10 on and an end, 0.
fn documents(lengths: &[usize]) -> Vec<u32> {
    lengths.iter().flat_map(|length| (0..length - 1).map(|i| 10 + i as u32).chain([0])).collect()
}

#[test]
fn the_order_of_an_epoch_is_olmo_cores() {
    let loader = Loader::new(config(10), vec![ingredient("all", (0..4000).collect(), 1.0)]).unwrap();
    let windows: Vec<u64> = (0..2).flat_map(|b| units(&loader, b)).map(|(_, window)| window).collect();
    assert_eq!(windows, [905, 250, 414, 554, 333, 834]);
    assert_eq!(&loader.batch(0).unwrap().tokens.ids[..4], &[3620, 3621, 3622, 3623]);
    let second = LoaderConfig { share: Share { rank: 1, world: 3 }, ..config(10) };
    let loader = Loader::new(second, vec![ingredient("all", (0..4000).collect(), 1.0)]).unwrap();
    assert_eq!((units(&loader, 0), units(&loader, 1)), (vec![(0, 250)], vec![(0, 333)]));
}

#[test]
fn an_epoch_sees_every_window_once_and_the_next_in_another_order() {
    // 10 windows, 3 per batch: 3 batches per epoch, one window left out.
    let loader = Loader::new(config(6), vec![ingredient("all", (0..43).collect(), 1.0)]).unwrap();
    let epoch = |e: u64| -> Vec<u64> { (3 * e..3 * e + 3).flat_map(|b| units(&loader, b)).map(|x| x.1).collect() };
    let (first, second) = (epoch(0), epoch(1));
    let mut sorted = first.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 9);
    assert_ne!(first, second);
    assert_eq!(first, epoch(0), "batches are reached directly");
}

#[test]
fn windows_never_span_files() {
    let files = || Ingredient { label: "files".into(), tokens: Arc::new(Files(vec![7, 3, 9])), ratio: 1.0 };
    let starts = |config: LoaderConfig| {
        let batch = Loader::new(config, vec![files()]).unwrap().batch(0).unwrap();
        let mut starts: Vec<u32> = batch.tokens.ids.chunks(batch.tokens.length).map(|row| row[0]).collect();
        starts.sort_unstable();
        starts
    };
    assert_eq!(starts(config(1)), [0, 2000, 2004]);
    // Of windows of 2 in groups of 4, the third file's last token and the second file give none.
    let grouped = LoaderConfig { max_sequence_length: Some(4), ..LoaderConfig::windows(2, 12, 1, 1, 4000) };
    assert_eq!(starts(grouped), [0, 2, 2000, 2002, 2004, 2006]);
}

#[test]
fn sequences_grow_without_changing_the_order_of_tokens() {
    let tokens: Vec<u32> = (0..400).collect();
    let source = || vec![ingredient("all", tokens.clone(), 1.0)];
    let read = |config: LoaderConfig, n: u64| -> Vec<u32> {
        let loader = Loader::new(config, source()).unwrap();
        (0..n).flat_map(|b| loader.batch(b).unwrap().tokens.ids.to_vec()).collect()
    };
    let whole = read(LoaderConfig::windows(16, 32, 12, 9, 4000), 12);
    let segment = |n_batches, batch_tokens, sequence_length| Segment { n_batches, batch_tokens, sequence_length };
    let growing = LoaderConfig {
        batches: vec![segment(2, 32, 4), segment(4, 32, 8), segment(3, 64, 16)],
        ..LoaderConfig::windows(16, 32, 12, 9, 4000)
    };
    assert_eq!(read(growing, 9), whole);
    let short = LoaderConfig { max_sequence_length: Some(16), ..LoaderConfig::windows(4, 32, 12, 9, 4000) };
    assert_eq!(read(short, 12), whole);
    // The same holds for a mix.
    let mixed = |batches| LoaderConfig { batches, ..LoaderConfig::windows(16, 32, 6, 9, 4000) };
    let read = |batches: Vec<Segment>| -> Vec<u32> {
        let n = batches.iter().map(|segment| segment.n_batches).sum();
        let sources = vec![ingredient("a", tokens.clone(), 0.5), ingredient("b", (500..900).collect(), 0.5)];
        let loader = Loader::new(mixed(batches), sources).unwrap();
        (0..n).flat_map(|b| loader.batch(b).unwrap().tokens.ids.to_vec()).collect()
    };
    assert_eq!(read(vec![segment(2, 32, 8), segment(2, 64, 16)]), read(vec![segment(6, 32, 16)]));
}

#[test]
fn a_mix_gives_each_source_its_share() {
    let sources = || vec![ingredient("web", (0..400).collect(), 0.75), ingredient("maths", (1000..1040).collect(), 0.25)];
    let loader = Loader::new(config(20), sources()).unwrap();
    let all: Vec<(usize, u64)> = (0..20).flat_map(|b| units(&loader, b)).collect();
    assert_eq!(all.iter().filter(|x| x.0 == 1).count(), 15);
    // 15 instances of 10 windows: every window once or twice.
    for window in 0..10 {
        let n = all.iter().filter(|x| **x == (1, window)).count();
        assert!((1..=2).contains(&n), "{window}: {n}");
    }
    let again = Loader::new(config(20), sources()).unwrap();
    assert_eq!(again.instances(7), loader.instances(7));
}

#[test]
fn packed_documents_are_whole_and_padding_is_not_predicted() {
    let tokens = documents(&[5, 8, 3, 20]);
    let packed = |long_documents| {
        let instances = Instances::Packed { long_documents, group: 1 };
        let config = LoaderConfig { instances, ..LoaderConfig::windows(8, 24, 1, 0, 4000) };
        let batch = Loader::new(config, vec![ingredient("all", tokens.clone(), 1.0)]).unwrap().batch(0).unwrap();
        let mut rows: Vec<Vec<u32>> = batch.tokens.ids.chunks(8).map(<[u32]>::to_vec).collect();
        rows.sort();
        (rows, batch.n_targets())
    };
    // 8, the first 8 of 20, and 5 with 3.
    let whole: Vec<u32> = (10..18).collect();
    let (rows, n_targets) = packed(LongDocuments::Truncate);
    assert_eq!(rows, [vec![10, 11, 12, 13, 0, 10, 11, 0], vec![10, 11, 12, 13, 14, 15, 16, 0], whole]);
    assert_eq!(n_targets, 21);
    // A file of one document of 5: padded to 8, and 4 targets.
    let config = LoaderConfig { instances: Instances::Padded, ..LoaderConfig::windows(8, 8, 1, 0, 4000) };
    let batch = Loader::new(config, vec![ingredient("all", documents(&[5]), 1.0)]).unwrap().batch(0).unwrap();
    assert_eq!(&*batch.tokens.ids, &[10, 11, 12, 13, 0, 1, 1, 1]);
    assert_eq!(&*batch.targets, &[11, 12, 13, 0, IGNORED, IGNORED, IGNORED, IGNORED]);
}

#[test]
fn variable_sequences_are_pieces_of_documents() {
    // Each document of 21 is 8, 8 and 4; the last token is dropped.
    let tokens = documents(&[21; 24]);
    for curriculum in [Curriculum::Natural, Curriculum::GrowP2(Cycles { n: 2, balanced: false })] {
        let instances = Instances::Variable { shortest: 4, curriculum };
        let config = LoaderConfig { instances, ..LoaderConfig::windows(8, 16, 60, 3, 4000) };
        let loader = Loader::new(config, vec![ingredient("all", tokens.clone(), 1.0)]).unwrap();
        assert_eq!(loader.batch(0).unwrap().tokens.length, 8, "the first batch is long");
        // 48 pieces of 8 and 24 of 4: an epoch of 24 and 6 batches, of which two cycles take 24 and 6.
        let epoch: Vec<usize> = (0..30).map(|b| loader.batch(b).unwrap().tokens.length).collect();
        assert_eq!(epoch.iter().filter(|length| **length == 8).count(), 24);
        let mut seen: Vec<Instance> = (30..60).flat_map(|b| loader.instances(b).1).collect();
        seen.sort_by_key(|instance| instance.offset);
        seen.dedup();
        assert_eq!(seen.len(), 72, "every piece once");
    }
}

#[test]
fn label_masks_and_filters_take_targets_out() {
    struct Masked(Vec<u32>);
    impl TokenSource for Masked {
        fn file_lengths(&self) -> Vec<u64> {
            vec![self.0.len() as u64]
        }
        fn read(&self, file: usize, start: u64, out: &mut [u32]) -> Result<(), ReadError> {
            self.0.read(file, start, out)
        }
        fn read_labels(&self, _file: usize, start: u64, labels: &mut [bool]) -> Result<(), ReadError> {
            labels.iter_mut().enumerate().for_each(|(i, label)| *label = (start as usize + i) % 4 != 1);
            Ok(())
        }
    }
    let tokens: Vec<u32> = (0..32).map(|i| if i < 16 { 7 } else { i }).collect();
    let filter = Some(RepetitionFilter { max_count: 4, ..RepetitionFilter::default() });
    let config = LoaderConfig { filter, ..LoaderConfig::windows(16, 32, 1, 0, 4000) };
    let batch = Loader::new(config, vec![Ingredient::new("masked", Masked(tokens), 1.0)]).unwrap().batch(0).unwrap();
    // 15 targets a row, of which tokens 1, 5, 9 and 13 are masked; the row of sevens is filtered.
    assert_eq!((batch.n_targets(), batch.divisor(), batch.filtered_rows), (11, 22, 1));
}

#[test]
fn unusable_sources_and_settings_are_named() {
    let error = Loader::new(config(1), vec![ingredient("web", vec![0; 8], 1.0)]).unwrap_err().to_string();
    assert!(error.contains("`web`") && error.contains('2'), "{error}");
    let sources = vec![ingredient("a", vec![0; 80], 0.5), ingredient("b", vec![0; 80], 0.4)];
    assert!(Loader::new(config(1), sources).unwrap_err().to_string().contains("0.9"));
    let fail = |config| Loader::new(config, vec![ingredient("a", vec![0; 80], 1.0)]).unwrap_err().to_string();
    assert!(fail(LoaderConfig { max_sequence_length: Some(6), ..config(1) }).contains("do not divide"));
    let padded = LoaderConfig { instances: Instances::Padded, max_sequence_length: Some(8), ..config(1) };
    assert!(fail(padded).contains("only windows"));
}
