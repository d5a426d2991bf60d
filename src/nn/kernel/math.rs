//! Elementwise functions written so that compilers vectorise them: polynomials, no tables, no branches.
//!
//! Multiply-adds are fused: half the instructions, and half the latency of the chains that polynomials are. A processor
//! without them computes the same numbers, slowly.

use super::{for_rows, vectorised};

/// e^x for finite x, relative error below 2 ulp; underflows to 0 below −87.3, saturates above 88.3. Range reduction
/// by ln 2 in two parts and the degree-6 polynomial of Cephes' `expf`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 · 2^23 rounds to the nearest integer in any instruction set, and leaves it in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.3);
    let rounded = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mut p: f32 = 1.987_569_2e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
        p = p.mul_add(r, coefficient);
    }
    let e = (p * r).mul_add(r, r) + 1.0;
    let power = f32::from_bits(rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    if x < -87.3 { 0.0 } else { e * power }
}

/// Φ(x), the normal distribution function, within 6e-8 (a unit in the last place), and e^{−x²/2}, which it needs and a slope needs again. Up to
/// |x| = 1.31 an odd polynomial; beyond it e^{−x²/2} times a polynomial in 1 / (1 + |x| / √8) (the scaled complementary
/// error function), so that nothing cancels.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let z = x * std::f32::consts::FRAC_1_SQRT_2;
    let s = z * z;
    let e = exp(-s);
    let mut p: f32 = -5.967_617e-4;
    for coefficient in [4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1] {
        p = p.mul_add(s, coefficient);
    }
    let small = 0.5f32.mul_add(p.mul_add(z, z), 0.5);
    let t = 1.0 / 0.5f32.mul_add(z.abs(), 1.0);
    let mut q: f32 = -5.906_897e-2;
    for coefficient in [
        2.845_75e-1,
        -4.872e-1,
        2.780_672_6e-1,
        -2.662_573_8e-2,
        2.026_869e-1,
        2.431_037_6e-1,
        2.823_753e-1,
        2.820_864_3e-1,
    ] {
        q = q.mul_add(t, coefficient);
    }
    let tail = 0.5 * (q * t) * e;
    let large = if x > 0.0 { 1.0 - tail } else { tail };
    (if z.abs() > 0.927_734_4 { large } else { small }, e)
}

/// tanh x within 4e-7, by e^{2x}; small arguments by a series where the quotient would cancel.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let s = x * x;
    let series = x * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 - s * (17.0 / 315.0))));
    let e = exp(2.0 * x.abs().min(10.0));
    let large = (1.0 - 2.0 / (e + 1.0)).copysign(x);
    if s < 0.01 { series } else { large }
}

/// What stands between the two products of a feed-forward block, by config.json's `hidden_act`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationKind {
    /// x Φ(x), by erf.
    Gelu,
    /// The tanh approximation (`gelu_new`, `gelu_pytorch_tanh`, `gelu_fast`).
    GeluTanh,
    Relu,
    Silu,
    Tanh,
}

impl ActivationKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_new",
            Self::Relu => "relu",
            Self::Silu => "silu",
            Self::Tanh => "tanh",
        }
    }
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
const INV_SQRT_2PI: f32 = 0.398_942_3;

#[inline(always)]
pub fn value(kind: ActivationKind, x: f32) -> f32 {
    match kind {
        ActivationKind::Gelu => x * normal(x).0,
        ActivationKind::GeluTanh => 0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x))),
        ActivationKind::Relu => x.max(0.0),
        ActivationKind::Silu => x / (1.0 + exp(-x)),
        ActivationKind::Tanh => tanh(x),
    }
}

/// d value / d x; at 0 the ReLU's is 0, as PyTorch's.
#[inline(always)]
fn slope(kind: ActivationKind, x: f32) -> f32 {
    match kind {
        ActivationKind::Gelu => {
            let (cdf, density) = normal(x);
            (x * INV_SQRT_2PI).mul_add(density, cdf)
        }
        ActivationKind::GeluTanh => {
            let t = tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x));
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x)
        }
        ActivationKind::Relu => f32::from(u8::from(x > 0.0)),
        ActivationKind::Silu => {
            let s = 1.0 / (1.0 + exp(-x));
            s * (1.0 + x * (1.0 - s))
        }
        ActivationKind::Tanh => {
            let t = tanh(x);
            1.0 - t * t
        }
    }
}

/// (f(x) − f(y)) / (x − y): DeepLIFT's multiplier. Where x and y are so near that the quotient would be rounding, the
/// slope between them, which differs from it by less; a ReLU's quotient has no rounding to speak of.
pub fn secant(kind: ActivationKind, x: f32, y: f32) -> f32 {
    let step = x - y;
    let quotient = || (value(kind, x) - value(kind, y)) / step;
    match kind {
        ActivationKind::Relu if step.abs() < 1e-10 => slope(kind, x),
        ActivationKind::Relu => quotient(),
        _ if step.abs() < 1e-3 * (1.0 + x.abs()) => slope(kind, 0.5 * (x + y)),
        _ => quotient(),
    }
}

/// Both at once: they share what is dear.
#[inline(always)]
pub(super) fn value_and_slope(kind: ActivationKind, x: f32) -> (f32, f32) {
    if kind == ActivationKind::Gelu {
        let (cdf, density) = normal(x);
        return (x * cdf, (x * INV_SQRT_2PI).mul_add(density, cdf));
    }
    (value(kind, x), slope(kind, x))
}

