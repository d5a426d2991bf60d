//! Quadrature on [0, 1]: Gauss-Legendre rules of any order, and the nested Gauss-Patterson rules.
//!
//! Patterson's rules of 3, 7, 15, … 511 nodes each contain the one before, so a refinement pays for its new nodes
//! alone and two successive rules give an error estimate for nothing. Of the nested families they integrate the
//! highest degree per node: (3n + 1) / 2 against n for Clenshaw-Curtis; Gauss-Kronrod pairs share nodes only once.

use super::patterson;

/// Nodes in (0, 1) and weights that sum to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub nodes: Vec<f64>,
    pub weights: Vec<f64>,
}

/// The n-point Gauss-Legendre rule, exact for polynomials of degree 2n − 1, nodes ascending. `n` of 0 is an empty rule.
pub fn gauss_legendre(n: usize) -> Rule {
    let mut rule = Rule { nodes: vec![0.5; n], weights: vec![1.0; n] };
    for i in 0..n.div_ceil(2) {
        // Tricomi's guess is within Newton's basin for every order.
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        for _ in 0..8 {
            let (value, slope) = legendre(n, x);
            let step = value / slope;
            x -= step;
            if step.abs() < 1e-16 {
                break;
            }
        }
        if 2 * i + 1 == n {
            x = 0.0;
        }
        let (_, slope) = legendre(n, x);
        // On [−1, 1] the weight is 2 / ((1 − x²) P′²); half of it on [0, 1].
        let weight = 1.0 / ((1.0 - x * x) * slope * slope);
        rule.nodes[i] = 0.5 * (1.0 - x);
        rule.nodes[n - 1 - i] = 0.5 * (1.0 + x);
        rule.weights[i] = weight;
        rule.weights[n - 1 - i] = weight;
    }
    rule
}

/// P_n and its derivative at |x| < 1, by the three-term recurrence.
fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (1.0, x);
    if n == 0 {
        return (1.0, 0.0);
    }
    for k in 1..n {
        let k = k as f64;
        (before, value) = (value, ((2.0 * k + 1.0) * x * value - k * before) / (k + 1.0));
    }
    (value, n as f64 * (x * value - before) / (x * x - 1.0))
}

/// Sizes of the nested rules.
pub const NESTED: [usize; 8] = [3, 7, 15, 31, 63, 127, 255, 511];

/// The nodes of the nested rules in order of appearance: rule `level` uses the first `NESTED[level]`.
pub fn nested_nodes() -> Vec<f64> {
    mirrored(&patterson::NODES, |x, side| 0.5 * (1.0 + side * x))
}

/// The weights of rule `level` (below 8), aligned with [`nested_nodes`].
pub fn nested_weights(level: usize) -> Vec<f64> {
    mirrored(patterson::WEIGHTS[level], |weight, _| 0.5 * weight)
}

/// Expands a table of the middle node and the positive ones to both sides.
fn mirrored(half: &[f64], place: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let mut all = Vec::with_capacity(2 * half.len());
    for (index, &value) in half.iter().enumerate() {
        all.push(place(value, -1.0));
        if index > 0 {
            all.push(place(value, 1.0));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integrate(nodes: &[f64], weights: &[f64], f: impl Fn(f64) -> f64) -> f64 {
        nodes.iter().zip(weights).map(|(&x, &w)| w * f(x)).sum()
    }

    #[test]
    fn known_values() {
        let five = gauss_legendre(5);
        let nodes = [-0.906_179_845_938_664, -0.538_469_310_105_683_1, 0.0];
        let weights = [0.236_926_885_056_189_1, 0.478_628_670_499_366_5, 0.568_888_888_888_888_9];
        for i in 0..3 {
            assert!((2.0 * five.nodes[i] - 1.0 - nodes[i]).abs() < 1e-15);
            assert!((2.0 * five.weights[i] - weights[i]).abs() < 1e-15);
        }
        // numpy.polynomial.legendre.leggauss(1024)[0][-1]
        assert!((2.0 * gauss_legendre(1024).nodes[1023] - 1.0 - 0.999_997_245_054_558_4).abs() < 1e-14);
    }

    #[test]
    fn gauss_legendre_is_exact_to_its_degree() {
        for n in [1, 2, 3, 10, 50, 127, 512, 1024] {
            let rule = gauss_legendre(n);
            assert!((rule.weights.iter().sum::<f64>() - 1.0).abs() < 1e-13, "{n}");
            assert!(rule.nodes.is_sorted() && rule.nodes.iter().all(|x| (0.0..1.0).contains(x)));
            for degree in [2 * n - 1, n, 1] {
                let found = integrate(&rule.nodes, &rule.weights, |x| x.powi(degree as i32));
                assert!((found * (degree + 1) as f64 - 1.0).abs() < 1e-11, "{n} {degree} {found}");
            }
        }
    }

    #[test]
    fn patterson_is_exact_to_its_degree_and_nested() {
        let nodes = nested_nodes();
        assert_eq!(nodes.len(), 511);
        for (level, &n) in NESTED.iter().enumerate() {
            let weights = nested_weights(level);
            assert_eq!(weights.len(), n);
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-14);
            assert!(weights.iter().all(|&w| w > 0.0));
            let degree = (3 * n).div_ceil(2);
            for degree in [1, 2, n, degree] {
                let found = integrate(&nodes, &weights, |x| x.powi(degree as i32));
                assert!((found * (degree + 1) as f64 - 1.0).abs() < 1e-12, "{n} {degree} {found}");
            }
        }
        let mut sorted = nodes.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
