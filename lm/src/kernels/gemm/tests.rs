//! The products against three loops, over odd shapes, strides and windows, on one thread and on several.

use super::*;

/// Numbers that look random, in [-1, 1).
fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(next).collect()
}

const SHAPES: [[usize; 3]; 14] = [
    [1, 1, 1],
    [1, 32, 5],
    [14, 32, 256],
    [15, 33, 257],
    [3, 100, 31],
    [29, 16, 33],
    [64, 64, 64],
    [70, 17, 600],
    [113, 47, 19],
    [130, 258, 65],
    [300, 7, 70],
    [33, 64, 1029],
    [16, 700, 300],
    [250, 31, 513],
];

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug)]
enum Order {
    Rows,
    Columns,
    Spread,
}

struct Matrix {
    data: Vec<f32>,
    view: View,
}

impl Matrix {
    fn new([rows, columns]: [usize; 2], order: Order, seed: u32) -> Self {
        let (row, column) = match order {
            Order::Rows => (columns + 3, 1),
            Order::Columns => (1, rows + 1),
            Order::Spread => (2 * columns + 1, 2),
        };
        let data = values(rows * row + columns * column, seed);
        let view = View { start: data.as_ptr(), row, column };
        Self { data, view }
    }

    fn at(&self, row: usize, column: usize, precision: Precision) -> f64 {
        let x = self.data[row * self.view.row + column * self.view.column];
        f64::from(if precision == Precision::Bf16 { portable::round_bf16(x) } else { x })
    }
}

type Product<'a> = &'a dyn Fn(Target, [usize; 3], View, View, Write);

/// Checks a product of every shape against three loops; the columns beyond the target must stay as they are.
fn check(orders: [Order; 2], precision: Precision, product: Product<'_>) {
    for size @ [m, n, k] in SHAPES {
        let (a, b) = (Matrix::new([m, k], orders[0], 1), Matrix::new([k, n], orders[1], 2));
        for write in [Write::Set, Write::Add] {
            let row = n + 2;
            let before = values(m * row, 3);
            let mut out = before.clone();
            product(Target::rows(&mut out, row), size, a.view, b.view, write);
            for i in 0..m {
                for j in 0..row {
                    let (got, old) = (out[i * row + j], before[i * row + j]);
                    if j >= n {
                        assert_eq!(got, old, "{size:?} beyond the target");
                        continue;
                    }
                    let sum: f64 = (0..k).map(|l| a.at(i, l, precision) * b.at(l, j, precision)).sum();
                    let wanted = if write == Write::Add { sum + f64::from(old) } else { sum };
                    let error = (f64::from(got) - wanted).abs();
                    assert!(
                        error < 1e-5 * (k as f64).sqrt() + 1e-6,
                        "{size:?} {orders:?} {write:?} [{i}, {j}]: {got}, wanted {wanted}"
                    );
                }
            }
        }
    }
}

const ORDERS: [[Order; 2]; 5] = [
    [Order::Rows, Order::Rows],
    [Order::Rows, Order::Columns],
    [Order::Columns, Order::Rows],
    [Order::Columns, Order::Columns],
    [Order::Spread, Order::Spread],
];

#[test]
fn products_agree_with_three_loops() {
    for precision in [Precision::F32, Precision::Bf16] {
        for orders in ORDERS {
            // SAFETY: the matrices have the shapes.
            check(orders, precision, &|out, size, a, b, write| unsafe { product(out, size, a, b, write, precision) });
            check(orders, precision, &|out, size, a, b, write| unsafe { parallel_product(out, size, a, b, write, precision) });
        }
    }
}

#[test]
fn products_without_avx512_agree_with_three_loops() {
    for precision in [Precision::F32, Precision::Bf16] {
        for orders in ORDERS {
            // SAFETY: the matrices have the shapes.
            check(orders, precision, &|out, size, a, b, write| unsafe { portable::product(out, size, a, b, write, precision) });
        }
    }
}

