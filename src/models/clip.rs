//! CLIP (Radford et al. 2021): a tower for images and one for texts, whose outputs are compared.
//!
//! The model's output is the projected embedding of a row, an image's or a text's; comparing them is the task's matter.
//! Explanations are of the image: what `spec` says of layers and heads is the image tower's.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::batch::{Batch, Content};
use super::config::{self, Common, Sizes};
use super::decoder::{self, Decoder, Norm};
use super::embeddings::{Count, Embeddings, Positions};
use super::encoder::{Encoder, Layer, Mixing, NormPlace, Sequences, outputs};
use super::tap::Recorder;
use super::vision::{self, Side};
use super::{
    About, Capabilities, Capability, Family, ImageSpec, LoadError, Model, Outputs, Problem, Reads, Spec, TapPlan,
    Weights,
};
use crate::hub::ModelFolder;
use crate::input::Kind;
use crate::nn::{self, Activation, Array, Attention, LayerNorm, Linear, Node, Patches, Tape, prepend};

/// x · σ(1.702 x) = silu(1.702 x) ÷ 1.702: the factor goes into the layers around it.
const QUICK: f32 = 1.702;
/// Embeddings of more columns than any CLIP has are a broken file.
const MOST_COLUMNS: usize = 65_536;

pub struct Clip;

/// The keys of `CLIPConfig` that matter to a forward.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    text_config: Option<Map<String, Value>>,
    #[serde(default)]
    vision_config: Option<Map<String, Value>>,
    /// Files of old; they go before the others.
    #[serde(default)]
    text_config_dict: Option<Map<String, Value>>,
    #[serde(default)]
    vision_config_dict: Option<Map<String, Value>>,
    #[serde(default)]
    projection_dim: Option<usize>,
}

/// The keys of a tower, with the defaults that both have; what differs is `None`.
#[derive(Deserialize)]
#[serde(default)]
struct Tower {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_attention_heads: Option<usize>,
    num_hidden_layers: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    vocab_size: usize,
    max_position_embeddings: usize,
    num_channels: usize,
    image_size: Side,
    patch_size: Side,
}

impl Default for Tower {
    fn default() -> Self {
        Self {
            hidden_size: None,
            intermediate_size: None,
            num_attention_heads: None,
            num_hidden_layers: 12,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
            vocab_size: 49_408,
            max_position_embeddings: 77,
            num_channels: 3,
            image_size: Side::Square(224),
            patch_size: Side::Square(32),
        }
    }
}

impl Tower {
    fn read(key: &str, own: Option<Map<String, Value>>, old: Option<Map<String, Value>>) -> Result<Self, LoadError> {
        let mut all = own.unwrap_or_default();
        all.extend(old.unwrap_or_default());
        config::read(Value::Object(all).to_string().as_bytes()).map_err(|error| match error {
            LoadError::Config { key: inner, detail } => config::invalid(&format!("{key}.{inner}"), detail),
            other => other,
        })
    }

    /// Where it says nothing: hidden size, inner size, heads.
    fn sizes(&self, [hidden, intermediate, heads]: [usize; 3]) -> Result<Sizes, LoadError> {
        Sizes {
            hidden: self.hidden_size.unwrap_or(hidden),
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads.unwrap_or(heads),
            intermediate: self.intermediate_size.unwrap_or(intermediate),
        }
        .check()
    }

    /// What stands between the two feed-forward products: the activation, and what its input and output are scaled by.
    fn activation(&self) -> Result<(Activation, f32), LoadError> {
        match self.hidden_act.as_str() {
            "quick_gelu" => Ok((config::activation("silu")?, QUICK)),
            other => Ok((config::activation(other)?, 1.0)),
        }
    }
}

/// A layer of either tower.
struct Parts {
    norms: [LayerNorm; 2],
    qkv: Linear,
    output: Linear,
    up: Linear,
    down: Linear,
}

impl Parts {
    fn load(weights: &Weights<'_>, root: &str, tower: &Tower, sizes: &Sizes) -> Result<Self, LoadError> {
        let (hidden, inner) = (sizes.hidden, sizes.intermediate);
        let epsilon = config::epsilon(tower.layer_norm_eps)?;
        let name = |part: &str| format!("{root}.{part}");
        let [q, k, v] = ["q", "k", "v"].map(|part| name(&format!("self_attn.{part}_proj")));
        let scale = tower.activation()?.1;
        Ok(Self {
            norms: [
                weights.layer_norm(&name("layer_norm1"), hidden, epsilon)?,
                weights.layer_norm(&name("layer_norm2"), hidden, epsilon)?,
            ],
            qkv: weights.stacked(&[(&q, hidden), (&k, hidden), (&v, hidden)], hidden, true)?,
            output: weights.linear(&name("self_attn.out_proj"), hidden, hidden, true)?,
            up: scaled(weights, &name("mlp.fc1"), hidden, inner, [scale, scale])?,
            down: scaled(weights, &name("mlp.fc2"), inner, hidden, [1.0 / scale, 1.0])?,
        })
    }
}

