//! DeepLIFT's rules through one head of attention, for an input and its baseline: scores and the last product follow
//! the product rule, the soft cap and the softmax's exponential the rescale rule.
//!
//! A softmax does not change when all its scores move together, so its rule is applied to scores that were centred to
//! Σ exp = 1 in both rows: sum, reciprocal and product then carry no large numbers that cancel. Everything but the
//! products is f64, one query at a time: a head's scores are never held together.

use std::ops::Range;

use super::kernel::{dot, vectorised};

/// Of an input and its baseline.
pub(super) type Pair<'a> = [&'a [f32]; 2];

/// Position tables of disentangled attention: the rows that a query and a key have in them, of `depth` numbers.
pub(super) type Relative<'a> = &'a dyn Fn(usize, usize) -> [Option<&'a [f32]>; 2];

/// One head of a pair of rows.
pub(super) struct PairedHead<'a> {
    pub len: usize,
    pub depth: usize,
    pub scale: f32,
    pub softcap: Option<f32>,
    /// From their first number on, rows `stride` apart.
    pub queries: Pair<'a>,
    pub keys: Pair<'a>,
    pub values: Pair<'a>,
    pub stride: usize,
    /// len × len numbers that scores get added; −∞ hides a key.
    pub bias: Option<&'a [f32]>,
    /// The keys that a query sees.
    pub seen: &'a dyn Fn(usize) -> Range<usize>,
    pub relative: Option<Relative<'a>>,
}

/// The scores of a query before the soft cap, and the probabilities that they make.
#[derive(Default)]
struct Stream {
    raw: Vec<f64>,
    log_p: Vec<f64>,
    p: Vec<f64>,
}

impl PairedHead<'_> {
    /// The multipliers of queries, keys and values (len × depth each), given that of the result: its first number on,
    /// rows `stride` apart.
    pub fn multipliers(&self, (grad, stride): (&[f32], usize)) -> [Vec<f32>; 3] {
        vectorised(
            #[inline(always)]
            || self.lift(grad, stride),
        )
    }

    #[inline(always)]
    fn lift(&self, grad: &[f32], stride: usize) -> [Vec<f32>; 3] {
        let (n, depth) = (self.len, self.depth);
        let means = [self.queries, self.keys, self.values].map(|pair| self.mean(pair));
        let [queries, keys, values] = &means;
        let [mut of_queries, mut of_keys, mut of_values] = [0, 1, 2].map(|_| vec![0.0f32; n * depth]);
        let mut streams = [Stream::default(), Stream::default()];
        for query in 0..n {
            let grad = &grad[query * stride..][..depth];
            let visible: Vec<usize> = (self.seen)(query).filter(|&key| self.added(query, key).is_finite()).collect();
            for (at, stream) in streams.iter_mut().enumerate() {
                self.attend(query, &visible, at, stream);
            }
            let row = |key: usize| key * depth..(key + 1) * depth;
            let of_p: Vec<f64> = visible.iter().map(|&key| f64::from(dot(grad, &values[row(key)]))).collect();
            let of_scores = of_scores(&streams, &of_p);
            for (at, &key) in visible.iter().enumerate() {
                let p = 0.5 * (streams[0].p[at] + streams[1].p[at]);
                add(&mut of_values[row(key)], p as f32, grad);
                let cap = self.softcap.map_or(1.0, |cap| secant_of_cap(streams[0].raw[at], streams[1].raw[at], cap));
                let score = (of_scores[at] * cap) as f32 * self.scale;
                add(&mut of_queries[row(query)], score, &keys[row(key)]);
                add(&mut of_keys[row(key)], score, &queries[row(query)]);
                let [of_distance, from_distance] = self.relative.map_or([None, None], |tables| tables(query, key));
                if let Some(table) = of_distance {
                    add(&mut of_queries[row(query)], score, table);
                }
                if let Some(table) = from_distance {
                    add(&mut of_keys[row(key)], score, table);
                }
            }
        }
        [of_queries, of_keys, of_values]
    }

    fn added(&self, query: usize, key: usize) -> f32 {
        self.bias.map_or(0.0, |bias| bias[query * self.len + key])
    }

    /// The mean of both rows' numbers, len × depth.
    #[inline(always)]
    fn mean(&self, [input, baseline]: Pair<'_>) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.len * self.depth);
        for row in 0..self.len {
            let (input, baseline) = (&input[row * self.stride..], &baseline[row * self.stride..]);
            out.extend(input[..self.depth].iter().zip(baseline).map(|(x, y)| 0.5 * (x + y)));
        }
        out
    }

    #[inline(always)]
    fn attend(&self, query: usize, visible: &[usize], at: usize, stream: &mut Stream) {
        let own = &self.queries[at][query * self.stride..][..self.depth];
        stream.raw.clear();
        stream.log_p.clear();
        for &key in visible {
            let other = &self.keys[at][key * self.stride..][..self.depth];
            let mut score = f64::from(dot(own, other));
            if let Some(tables) = self.relative {
                let [of_distance, from_distance] = tables(query, key);
                score += of_distance.map_or(0.0, |table| f64::from(dot(own, table)));
                score += from_distance.map_or(0.0, |table| f64::from(dot(other, table)));
            }
            let raw = score * f64::from(self.scale);
            let capped = self.softcap.map_or(raw, |cap| f64::from(cap) * (raw / f64::from(cap)).tanh());
            stream.raw.push(raw);
            stream.log_p.push(capped + f64::from(self.added(query, key)));
        }
        let largest = stream.log_p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = stream.log_p.iter().map(|score| (score - largest).exp()).sum();
        stream.log_p.iter_mut().for_each(|score| *score -= largest + sum.ln());
        stream.p.clear();
        stream.p.extend(stream.log_p.iter().map(|log| log.exp()));
    }
}

