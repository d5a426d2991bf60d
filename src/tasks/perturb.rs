//! An input with some of its units away, as model rows: in id and pixel space, never by rebuilding strings.

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PerturbError {
    #[error("fill \"{fill}\" needs a {token} token and the tokenizer has none")]
    MissingToken { fill: &'static str, token: &'static str },
    #[error("fill \"{0}\" does not fit this kind of input")]
    WrongKind(&'static str),
}

/// Makes rows of one input with only some of its units present.
pub trait Perturber: Send + Sync {
    /// The rows with only the units of `mask` present.
    fn rows(&self, mask: &crate::input::units::Mask) -> Vec<crate::models::Row>;
}
