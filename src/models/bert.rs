//! BertForSequenceClassification.
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;
pub struct Bert;
impl Family for Bert {
    fn model_types(&self) -> &'static [&'static str] {
        &["bert"]
    }
    fn architectures(&self) -> &'static [&'static str] {
        &["BertForSequenceClassification"]
    }
    fn load(&self, _folder: &ModelFolder, _weights: &Weights) -> Result<Box<dyn Model>, LoadError> {
        todo!()
    }
}
