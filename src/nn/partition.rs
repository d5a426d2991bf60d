//! What a softmax needs of many numbers, in one pass: a vocabulary is long, and every mask has one a completion token.

use super::kernel::{exp, largest, vectorised};

const LANES: usize = 16;

/// Of finite logits x, the largest of them m, Σ e^{x − m} and Σ e^{x − m} (x − m). Exponentials are f32's, sums f64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Partition {
    largest: f64,
    sum: f64,
    weighted: f64,
}

impl Partition {
    const EMPTY: Self = Self { largest: f64::NEG_INFINITY, sum: 0.0, weighted: 0.0 };

    pub fn of(logits: &[f32]) -> Self {
        if logits.is_empty() {
            return Self::EMPTY;
        }
        let (largest, sums, weighted) = vectorised(
            #[inline(always)]
            || passed(logits),
        );
        Self { largest: f64::from(largest), sum: sums.iter().sum(), weighted: weighted.iter().sum() }
    }

    pub fn of_one(logit: f32) -> Self {
        Self { largest: f64::from(logit), sum: 1.0, weighted: 0.0 }
    }

    /// Of these and others together.
    pub fn and(self, other: Self) -> Self {
        let largest = self.largest.max(other.largest);
        let moved = |part: Self| {
            if part.sum <= 0.0 {
                return (0.0, 0.0);
            }
            let (by, scale) = (part.largest - largest, (part.largest - largest).exp());
            (scale * part.sum, scale * (part.weighted + by * part.sum))
        };
        let (own, others) = (moved(self), moved(other));
        Self { largest, sum: own.0 + others.0, weighted: own.1 + others.1 }
    }

    /// −∞ of none.
    pub fn largest(self) -> f64 {
        self.largest
    }

    /// ln Σ e^x; −∞ of none.
    pub fn log_sum(self) -> f64 {
        if self.sum > 0.0 { self.largest + self.sum.ln() } else { f64::NEG_INFINITY }
    }

    /// −Σ p ln p, p the softmax.
    pub fn entropy(self) -> f64 {
        if self.sum > 0.0 { self.sum.ln() - self.weighted / self.sum } else { 0.0 }
    }
}

/// The largest, and both sums in fixed lanes: the same bits whatever the vector width.
#[inline(always)]
fn passed(logits: &[f32]) -> (f32, [f64; LANES], [f64; LANES]) {
    let largest = largest(logits);
    let (mut sums, mut weighted) = ([0.0; LANES], [0.0; LANES]);
    let (body, tail) = logits.as_chunks::<LANES>();
    for logits in body {
        for lane in 0..LANES {
            let by = logits[lane] - largest;
            let weight = f64::from(exp(by));
            sums[lane] += weight;
            weighted[lane] += weight * f64::from(by);
        }
    }
    for (lane, logit) in tail.iter().enumerate() {
        let by = logit - largest;
        let weight = f64::from(exp(by));
        sums[lane] += weight;
        weighted[lane] += weight * f64::from(by);
    }
    (largest, sums, weighted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// In f64 throughout.
    fn composed(logits: &[f32]) -> (f64, f64) {
        let logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
        let entropy = -logits.iter().map(|logit| (logit - log_sum).exp() * (logit - log_sum)).sum::<f64>();
        (log_sum, entropy)
    }

    proptest! {
        #[test]
        fn parts_and_the_whole_are_the_composed_sums(
            logits in proptest::collection::vec(-60.0f32..60.0, 1..200),
            at in 0usize..200,
        ) {
            let (log_sum, entropy) = composed(&logits);
            let at = at % logits.len();
            let (front, back) = logits.split_at(at);
            let parts = Partition::of(front).and(Partition::of_one(back[0])).and(Partition::of(&back[1..]));
            for found in [Partition::of(&logits), parts] {
                prop_assert!((found.log_sum() - log_sum).abs() < 1e-6, "{} {log_sum}", found.log_sum());
                prop_assert!((found.entropy() - entropy).abs() < 1e-5, "{} {entropy}", found.entropy());
                prop_assert_eq!(found.largest() as f32, logits.iter().copied().fold(f32::MIN, f32::max));
            }
        }
    }

    #[test]
    fn nothing_is_the_neutral_part() {
        let some = Partition::of(&[1.0, 2.0]);
        assert_eq!((some.and(Partition::of(&[])), Partition::of(&[]).and(some)), (some, some));
        assert_eq!((Partition::EMPTY.log_sum(), Partition::EMPTY.entropy()), (f64::NEG_INFINITY, 0.0));
    }
}
