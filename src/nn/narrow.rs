//! Numbers of two bytes: how weights of half precision are stored, in files and in memory.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::kernel::vectorised;

/// What the two bytes mean. f32 holds every number of either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Narrow {
    /// The upper half of an f32: 8 significant bits.
    Bf16,
    /// IEEE's half precision: 11 significant bits, and 5 of exponent.
    F16,
}

impl Narrow {
    /// The bits of the exponent: all of them are set in an infinity and in what is no number.
    const fn exponent(self) -> u16 {
        match self {
            Self::Bf16 => 0x7f80,
            Self::F16 => 0x7c00,
        }
    }

    /// `bits` as f32.
    ///
    /// # Panics
    /// If `to` has another length.
    pub fn widen(self, bits: &[u16], to: &mut [f32]) {
        assert_eq!(bits.len(), to.len(), "numbers and room for them");
        match self {
            Self::Bf16 => vectorised(
                #[inline(always)]
                || {
                    for (to, bits) in to.iter_mut().zip(bits) {
                        *to = f32::from_bits(u32::from(*bits) << 16);
                    }
                },
            ),
            Self::F16 => bits.reinterpret_cast::<f16>().convert_to_f32_slice(to),
        }
    }

    /// Whether all of `bits` are finite numbers.
    pub fn finite(self, bits: &[u16]) -> bool {
        let exponent = self.exponent();
        // Every number is looked at, so that the loop has no early end and becomes vectors.
        bits.iter().fold(true, |all, bits| all & (bits & exponent != exponent))
    }
}

/// Numbers rounded to `kind`: their bits, and what these mean.
#[cfg(test)]
pub fn narrow(kind: Narrow, numbers: &[f32]) -> (Vec<u16>, Vec<f32>) {
    let bits = |number: &f32| match kind {
        Narrow::Bf16 => half::bf16::from_f32(*number).to_bits(),
        Narrow::F16 => f16::from_f32(*number).to_bits(),
    };
    let bits: Vec<u16> = numbers.iter().map(bits).collect();
    let mut wide = vec![0.0; bits.len()];
    kind.widen(&bits, &mut wide);
    (bits, wide)
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn every_number_is_the_crates() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        for kind in [Narrow::Bf16, Narrow::F16] {
            let expected: Vec<f32> = match kind {
                Narrow::Bf16 => bits.iter().map(|bits| bf16::from_bits(*bits).to_f32()).collect(),
                Narrow::F16 => bits.iter().map(|bits| f16::from_bits(*bits).to_f32()).collect(),
            };
            let mut wide = vec![0.0; bits.len()];
            kind.widen(&bits, &mut wide);
            for (at, (wide, expected)) in wide.iter().zip(&expected).enumerate() {
                assert_eq!(kind.finite(&bits[at..=at]), expected.is_finite(), "{kind:?} {at:#x}");
                assert!(wide == expected || wide.is_nan() && expected.is_nan(), "{kind:?} {at:#x}");
                assert_eq!(wide.is_sign_negative(), expected.is_sign_negative(), "{kind:?} {at:#x}");
            }
            assert!(!kind.finite(&bits) && kind.finite(&[]));
        }
    }
}