/// Applies `body` with the kind as a constant, so that each one's loop vectorises by itself.
macro_rules! by_kind {
    ($kind:expr, |$constant:ident| $body:expr) => {
        match $kind {
            ActivationKind::Gelu => {
                const $constant: ActivationKind = ActivationKind::Gelu;
                $body
            }
            ActivationKind::GeluTanh => {
                const $constant: ActivationKind = ActivationKind::GeluTanh;
                $body
            }
            ActivationKind::Relu => {
                const $constant: ActivationKind = ActivationKind::Relu;
                $body
            }
            ActivationKind::Silu => {
                const $constant: ActivationKind = ActivationKind::Silu;
                $body
            }
            ActivationKind::Tanh => {
                const $constant: ActivationKind = ActivationKind::Tanh;
                $body
            }
        }
    };
}

pub(super) use by_kind;

/// row = f(row), in place; where `slope` is not null, f′ of the old row is put there.
///
/// # Safety
/// `slope` must be null or valid for writing as many numbers as `row` has.
#[inline(always)]
pub unsafe fn activate_row(kind: ActivationKind, row: &mut [f32], slope: *mut f32) {
    by_kind!(kind, |KIND| {
        // Loops, not closures: those are functions of their own, which are compiled without the caller's vectors.
        if slope.is_null() {
            for x in row {
                *x = value(KIND, *x);
            }
            return;
        }
        for (at, x) in row.iter_mut().enumerate() {
            let (y, dy) = value_and_slope(KIND, *x);
            *x = y;
            // SAFETY: the caller's contract.
            unsafe { *slope.add(at) = dy };
        }
    });
}

/// x = f(x), in place.
pub fn activate(kind: ActivationKind, x: &mut [f32]) {
    let block = block(x.len());
    for_rows_or_tail(x, block, |_, x| {
        by_kind!(kind, |KIND| vectorised(
            #[inline(always)]
            || {
                for x in x.iter_mut() {
                    *x = value(KIND, *x);
                }
            }
        ));
    });
}

/// grad *= f′(x), in place.
pub fn activate_backward(kind: ActivationKind, x: &[f32], grad: &mut [f32]) {
    let block = block(grad.len());
    for_rows_or_tail(grad, block, |index, grad| {
        let x = &x[index * block..][..grad.len()];
        by_kind!(kind, |KIND| vectorised(
            #[inline(always)]
            || {
                for (grad, &x) in grad.iter_mut().zip(x) {
                    *grad *= slope(KIND, x);
                }
            }
        ));
    });
}

fn block(len: usize) -> usize {
    len.clamp(1, 4096)
}

/// [`for_rows`] over blocks, the last of which may be shorter.
fn for_rows_or_tail(data: &mut [f32], block: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
    let whole = data.len() / block;
    let (blocks, tail) = data.split_at_mut(whole * block);
    for_rows(blocks, block, &body);
    if !tail.is_empty() {
        body(whole, tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> impl Iterator<Item = f32> {
        (-4000..=4000).step_by(if cfg!(miri) { 97 } else { 1 }).map(|i| i as f32 * 0.005)
    }

    #[test]
    fn exp_is_within_two_ulp() {
        for x in (-8700..=8800).step_by(if cfg!(miri) { 97 } else { 1 }).map(|i| i as f32 * 0.01) {
            let truth = f64::from(x).exp();
            assert!((f64::from(exp(x)) / truth - 1.0).abs() < 2.4e-7, "exp {x}");
        }
        assert_eq!(exp(-1000.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn tanh_and_activations_follow_their_formulas() {
        // 0.5 x (1 + erf(x/√2)) with erf by its Maclaurin series or continued fraction in f64.
        for x in grid() {
            let exact = f64::from(x);
            assert!((f64::from(tanh(x)) - exact.tanh()).abs() < 4e-7, "tanh {x}");
            let silu = exact / (1.0 + (-exact).exp());
            assert!((f64::from(value(ActivationKind::Silu, x)) - silu).abs() < 1e-6 * (1.0 + exact.abs()), "silu {x}");
            let cdf = 0.5 * (1.0 + erf_exact(exact * std::f64::consts::FRAC_1_SQRT_2));
            assert!((f64::from(normal(x).0) - cdf).abs() < 6e-8, "normal {x}: {} {cdf}", normal(x).0);
        }
    }

    /// erf x = 2/√π Σ (−1)^n x^{2n+1} / (n! (2n+1)), for |x| ≤ 4; beyond that ±1 within 2e-8.
    fn erf_exact(x: f64) -> f64 {
        if x.abs() > 4.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn slopes_are_the_derivatives() {
        use ActivationKind::*;
        for kind in [Gelu, GeluTanh, Silu, Tanh] {
            for x in grid().step_by(37).filter(|x| x.abs() < 8.0) {
                let h = 4e-3;
                let central = (f64::from(value(kind, x + h)) - f64::from(value(kind, x - h))) / f64::from(2.0 * h);
                assert!((f64::from(slope(kind, x)) - central).abs() < 3e-4, "{kind:?} at {x}");
            }
        }
        assert_eq!((slope(Relu, -1.0), slope(Relu, 0.0), slope(Relu, 2.0)), (0.0, 0.0, 1.0));
    }

    #[test]
    fn activations_do_not_depend_on_place() {
        let xs: Vec<f32> = grid().collect();
        let mut all = xs.clone();
        activate(ActivationKind::Gelu, &mut all);
        for (x, y) in xs.iter().zip(&all).step_by(11) {
            let mut one = [*x];
            activate(ActivationKind::Gelu, &mut one);
            assert_eq!(one[0].to_bits(), y.to_bits());
        }
    }
}
