//! The function that Captum explained for the tests of gradient methods.

use serde::Deserialize;

use super::fake::Fake;

/// tanh(x·W₁ + b)·W₂, computed in f64.
#[derive(Clone, Deserialize)]
pub struct Mlp {
    first: Vec<f64>,
    bias: Vec<f64>,
    second: Vec<f64>,
    pub results: std::collections::BTreeMap<String, Golden>,
}

#[derive(Clone, Deserialize)]
pub struct Golden {
    pub tokens: Vec<f64>,
    pub delta: f64,
}

impl Mlp {
    pub fn golden() -> Self {
        serde_json::from_str(include_str!("../../../tests/golden/methods/captum.json")).unwrap()
    }
    fn inner(&self, x: &[f32]) -> Vec<f64> {
        let width = self.bias.len();
        let sum = |j: usize| x.iter().enumerate().map(|(i, &x)| f64::from(x) * self.first[i * width + j]).sum::<f64>();
        (0..width).map(|j| (sum(j) + self.bias[j]).tanh()).collect()
    }
    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let inner = self.inner(x);
        (0..2).map(|k| inner.iter().enumerate().map(|(j, h)| h * self.second[2 * j + k]).sum::<f64>() as f32).collect()
    }
    fn backward(&self, x: &[f32], cotangent: &[f32]) -> Vec<f32> {
        let width = self.bias.len();
        let inner = self.inner(x);
        let pull: Vec<f64> = (0..width)
            .map(|j| {
                let out: f64 = (0..2).map(|k| f64::from(cotangent[k]) * self.second[2 * j + k]).sum();
                out * (1.0 - inner[j] * inner[j])
            })
            .collect();
        let slope = |i: usize| (0..width).map(|j| pull[j] * self.first[i * width + j]).sum::<f64>() as f32;
        (0..x.len()).map(slope).collect()
    }
    pub fn fake(&self) -> Fake {
        let (forward, backward) = (self.clone(), self.clone());
        Fake::text(5).white(move |x| forward.forward(x), move |x, cotangent| backward.backward(x, cotangent))
    }
}

/// Within `tolerance`, number by number.
#[track_caller]
pub fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() <= tolerance, "{found} {expected}");
    }
}

/// What Captum says of it under the methods beside integrated gradients (tests/golden/gradients.py).
#[derive(Clone, Deserialize)]
pub struct Captum {
    pub gradient: Vec<f64>,
    pub input_x_gradient: Vec<f64>,
    /// Samples × numbers of the embedding.
    pub noise: Vec<Vec<f64>>,
    pub mean: Vec<f64>,
    pub squared: Vec<f64>,
    pub variance: Vec<f64>,
    pub gradient_shap: Vec<f64>,
    /// The baseline (0: pad, 1: zero) and the place on the way of every sample.
    pub draws: Vec<(usize, f64)>,
    pub base: f64,
    pub output: f64,
}

impl Captum {
    pub fn golden() -> Self {
        serde_json::from_str(include_str!("../../../tests/golden/methods/gradients.json")).unwrap()
    }
}
