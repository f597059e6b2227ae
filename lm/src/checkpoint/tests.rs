//! Tests of checkpoints on disk.

use super::*;
use crate::checkpoint::progress::Progress;
use crate::init::initial_weights;

fn checkpoint() -> Checkpoint {
    let config = ModelConfig::olmo2("pico").unwrap();
    let weights = initial_weights(&config, 3);
    let moments = |value| weights.iter().map(|(name, array)| (name.clone(), array.map(|_| value))).collect();
    let optimizer = OptimizerState { step: 12, first: moments(0.5), second: moments(0.25) };
    let record = TrainingRecord { step: 40, tokens: 4000, lr: 1e-4, peak_lr: 3e-3, growth: Vec::new() };
    Checkpoint { config, weights, training: Some(TrainingState { record, optimizer }) }
}

#[test]
fn a_checkpoint_survives_the_disk_and_its_bytes_are_fixed() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let saved = checkpoint();
    saved.write(first.path()).unwrap();
    saved.write(second.path()).unwrap();
    assert_eq!(Checkpoint::read(first.path()).unwrap(), saved);
    for name in ["config.json", "model.safetensors", "training.json", "training.safetensors"] {
        let bytes = |dir: &tempfile::TempDir| fs::read(dir.path().join(name)).unwrap();
        assert!(bytes(&first) == bytes(&second), "{name}");
    }
}

#[test]
fn a_model_without_training_state_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let model = checkpoint().model(&crate::device::cpu()).unwrap();
    model.save(dir.path()).unwrap();
    let read = Checkpoint::read(dir.path()).unwrap();
    assert_eq!(read.training, None);
    assert_eq!(Model::load(dir.path(), &crate::device::cpu()).unwrap().weights(), read.weights);
}

#[test]
fn damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut saved = checkpoint();
    saved.weights.remove("model.norm.weight");
    saved.write(dir.path()).unwrap();
    let error = Model::load(dir.path(), &crate::device::cpu()).unwrap_err().to_string();
    assert!(error.contains("model.norm.weight"), "{error}");
    fs::write(dir.path().join("model.safetensors"), b"nonsense").unwrap();
    let error = Checkpoint::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
}

#[test]
fn progress_keeps_exactly_the_last_whole_state() {
    let dir = tempfile::tempdir().unwrap();
    let progress = Progress::new(&dir.path().join("progress"));
    assert!(progress.load::<u64>().unwrap().is_none());
    let saved = checkpoint();
    progress.save(9, &saved, &9_u64).unwrap();
    progress.save(10, &saved, &10_u64).unwrap();
    // A state that was being written when the run was killed does not count.
    fs::create_dir_all(dir.path().join("progress/partial")).unwrap();
    let (loaded, extra) = progress.load::<u64>().unwrap().unwrap();
    assert_eq!((loaded, extra), (saved, 10));
    assert_eq!(fs::read_dir(dir.path().join("progress")).unwrap().count(), 2);
    progress.clear().unwrap();
    assert!(progress.load::<u64>().unwrap().is_none());
}
