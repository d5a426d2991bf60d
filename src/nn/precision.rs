//! The numbers that products are made of.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the operands of a linear layer's product are rounded to. Sums, attention, norms and activations are f32 in
/// either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    F32,
    /// 8 significant bits: for forwards whose small errors do not matter.
    Bf16,
}

impl Precision {
    /// Whether this processor multiplies these numbers: bf16 needs AMX or AVX512-BF16.
    pub fn available(self) -> bool {
        self == Self::F32 || super::kernel::multiplies_bf16()
    }
}
