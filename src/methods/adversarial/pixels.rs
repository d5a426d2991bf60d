//! Steps of the gradient's sign over pixels, on the scale of bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Attack, Found, Job, LEVELS, Pixels};
use crate::input::ImageInput;
use crate::input::image::png8;
use crate::methods::support::reduce;
use crate::methods::support::time::in_time;
use crate::methods::{Attribution, Change, Error, Objective, Pass, Variant};

/// What is lost where a number of bytes is computed from a share of 1.
const ROUNDING: f32 = 1e-3;

/// The image on the scale of bytes, as the model's input lies: 3 × rows × cols.
struct Ball {
    /// Of the image itself.
    bytes: Vec<f32>,
    epsilon: f32,
}

impl Ball {
    /// The nearest value that is within epsilon, and within black and white.
    fn clamped(&self, index: usize, value: f32) -> f32 {
        let own = self.bytes[index];
        value.clamp((own - self.epsilon).max(0.0), (own + self.epsilon).min(LEVELS as f32))
    }

    /// The nearest whole byte that is.
    fn rounded(&self, index: usize, value: f32) -> f32 {
        let own = self.bytes[index];
        let reach = (self.epsilon + ROUNDING).floor();
        value.round().clamp((own - reach).max(0.0), (own + reach).min(LEVELS as f32))
    }
}

pub(super) fn attack(job: &Job<'_>, settings: Pixels, image: &ImageInput) -> Result<Found, Error> {
    let plane = image.rows * image.cols;
    let bytes: Vec<f32> =
        (0..3).flat_map(|c| image.rgb.iter().skip(c).step_by(3)).map(|&byte| f32::from(byte)).collect();
    let ball = Ball { bytes, epsilon: (settings.epsilon * LEVELS) as f32 };
    let (steps, step) = match settings.attack {
        Attack::Fgsm => (1, ball.epsilon),
        Attack::Pgd => {
            (settings.steps.unwrap_or(1), settings.step_size.map_or(ball.epsilon, |step| (step * LEVELS) as f32))
        }
    };
    let normalised = |values: &[f32]| -> Vec<f32> {
        values.iter().enumerate().map(|(index, &byte)| image.normalisation.value(byte, index / plane)).collect()
    };
    let mut now = ball.bytes.clone();
    let mut changed: Option<(Vec<f32>, Vec<f32>)> = None;
    let (mut evaluations, mut partial) = (1, false);
    // What `to` asks for may be said already.
    if job.goal.of(job.ctx, job.ctx.logits())?.reached {
        changed = Some((ball.bytes.clone(), job.ctx.logits().to_vec()));
    }
    for _ in 0..steps {
        if changed.is_some() {
            break;
        }
        let gradient = gradient(job, &normalised(&now));
        let Some(gradient) = in_time(job.ctx, gradient)? else {
            partial = true;
            break;
        };
        let ahead = if job.goal.wanted { step } else { -step };
        for (index, slope) in gradient.iter().enumerate() {
            let sign = if *slope == 0.0 { 0.0 } else { slope.signum() };
            now[index] = ball.clamped(index, now[index] + ahead * sign);
        }
        let picture: Vec<f32> = now.iter().enumerate().map(|(index, &value)| ball.rounded(index, value)).collect();
        let outputs = job.ctx.variants(&[Variant::Pixels(normalised(&picture))]);
        let Some(outputs) = in_time(job.ctx, outputs)? else {
            partial = true;
            break;
        };
        evaluations += 2;
        let logits = outputs.into_iter().next().ok_or(Error::Missing { what: "the output of a changed input" })?;
        if job.goal.of(job.ctx, &logits)?.reached {
            changed = Some((picture, logits));
        }
    }
    answer(job, settings, image, &ball, changed, evaluations, partial)
}

/// d output / d pixel at `pixels`.
fn gradient(job: &Job<'_>, pixels: &[f32]) -> Result<Vec<f32>, Error> {
    let objectives = [Objective { target: job.goal.target.clone(), output: job.output }];
    let write = |_: usize, out: &mut [f32]| out.copy_from_slice(pixels);
    let pass = Pass {
        rows: 1,
        embedding: Some(&write),
        objectives: &objectives,
        rule: Default::default(),
        taps: Default::default(),
    };
    let mut gradient = Vec::new();
    job.ctx.pass(&pass, &mut |row| {
        let slopes = row.gradients.first().copied().unwrap_or_default();
        if row.values.iter().any(|value| !value.is_finite()) || slopes.iter().any(|slope| !slope.is_finite()) {
            return Err(Error::NotFinite { what: "the gradient of a changed input" });
        }
        gradient = slopes.to_vec();
        Ok(())
    })?;
    if gradient.len() == pixels.len() { Ok(gradient) } else { Err(Error::Missing { what: "a gradient" }) }
}

fn answer(
    job: &Job<'_>,
    settings: Pixels,
    image: &ImageInput,
    ball: &Ball,
    changed: Option<(Vec<f32>, Vec<f32>)>,
    evaluations: usize,
    partial: bool,
) -> Result<Found, Error> {
    let plane = (image.rows * image.cols).max(1);
    let mut change = Change::default();
    let mut sizes = vec![0.0; plane];
    if let Some((picture, logits)) = &changed {
        let moved = |index: usize| f64::from((picture[index] - ball.bytes[index]).abs()) / LEVELS;
        (0..picture.len()).for_each(|index| sizes[index % plane] += moved(index) / 3.0);
        let rgb = (0..picture.len()).map(|index| picture[index % 3 * plane + index / 3] as u8).collect();
        change = Change {
            found: true,
            image: Some(STANDARD.encode(png8(rgb, image.rows, image.cols))),
            distance: (0..picture.len()).map(moved).fold(0.0, f64::max) as f32,
            prediction: job.ctx.task().said(logits, &job.goal.target),
            ..Change::default()
        };
    }
    let grid = settings.grid;
    let cells = reduce::cells(image.rows, image.cols, grid);
    let (mut sums, mut pixels) = (vec![0.0; grid.rows * grid.cols], vec![0_usize; grid.rows * grid.cols]);
    for (&cell, size) in cells.iter().zip(&sizes) {
        sums[cell as usize] += size;
        pixels[cell as usize] += 1;
    }
    let means = sums.iter().zip(pixels).map(|(sum, count)| sum / count.max(1) as f64).collect();
    let mut attribution = Attribution { grid: Some(grid), ..Attribution::default() };
    let means = job.presentation.list(means, "a cell's score")?;
    attribution.scores.grid = Some(reduce::rows(&means, grid));
    Ok(Found { attribution, change, evaluations, partial })
}
