//! From a hidden vector to the likeliest labels, for each of fastText's losses.
//! Knows label numbers, not their names.

use super::matrix::Matrix;

/// How outputs become probabilities.
#[derive(Debug)]
pub(super) enum Loss {
    Softmax,
    /// One against all, or negative sampling: each label by itself.
    Sigmoid(Vec<f32>),
    /// Along a Huffman tree over the labels' counts.
    Hierarchical(Vec<Node>),
}

/// An inner node or, with both children absent, a leaf.
#[derive(Clone, Debug)]
pub(super) struct Node {
    left: Option<usize>,
    right: Option<usize>,
    count: i64,
}

/// Resolution and range of the table that fastText looks sigmoids up in.
const TABLE: usize = 512;
const RANGE: f32 = 8.0;

/// Logarithm kept finite.
fn log(x: f32) -> f32 {
    (f64::from(x) + 1e-5).ln() as f32
}

impl Loss {
    /// The loss of a file's number; `counts` are those of the labels, in descending order.
    pub(super) fn new(number: i32, counts: &[i64]) -> Option<Loss> {
        match number {
            1 => Some(Loss::Hierarchical(huffman(counts))),
            2 | 4 => Some(Loss::Sigmoid(
                (0..=TABLE)
                    .map(|i| {
                        let x = (i * 2 * RANGE as usize) as f32 / TABLE as f32 - RANGE;
                        (1.0 / (1.0 + f64::from((-x).exp()))) as f32
                    })
                    .collect(),
            )),
            3 => Some(Loss::Softmax),
            _ => None,
        }
    }

    /// The `k` best labels as (log probability, label), the best first; of equals the first.
    pub(super) fn predict(&self, output: &Matrix, hidden: &[f32], k: usize) -> Vec<(f32, usize)> {
        let mut scored: Vec<(f32, usize)> = match self {
            Loss::Softmax => softmax(output, hidden).into_iter().map(log).zip(0..).collect(),
            Loss::Sigmoid(table) => {
                (0..output.rows()).map(|label| (log(sigmoid(table, output.dot(label, hidden))), label)).collect()
            }
            Loss::Hierarchical(tree) => leaves(tree, output, hidden),
        };
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        scored.truncate(k);
        scored
    }
}

/// Probabilities of all labels.
pub(super) fn softmax(output: &Matrix, hidden: &[f32]) -> Vec<f32> {
    let mut values: Vec<f32> = (0..output.rows()).map(|label| output.dot(label, hidden)).collect();
    normalise(&mut values);
    values
}

/// Turns outputs into probabilities.
pub(super) fn normalise(values: &mut [f32]) {
    let max = values.iter().copied().fold(values[0], f32::max);
    let mut sum = 0.0;
    for value in values.iter_mut() {
        *value = (*value - max).exp();
        sum += *value;
    }
    values.iter_mut().for_each(|value| *value /= sum);
}

fn sigmoid(table: &[f32], x: f32) -> f32 {
    if x < -RANGE {
        0.0
    } else if x > RANGE {
        1.0
    } else {
        table[((x + RANGE) * TABLE as f32 / RANGE / 2.0) as usize]
    }
}

/// The leaves with the logarithms of their paths.
fn leaves(tree: &[Node], output: &Matrix, hidden: &[f32]) -> Vec<(f32, usize)> {
    let labels = tree.len().div_ceil(2);
    let mut found = Vec::with_capacity(labels);
    let mut open = vec![(tree.len() - 1, 0.0f32)];
    while let Some((node, score)) = open.pop() {
        match (tree[node].left, tree[node].right) {
            (Some(left), Some(right)) => {
                let f = output.dot(node - labels, hidden);
                let f = (1.0 / f64::from(1.0 + (-f).exp())) as f32;
                open.push((left, score + log((1.0 - f64::from(f)) as f32)));
                open.push((right, score + log(f)));
            }
            _ => found.push((score, node)),
        }
    }
    found
}

/// fastText's Huffman tree: the leaves, then inner nodes as they are made, the root last. `counts` descend.
fn huffman(counts: &[i64]) -> Vec<Node> {
    let n = counts.len();
    let mut tree = vec![Node { left: None, right: None, count: 1_000_000_000_000_000 }; (2 * n).saturating_sub(1)];
    tree.iter_mut().zip(counts).for_each(|(node, &count)| node.count = count);
    let (mut leaf, mut node) = (n, n);
    for made in n..tree.len() {
        let mut pair = [0; 2];
        for slot in &mut pair {
            if leaf > 0 && tree[leaf - 1].count < tree[node].count {
                leaf -= 1;
                *slot = leaf;
            } else {
                *slot = node;
                node += 1;
            }
        }
        tree[made] = Node { left: Some(pair[0]), right: Some(pair[1]), count: tree[pair[0]].count + tree[pair[1]].count };
    }
    tree
}
