//! The two matrices of a model, dense or product-quantised, and the two things that are asked of them.
//! Knows no word or label.

/// A matrix.
#[derive(Debug)]
pub(super) enum Matrix {
    /// Single precision, row by row.
    Dense {
        /// Columns.
        columns: usize,
        /// Values.
        values: Vec<f32>,
    },
    /// Rows as codes of a product quantiser (Jégou et al. 2011), perhaps with their norms apart.
    Quantised {
        /// Rows.
        rows: usize,
        /// Codes of all rows.
        codes: Vec<u8>,
        /// What the codes stand for.
        quantiser: Quantiser,
        /// Codes of the norms and what they stand for.
        norms: Option<(Vec<u8>, Quantiser)>,
    },
}

/// A product quantiser: vectors are cut into pieces, each of which is one of 256.
#[derive(Debug)]
pub(super) struct Quantiser {
    /// Length of a vector.
    pub(super) dim: usize,
    /// Number of pieces.
    pub(super) pieces: usize,
    /// Length of a piece.
    pub(super) width: usize,
    /// Length of the last piece.
    pub(super) last_width: usize,
    /// The 256 values of each piece.
    pub(super) centroids: Vec<f32>,
}

impl Quantiser {
    fn centroid(&self, piece: usize, code: u8) -> &[f32] {
        let before = piece * 256 * self.width;
        let width = if piece + 1 == self.pieces { self.last_width } else { self.width };
        let start = before + usize::from(code) * width;
        &self.centroids[start..start + width]
    }

    /// The vector of some codes, piece by piece.
    fn pieces<'a>(&'a self, codes: &'a [u8]) -> impl Iterator<Item = (usize, &'a [f32])> {
        codes.iter().enumerate().map(|(piece, &code)| (piece * self.width, self.centroid(piece, code)))
    }
}

impl Matrix {
    pub(super) fn rows(&self) -> usize {
        match self {
            Matrix::Dense { columns, values } => values.len() / (*columns).max(1),
            Matrix::Quantised { rows, .. } => *rows,
        }
    }

    pub(super) fn columns(&self) -> usize {
        match self {
            Matrix::Dense { columns, .. } => *columns,
            Matrix::Quantised { quantiser, .. } => quantiser.dim,
        }
    }

    /// The mean of some rows.
    pub(super) fn average(&self, rows: &[u32], out: &mut [f32]) {
        out.fill(0.0);
        for &row in rows {
            self.add_row(row as usize, out);
        }
        let scale = (1.0 / rows.len() as f64) as f32;
        out.iter_mut().for_each(|value| *value *= scale);
    }

    fn add_row(&self, row: usize, out: &mut [f32]) {
        match self {
            Matrix::Dense { columns, values } => {
                for (out, value) in out.iter_mut().zip(&values[row * columns..(row + 1) * columns]) {
                    *out += value;
                }
            }
            Matrix::Quantised { codes, quantiser, norms, .. } => {
                let norm = norm(norms, row);
                let codes = &codes[row * quantiser.pieces..(row + 1) * quantiser.pieces];
                for (start, piece) in quantiser.pieces(codes) {
                    for (out, value) in out[start..].iter_mut().zip(piece) {
                        *out += norm * value;
                    }
                }
            }
        }
    }

    /// The product of a row and a vector, summed from left to right.
    pub(super) fn dot(&self, row: usize, vector: &[f32]) -> f32 {
        match self {
            Matrix::Dense { columns, values } => {
                let row = &values[row * columns..(row + 1) * columns];
                row.iter().zip(vector).fold(0.0, |sum, (a, b)| sum + a * b)
            }
            Matrix::Quantised { codes, quantiser, norms, .. } => {
                let codes = &codes[row * quantiser.pieces..(row + 1) * quantiser.pieces];
                let mut sum = 0.0;
                for (start, piece) in quantiser.pieces(codes) {
                    for (value, x) in piece.iter().zip(&vector[start..]) {
                        sum += x * value;
                    }
                }
                sum * norm(norms, row)
            }
        }
    }
}

fn norm(norms: &Option<(Vec<u8>, Quantiser)>, row: usize) -> f32 {
    norms.as_ref().map_or(1.0, |(codes, quantiser)| quantiser.centroid(0, codes[row])[0])
}
