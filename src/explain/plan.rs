//! From a request to work whose size is known: the model, the input ready for it, every method's settings resolved.

use std::sync::Arc;

use super::{Catalog, ExplainRequest, ServedModel};
use crate::config::Limits;
use crate::input::Input;
use crate::methods::{Cost, Planned, Warning};
use crate::tasks::TargetSpec;

/// One thing wrong with a request: where (RFC 6901), what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub pointer: String,
    pub detail: String,
}

impl Field {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Why a request cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("no model is named \"{name}\"; loaded are {known}")]
    UnknownModel { name: String, known: String },
    /// 422, each with its pointer.
    #[error("the request is not valid")]
    Invalid(Vec<Field>),
    /// 413: characters or pixels over the limit.
    #[error("{detail}")]
    TooLarge { pointer: String, detail: String },
}

/// A request, ready to run.
pub struct Plan {
    pub id: String,
    pub model: Arc<ServedModel>,
    pub input: Input,
    pub target: TargetSpec,
    pub methods: Vec<Box<dyn Planned>>,
    /// False for `/predict`.
    pub explains: bool,
    pub seed: u64,
    pub deadline_ms: u64,
    pub partial: bool,
    pub echo: bool,
    pub truncation: crate::input::text::Truncation,
    pub warnings: Vec<Warning>,
    /// The prediction's and all methods' together.
    pub cost: Cost,
}

/// Which part of the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Explanations,
    Prediction,
}

/// Plans `request`. `image` holds the bytes of an image that came as a body or a part rather than as base64.
pub fn plan(
    catalog: &Catalog,
    limits: &Limits,
    id: String,
    request: ExplainRequest,
    image: Option<Vec<u8>>,
    wanted: Wanted,
) -> Result<Plan, PlanError> {
    let _ = (catalog, limits, id, request, image, wanted);
    todo!()
}
