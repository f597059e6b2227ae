//! Agreement with fastText's own models and predictions, training, and files that are not what they seem.

use super::*;
use crate::testing::threads;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fasttext").join(name)
}

#[test]
fn predictions_are_fasttexts() {
    #[derive(serde::Deserialize)]
    struct Expected {
        texts: Vec<String>,
        models: BTreeMap<String, Vec<Vec<(f64, String)>>>,
    }
    let expected: Expected = serde_json::from_slice(&fs_err::read(fixture("predictions.json")).unwrap()).unwrap();
    assert_eq!(expected.models.len(), 6);
    for (name, rows) in expected.models {
        let model = Model::load(&fixture(&name)).unwrap();
        for (text, row) in expected.texts.iter().zip(rows) {
            let ours = model.predict(text, None);
            assert_eq!(ours.len(), row.len(), "{name} {text:?}");
            let ours: BTreeMap<&str, f32> = ours.iter().map(|found| (found.label, found.probability)).collect();
            for (probability, label) in row {
                let difference = f64::from(ours[label.as_str()]) - probability;
                assert!(
                    difference.abs() <= 3e-7,
                    "{name} {text:?} {label}: ours {}, fastText {probability}",
                    ours[label.as_str()]
                );
            }
        }
    }
}

fn examples() -> Vec<Example> {
    let words = [("fruit", "apple pear plum cherry ripe sweet"), ("tool", "hammer saw drill nail sharp steel")];
    (0..200usize)
        .map(|n| {
            let (label, words) = words[n % 2];
            let words: Vec<&str> = words.split(' ').collect();
            let text = (0..8).map(|i| words[(n / 2 * 7 + i * i + n / 12) % words.len()]).collect::<Vec<_>>().join(" ");
            Example { text: format!("{text} thing{}\nthe end", n % 5), label: label.into() }
        })
        .collect()
}

#[test]
fn trains_saves_and_does_not_depend_on_threads() {
    let params = TrainParams { dim: 8, buckets: 500, minn: 3, maxn: 4, epochs: 20, lr: 0.5, ..TrainParams::default() };
    let run = |n| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.bin");
        threads(n, || train(&examples(), &params, &()).unwrap().save(&path).unwrap());
        (fs_err::read(&path).unwrap(), Model::load(dir.path()).unwrap())
    };
    let ((bytes, model), (again, _)) = (run(1), run(3));
    assert_eq!(bytes, again);
    assert_eq!(model.labels().collect::<Vec<_>>(), ["__label__fruit", "__label__tool"]);
    let best = |text: &str| {
        let found = model.predict(text, Some(1));
        (found[0].label, found[0].probability)
    };
    let (fruit, tool) = (best("a sweet ripe plum"), best("sharp steel saws"));
    assert!(fruit.0 == "__label__fruit" && fruit.1 > 0.8, "{fruit:?}");
    assert!(tool.0 == "__label__tool" && tool.1 > 0.8, "{tool:?}");
}

#[test]
fn refuses_bad_examples_and_parameters() {
    let fails = |examples: &[Example], params: &TrainParams| train(examples, params, &()).unwrap_err().to_string();
    let params = TrainParams { dim: 4, buckets: 10, ..TrainParams::default() };
    assert!(fails(&examples()[..1], &params).contains("two labels"));
    let spaced = Example { text: "x".into(), label: "a b".into() };
    assert!(fails(&[spaced], &params).contains("example 0 is `a b`"));
    assert!(fails(&examples(), &TrainParams { minn: 4, maxn: 2, ..params.clone() }).contains("shortest n-gram is longer"));
    assert!(fails(&examples(), &TrainParams { dim: 0, ..params }).contains("`dim` is 0"));
}

#[test]
fn a_broken_file_is_an_error_and_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let load = |bytes: &[u8]| {
        let path = dir.path().join("m.bin");
        fs_err::write(&path, bytes).unwrap();
        Model::load(&path).map(drop).unwrap_err().to_string()
    };
    assert!(load(b"not a model").contains("m.bin`: it is no fastText model"));
    for name in ["softmax.bin", "hs.ftz", "softmax.ftz"] {
        let bytes = fs_err::read(fixture(name)).unwrap();
        for cut in [10, 60, 100, 700, bytes.len() - 1] {
            assert!(!load(&bytes[..cut]).is_empty());
        }
        assert!(load(&[bytes.as_slice(), b"x"].concat()).contains("1 bytes follow"));
        // Whatever a byte of the header says, there is no panic and no absurd allocation.
        for at in 0..120 {
            let mut changed = bytes.clone();
            changed[at] ^= 0x80;
            fs_err::write(dir.path().join("m.bin"), &changed).unwrap();
            if let Ok(model) = Model::load(&dir.path().join("m.bin")) {
                model.predict("the und и", None);
            }
        }
    }
}
