//! From numbers of the embedding to the finest scores (tokens, cells or pixels), and from these to the answer's lists:
//! what methods over [`Ctx::pass`](crate::methods::Ctx::pass) share.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::reduce;
use super::settings::{self, Presentation};
use crate::input::Input;
use crate::methods::{Error, Grid, Scores, SettingError, Subject};

/// How fine an image's scores are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resolution {
    Cell,
    Pixel,
}

/// The settings that say how fine scores are; a text has none of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finest {
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Resolution>,
    /// Of images.
    #[serde(skip)]
    pub grid: Option<Grid>,
}

impl Finest {
    pub fn resolve(
        cells: Option<usize>,
        resolution: Option<Resolution>,
        subject: &Subject<'_>,
    ) -> Result<Self, SettingError> {
        if subject.input.as_text().is_some() {
            settings::refuse("cells", &cells, "images")?;
            settings::refuse("resolution", &resolution, "images")?;
            return Ok(Self { cells: None, resolution: None, grid: None });
        }
        let grid = settings::grid(cells, settings::image_spec(subject)?)?;
        Ok(Self { cells, resolution: Some(resolution.unwrap_or(Resolution::Cell)), grid: Some(grid) })
    }

    /// Scores of an answer that are pixels'.
    pub fn pixels(&self, input: &Input) -> usize {
        input.as_image().filter(|_| self.by_pixel()).map_or(0, |image| image.rows * image.cols)
    }

    fn by_pixel(&self) -> bool {
        self.resolution == Some(Resolution::Pixel)
    }

    /// Which finest score each number of the embedding counts in.
    pub fn sums(&self, input: &Input) -> Sums {
        match (input, self.grid) {
            (Input::Image(image), Some(_)) if self.by_pixel() => {
                let size = image.rows * image.cols;
                Sums::Planes { place: (0..size as u32).collect(), count: size }
            }
            (Input::Image(image), Some(grid)) => {
                Sums::Planes { place: reduce::cells(image.rows, image.cols, grid), count: grid.rows * grid.cols }
            }
            (input, _) => Sums::Chunks { count: input.as_text().map_or(1, |text| text.tokens.len()) },
        }
    }

    /// The lists of an answer: tokens and words, or the grid and perhaps the pixels. `scores` are the finest.
    pub fn lists(&self, show: Presentation, input: &Input, mut scores: Vec<f64>) -> Result<Scores, Error> {
        let mut lists = Scores::default();
        match (input, self.grid) {
            (Input::Text(text), _) => {
                lists.words = Some(show.list(reduce::words(text, &scores), "a word's score")?);
                lists.tokens = Some(show.list(scores, "a token's score")?);
            }
            (Input::Image(image), Some(grid)) => {
                if self.by_pixel() {
                    let mut pixels = std::mem::replace(&mut scores, vec![0.0; grid.rows * grid.cols]);
                    for (&cell, score) in reduce::cells(image.rows, image.cols, grid).iter().zip(&pixels) {
                        scores[cell as usize] += score;
                    }
                    show.apply(&mut pixels);
                    lists.pixels = Some(reduce::pixel_map(&pixels, image.rows, image.cols)?);
                }
                lists.grid = Some(reduce::rows(&show.list(scores, "a cell's score")?, grid));
            }
            (Input::Image(_), None) => return Err(Error::Missing { what: "an image's grid" }),
        }
        Ok(lists)
    }
}

/// How the numbers of the embedding come together in scores. Sums are f64, in index order.
#[derive(Debug, Clone)]
pub enum Sums {
    /// As many equal chunks: the tokens' embeddings.
    Chunks { count: usize },
    /// Planes of pixels (channels), each pixel's score at `place`.
    Planes { place: Vec<u32>, count: usize },
}

impl Sums {
    pub fn count(&self) -> usize {
        match self {
            Self::Chunks { count } | Self::Planes { count, .. } => *count,
        }
    }

    /// Writes Σ step · gradient of each score.
    pub fn products(&self, step: &[f64], gradient: &[f32], out: &mut [f64]) {
        out.fill(0.0);
        let product = |(step, gradient): (&f64, &f32)| step * f64::from(*gradient);
        match self {
            Self::Chunks { count } => {
                let size = (step.len() / (*count).max(1)).max(1);
                for ((out, step), gradient) in out.iter_mut().zip(step.chunks(size)).zip(gradient.chunks(size)) {
                    *out = step.iter().zip(gradient).map(product).sum();
                }
            }
            Self::Planes { place, .. } => {
                for (step, gradient) in step.chunks(place.len().max(1)).zip(gradient.chunks(place.len().max(1))) {
                    for (term, &place) in step.iter().zip(gradient).map(product).zip(place) {
                        out[place as usize] += term;
                    }
                }
            }
        }
    }

