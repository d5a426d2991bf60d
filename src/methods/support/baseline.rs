//! The input that stands for "nothing": what methods that compare two inputs start from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::settings;
use crate::input::Input;
use crate::input::image::ImageInput;
use crate::input::text::TextInput;
use crate::methods::{Ctx, Error, SettingError, Subject};

/// The input that stands for "nothing".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Baseline {
    Pad,
    Mask,
    Unk,
    Zero,
    Mean,
    Blur,
    Black,
    White,
}

impl Baseline {
    /// `asked`, if the input has it; by default `pad` (no pad token: `unk`, else `zero`) for texts, `zero` for images.
    pub fn resolve(asked: Option<Self>, subject: &Subject<'_>) -> Result<Self, SettingError> {
        Self::at("baseline", asked, subject.input)
    }

    /// The same where the setting stands at `field`.
    pub fn at(field: &str, asked: Option<Self>, input: &Input) -> Result<Self, SettingError> {
        match input {
            Input::Text(text) => of_text(field, asked, text),
            Input::Image(_) => of_image(field, asked),
        }
    }

    /// x′ in the embedding's layout.
    pub fn embedding(self, ctx: &dyn Ctx) -> Result<Vec<f32>, Error> {
        match ctx.input() {
            Input::Text(text) => self.words(text, ctx),
            Input::Image(image) => Ok(self.pixels(image)),
        }
    }

    /// The token it puts in a text's place.
    fn token(self) -> Option<&'static str> {
        match self {
            Self::Pad => Some("pad"),
            Self::Mask => Some("mask"),
            Self::Unk => Some("unk"),
            Self::Zero | Self::Mean | Self::Blur | Self::Black | Self::White => None,
        }
    }

    /// Every non-special token's embedding is replaced; positions, types and specials stay.
    fn words(self, text: &TextInput, ctx: &dyn Ctx) -> Result<Vec<f32>, Error> {
        let token = self.token().and_then(|name| settings::token("baseline", name, &text.specials).ok());
        if let Some(id) = token {
            let ids: Vec<u32> = text.tokens.iter().map(|token| if token.special { token.id } else { id }).collect();
            return ctx.embedding(Some(&ids));
        }
        let mut values = ctx.embedding(None)?;
        let hidden = (values.len() / text.tokens.len().max(1)).max(1);
        for (token, row) in text.tokens.iter().zip(values.chunks_mut(hidden)) {
            if !token.special {
                row.fill(0.0);
            }
        }
        Ok(values)
    }

    /// 3 × rows × cols, normalised; colours are made from bytes and then normalised.
    pub fn pixels(self, image: &ImageInput) -> Vec<f32> {
        let size = image.rows * image.cols;
        let colour = |byte: [f32; 3]| {
            (0..3)
                .flat_map(|channel| std::iter::repeat_n(image.normalisation.value(byte[channel], channel), size))
                .collect()
        };
        match self {
            Self::Black => colour([0.0; 3]),
            Self::White => colour([255.0; 3]),
            Self::Mean => colour(mean_colour(image)),
            Self::Blur => image.normalised(&image.blurred()),
            Self::Zero | Self::Pad | Self::Mask | Self::Unk => vec![0.0; image.pixels.len()],
        }
    }
}

fn of_text(field: &str, asked: Option<Baseline>, text: &TextInput) -> Result<Baseline, SettingError> {
    let Some(baseline) = asked else {
        let fallback = if text.specials.unk.is_some() { Baseline::Unk } else { Baseline::Zero };
        return Ok(if text.specials.pad.is_some() { Baseline::Pad } else { fallback });
    };
    match baseline {
        Baseline::Zero => {}
        Baseline::Pad | Baseline::Mask | Baseline::Unk => {
            settings::token(field, baseline.token().unwrap_or_default(), &text.specials)?;
        }
        Baseline::Mean | Baseline::Blur | Baseline::Black | Baseline::White => {
            let detail = "this baseline is for images; for text use \"pad\", \"mask\", \"unk\" or \"zero\"";
            return Err(SettingError::new(field, detail));
        }
    }
    Ok(baseline)
}

fn of_image(field: &str, asked: Option<Baseline>) -> Result<Baseline, SettingError> {
    match asked.unwrap_or(Baseline::Zero) {
        Baseline::Pad | Baseline::Mask | Baseline::Unk => Err(SettingError::new(
            field,
            "this baseline is for text; for images use \"zero\", \"mean\", \"blur\", \"black\" or \"white\"",
        )),
        baseline => Ok(baseline),
    }
}

fn mean_colour(image: &ImageInput) -> [f32; 3] {
    let size = (image.rgb.len() / 3).max(1) as f64;
    [0, 1, 2].map(|channel| {
        let sum: u64 = image.rgb.iter().skip(channel).step_by(3).map(|&byte| u64::from(byte)).sum();
        (sum as f64 / size) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::support::fake::Fake;

    #[test]
    fn colours_are_made_from_bytes() {
        let fake = Fake::image(6);
        let image = fake.input.as_image().unwrap();
        let white = Baseline::White.pixels(image);
        assert_eq!((white[0], white[36], white[107]), (1.0, 2.0, 0.5));
        assert_eq!(Baseline::Black.pixels(image)[40], -2.0);
        let mean = Baseline::Mean.pixels(image);
        let expected: f32 = image.pixels[..36].iter().sum::<f32>() / 36.0;
        assert!((mean[0] - expected).abs() < 1e-5);
    }

    #[test]
    fn texts_fall_back_from_pad_to_unk_to_zero() {
        let mut fake = Fake::text(2);
        let resolved = |fake: &Fake| Baseline::resolve(None, &fake.subject()).unwrap();
        assert_eq!(resolved(&fake), Baseline::Pad);
        let Input::Text(text) = &mut fake.input else { unreachable!() };
        (text.specials.pad, text.specials.unk) = (None, Some(7));
        assert_eq!(resolved(&fake), Baseline::Unk);
        let Input::Text(text) = &mut fake.input else { unreachable!() };
        text.specials.unk = None;
        assert_eq!(resolved(&fake), Baseline::Zero);
        assert_eq!(resolved(&Fake::image(4)), Baseline::Zero);
    }
}