/// The multipliers of a softmax's scores, given those of its probabilities. With log p = s − L, L = log Σ exp(s): the
/// exponential has the multiplier m = Δp / Δ log p, the logarithmic mean of both rows' p; since Σ Δp = 0, ΔL is
/// Σ m Δs / Σ m, so that L's multipliers are m / Σ m. Together m (G − Σ G m / Σ m).
fn of_scores([input, baseline]: &[Stream; 2], of_p: &[f64]) -> Vec<f64> {
    let mean = |at: usize| {
        let (own, other) = (input.p[at], baseline.p[at]);
        let step = input.log_p[at] - baseline.log_p[at];
        // From the larger one, so that nothing overflows.
        if step > 0.0 {
            own * (-(-step).exp_m1() / step)
        } else if step < 0.0 {
            other * (step.exp_m1() / step)
        } else {
            own
        }
    };
    let means: Vec<f64> = (0..of_p.len()).map(mean).collect();
    let sum: f64 = means.iter().sum();
    let weighted: f64 = means.iter().zip(of_p).map(|(mean, g)| mean * g).sum();
    let level = if sum > 0.0 { weighted / sum } else { 0.0 };
    means.iter().zip(of_p).map(|(mean, g)| mean * (g - level)).collect()
}

/// Δ c tanh(s / c) / Δ s; where both are near, the slope between them.
fn secant_of_cap(input: f64, baseline: f64, cap: f32) -> f64 {
    let (cap, step) = (f64::from(cap), input - baseline);
    if step.abs() < 1e-6 * cap {
        let t = (0.5 * (input + baseline) / cap).tanh();
        return 1.0 - t * t;
    }
    cap * ((input / cap).tanh() - (baseline / cap).tanh()) / step
}

/// out += factor · row.
#[inline(always)]
fn add(out: &mut [f32], factor: f32, row: &[f32]) {
    for (out, x) in out.iter_mut().zip(row) {
        *out += factor * x;
    }
}
