//! A frozen weight, and the fastest product with it that this processor has.

use std::mem::MaybeUninit;
#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

use super::epilogue::Epilogue;
#[cfg(target_arch = "x86_64")]
use super::half::HalfPanels;
use super::made_rows;
use super::panels::{Kept, PANEL, Panels};
use super::product::{product, product_add};
use crate::nn::stored::StoredRows;
use crate::nn::{Narrow, Precision};

/// Numbers of a stored weight that are laid out together for a gradient: 64 MB.
const STRIPE: usize = 1 << 24;

/// Wᵀ of a linear layer, laid out once. Which unit multiplies with it depends on the processor alone, never on how many
/// rows there are, so a row's bits do not either.
#[derive(Debug, Clone)]
pub struct Frozen {
    panels: Panels,
    /// For bf16 without a matrix unit: laid out when it is first asked for, since few processes ever do.
    #[cfg(target_arch = "x86_64")]
    half: OnceLock<HalfPanels>,
}

impl Frozen {
    /// `weight`: outputs × inputs, row by row.
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn new(weight: &[f32], inputs: usize, outputs: usize) -> Self {
        Self::of(Panels::of_transposed(weight, inputs, outputs))
    }

    /// The same of numbers of two bytes, which stay as they are. Products with them have the bits that they have with
    /// the same numbers in f32.
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn narrow(bits: &[u16], kind: Narrow, inputs: usize, outputs: usize) -> Self {
        Self::of(Panels::of_transposed_narrow(bits, kind, inputs, outputs))
    }

    /// The same of rows that stay as their file has them. Products have the bits that they have with the same numbers in
    /// f32, but for gradients of a weight larger than [`STRIPE`].
    pub fn stored(parts: Vec<StoredRows>, inputs: usize) -> Self {
        Self::of(Panels::of_stored(parts, inputs))
    }

    fn of(panels: Panels) -> Self {
        Self {
            panels,
            #[cfg(target_arch = "x86_64")]
            half: OnceLock::new(),
        }
    }

    pub fn inputs(&self) -> usize {
        self.panels.inner()
    }

    pub fn outputs(&self) -> usize {
        self.panels.cols()
    }

    /// W, outputs × inputs, row by row, in f32: what [`Frozen::new`] was given, for those who compute elsewhere.
    pub fn rows(&self) -> Vec<f32> {
        self.panels.to_rows()
    }

    /// x Wᵀ of as many rows as `x` has, followed by `epilogue`. A `precision` that this processor has not is f32.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "only x86-64 has another than f32"))]
    pub fn product(&self, x: &[f32], precision: Precision, epilogue: Epilogue<'_>) -> Vec<f32> {
        #[cfg(target_arch = "x86_64")]
        if super::amx::available() {
            return super::amx::product(x, &self.panels, precision, epilogue);
        } else if precision == Precision::Bf16 && super::half::available() {
            return self.half.get_or_init(|| HalfPanels::new(&self.panels)).product(x, epilogue);
        }
        product(x, &self.panels, epilogue)
    }

    /// grad W, added to `sum` where there is one. Rows of zeros give none; where they are many they are not computed: with a decoder the tokens
    /// behind the one that is explained, and at its head all others.
    pub fn transposed_product(&self, grad: &[f32], sum: Option<Vec<f32>>) -> Vec<f32> {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let rows = grad.len() / outputs.max(1);
        let kept: Vec<usize> = grad
            .chunks_exact(outputs)
            .enumerate()
            .filter(|(_, row)| row.iter().any(|x| *x != 0.0))
            .map(|(at, _)| at)
            .collect();
        // Some rows more to multiply with are less than all others to copy.
        if kept.len() * 4 > rows * 3 {
            return self.transposed_product_of_all(grad, sum);
        }
        let picked = |all: &[f32], width: usize| {
            let row = |row: usize, to: &mut [MaybeUninit<f32>]| {
                to.write_copy_of_slice(&all[kept[row] * width..][..width]);
            };
            // SAFETY: every row is written whole.
            unsafe { made_rows(kept.len(), width, row) }
        };
        let part = sum.as_deref().map(|sum| picked(sum, inputs));
        let mut all = sum.unwrap_or_else(|| vec![0.0; rows * inputs]);
        if !kept.is_empty() {
            let product = self.transposed_product_of_all(&picked(grad, outputs), part);
            for (row, product) in kept.iter().zip(product.chunks_exact(inputs)) {
                all[row * inputs..][..inputs].copy_from_slice(product);
            }
        }
        all
    }

