//! What a caller sends, made ready for a model: text into tokens and words, images into pixels, both into units
//! that a method can take away.
//!
//! Nothing here knows a model, a task or a method; `explain::plan` and `tasks` call it.

pub mod image;
pub mod segment;
pub mod spans;
pub mod text;
pub mod units;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use image::ImageInput;
pub use text::TextInput;

/// What kind of input a model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Text,
    Image,
}

/// One input, ready for a model.
#[derive(Debug, Clone)]
pub enum Input {
    Text(TextInput),
    Image(ImageInput),
}

impl Input {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Image(_) => Kind::Image,
        }
    }

    pub fn as_text(&self) -> Option<&TextInput> {
        match self {
            Self::Text(text) => Some(text),
            Self::Image(_) => None,
        }
    }

    pub fn as_image(&self) -> Option<&ImageInput> {
        match self {
            Self::Image(image) => Some(image),
            Self::Text(_) => None,
        }
    }
}
