//! Answers as a person reads them: coloured text for a terminal, a self-contained HTML page, an SVG or PNG picture.
//!
//! Everything is drawn from an [`Answer`] (and, for images, the bytes as sent): no model, no request, no terminal
//! state. `cli` calls it. [`scored`] finds what carries a score, [`chart`] draws what lies inside the model, [`colour`] the shade of a score, [`heat`] the picture
//! of an image's scores; one file a format beside them.

mod chart;
mod colour;
mod findings;
mod heat;
mod html;
mod page;
mod png;
mod scored;
mod svg;
#[cfg(test)]
mod tests;
mod text;

pub use html::html;
pub use page::Page;
pub use png::png;
pub use scored::escaped;
pub use svg::svg;
pub use text::{TextOptions, text};

/// The colour of `strength` from −1 (blue) over 0 (white) to 1 (red), and the ink that can be read on it, as `#rrggbb`.
pub fn shade(strength: f32) -> (String, String) {
    let colour = colour::diverging(strength);
    (colour.hex(), colour.ink().hex())
}

/// Why an answer could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("the explanation of a text cannot be drawn as PNG; ask for svg, html or text")]
    PngOfText,
    #[error("nothing to draw: the answer has no explanation with scores over the image")]
    NothingToDraw,
    #[error("the answer explains an image and the image itself was not given")]
    MissingImage,
    #[error("the image could not be read: {0}")]
    Decode(image::ImageError),
    #[error("the picture could not be written as PNG: {0}")]
    Encode(image::ImageError),
    #[error("the segments of {method} are not a 16-bit grey PNG in base64: {detail}")]
    Segments { method: String, detail: String },
}