/// A linear layer with its weight and its bias multiplied.
fn scaled(
    weights: &Weights<'_>,
    prefix: &str,
    inputs: usize,
    outputs: usize,
    [weight, bias]: [f32; 2],
) -> Result<Linear, LoadError> {
    let times = |mut values: Vec<f32>, factor: f32| {
        values.iter_mut().for_each(|value| *value *= factor);
        values
    };
    let matrix = times(weights.tensor(&format!("{prefix}.weight"), &[outputs, inputs])?, weight);
    let bias = times(weights.tensor(&format!("{prefix}.bias"), &[outputs])?, bias);
    Ok(Linear::new(matrix, Some(bias), inputs, outputs)?)
}

struct Vision {
    patches: Patches,
    projection: Linear,
    /// The class token with its position, and the patches' positions.
    class: Vec<f32>,
    positions: Vec<f32>,
    first_norm: LayerNorm,
    encoder: Encoder,
    last_norm: LayerNorm,
    head: Linear,
}

impl Vision {
    fn load(
        weights: &Weights<'_>,
        tower: &Tower,
        sizes: &Sizes,
        patches: Patches,
        columns: usize,
    ) -> Result<Self, LoadError> {
        let hidden = sizes.hidden;
        let epsilon = config::epsilon(tower.layer_norm_eps)?;
        let name = |part: &str| format!("vision_model.{part}");
        let shape = [hidden, 3, patches.patch_rows, patches.patch_cols];
        let projection = weights.tensor(&name("embeddings.patch_embedding.weight"), &shape)?;
        let mut class = weights.tensor(&name("embeddings.class_embedding"), &[hidden])?;
        let grid = patches.grid_rows * patches.grid_cols;
        let mut table = weights.tensor(&name("embeddings.position_embedding.weight"), &[grid + 1, hidden])?;
        let positions = table.split_off(hidden);
        class.iter_mut().zip(table).for_each(|(class, place)| *class += place);
        let layer = |index: usize| {
            let Parts { norms: [first, second], qkv, output, up, down } =
                Parts::load(weights, &name(&format!("encoder.layers.{index}")), tower, sizes)?;
            let (attention_norm, mixing) = (Some(first), Mixing::Plain);
            Ok(Layer { qkv, mixing, output, attention_norm, up, down, feed_forward_norm: second })
        };
        let layers = (0..sizes.layers).map(layer).collect::<Result<_, LoadError>>()?;
        Ok(Self {
            projection: Linear::new(projection, None, shape[1..].iter().product(), hidden)?,
            patches,
            class,
            positions,
            first_norm: weights.layer_norm(&name("pre_layrnorm"), hidden, epsilon)?,
            encoder: Encoder::new(layers, sizes.heads, tower.activation()?.0, NormPlace::Before),
            last_norm: weights.layer_norm(&name("post_layernorm"), hidden, epsilon)?,
            head: weights.linear("visual_projection", hidden, columns, false)?,
        })
    }

    fn forward(&self, tape: &mut Tape<'_>, input: Node, images: usize, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let patches = self.patches.forward(tape, &input)?;
        let hidden = self.class.len();
        let positions = Array::new(self.positions.repeat(images), patches.rows(), hidden);
        let x = self.projection.forward_add(tape, &patches, &Node::constant(positions))?;
        let grid = self.patches.grid_rows * self.patches.grid_cols;
        let x = prepend(tape, &x, &self.class, grid)?;
        let x = self.first_norm.forward(tape, &x)?;
        let sequences = Sequences {
            offsets: (0..=images).map(|image| image * (grid + 1)).collect(),
            read: (0..images).map(|image| image * (grid + 1)).collect(),
        };
        let mut recorder = Recorder::new(taps, self.encoder.heads, &sequences.offsets, &sequences.read)
            .with_patches((self.patches.grid_rows, self.patches.grid_cols), 1);
        let x = self.encoder.forward(tape, x, &sequences, &mut recorder)?;
        let logits = self.read(tape, &x)?;
        recorder.read_lenses(tape, (self.encoder.layers.len(), &logits), |tape, x| self.read(tape, x))?;
        outputs(input, logits, recorder.finish()?)
    }

