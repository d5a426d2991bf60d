//! Tensors of a model folder, read from safetensors and widened to f32.

/// The tensors of one model folder.
pub struct Weights {}
