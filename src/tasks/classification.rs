//! Text and image classification: single label (softmax), several (sigmoid), regression.
pub struct Classification {}
