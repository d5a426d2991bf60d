//! Angles of the rotary embedding, with the scalings of transformers' `modeling_rope_utils.py` (5.23): same formulas,
//! in f32 where they are in f32 there, since an angle of thousands of radians shows a frequency's last bit.

use super::super::Error;

/// How frequencies change so that a model reads longer texts than it was first trained on: config.json's `rope_type`.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// `default`: not at all.
    None,
    /// `linear`: every frequency divided by `factor`.
    Linear { factor: f64 },
    /// `dynamic` (NTK-aware): for rows longer than `max_positions` the base grows with the row's length. Transformers
    /// takes a batch's longest row; here each row counts alone.
    Dynamic { factor: f64, max_positions: usize },
    /// `yarn` (Peng et al. 2023): high frequencies stay, low ones are divided by `factor`.
    Yarn {
        factor: f64,
        original_positions: usize,
        /// Turns within `original_positions` above which a frequency stays; 32 where config.json says nothing.
        beta_fast: f64,
        /// Turns below which it is divided; 1 where config.json says nothing.
        beta_slow: f64,
        /// What cosines and sines are multiplied with; `None`: by the paper's formula, with the next two if given.
        attention_factor: Option<f64>,
        mscale: Option<f64>,
        mscale_all_dim: Option<f64>,
        /// Borders rounded to whole dimensions; true where config.json says nothing.
        truncate: bool,
    },
    /// `longrope` (Ding et al. 2024): a divisor a frequency, of one list up to `original_positions` tokens and of
    /// another beyond.
    LongRope {
        short: Vec<f64>,
        long: Vec<f64>,
        original_positions: usize,
        /// config.json's `factor`, or `max_position_embeddings / original_max_position_embeddings`.
        factor: f64,
        /// `None`: √(1 + ln factor / ln original_positions).
        attention_factor: Option<f64>,
    },
    /// `llama3`: low frequencies divided by `factor`, high ones as they are, smoothly between.
    Llama3 { factor: f64, low_frequency: f64, high_frequency: f64, original_positions: usize },
}

/// A rotary embedding's frequencies.
#[derive(Debug, Clone)]
pub struct Rope {
    theta: f64,
    dimension: usize,
    scaling: RopeScaling,
    /// Radians a token, of rows of usual length.
    frequencies: Vec<f32>,
    /// What cosines and sines are multiplied with.
    factor: f32,
}

/// Cosines and sines of every token of a batch: made once, used by all layers.
#[derive(Debug, Clone)]
pub struct Angles {
    cos: Vec<f32>,
    sin: Vec<f32>,
    dimension: usize,
}

impl Rope {
    /// `theta`: config.json's `rope_theta`. `dimension`: a head's columns that turn, `head_dim ·
    /// partial_rotary_factor`.
    ///
    /// # Errors
    /// `Shape` where the dimension is odd or 0, or a list of divisors has another length; also for numbers that give
    /// no finite frequency.
    pub fn new(theta: f64, dimension: usize, scaling: RopeScaling) -> Result<Self, Error> {
        if dimension == 0 || !dimension.is_multiple_of(2) {
            return Err(Error::shape("rope", format!("{dimension} columns do not turn in pairs")));
        }
        if let RopeScaling::LongRope { short, long, .. } = &scaling
            && (short.len() != dimension / 2 || long.len() != dimension / 2)
        {
            let detail = format!("{} and {} divisors of {} frequencies", short.len(), long.len(), dimension / 2);
            return Err(Error::shape("rope", detail));
        }
        let factor = scaling.attention_factor() as f32;
        let mut rope = Self { theta, dimension, scaling, frequencies: Vec::new(), factor };
        rope.frequencies = rope.of_length(0);
        if !factor.is_finite() || rope.frequencies.iter().any(|frequency| !frequency.is_finite()) {
            return Err(Error::shape("rope", "parameters that give no finite frequency"));
        }
        Ok(rope)
    }

    /// Angles of packed tokens: `positions` holds one a token, `offsets` the rows' borders.
    ///
    /// # Errors
    /// `Shape` where borders and positions do not fit.
    pub fn angles(&self, offsets: &[usize], positions: &[usize]) -> Result<Angles, Error> {
        let sorted = offsets.first() == Some(&0) && offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        if !sorted || offsets.last() != Some(&positions.len()) {
            return Err(Error::shape("rope", format!("borders that do not fit {} positions", positions.len())));
        }
        let numbers = positions.len() * self.dimension / 2;
        let (mut cos, mut sin) = (Vec::with_capacity(numbers), Vec::with_capacity(numbers));
        for row in offsets.windows(2).map(|pair| &positions[pair[0]..pair[1]]) {
            let length = row.iter().max().map_or(0, |last| last + 1);
            let own = self.depends_on(length).then(|| self.of_length(length));
            let frequencies = own.as_ref().unwrap_or(&self.frequencies);
            for &position in row {
                for frequency in frequencies {
                    let angle = f64::from(position as f32 * frequency);
                    cos.push(angle.cos() as f32 * self.factor);
                    sin.push(angle.sin() as f32 * self.factor);
                }
            }
        }
        Ok(Angles { cos, sin, dimension: self.dimension })
    }

