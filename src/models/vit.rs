//! ViTForImageClassification.
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;
pub struct Vit;
impl Family for Vit {
    fn model_types(&self) -> &'static [&'static str] {
        &["vit"]
    }
    fn architectures(&self) -> &'static [&'static str] {
        &["ViTForImageClassification"]
    }
    fn load(&self, _folder: &ModelFolder, _weights: &Weights) -> Result<Box<dyn Model>, LoadError> {
        todo!()
    }
}