    /// Adds up `term(number)` over each score's numbers, `len` in all.
    pub fn of_terms(&self, len: usize, term: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut out = vec![0.0; self.count()];
        match self {
            Self::Chunks { count } => {
                let size = len / (*count).max(1);
                let chunk = |score: usize| (score * size..(score + 1) * size).map(&term).sum();
                out.iter_mut().enumerate().for_each(|(score, out)| *out = chunk(score));
            }
            Self::Planes { place, .. } => {
                let places = place.iter().cycle().take(len).enumerate();
                places.for_each(|(number, &place)| out[place as usize] += term(number));
            }
        }
        out
    }

    /// How large a gradient is: a token's is the L2 norm over its embedding, a cell's the sum of absolute numbers.
    pub fn magnitudes(&self, gradient: &[f64]) -> Vec<f64> {
        match self {
            Self::Chunks { .. } => {
                let squares = self.of_terms(gradient.len(), |number| gradient[number] * gradient[number]);
                squares.into_iter().map(f64::sqrt).collect()
            }
            Self::Planes { .. } => self.of_terms(gradient.len(), |number| gradient[number].abs()),
        }
    }

    /// How [`Sums::magnitudes`] change, to first order, as each number of the gradient moves by `step(number)`; not at
    /// all where a magnitude has no derivative.
    pub fn along(&self, gradient: &[f64], step: impl Fn(usize) -> f64) -> Vec<f64> {
        match self {
            Self::Chunks { count } => {
                let size = (gradient.len() / (*count).max(1)).max(1);
                let scale = |norm: f64| if norm > 0.0 { norm.recip() } else { 0.0 };
                let scales: Vec<f64> = self.magnitudes(gradient).into_iter().map(scale).collect();
                self.of_terms(gradient.len(), |number| scales[number / size] * gradient[number] * step(number))
            }
            Self::Planes { .. } => {
                let sign = |gradient: f64| if gradient == 0.0 { 0.0 } else { gradient.signum() };
                self.of_terms(gradient.len(), |number| sign(gradient[number]) * step(number))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn products_come_together_where_they_belong() {
        let mut out = [9.0; 2];
        Sums::Chunks { count: 2 }.products(&[1.0, 2.0, 3.0, 4.0], &[1.0, 1.0, -1.0, 0.5], &mut out);
        assert_eq!(out, [3.0, -1.0]);
        let planes = Sums::Planes { place: vec![0, 1, 1], count: 2 };
        planes.products(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0; 6], &mut out);
        assert_eq!(out, [5.0, 16.0]);
        let mut none: [f64; 0] = [];
        Sums::Chunks { count: 0 }.products(&[], &[], &mut none);
    }

    #[test]
    fn magnitudes_are_norms_of_tokens_and_absolute_sums_of_cells() {
        assert_eq!(Sums::Chunks { count: 2 }.magnitudes(&[3.0, -4.0, 0.0, 0.0]), [5.0, 0.0]);
        let planes = Sums::Planes { place: vec![1, 0], count: 2 };
        assert_eq!(planes.magnitudes(&[3.0, -4.0, 1.0, 0.5]), [4.5, 4.0]);
    }

    proptest! {
        /// A small step of one number against the magnitudes themselves.
        #[test]
        fn steps_move_magnitudes_by_their_derivatives(numbers in prop::collection::vec(0.1f64..1.0, 12), signs in 0u32..4096, at in 0usize..12) {
            let gradient: Vec<f64> =
                numbers.iter().enumerate().map(|(i, x)| if signs >> i & 1 == 1 { *x } else { -x }).collect();
            for sums in [Sums::Chunks { count: 3 }, Sums::Planes { place: vec![0, 1, 1, 2, 0, 2], count: 3 }] {
                let change: f64 = sums.along(&gradient, |number| f64::from(u8::from(number == at))).iter().sum();
                let moved = |step: f64| {
                    let mut gradient = gradient.clone();
                    gradient[at] += step;
                    sums.magnitudes(&gradient).iter().sum::<f64>()
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                prop_assert!((slope - change).abs() < 1e-6, "{} {}", slope, change);
            }
        }
    }
}