#[test]
fn few_rows_agree_with_three_loops() {
    for precision in [Precision::F32, Precision::Bf16] {
        for [n, o, i] in [[1, 9, 7], [2, 64, 48], [5, 333, 500], [16, 31, 33]] {
            if !is_few(n, precision) {
                return;
            }
            let (x, w) = (Matrix::new([n, i], Order::Rows, 1), Matrix::new([i, o], Order::Columns, 2));
            let xs: Vec<f32> = (0..n * i).map(|at| x.data[at / i * x.view.row + at % i]).collect();
            let ws: Vec<f32> = (0..o * i).map(|at| w.data[at / i * w.view.column + at % i]).collect();
            let mut out = vec![f32::NAN; n * o];
            few_rows(&mut out, &xs, &ws, i, precision);
            for row in 0..n {
                for column in 0..o {
                    let wanted: f64 = (0..i).map(|l| x.at(row, l, precision) * w.at(l, column, precision)).sum();
                    assert!((f64::from(out[row * o + column]) - wanted).abs() < 1e-4);
                }
            }
        }
    }
}

#[test]
fn a_cut_product_has_the_bits_of_the_whole() {
    let [m, n, k] = [77, 95, 1100];
    let (a, b) = (values(m * k, 1), values(k * n, 2));
    for precision in [Precision::F32, Precision::Bf16].into_iter().filter(|precision| has_avx512(*precision)) {
        let (mut whole, mut cut) = (vec![0.0; m * n], vec![0.0; m * n]);
        let (a, b) = (View::rows(&a, k), View::rows(&b, n));
        let step = block_depth(precision);
        // SAFETY: the matrices have the shapes.
        unsafe {
            parallel_product(Target::rows(&mut whole, n), [m, n, k], a, b, Write::Set, precision);
            for from in (0..k).step_by(step) {
                let write = if from == 0 { Write::Set } else { Write::Add };
                for (top, rows) in [(0, 5), (5, 72)] {
                    let size = [rows, n, step.min(k - from)];
                    product(Target::rows(&mut cut, n).at(top, 0), size, a.at(top, from), b.at(from, 0), write, precision);
                }
            }
        }
        assert_eq!(whole, cut, "{precision:?}");
    }
}

#[test]
fn windows_of_a_packed_operand_agree() {
    let [m, n, k] = [21, 130, 700];
    let (a, b) = (values(m * k, 1), values(k * n, 2));
    for precision in [Precision::F32, Precision::Bf16] {
        for Window { columns, depth } in [
            Window { columns: 0..130, depth: 0..700 },
            Window { columns: 32..100, depth: 2..3 },
            Window { columns: 96..97, depth: 600..699 },
            Window { columns: 0..64, depth: 100..100 },
        ] {
            let (width, terms) = (columns.len(), depth.len());
            let (mut packed_out, mut out) = (vec![f32::NAN; m * width], vec![f32::NAN; m * width]);
            // SAFETY: the matrices have the shapes.
            unsafe {
                let (a, b) = (View::rows(&a, k).at(0, depth.start), View::rows(&b, n));
                let packed = Packed::new(b, [k, n], precision);
                let part = b.at(depth.start, columns.start);
                product(Target::rows(&mut out, width), [m, width, terms], a, part, Write::Set, precision);
                product_packed(Target::rows(&mut packed_out, width), m, a, &packed, Window { columns, depth }, Write::Set);
            }
            for (a, b) in out.iter().zip(&packed_out) {
                assert!((a - b).abs() < 1e-4, "{a} {b}");
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_threads() {
    let [m, n, k] = [301, 530, 600];
    let (a, b) = (values(m * k, 1), values(k * n, 2));
    for precision in [Precision::F32, Precision::Bf16] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut out = vec![0.0; m * n];
            // SAFETY: the matrices have the shapes.
            pool.install(|| unsafe {
                parallel_product(
                    Target::rows(&mut out, n),
                    [m, n, k],
                    View::rows(&a, k),
                    View::rows(&b, n),
                    Write::Set,
                    precision,
                );
            });
            out
        };
        assert_eq!(run(1), run(3));
    }
}