    fn transposed_product_of_all(&self, grad: &[f32], mut sum: Option<Vec<f32>>) -> Vec<f32> {
        if !matches!(self.panels.kept(0), Kept::Stored) {
            return transposed(grad, &self.panels, sum);
        }
        // To read blocks in the other direction would be to read each many times: some outputs at a time are
        // laid out for this one product.
        let outputs = self.outputs();
        let stripe = (STRIPE / (self.inputs() * PANEL)).max(1);
        for first in (0..self.panels.panels()).step_by(stripe) {
            let part = self.panels.widened(first..self.panels.panels().min(first + stripe));
            let own = first * PANEL..first * PANEL + part.cols();
            let grad: Vec<f32> = match own.len() == outputs {
                true => grad.to_vec(),
                false => grad.chunks_exact(outputs).flat_map(|row| &row[own.clone()]).copied().collect(),
            };
            sum = Some(transposed(&grad, &part, sum));
        }
        sum.unwrap_or_default()
    }
}

/// grad W of a weight whose panels are at hand.
fn transposed(grad: &[f32], panels: &Panels, sum: Option<Vec<f32>>) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if super::amx::available() {
        return super::amx::product_transposed(grad, panels, Precision::F32, sum);
    }
    // Laid out anew for every backward: a twentieth of the product's time, where a second copy of all weights would be
    // half of the process's memory.
    let panels = panels.transposed();
    match sum {
        Some(mut sum) => {
            product_add(grad, &panels, &mut sum);
            sum
        }
        None => product(grad, &panels, Epilogue::default()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::nn::Stored;
    use crate::nn::narrow::narrow;

    #[test]
    fn rows_of_zeros_change_nothing_for_others() {
        let numbers = |len: usize| (0..len).map(|at| (at as f32 * 0.37).sin()).collect::<Vec<f32>>();
        for (inputs, outputs) in [(3, 40), (65, 33)] {
            let weight = Frozen::new(&numbers(inputs * outputs), inputs, outputs);
            let rows = 7;
            let (whole, sum) = (numbers(rows * outputs), numbers(rows * inputs));
            for zeros in [&[0, 2, 3][..], &[6], &[0, 1, 2, 3, 4, 5, 6]] {
                let mut grad = whole.clone();
                zeros.iter().for_each(|row| grad[row * outputs..][..outputs].fill(0.0));
                for sum in [None, Some(sum.clone())] {
                    let all = weight.transposed_product(&whole, sum.clone());
                    let found = weight.transposed_product(&grad, sum.clone());
                    for row in 0..rows {
                        let at = row * inputs..(row + 1) * inputs;
                        let nothing = sum.as_ref().map_or(vec![0.0; inputs], |sum| sum[at.clone()].to_vec());
                        let expected = if zeros.contains(&row) { &nothing[..] } else { &all[at.clone()] };
                        assert_eq!(&found[at], expected, "{inputs} × {outputs}, row {row}");
                    }
                }
            }
        }
    }

    /// Forward and backward, in every precision, on whatever unit this processor has.
    #[test]
    fn narrow_weights_give_the_bits_of_the_same_numbers_in_f32() {
        let numbers = |len: usize| (0..len).map(|at| (at as f32 * 0.37).sin()).collect::<Vec<f32>>();
        for (rows, inputs, outputs) in [(1, 1, 1), (5, 33, 40), (17, 769, 65), (40, 64, 96), (70, 130, 800)] {
            for kind in [Narrow::Bf16, Narrow::F16] {
                let (bits, weight) = narrow(kind, &numbers(inputs * outputs));
                let (wide, own) = (Frozen::new(&weight, inputs, outputs), Frozen::narrow(&bits, kind, inputs, outputs));
                let (x, grad, sum) = (numbers(rows * inputs), numbers(rows * outputs), numbers(rows * inputs));
                let name = format!("{kind:?} {rows} × {inputs} × {outputs}");
                for precision in [Precision::F32, Precision::Bf16] {
                    let product = |weight: &Frozen| weight.product(&x, precision, Epilogue::default());
                    assert_eq!(product(&own), product(&wide), "{name} {precision:?}");
                }
                for sum in [None, Some(sum)] {
                    let back = |weight: &Frozen| weight.transposed_product(&grad, sum.clone());
                    assert_eq!(back(&own), back(&wide), "{name} backward");
                }
            }
        }
    }

    /// The bytes of a weight quantised by candle, and the numbers that it reads out of them.
    fn quantised(dtype: GgmlDType, numbers: &[f32], inputs: usize) -> (Vec<u8>, Vec<f32>) {
        let tensor = Tensor::from_slice(numbers, (numbers.len() / inputs, inputs), &Device::Cpu).unwrap();
        let tensor = QTensor::quantize(&tensor, dtype).unwrap();
        let wide = tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        (tensor.data().unwrap().to_vec(), wide)
    }

    /// Parts of several kinds one below the other; forward and backward, on whatever unit this processor has.
    #[test]
    fn stored_weights_give_the_bits_of_the_same_numbers_in_f32() {
        let numbers = |len: usize| (0..len).map(|at| (at as f32 * 0.37).sin()).collect::<Vec<f32>>();
        let kinds = [(Stored::Q8_0, GgmlDType::Q8_0), (Stored::Q6K, GgmlDType::Q6K), (Stored::Q4_0, GgmlDType::Q4_0)];
        for (rows, inputs, outputs) in [(1, 256, [3, 1, 2]), (7, 512, [33, 31, 40]), (40, 1280, [5, 64, 1])] {
            let (mut parts, mut wide) = (Vec::new(), Vec::new());
            for ((kind, dtype), outputs) in kinds.into_iter().zip(outputs) {
                let (bytes, numbers) = quantised(dtype, &numbers(inputs * outputs), inputs);
                parts.push(StoredRows { kind, rows: outputs, bytes: Arc::new(bytes) });
                wide.extend(numbers);
            }
            let outputs = outputs.iter().sum();
            let (own, wide) = (Frozen::stored(parts, inputs), Frozen::new(&wide, inputs, outputs));
            assert_eq!((own.outputs(), own.rows()), (outputs, wide.rows()));
            let (x, grad, sum) = (numbers(rows * inputs), numbers(rows * outputs), numbers(rows * inputs));
            for precision in [Precision::F32, Precision::Bf16] {
                let product = |weight: &Frozen| weight.product(&x, precision, Epilogue::default());
                assert_eq!(product(&own), product(&wide), "{rows} × {inputs} × {outputs} {precision:?}");
            }
            for sum in [None, Some(sum)] {
                let back = |weight: &Frozen| weight.transposed_product(&grad, sum.clone());
                assert_eq!(back(&own), back(&wide), "{rows} × {inputs} × {outputs} backward");
            }
        }
    }

    /// A weight of several stripes: the same within f32's rounding.
    #[test]
    fn gradients_of_large_stored_weights_are_added_up() {
        let numbers = |len: usize| (0..len).map(|at| (at as f32 * 0.37).sin()).collect::<Vec<f32>>();
        let (inputs, outputs) = (32, STRIPE / 32 + 40);
        let (bytes, wide) = quantised(GgmlDType::Q8_0, &numbers(inputs * outputs), inputs);
        let parts = vec![StoredRows { kind: Stored::Q8_0, rows: outputs, bytes: Arc::new(bytes) }];
        let (own, wide) = (Frozen::stored(parts, inputs), Frozen::new(&wide, inputs, outputs));
        let grad: Vec<f32> = numbers(outputs).iter().map(|x| x / outputs as f32).collect();
        let (own, wide) = (own.transposed_product(&grad, None), wide.transposed_product(&grad, None));
        for (own, wide) in own.iter().zip(&wide) {
            assert!((own - wide).abs() < 1e-6, "{own} for {wide}");
        }
    }

    #[test]
    fn a_weight_comes_back_as_it_was() {
        for (inputs, outputs) in [(1, 1), (3, 40), (65, 33), (40, 300)] {
            let weight: Vec<f32> = (0..inputs * outputs).map(|at| (at as f32 * 0.7).sin() * 1e-3 + 1.0 / 3.0).collect();
            assert_eq!(Frozen::new(&weight, inputs, outputs).rows(), weight, "{inputs} × {outputs}");
        }
    }
}
