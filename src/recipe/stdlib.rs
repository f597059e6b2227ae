//! The modules that come with the program, embedded as text. This file does not know what they contain.

/// Name and text of every module, sorted by name.
pub const MODULES: &[(&str, &str)] = &[
    ("corpora", include_str!("../../stdlib/corpora.rhai")),
    ("flex_olmo", include_str!("../../stdlib/flex_olmo.rhai")),
    ("mixes", include_str!("../../stdlib/mixes.rhai")),
    ("olmo", include_str!("../../stdlib/olmo.rhai")),
    ("olmo2", include_str!("../../stdlib/olmo2.rhai")),
    ("olmo3", include_str!("../../stdlib/olmo3.rhai")),
    ("olmo_hybrid", include_str!("../../stdlib/olmo_hybrid.rhai")),
    ("olmoe", include_str!("../../stdlib/olmoe.rhai")),
];

/// The text of a module.
pub fn text(name: &str) -> Option<&'static str> {
    MODULES.iter().find(|(module, _)| *module == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_in_order() {
        let folder = std::path::Path::new(file!()).ancestors().nth(3).unwrap().join("stdlib");
        let mut files: Vec<_> = fs_err::read_dir(folder)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".rhai").map(str::to_owned))
            .collect();
        files.sort();
        assert_eq!(files, MODULES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
