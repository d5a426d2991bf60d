//! SegFormer's encoder as a classifier (Xie et al. 2021), as transformers' `SegformerForImageClassification`.

use candle_core::{Module, Tensor};
use candle_nn::Activation;
use candle_transformers::models::segformer::{Config as Sizes, ImageClassificationModel};
use serde::Deserialize;

use super::super::config::{self, Common};
use super::super::{Family, LoadError, Model, Weights, vision};
use super::{Image, Network, load};
use crate::hub::ModelFolder;

pub struct Segformer;

/// The keys of `SegformerConfig` that matter to a forward, with its defaults.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    num_channels: usize,
    num_encoder_blocks: usize,
    depths: Vec<usize>,
    sr_ratios: Vec<usize>,
    hidden_sizes: Vec<usize>,
    patch_sizes: Vec<usize>,
    strides: Vec<usize>,
    num_attention_heads: Vec<usize>,
    mlp_ratios: Vec<usize>,
    hidden_act: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            num_channels: 3,
            num_encoder_blocks: 4,
            depths: vec![2, 2, 2, 2],
            sr_ratios: vec![8, 4, 2, 1],
            hidden_sizes: vec![32, 64, 160, 256],
            patch_sizes: vec![7, 3, 3, 3],
            strides: vec![4, 2, 2, 2],
            num_attention_heads: vec![1, 2, 5, 8],
            mlp_ratios: vec![4, 4, 4, 4],
            hidden_act: "gelu".into(),
        }
    }
}

/// Of every layer norm: transformers does not read `layer_norm_eps` here.
const EPSILON: f64 = 1e-5;

impl Family for Segformer {
    fn model_types(&self) -> &'static [&'static str] {
        &["segformer"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["SegformerForImageClassification"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, config): (Common, Config) = (config::read(bytes)?, config::read(bytes)?);
        let sizes = config.sizes()?;
        let size = vision::input_size(folder, (512, 512))?;
        let image = Image { size, stride: sizes.strides.iter().product() };
        weights.require_head(&["classifier"], true)?;
        load("segformer", &common, &image, weights, |labels, weights| {
            let network = ImageClassificationModel::new(&sizes, labels, weights)?;
            Ok(Box::new(move |pixels: &Tensor| network.forward(pixels)) as Network)
        })
    }
}

impl Config {
    /// As candle has them.
    ///
    /// # Errors
    /// Names the key that is absurd or says another number of blocks than the others.
    fn sizes(self) -> Result<Sizes, LoadError> {
        vision::check_channels(self.num_channels)?;
        let blocks = config::check("num_encoder_blocks", self.num_encoder_blocks, 1, 16)?;
        for (key, list, most) in [
            ("depths", &self.depths, 256),
            ("sr_ratios", &self.sr_ratios, 64),
            ("hidden_sizes", &self.hidden_sizes, 65_536),
            ("patch_sizes", &self.patch_sizes, 64),
            ("strides", &self.strides, 64),
            ("num_attention_heads", &self.num_attention_heads, 1_024),
            ("mlp_ratios", &self.mlp_ratios, 64),
        ] {
            if list.len() != blocks {
                return Err(config::invalid(key, format!("{} values for {blocks} encoder blocks", list.len())));
            }
            for &value in list {
                config::check(key, value, 1, most)?;
            }
        }
        let heads = self.hidden_sizes.iter().zip(&self.num_attention_heads);
        if let Some((width, heads)) = heads.into_iter().find(|(width, heads)| *width % *heads != 0) {
            let detail = format!("{heads} heads do not divide hidden size {width}");
            return Err(config::invalid("num_attention_heads", detail));
        }
        let hidden_act = match self.hidden_act.as_str() {
            "gelu" => Activation::Gelu,
            "relu" => Activation::Relu,
            "silu" | "swish" => Activation::Silu,
            other => {
                let detail = format!("\"{other}\" is not known; known are gelu, relu, silu");
                return Err(config::invalid("hidden_act", detail));
            }
        };
        Ok(Sizes {
            id2label: Default::default(),
            num_channels: self.num_channels,
            num_encoder_blocks: blocks,
            depths: self.depths,
            sr_ratios: self.sr_ratios,
            // The classifier reads the last block, whatever the decoder of a segmenter would.
            decoder_hidden_size: self.hidden_sizes.last().copied().unwrap_or_default(),
            hidden_sizes: self.hidden_sizes,
            patch_sizes: self.patch_sizes,
            strides: self.strides,
            num_attention_heads: self.num_attention_heads,
            mlp_ratios: self.mlp_ratios,
            hidden_act,
            layer_norm_eps: EPSILON,
        })
    }
}
