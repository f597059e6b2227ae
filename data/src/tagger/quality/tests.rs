//! Presets on texts whose verdicts are plain, and the shape of what they emit.

use super::*;
use crate::tagger::{Compat, summary, tag_document};

const PROSE: &str = "The keeper of the old lighthouse walked down to the harbour every morning, and he talked with the people who \
    waited there for the first boat. They told him that the weather would be fine, that the fish had come back, and that nobody \
    should have to go hungry in this year.\nHe thanked them for their kindness and carried their letters up the hill, to be \
    read in the evening when all of his lamps were lit.\n";

fn broken(preset: Preset, text: &str, compat: Compat) -> Vec<&'static str> {
    let found = preset.tag(&Document::new("d", text, "s"), &Text::with(text, compat));
    let broken: Vec<_> = preset.rules().map(|(_, flag)| flag).filter(|flag| !found.get(flag).is_empty()).collect();
    assert_eq!(found.get(BROKEN)[0].score, broken.len() as f64);
    broken
}

#[test]
fn prose_passes_everywhere() {
    for preset in Preset::ALL {
        assert_eq!(broken(preset, PROSE, Compat::None), [""; 0], "{}", preset.label());
    }
}

#[test]
fn the_same_text_breaks_different_rules() {
    // Marks on the longer words: words without letters to spaCy, parts of words to Python.
    let marked = PROSE.split(' ').map(|word| if word.len() > 3 { format!("{word}!") } else { word.to_owned() });
    let marked = marked.collect::<Vec<_>>().join(" ");
    assert_eq!(broken(Preset::Dolma, &marked, Compat::None), [""; 0]);
    assert_eq!(broken(Preset::Datatrove, &marked, Compat::None), ["alphabetic_words_too_low"]);
    assert_eq!(broken(Preset::Olmo3, &marked, Compat::None), [""; 0]);
    // Blank lines are repeated lines to Dolma alone.
    let airy = PROSE.replace(". ", ".\n\n").replace(", ", ",\n\n");
    assert!(broken(Preset::Dolma, &airy, Compat::None).contains(&"fraction_of_duplicate_lines_too_high"));
    assert_eq!(broken(Preset::Datatrove, &airy, Compat::None), [""; 0]);
    assert!(broken(Preset::Fineweb, &airy, Compat::None).iter().all(|flag| flag.starts_with("fineweb_")));
}

#[test]
fn repetition_and_short_texts() {
    let again = "buy it now ".repeat(60);
    let dolma = broken(Preset::Dolma, &again, Compat::None);
    assert!(dolma.contains(&"fraction_of_characters_in_most_common_2grams_too_high"));
    let silent = broken(Preset::Dolma, &again, Compat::Dolma12);
    assert!(!silent.iter().any(|flag| flag.contains("most_common")) && silent.len() + 3 == dolma.len());
    for preset in [Preset::Datatrove, Preset::Olmo3] {
        assert!(broken(preset, &again, Compat::None).contains(&"duplicate_5grams_too_high"));
        assert!(broken(preset, &again, Compat::None).contains(&"top_2gram_too_high"));
    }
    for text in ["", " ", "\n\n", "one"] {
        for preset in Preset::ALL {
            assert!(!broken(preset, text, Compat::None).is_empty(), "{text:?}");
        }
    }
}

#[test]
fn a_summary_has_every_value_and_flag() {
    let mut document = Document::new("d", PROSE, "s");
    tag_document(&mut document, &[Box::new(Preset::Olmo3)], Compat::None);
    let summary = &summary(&document)["quality_olmo3"];
    assert_eq!((summary["broken_rules"], summary["words_too_low"], summary["stop_words"] > 10.0), (0.0, 0.0, true));
}