    /// Whether rows of this length have frequencies of their own.
    pub fn depends_on(&self, length: usize) -> bool {
        match self.scaling {
            RopeScaling::Dynamic { max_positions, .. } => length > max_positions,
            RopeScaling::LongRope { original_positions, .. } => length > original_positions,
            _ => false,
        }
    }

    /// The frequencies of rows of `length` tokens.
    fn of_length(&self, length: usize) -> Vec<f32> {
        let dimension = self.dimension;
        match &self.scaling {
            RopeScaling::None => inverse(&periods(self.theta, dimension)),
            RopeScaling::Linear { factor } => {
                inverse(&periods(self.theta, dimension)).iter().map(|frequency| frequency / *factor as f32).collect()
            }
            RopeScaling::Dynamic { factor, max_positions } => {
                let longer = length.max(*max_positions) as f64 / (*max_positions).max(1) as f64;
                // Two columns have one frequency, 1, whatever the base.
                let power = dimension as f64 / (dimension as f64 - 2.0).max(1.0);
                inverse(&periods(self.theta * (factor * longer - (factor - 1.0)).powf(power), dimension))
            }
            RopeScaling::LongRope { short, long, .. } => {
                let divisors = if self.depends_on(length) { long } else { short };
                let periods = periods(self.theta, dimension);
                divisors.iter().zip(periods).map(|(divisor, period)| 1.0 / (*divisor as f32 * period)).collect()
            }
            yarn @ RopeScaling::Yarn { .. } => yarn.between(&periods(self.theta, dimension), self.theta),
            llama @ RopeScaling::Llama3 { .. } => inverse(&periods(self.theta, dimension))
                .into_iter()
                .map(|frequency| llama.smoothed(frequency))
                .collect(),
        }
    }
}

/// θ^(2i / dimension): tokens a radian.
fn periods(theta: f64, dimension: usize) -> Vec<f32> {
    (0..dimension / 2).map(|i| (theta as f32).powf((2 * i) as f32 / dimension as f32)).collect()
}

fn inverse(periods: &[f32]) -> Vec<f32> {
    periods.iter().map(|period| 1.0 / period).collect()
}

impl RopeScaling {
    fn attention_factor(&self) -> f64 {
        match *self {
            Self::Yarn { attention_factor: Some(factor), .. }
            | Self::LongRope { attention_factor: Some(factor), .. } => factor,
            Self::Yarn { factor, mscale, mscale_all_dim, .. } => {
                let scale = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
                match (mscale, mscale_all_dim) {
                    (Some(some), Some(all)) if some != 0.0 && all != 0.0 => scale(some) / scale(all),
                    _ => scale(1.0),
                }
            }
            Self::LongRope { factor, original_positions, .. } if factor > 1.0 => {
                (1.0 + factor.ln() / (original_positions as f64).ln()).sqrt()
            }
            _ => 1.0,
        }
    }

    /// YaRN: between 1 / period and 1 / (factor · period), by a ramp over the dimensions.
    fn between(&self, periods: &[f32], theta: f64) -> Vec<f32> {
        let &Self::Yarn { factor, original_positions, beta_fast, beta_slow, truncate, .. } = self else {
            return inverse(periods);
        };
        let dimension = 2 * periods.len();
        // The dimension whose frequency makes so many turns within the original length.
        let place = |turns: f64| {
            let tokens = original_positions as f64 / (turns * std::f64::consts::TAU);
            dimension as f64 * tokens.ln() / (2.0 * theta.ln())
        };
        let (low, high) = (place(beta_fast), place(beta_slow));
        let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(dimension as f64 - 1.0));
        let high = if low == high { high + 0.001 } else { high };
        let frequency = |(at, period): (usize, &f32)| {
            let ramp = ((at as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
            let kept = 1.0 - ramp;
            1.0 / (factor as f32 * period) * (1.0 - kept) + 1.0 / period * kept
        };
        periods.iter().enumerate().map(frequency).collect()
    }

    /// Llama 3.1's change of one frequency.
    fn smoothed(&self, frequency: f32) -> f32 {
        let &Self::Llama3 { factor, low_frequency, high_frequency, original_positions } = self else {
            return frequency;
        };
        let (original, factor) = (original_positions as f64, factor as f32);
        let wavelength = std::f64::consts::TAU as f32 / frequency;
        if wavelength > (original / low_frequency) as f32 {
            return frequency / factor;
        }
        if wavelength < (original / high_frequency) as f32 {
            return frequency;
        }
        let smooth = (original as f32 / wavelength - low_frequency as f32) / (high_frequency - low_frequency) as f32;
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

impl Angles {
    pub fn tokens(&self) -> usize {
        2 * self.cos.len() / self.dimension
    }

    /// Columns of a head that turn.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Cosines and sines of one token, `dimension / 2` each.
    pub(super) fn of_token(&self, token: usize) -> (&[f32], &[f32]) {
        let half = self.dimension / 2;
        (&self.cos[token * half..][..half], &self.sin[token * half..][..half])
    }
}
