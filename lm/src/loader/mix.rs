//! The units of a run over several sources.

use super::{Ingredient, LoaderError, shuffled};
use crate::shuffle::Pcg64;

/// All units of a run of `total` units: each source gives its share (largest remainders make up the whole), epoch after
/// epoch of its own, and the union is shuffled. `n_units` is what each source has; a unit has `length` tokens.
pub(super) fn mix(
    ingredients: &[Ingredient],
    n_units: &[u64],
    total: u64,
    length: usize,
    seed: u64,
) -> Result<Vec<(u32, u32)>, LoaderError> {
    let sum: f64 = ingredients.iter().map(|ingredient| ingredient.ratio).sum();
    if let Some(bad) = ingredients.iter().find(|ingredient| !(ingredient.ratio > 0.0 && ingredient.ratio <= 1.0)) {
        return Err(LoaderError::Mix(format!("source `{}` has ratio {}, which is not in (0, 1]", bad.label, bad.ratio)));
    }
    if (sum - 1.0).abs() > 1e-6 {
        return Err(LoaderError::Mix(format!("the ratios add up to {sum}, not to 1")));
    }
    let exact: Vec<f64> = ingredients.iter().map(|ingredient| ingredient.ratio / sum * total as f64).collect();
    let mut take: Vec<u64> = exact.iter().map(|x| x.floor() as u64).collect();
    let mut by_remainder: Vec<usize> = (0..exact.len()).collect();
    by_remainder.sort_by(|a, b| (exact[*b].fract()).total_cmp(&exact[*a].fract()).then(a.cmp(b)));
    let missing = total.saturating_sub(take.iter().sum()) as usize;
    for i in by_remainder.into_iter().cycle().take(missing) {
        take[i] += 1;
    }
    let mut all = Vec::with_capacity(total as usize);
    for (i, ((ingredient, take), n)) in ingredients.iter().zip(take).zip(n_units).enumerate() {
        if *n == 0 && take > 0 {
            return Err(LoaderError::TooSmall { label: ingredient.label.clone(), windows: 0, length, wanted: 1 });
        }
        let epochs = take.div_ceil((*n).max(1));
        let units = (1..=epochs).flat_map(|epoch| shuffled(*n, seed.wrapping_add(epoch)).to_vec());
        all.extend(units.take(take as usize).map(|unit| (i as u32, unit)));
    }
    Pcg64::new(seed).shuffle(&mut all);
    Ok(all)
}
