//! `grad_cam`: a feature map weighted by its gradient. One forward, and one backward a target as far as the map.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::support::settings::{self, Normalize, Presentation};
use super::support::{gradients, layers, reduce};
use super::{
    Attribution, Cost, Ctx, Diagnostics, Error, Grid, Method, Objective, Pass, Scores, SettingError, Subject,
    TappedState,
};
use crate::input::{Input, Kind};
use crate::models::{Capability, TapPlan};
use crate::nn::Rule;
use crate::tasks::OutputSpace;

/// Keeps the quotient of Grad-CAM++ finite, as in pytorch-grad-cam.
const EPSILON: f64 = 1e-6;
/// Numbers of a map for a pixel of the model's input, at most: VGG's first maps, of full size.
const CHANNELS: usize = 64;

pub struct GradCam;

/// Which regions of an image hold what the target depends on, as the model's feature maps see them.
///
/// # What it computes
/// A is a feature map (positions × channels), g = ∂f/∂A the gradient of the target's `output`. `grad_cam`:
/// Σ_c mean(g_c) · A_c. `grad_cam++`: Σ_c w_c · A_c with w_c = Σ max(0, g) · g² / (2g² + g³ · ΣA + 1e-6), sums over
/// positions. `layer_cam`: Σ_c max(0, g) · A. `hires_cam`: Σ_c g · A. Then max(0, ·), unless `relu` is false.
/// `scores.grid` is the map in its own rows and columns, which are the explanation's `grid`; with `cells` each of N × N
/// cells is the mean over its pixels, of which each has the score of the map's place that covers it.
///
/// # Settings
/// `layer` counts the model's feature maps from 0: of ResNet, ConvNeXt and Swin the blocks, of VGG the stages (behind
/// their pools), of vision transformers the layers, where the map is the patches that enter the layer: the input of its
/// first norm, without class and register tokens. `normalize` comes last.
///
/// # Same numbers as
/// Captum 0.9 `LayerGradCam` with `relu_attributions=relu` over the same layer, within 5e-3 of the largest score, and
/// pytorch-grad-cam's four methods before it scales and resizes.
///
/// # Limits
/// As coarse as the map. Deep maps of transformers mix all patches: a position need not speak of its own place.
/// `hires_cam` is faithful only for a head that is linear over the map; where patches reach the head through a norm
/// alone, as those that enter the last layer of a transformer with a class token, it is 0: a norm's gradient is
/// orthogonal to what it reads.
///
/// Selvaraju et al., Grad-CAM, ICCV 2017; Chattopadhyay et al., Grad-CAM++, WACV 2018; Jiang et al., LayerCAM, TIP
/// 2021; Draelos and Carin, HiResCAM, 2020.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GradCamSettings)]
pub struct Settings {
    /// `grad_cam`, `grad_cam++`, `layer_cam` or `hires_cam`. Default `grad_cam`.
    pub variant: Option<Variant>,
    /// Which feature map, from 0; negative ones count from the end. Default −1, the last.
    pub layer: Option<i64>,
    /// Whether negative places become 0, as in pytorch-grad-cam; Captum's own default is false. Default true.
    pub relu: Option<bool>,
    /// The space of the explained output. Default `logit`; a regression has no other.
    pub output: Option<OutputSpace>,
    /// The scores' grid is N × N cells, 1 to the model input's shorter side. Default: the map's own grid.
    #[schema(minimum = 1)]
    pub cells: Option<usize>,
    /// Divides the scores by the largest (`max`) or summed (`sum`) absolute score. Default `none`.
    pub normalize: Option<Normalize>,
    /// Scores without their sign. Default false.
    pub absolute: Option<bool>,
}

/// How gradients weigh a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = GradCamVariant)]
pub enum Variant {
    GradCam,
    #[serde(rename = "grad_cam++")]
    GradCamPlusPlus,
    LayerCam,
    HiresCam,
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    variant: Variant,
    layer: usize,
    relu: bool,
    output: OutputSpace,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<usize>,
    #[serde(flatten)]
    presentation: Presentation,
}

