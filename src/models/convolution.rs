//! What convolutional families share: convolutions with the batch norm behind them folded in, and the keys that say
//! how wide and deep their stages are.

use super::{LoadError, Weights, config};
use crate::nn::{Conv2d, ImageWindow, MaxPool};

/// PyTorch's default, which no config.json overrides.
const EPSILON: f64 = 1e-5;

/// A convolution in the weights, `{conv}.weight` and, if `bias`, `{conv}.bias`; with a frozen batch norm behind it,
/// `{norm}.…`.
pub struct Named<'a> {
    pub conv: &'a str,
    pub bias: bool,
    pub norm: Option<&'a str>,
}

impl Named<'_> {
    /// Reads it, the batch norm folded into weight and bias.
    pub fn load(&self, weights: &Weights<'_>, outputs: usize, window: ImageWindow) -> Result<Conv2d, LoadError> {
        let inputs = window.channels * window.size.0 * window.size.1;
        let shape = [outputs, window.channels, window.size.0, window.size.1];
        let mut weight = weights.tensor(&format!("{}.weight", self.conv), &shape)?;
        let mut bias = match self.bias {
            true => weights.tensor(&format!("{}.bias", self.conv), &[outputs])?,
            false => vec![0.0; outputs],
        };
        if let Some(norm) = self.norm {
            let read = |part: &str| weights.tensor(&format!("{norm}.{part}"), &[outputs]);
            let (gain, shift) = (read("weight")?, read("bias")?);
            let (mean, variance) = (read("running_mean")?, read("running_var")?);
            for (output, row) in weight.chunks_exact_mut(inputs.max(1)).enumerate() {
                let scale = f64::from(gain[output]) / (f64::from(variance[output]) + EPSILON).sqrt();
                if !scale.is_finite() {
                    let detail = format!("tensor \"{norm}.running_var\" holds the variance {}", variance[output]);
                    return Err(LoadError::Weights { file: "model.safetensors".into(), detail });
                }
                row.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
                let centred = f64::from(bias[output]) - f64::from(mean[output]);
                bias[output] = (centred * scale + f64::from(shift[output])) as f32;
            }
        }
        Ok(Conv2d::new(weight, Some(bias), outputs, window)?)
    }
}

/// Feature maps: rows, columns and channels.
#[derive(Debug, Clone, Copy)]
pub struct Maps {
    pub rows: usize,
    pub cols: usize,
    pub channels: usize,
}

impl Maps {
    /// A square window over them.
    ///
    /// # Errors
    /// The image is too small for it, by the key that says how large it is.
    pub fn window(self, size: usize, stride: usize, padding: usize) -> Result<ImageWindow, LoadError> {
        let Self { rows, cols, channels } = self;
        let window = ImageWindow { rows, cols, channels, size: (size, size), stride, padding };
        let small = |_| config::invalid("image_size", format!("maps of {cols} × {rows} are too small for the model"));
        window.out().map(|_| window).map_err(small)
    }

    /// The largest of every window.
    pub fn pool(&mut self, size: usize, stride: usize, padding: usize) -> Result<MaxPool, LoadError> {
        let pool = MaxPool::new(self.window(size, stride, padding)?)?;
        (self.rows, self.cols) = pool.out();
        Ok(pool)
    }

    /// A convolution over them, whose maps they become.
    pub fn convolve(
        &mut self,
        weights: &Weights<'_>,
        named: &Named<'_>,
        outputs: usize,
        (size, stride, padding): (usize, usize, usize),
    ) -> Result<Conv2d, LoadError> {
        let conv = named.load(weights, outputs, self.window(size, stride, padding)?)?;
        (self.rows, self.cols) = conv.out();
        self.channels = outputs;
        Ok(conv)
    }
}

/// Widths and depths of the stages, bounded and as many of one as of the other.
pub fn stages(widths: &[usize], depths: &[usize]) -> Result<Vec<(usize, usize)>, LoadError> {
    config::check("hidden_sizes", widths.len(), 1, 32)?;
    if widths.len() != depths.len() {
        return Err(config::invalid("depths", format!("{} numbers for {} hidden_sizes", depths.len(), widths.len())));
    }
    let stage = |(&width, &depth): (&usize, &usize)| {
        Ok((config::check("hidden_sizes", width, 1, 65_536)?, config::check("depths", depth, 1, 1_000)?))
    };
    widths.iter().zip(depths).map(stage).collect()
}
