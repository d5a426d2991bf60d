//! Bounds on a probability from draws of zeros and ones, by the Kullback-Leibler divergence.
//!
//! Kaufmann and Kalyanakrishnan, Information Complexity in Bandit Subset Selection, COLT 2013.

/// Halvings of an interval of length 1: to the last bit of an f64.
const HALVINGS: usize = 53;

/// KL(p ‖ q) of two Bernoulli distributions, in nats.
pub fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

/// The largest probability whose divergence from `mean` over `draws` draws is at most `level`: 1 without draws.
pub fn upper(mean: f64, draws: usize, level: f64) -> f64 {
    bound(mean, 1.0, draws, level)
}

/// The smallest such probability: 0 without draws.
pub fn lower(mean: f64, draws: usize, level: f64) -> f64 {
    bound(mean, 0.0, draws, level)
}

/// Bisects between `mean` and `end`, where the divergence grows.
fn bound(mean: f64, end: f64, draws: usize, level: f64) -> f64 {
    if draws == 0 || mean == end {
        return end;
    }
    let (mut inside, mut outside) = (mean, end);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (inside + outside);
        if draws as f64 * divergence(mean, middle) <= level {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_known_means() {
        // n = 50, p = .97 and a level that one step of bisection bounds by .818: in full it is .888 after 17 halvings.
        let level = 50.0 * divergence(0.97, 0.888);
        assert!((lower(0.97, 50, level) - 0.888).abs() < 1e-12);
        // Of all ones the bound is closed: (1 − q)… n ln(1/q) = level.
        assert!((lower(1.0, 20, 3.0) - (-3.0_f64 / 20.0).exp()).abs() < 1e-12);
        assert!((upper(0.0, 20, 3.0) - (1.0 - (-3.0_f64 / 20.0).exp())).abs() < 1e-12);
        assert_eq!((upper(0.3, 0, 1.0), lower(0.3, 0, 1.0)), (1.0, 0.0));
        assert_eq!((upper(1.0, 9, 1.0), lower(0.0, 9, 1.0)), (1.0, 0.0));
    }

    proptest::proptest! {
        #[test]
        fn a_bound_has_the_level_asked_for(hits in 0_usize..=40, draws in 40_usize..200, level in 0.01_f64..20.0) {
            let mean = hits as f64 / draws as f64;
            let (low, high) = (lower(mean, draws, level), upper(mean, draws, level));
            proptest::prop_assert!(0.0 <= low && low <= mean && mean <= high && high <= 1.0);
            for bound in [low, high] {
                let reached = draws as f64 * divergence(mean, bound);
                proptest::prop_assert!(bound <= 0.0 || bound >= 1.0 || (reached - level).abs() < 1e-6, "{reached} {level}");
            }
        }
    }
}
