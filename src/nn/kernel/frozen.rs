//! A frozen weight in the layout that this processor's fastest product reads.

#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

use super::epilogue::Epilogue;
#[cfg(target_arch = "x86_64")]
use super::half::HalfPanels;
use super::panels::Panels;
use super::product::{product, product_add};
use crate::nn::Precision;

/// Wᵀ of a linear layer, laid out once. Which layout it has depends on the processor alone, never on how many rows
/// are multiplied with it, so a row's bits do not either.
#[derive(Debug, Clone)]
pub enum Frozen {
    /// For the vector units.
    Panels {
        panels: Panels,
        /// Laid out when it is first asked for: few processes ever do.
        #[cfg(target_arch = "x86_64")]
        half: OnceLock<HalfPanels>,
    },
    /// For the matrix unit.
    #[cfg(target_arch = "x86_64")]
    Pieces(super::amx::Weight),
}

impl Frozen {
    /// `weight`: outputs × inputs, row by row.
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn new(weight: &[f32], inputs: usize, outputs: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        if super::amx::available() {
            return Self::Pieces(super::amx::Weight::new(weight, inputs, outputs));
        }
        Self::Panels {
            panels: Panels::of_transposed(weight, inputs, outputs),
            #[cfg(target_arch = "x86_64")]
            half: OnceLock::new(),
        }
    }

    pub fn inputs(&self) -> usize {
        match self {
            Self::Panels { panels, .. } => panels.inner(),
            #[cfg(target_arch = "x86_64")]
            Self::Pieces(weight) => weight.inputs(),
        }
    }

    pub fn outputs(&self) -> usize {
        match self {
            Self::Panels { panels, .. } => panels.cols(),
            #[cfg(target_arch = "x86_64")]
            Self::Pieces(weight) => weight.outputs(),
        }
    }

    /// W, outputs × inputs, row by row: what [`Frozen::new`] was given, for those who compute elsewhere.
    pub fn rows(&self) -> Vec<f32> {
        match self {
            Self::Panels { panels, .. } => panels.to_rows(),
            // The product with the identity adds every number's pieces up again, and nothing but zeros to them.
            #[cfg(target_arch = "x86_64")]
            Self::Pieces(_) => self.times_identity(),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn times_identity(&self) -> Vec<f32> {
        /// Rows of the identity at a time.
        const ROWS: usize = 256;
        let outputs = self.outputs();
        let mut rows = Vec::with_capacity(outputs * self.inputs());
        for first in (0..outputs).step_by(ROWS) {
            let mut identity = vec![0.0; ROWS.min(outputs - first) * outputs];
            for (row, ones) in identity.chunks_exact_mut(outputs).enumerate() {
                ones[first + row] = 1.0;
            }
            rows.extend(self.transposed_product(&identity, None));
        }
        rows
    }

    /// x Wᵀ of as many rows as `x` has, followed by `epilogue`. A `precision` that this processor has not is f32.
    pub fn product(&self, x: &[f32], precision: Precision, epilogue: Epilogue<'_>) -> Vec<f32> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Panels { panels, half } if precision == Precision::Bf16 && super::half::available() => {
                half.get_or_init(|| HalfPanels::new(panels)).product(x, epilogue)
            }
            Self::Panels { panels, .. } => product(x, panels, epilogue),
            #[cfg(target_arch = "x86_64")]
            Self::Pieces(weight) => super::amx::product(x, weight, precision, epilogue),
        }
    }

    /// grad W, added to `sum` where there is one.
    pub fn transposed_product(&self, grad: &[f32], sum: Option<Vec<f32>>) -> Vec<f32> {
        match self {
            Self::Panels { panels, .. } => {
                // Laid out anew for every backward: a twentieth of the product's time, where a second copy of all
                // weights would be half of the process's memory.
                let panels = panels.transposed();
                match sum {
                    Some(mut sum) => {
                        product_add(grad, &panels, &mut sum);
                        sum
                    }
                    None => product(grad, &panels, Epilogue::default()),
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Pieces(weight) => super::amx::product_transposed(grad, weight, Precision::F32, sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_comes_back_as_it_was() {
        for (inputs, outputs) in [(1, 1), (3, 40), (65, 33), (40, 300)] {
            let weight: Vec<f32> = (0..inputs * outputs).map(|at| (at as f32 * 0.7).sin() * 1e-3 + 1.0 / 3.0).collect();
            assert_eq!(Frozen::new(&weight, inputs, outputs).rows(), weight, "{inputs} × {outputs}");
        }
    }
}
