//! Data-efficient image transformer (Touvron et al. 2020), as transformers' `DeiTForImageClassification` (the class
//! token's head) and `DeiTForImageClassificationWithTeacher` (the mean of the class and the distillation token's).

use super::config::{self, Common};
use super::vision_transformer::{Design, Head, Keys, Reading, Token, VisionTransformer};
use super::{Family, LoadError, Model, Weights, vit};
use crate::hub::ModelFolder;

pub struct Deit;

const DISTILLED: &str = "DeiTForImageClassificationWithTeacher";

impl Family for Deit {
    fn model_types(&self) -> &'static [&'static str] {
        &["deit"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["DeiTForImageClassification", DISTILLED]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys): (Common, Keys) = (config::read(bytes)?, config::read(bytes)?);
        let distillation = Token { tensor: "distillation_token", name: "distillation", count: 1, placed: true };
        let heads = match common.architecture() == DISTILLED {
            true => vec![head("cls_classifier", 0), head("distillation_classifier", 1)],
            false => vec![Head::classifier()],
        };
        let plain = vit::design("deit", &keys)?;
        let design = Design { tokens: vec![Token::CLASS, distillation], heads, ..plain };
        Ok(Box::new(VisionTransformer::new(&design, &common, &keys, weights)?))
    }
}

/// One of two heads whose mean the logits are.
fn head(tensor: &'static str, token: usize) -> Head {
    Head { tensor, reads: vec![Reading::Token(token)], factor: 0.5 }
}
