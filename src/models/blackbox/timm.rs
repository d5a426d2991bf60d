//! timm's classifiers, as the files under `timm/` on the hub: RepVGG, MobileOne, MobileNetV4 and FastViT.
//!
//! Not here, though candle-transformers has them: EfficientViT (it leaves out the attention biases of the files) and Hiera
//! (its GELU is an approximation), whose logits are not timm's; EfficientNet and ConvMixer, which read other names than
//! timm's files have; EVA-02, which has ImageNet's labels alone.

use candle_core::Tensor;
use candle_nn::{Func, Module, VarBuilder};
use candle_transformers::models::{fastvit, mobilenetv4, mobileone, repvgg};

use super::super::config::{self, Common, TIMM};
use super::super::{Family, LoadError, Model, Weights};
use super::{Image, Network, load};
use crate::hub::ModelFolder;
use crate::input::image::ImageProcessor;

pub struct Timm;

/// Labels and weights to a network.
type Build = fn(usize, VarBuilder<'_>) -> candle_core::Result<Func<'static>>;

struct Known {
    /// Numbers of the model beside its head. candle leaves layers out whose tensors are not there; then this is less.
    size: usize,
    stride: usize,
    build: Build,
}

macro_rules! architectures {
    ($($name:literal: $size:literal, $stride:literal, $module:ident::$build:ident($config:ident);)*) => {
        const NAMES: &[&str] = &[$($name),*];

        fn known(name: &str) -> Option<Known> {
            match name {
                $($name => Some(Known {
                    size: $size,
                    stride: $stride,
                    build: |labels, weights| $module::$build(&$module::Config::$config(), labels, weights),
                }),)*
                _ => None,
            }
        }
    };
}

architectures! {
    "repvgg_a0": 7_851_616, 32, repvgg::repvgg(a0);
    "repvgg_a1": 12_841_088, 32, repvgg::repvgg(a1);
    "repvgg_a2": 26_844_160, 32, repvgg::repvgg(a2);
    "repvgg_b0": 14_572_160, 32, repvgg::repvgg(b0);
    "repvgg_b1": 55_434_112, 32, repvgg::repvgg(b1);
    "repvgg_b2": 86_546_432, 32, repvgg::repvgg(b2);
    "repvgg_b3": 120_624_256, 32, repvgg::repvgg(b3);
    "repvgg_b1g4": 37_985_152, 32, repvgg::repvgg(b1g4);
    "repvgg_b2g4": 59_282_432, 32, repvgg::repvgg(b2g4);
    "repvgg_b3g4": 81_364_096, 32, repvgg::repvgg(b3g4);
    "mobileone_s0": 4_356_464, 32, mobileone::mobileone(s0);
    "mobileone_s1": 3_612_544, 32, mobileone::mobileone(s1);
    "mobileone_s2": 5_922_688, 32, mobileone::mobileone(s2);
    "mobileone_s3": 8_226_304, 32, mobileone::mobileone(s3);
    "mobileone_s4": 13_029_992, 32, mobileone::mobileone(s4);
    "mobilenetv4_conv_small": 2_518_112, 32, mobilenetv4::mobilenetv4(small);
    "mobilenetv4_conv_medium": 8_502_416, 32, mobilenetv4::mobilenetv4(medium);
    "mobilenetv4_conv_large": 31_459_416, 32, mobilenetv4::mobilenetv4(large);
    "mobilenetv4_hybrid_medium": 9_869_488, 32, mobilenetv4::mobilenetv4(hybrid_medium);
    "mobilenetv4_hybrid_large": 36_648_024, 32, mobilenetv4::mobilenetv4(hybrid_large);
    "fastvit_t8": 3_284_496, 32, fastvit::fastvit(t8);
    "fastvit_t12": 6_570_176, 32, fastvit::fastvit(t12);
    "fastvit_s12": 8_490_048, 32, fastvit::fastvit(s12);
    "fastvit_sa12": 10_591_296, 32, fastvit::fastvit(sa12);
    "fastvit_sa24": 20_587_840, 32, fastvit::fastvit(sa24);
    "fastvit_sa36": 30_584_384, 32, fastvit::fastvit(sa36);
    "fastvit_ma36": 42_948_284, 32, fastvit::fastvit(ma36);
}

/// What heads are called.
const HEADS: [&str; 2] = ["head.fc", "classifier"];

impl Family for Timm {
    fn model_types(&self) -> &'static [&'static str] {
        &[TIMM]
    }

    fn architectures(&self) -> &'static [&'static str] {
        NAMES
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let common: Common = config::read(bytes)?;
        let name = common.architecture();
        let Some(known) = known(name) else {
            return Err(config::invalid("architecture", format!("\"{name}\" is not known")));
        };
        complete(weights, name, known.size)?;
        let size = ImageProcessor::timm_makes(bytes)?.unwrap_or((224, 224));
        load(name, &common, &Image { size, stride: known.stride }, weights, |labels, weights| {
            let network = (known.build)(labels, weights)?;
            Ok(Box::new(move |pixels: &Tensor| network.forward(pixels)) as Network)
        })
    }
}

/// Sees that the file has as many numbers as the architecture, and a head.
fn complete(weights: &Weights<'_>, name: &str, expected: usize) -> Result<(), LoadError> {
    let head = |tensor: &str| {
        HEADS
            .iter()
            .any(|head| tensor.ends_with(&format!("{head}.weight")) || tensor.ends_with(&format!("{head}.bias")))
    };
    if !weights.floats().any(|(tensor, _)| head(tensor)) {
        return Err(LoadError::MissingHead { names: HEADS.map(|head| format!("{head}.weight")).join(" or ") });
    }
    let body = weights.floats().filter(|(tensor, _)| !head(tensor));
    let found: usize = body.map(|(_, shape)| shape.iter().product::<usize>()).sum();
    if found == expected {
        return Ok(());
    }
    let detail = format!(
        "{found} numbers beside the head, {name} has {expected}; tensors are missing, or the model was saved in another \
         form (reparameterised) than timm trains it in"
    );
    Err(LoadError::Weights { file: "model.safetensors".into(), detail })
}