    /// The image's own vector of hidden states at the positions read.
    fn read(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, nn::Error> {
        let x = self.last_norm.forward(tape, x)?;
        self.head.forward(tape, &x)
    }
}

fn text(weights: &Weights<'_>, tower: &Tower, sizes: &Sizes, columns: usize) -> Result<Decoder, LoadError> {
    let (hidden, entries) = (sizes.hidden, tower.max_position_embeddings);
    let name = |part: &str| format!("text_model.{part}");
    let layer = |index: usize| {
        let Parts { norms: [first, second], qkv, output, up, down } =
            Parts::load(weights, &name(&format!("encoder.layers.{index}")), tower, sizes)?;
        Ok(decoder::Layer {
            attention_norm: Norm::Layer(first),
            qkv,
            head_norm: None,
            rope: None,
            attention: Attention { causal: true, ..Attention::new(sizes.heads, hidden / sizes.heads) },
            output,
            attended_norm: None,
            feed_forward_norm: Norm::Layer(second),
            up,
            down,
            fed_norm: None,
        })
    };
    let table = weights.embedding(&name("embeddings.position_embedding"), entries, hidden)?;
    let epsilon = config::epsilon(tower.layer_norm_eps)?;
    Ok(Decoder {
        spec: Spec {
            architecture: "clip".into(),
            kind: Kind::Text,
            labels: Vec::new(),
            about: About::Sequence,
            problem: Problem::SingleLabel,
            hidden,
            embedding: hidden,
            layers: sizes.layers,
            heads: sizes.heads,
            max_positions: entries,
            vocab: tower.vocab_size,
            token_types: 0,
            image: None,
            reads: Reads::Last { pad: None },
            capabilities: Capabilities(vec![Capability::Forward]),
        },
        embeddings: Embeddings {
            words: weights.embedding(&name("embeddings.token_embedding"), tower.vocab_size, hidden)?,
            positions: Some(Positions { table, count: Count::FromZero }),
            types: None,
            steps: Vec::new(),
            width: hidden,
        },
        layers: (0..sizes.layers).map(layer).collect::<Result<_, LoadError>>()?,
        activation: tower.activation()?.0,
        gated: false,
        ropes: Vec::new(),
        softcap: None,
        norm: Norm::Layer(weights.layer_norm(&name("final_layer_norm"), hidden, epsilon)?),
        score: weights.linear("text_projection", hidden, columns, false)?,
    })
}

struct Towers {
    spec: Spec,
    text: Decoder,
    vision: Vision,
}

impl Family for Clip {
    fn model_types(&self) -> &'static [&'static str] {
        &["clip"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["CLIPModel"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (_, config): (Common, Config) = (config::read(bytes)?, config::read(bytes)?);
        let columns = config::check("projection_dim", config.projection_dim.unwrap_or(512), 1, MOST_COLUMNS)?;
        let words = Tower::read("text_config", config.text_config, config.text_config_dict)?;
        let pixels = Tower::read("vision_config", config.vision_config, config.vision_config_dict)?;
        config::check("text_config.vocab_size", words.vocab_size, 1, 1 << 22)?;
        config::check("text_config.max_position_embeddings", words.max_position_embeddings, 1, 1 << 20)?;
        vision::check_channels(pixels.num_channels)?;
        let (size, patch) = (pixels.image_size.pair("image_size")?, pixels.patch_size.pair("patch_size")?);
        let grid = vision::grid(size, patch)?;
        let patches =
            Patches { channels: 3, patch_rows: patch.0, patch_cols: patch.1, grid_rows: grid.0, grid_cols: grid.1 };
        let sizes = pixels.sizes([768, 3_072, 12])?;
        let scale = weights.tensor("logit_scale", &[])?.first().copied().unwrap_or(f32::NAN).exp();
        if !scale.is_finite() {
            let detail = "tensor \"logit_scale\" is no number whose exponential is one".to_owned();
            return Err(LoadError::Weights { file: "model.safetensors".into(), detail });
        }
        let image = ImageSpec {
            channels: 3,
            rows: size.0,
            cols: size.1,
            grid_rows: grid.0,
            grid_cols: grid.1,
            sequence: vision::sequence(["cls"].into_iter(), grid),
            maps: sizes.layers,
        };
        let spec = Spec {
            architecture: "clip".into(),
            kind: Kind::Image,
            labels: Vec::new(),
            about: About::Similarity { scale },
            problem: Problem::SingleLabel,
            hidden: sizes.hidden,
            embedding: sizes.hidden,
            layers: sizes.layers,
            heads: sizes.heads,
            max_positions: words.max_position_embeddings,
            vocab: words.vocab_size,
            token_types: 0,
            image: Some(image),
            reads: Reads::First,
            capabilities: Capabilities(vec![Capability::Forward, Capability::Gradient, Capability::Attention])
                .with(&[pixels.activation()?.0]),
        };
        let text = text(weights, &words, &words.sizes([512, 2_048, 8])?, columns)?;
        let vision = Vision::load(weights, &pixels, &sizes, patches, columns)?;
        Ok(Box::new(Towers { spec, text, vision }))
    }
}

/// Whether a batch is of texts; its rows are all of one kind.
fn of_texts(batch: &Batch) -> bool {
    batch.rows.first().is_some_and(|row| !matches!(row.content, Content::Pixels(_)))
}

impl Model for Towers {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        match of_texts(batch) {
            true => self.text.embed(tape, batch),
            false => vision::pixels(tape, batch, self.spec.image.as_ref()),
        }
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        if of_texts(batch) {
            return self.text.forward(tape, batch, taps);
        }
        let input = self.embed(tape, batch)?;
        self.vision.forward(tape, input, batch.rows.len(), taps)
    }
}

#[cfg(test)]
#[path = "clip_tests.rs"]
mod tests;
