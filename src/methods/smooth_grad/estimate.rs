//! Running means of noisy gradients. Memory is a few numbers for every score, and one for every number of the embedding
//! where the variant needs the mean gradient, whatever the samples.

use super::Variant;
use crate::methods::support::finest::Sums;
use crate::methods::support::gradients::wide;
use crate::methods::support::sampling::{self, Estimate, Moments};

/// One target's.
pub struct Smoothed<'a> {
    variant: Variant,
    sums: &'a Sums,
    count: usize,
    /// Of every number of the embedding; none of the mean square.
    means: Vec<f64>,
    /// Of each score's own samples: of the mean, its squared deviations along the mean's direction; of the mean square
    /// and the variance, the squares.
    spread: Vec<f64>,
    moments: Moments,
}

impl<'a> Smoothed<'a> {
    pub fn new(variant: Variant, sums: &'a Sums) -> Self {
        let (spread, moments) = (vec![0.0; sums.count()], Moments::new(sums.count()));
        Self { variant, sums, count: 0, means: Vec::new(), spread, moments }
    }

    /// What a new sample adds to a sum of squared deviations, as a share of its distance from the mean so far.
    fn share(&self) -> f64 {
        self.count as f64 / (self.count as f64 + 1.0)
    }

    /// Adds the deviation from the mean so far along the direction in which a score moves with the mean.
    fn spread_along(&mut self, gradient: &[f64]) {
        let means = &self.means;
        let off = self.sums.along(means, |at| gradient[at] - means[at]);
        let share = self.share();
        self.spread.iter_mut().zip(off).for_each(|(spread, off)| *spread += share * off * off);
    }

    /// Adds the squared deviations from the mean so far: Welford's sums, whose mean is the variance.
    fn spread_around(&mut self, gradient: &[f64]) {
        let (means, share) = (&self.means, self.share());
        let squares = self.sums.of_terms(gradient.len(), |at| share * (gradient[at] - means[at]).powi(2));
        self.moments.add(&squares);
    }
}

impl Estimate for Smoothed<'_> {
    fn add(&mut self, _sample: usize, gradient: &[f32]) {
        let gradient = wide(gradient);
        if self.variant.keeps_means() {
            self.means.resize(gradient.len(), 0.0);
        }
        match self.variant {
            Variant::Mean => self.spread_along(&gradient),
            Variant::Variance => self.spread_around(&gradient),
            Variant::Squared => {
                self.moments.add(&self.sums.of_terms(gradient.len(), |at| gradient[at] * gradient[at]));
            }
        }
        self.count += 1;
        let n = self.count as f64;
        self.means.iter_mut().zip(&gradient).for_each(|(mean, x)| *mean += (x - *mean) / n);
    }

    fn scores(&self) -> Vec<f64> {
        match self.variant {
            Variant::Mean => self.sums.magnitudes(&self.means),
            Variant::Squared | Variant::Variance => self.moments.means.clone(),
        }
    }

    fn errors(&self) -> Option<Vec<f64>> {
        match self.variant {
            Variant::Mean => sampling::errors(&self.spread, self.count),
            Variant::Squared | Variant::Variance => self.moments.errors(),
        }
    }
}
