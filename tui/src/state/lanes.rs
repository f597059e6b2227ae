//! The plan as lanes, one row a step: a lane opens under a step that others consume and closes at the last of them. It knows positions
//! only, neither names nor states.
//!
//! ```text
//! ○        a
//! ├─○      b (a)
//! ○ │      c (a, its last consumer)
//! └─┴─○    d (b, c)
//! ```

use std::collections::BTreeSet;

/// Lanes that are drawn; those beyond are cut.
pub(super) const LANES: usize = 24;

/// One row of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Two characters for each lane, the lane's own and the gap to the next; the step's own is a space.
    pub cells: Vec<char>,
    /// The step's lane; it may lie beyond the cells when lanes were cut.
    pub lane: usize,
}

/// Rows for steps whose inputs are given as positions before their own, without repeats.
pub(super) fn rows(inputs: &[&[usize]]) -> Vec<Row> {
    let mut last_use: Vec<usize> = (0..inputs.len()).collect();
    for (position, inputs) in inputs.iter().enumerate() {
        inputs.iter().for_each(|&input| last_use[input] = position);
    }
    let mut lane_of = vec![0; inputs.len()];
    let mut live = BTreeSet::new();
    let mut free = BTreeSet::new();
    let mut opened = 0;
    let mut rows = Vec::with_capacity(inputs.len());
    for (position, inputs) in inputs.iter().enumerate() {
        let ends = |input: usize| last_use[input] == position;
        let under = inputs.iter().filter(|&&input| ends(input)).map(|&input| lane_of[input]).min();
        let lane = under.or_else(|| free.pop_first()).unwrap_or_else(|| {
            opened += 1;
            opened - 1
        });
        let from: Vec<(usize, bool)> = inputs.iter().map(|&input| (lane_of[input], ends(input))).collect();
        rows.push(row(lane, &from, &live));
        for (closed, _) in from.iter().filter(|(other, ends)| *ends && *other != lane) {
            live.remove(closed);
            free.insert(*closed);
        }
        lane_of[position] = lane;
        if last_use[position] > position {
            live.insert(lane);
        } else {
            live.remove(&lane);
            free.insert(lane);
        }
    }
    rows
}

fn row(lane: usize, from: &[(usize, bool)], live: &BTreeSet<usize>) -> Row {
    let first = from.iter().map(|(lane, _)| *lane).fold(lane, usize::min);
    let last = from.iter().map(|(lane, _)| *lane).fold(lane, usize::max);
    let width = live.last().copied().unwrap_or(0).max(last).saturating_add(1).min(LANES);
    let mut cells = Vec::with_capacity(width * 2);
    for column in 0..width {
        let within = (first..=last).contains(&column);
        let through = first < column && column < last;
        let input = from.iter().find(|(lane, _)| *lane == column);
        cells.push(match input {
            _ if column == lane => ' ',
            Some((_, true)) if through => '┴',
            Some((_, true)) if column < lane => '└',
            Some((_, true)) => '┘',
            Some((_, false)) if through => '┼',
            Some((_, false)) if column < lane => '├',
            Some((_, false)) => '┤',
            None if live.contains(&column) => '│',
            None if within => '─',
            None => ' ',
        });
        cells.push(if (first..last).contains(&column) { '─' } else { ' ' });
    }
    Row { cells, lane }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(inputs: &[&[usize]]) -> Vec<String> {
        let draw = |row: &Row| {
            let mut cells = row.cells.clone();
            cells[row.lane * 2] = 'o';
            cells.into_iter().collect::<String>().trim_end().to_owned()
        };
        rows(inputs).iter().map(draw).collect()
    }

    #[test]
    fn a_chain_is_straight_and_a_diamond_closes() {
        assert_eq!(drawn(&[&[], &[0], &[1]]), ["o", "o", "o"]);
        assert_eq!(drawn(&[&[], &[0], &[0], &[1, 2]]), ["o", "├─o", "o │", "o─┘"]);
    }

    #[test]
    fn lanes_cross_and_pass() {
        // 0 is used by 1 and 4; 2 stands alone and is used by 3; 3 also uses 1.
        assert_eq!(drawn(&[&[], &[0], &[], &[1, 2], &[0, 3]]), ["o", "├─o", "│ │ o", "│ o─┘", "o─┘"]);
        assert_eq!(drawn(&[&[], &[], &[], &[0], &[0, 1, 2]]), ["o", "│ o", "│ │ o", "├─│─│─o", "o─┴─┘"]);
    }

    #[test]
    fn a_wide_fan_is_cut_not_grown() {
        let count = 3000;
        let all: Vec<usize> = (0..count).collect();
        let mut inputs: Vec<&[usize]> = vec![&[]; count];
        inputs.push(&all);
        let rows = rows(&inputs);
        assert!(rows.iter().all(|row| row.cells.len() <= LANES * 2));
        assert_eq!(rows[count].lane, 0);
    }
}