impl Method for GradCam {
    const NAME: &'static str = "grad_cam";
    const GROUP: &'static str = "gradients";
    const REQUIRES: &'static [Capability] = &[Capability::Gradient, Capability::FeatureMap];
    const INPUTS: &'static [Kind] = &[Kind::Image];
    const TARGETED: bool = true;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let image = settings::image_spec(subject)?;
        let maps = image.maps;
        settings::grid(settings.cells, image)?;
        Ok(Resolved {
            variant: settings.variant.unwrap_or(Variant::GradCam),
            layer: layers::one("layer", "feature map", settings.layer.unwrap_or(-1), maps)?,
            relu: settings.relu.unwrap_or(true),
            output: settings::output(settings.output, OutputSpace::Logit, subject)?,
            cells: settings.cells,
            presentation: Presentation::new(settings.normalize, settings.absolute),
        })
    }

    fn cost(_resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        gradients::cost(0, 1, subject)
    }

    fn kept(_resolved: &Resolved, subject: &Subject<'_>) -> usize {
        subject.spec.image.as_ref().map_or(0, |image| image.rows * image.cols * CHANNELS)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let objectives = Objective::of_targets(ctx, resolved.output);
        let taps = TapPlan { maps: vec![resolved.layer], gradients: true, ..TapPlan::default() };
        let pass = Pass { rows: 1, embedding: None, objectives: &objectives, rule: Rule::Gradient, taps };
        let mut attributions = Vec::new();
        ctx.pass(&pass, &mut |view| {
            let map = view.inside.maps.first().ok_or(Error::Missing { what: "the tapped feature map" })?;
            for (objective, &value) in view.values.iter().enumerate() {
                attributions.push(attribute(resolved, ctx.input(), map, (objective, value))?);
            }
            Ok(())
        })?;
        Ok(attributions)
    }
}

fn attribute(
    resolved: &Resolved,
    input: &Input,
    map: &TappedState<'_>,
    (objective, value): (usize, f64),
) -> Result<Attribution, Error> {
    let gradient = map.gradients.get(objective).ok_or(Error::Missing { what: "the feature map's gradient" })?;
    let (rows, cols) = map.grid.ok_or(Error::Missing { what: "the feature map's rows and columns" })?;
    let mut places = weighted(resolved.variant, map.values, gradient, map.width.max(1));
    if places.len() != rows * cols {
        return Err(Error::Missing { what: "the whole feature map" });
    }
    if resolved.relu {
        // Not `max`, which would hide what is no number.
        places.iter_mut().filter(|place| **place < 0.0).for_each(|place| *place = 0.0);
    }
    let mut grid = Grid { rows, cols };
    if let (Some(cells), Input::Image(image)) = (resolved.cells, input) {
        let own = std::mem::replace(&mut grid, Grid { rows: cells, cols: cells });
        places = reduce::regridded(&places, (image.rows, image.cols), own, grid);
    }
    let cells = resolved.presentation.list(places, "a cell's score")?;
    let scores = Scores { grid: Some(reduce::rows(&cells, grid)), ..Scores::default() };
    Ok(Attribution {
        scores,
        grid: Some(grid),
        output_value: Some(settings::float(value, "the output value")?),
        diagnostics: Diagnostics { evaluations: 1, ..Diagnostics::default() },
        ..Attribution::default()
    })
}

/// The map's places, weighed as `variant` says; `values` and `gradient` are places × `width`.
fn weighted(variant: Variant, values: &[f32], gradient: &[f32], width: usize) -> Vec<f64> {
    let weights = match variant {
        Variant::GradCam => channel_means(gradient, width),
        Variant::GradCamPlusPlus => plus_plus(values, gradient, width),
        Variant::LayerCam | Variant::HiresCam => Vec::new(),
    };
    let places = values.chunks(width).zip(gradient.chunks(width));
    let place = |(values, gradient): (&[f32], &[f32])| -> f64 {
        let channels = values.iter().zip(gradient).map(|(&value, &slope)| (f64::from(value), f64::from(slope)));
        match variant {
            Variant::LayerCam => channels.map(|(value, slope)| if slope < 0.0 { 0.0 } else { slope * value }).sum(),
            Variant::HiresCam => channels.map(|(value, slope)| slope * value).sum(),
            Variant::GradCam | Variant::GradCamPlusPlus => {
                channels.zip(&weights).map(|((value, _), weight)| weight * value).sum()
            }
        }
    };
    places.map(place).collect()
}

fn channel_sums(values: &[f32], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    for place in values.chunks(width) {
        sums.iter_mut().zip(place).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums
}

fn channel_means(values: &[f32], width: usize) -> Vec<f64> {
    let places = (values.len() / width).max(1) as f64;
    channel_sums(values, width).into_iter().map(|sum| sum / places).collect()
}

fn plus_plus(values: &[f32], gradient: &[f32], width: usize) -> Vec<f64> {
    let sums = channel_sums(values, width);
    let mut weights = vec![0.0; width];
    for place in gradient.chunks(width) {
        for ((weight, &slope), sum) in weights.iter_mut().zip(place).zip(&sums) {
            let slope = f64::from(slope);
            let square = slope * slope;
            if slope.is_nan() || slope > 0.0 {
                *weight += slope * square / (2.0 * square + sum * square * slope + EPSILON);
            }
        }
    }
    weights
}

#[cfg(test)]
mod tests;
