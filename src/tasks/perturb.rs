//! An input with some of its units away, as model rows: in id and pixel space, never by rebuilding strings.

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PerturbError {
    #[error("fill \"{fill}\" needs a {token} token and the tokenizer has none")]
    MissingToken { fill: &'static str, token: &'static str },
    #[error("fill \"{0}\" does not fit this kind of input")]
    WrongKind(&'static str),
}
