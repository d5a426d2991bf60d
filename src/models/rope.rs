//! Rotary embeddings as config.json writes them: `rope_theta` and `rope_scaling` of transformers 4, `rope_parameters`
//! of transformers 5. The frequencies are `nn`'s.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::LoadError;
use super::config;
use crate::nn::{Rope, RopeScaling};

/// transformers' `default_theta`.
const THETA: f64 = 10_000.0;

/// The keys of config.json about rotary embeddings, where all layers share them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RopeKeys {
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeParameters>,
    rope_parameters: Option<RopeParameters>,
    partial_rotary_factor: Option<f64>,
    /// Beside the parameters in Phi-3; it wins over theirs, as in transformers.
    original_max_position_embeddings: Option<f64>,
}

/// One rope's parameters. A type reads those that it needs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RopeParameters {
    rope_type: Option<String>,
    /// What older files call `rope_type`.
    #[serde(rename = "type")]
    kind: Option<String>,
    pub rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    /// Parameters by kind of layer, where a family has one rope.
    full_attention: Option<IgnoredAny>,
    sliding_attention: Option<IgnoredAny>,
}

/// What a rope is made for.
#[derive(Debug, Clone, Copy)]
pub struct RopeOf {
    /// Columns of a head.
    pub depth: usize,
    pub max_positions: usize,
}

/// Names of the rope types that are built, for error messages.
const KNOWN: &str = "default, linear, dynamic, yarn, longrope, llama3";

impl RopeKeys {
    /// The one rope of all layers.
    ///
    /// # Errors
    /// Names the key whose value is missing, out of bounds or of an unknown type.
    pub fn rope(&self, of: RopeOf) -> Result<Rope, LoadError> {
        let (key, parameters) = self.parameters();
        parameters.rope(key, of.depth, of.max_positions)
    }

    /// The same for families that turn `partial_rotary_factor` of a head's columns, and whose `rope_type` may carry the
    /// other names of `longrope` that Phi-3's has.
    ///
    /// # Errors
    /// As [`RopeKeys::rope`].
    pub fn partial_rope(&self, of: RopeOf, original: usize) -> Result<Rope, LoadError> {
        let (key, mut parameters) = self.parameters();
        let original = self.original_max_position_embeddings.unwrap_or(original as f64);
        parameters.original_max_position_embeddings = Some(original);
        if matches!(parameters.name(), "su" | "yarn") {
            parameters.rope_type = Some("longrope".into());
        }
        let part = parameters.partial_rotary_factor.or(self.partial_rotary_factor).unwrap_or(1.0);
        if !(part > 0.0 && part <= 1.0) {
            return Err(config::invalid("partial_rotary_factor", format!("{part} is not above 0 and at most 1")));
        }
        parameters.rope(key, (of.depth as f64 * part) as usize, of.max_positions)
    }

    /// The parameters, and the key that they stand under.
    fn parameters(&self) -> (&'static str, RopeParameters) {
        let (key, found) = match (&self.rope_scaling, &self.rope_parameters) {
            (Some(found), _) => ("rope_scaling", found.clone()),
            (None, found) => ("rope_parameters", found.clone().unwrap_or_default()),
        };
        let rope_theta = found.rope_theta.or(self.rope_theta);
        let original = self.original_max_position_embeddings.or(found.original_max_position_embeddings);
        (key, RopeParameters { rope_theta, original_max_position_embeddings: original, ..found })
    }
}

impl RopeParameters {
    fn name(&self) -> &str {
        self.rope_type.as_deref().or(self.kind.as_deref()).unwrap_or("default")
    }

    /// The rope over `dimension` columns that these parameters, found under `key`, describe.
    ///
    /// # Errors
    /// Names what is missing, out of bounds or of an unknown type.
    pub fn rope(&self, key: &str, dimension: usize, max_positions: usize) -> Result<Rope, LoadError> {
        if self.full_attention.is_some() || self.sliding_attention.is_some() {
            return Err(config::invalid(key, "parameters by kind of layer, where all layers share one rope"));
        }
        let theta = self.rope_theta.unwrap_or(THETA);
        if !(theta.is_finite() && theta > 0.0) {
            return Err(config::invalid("rope_theta", format!("{theta} is not above 0")));
        }
        let scaling = self.scaling(key, max_positions)?;
        Rope::new(theta, dimension, scaling).map_err(|error| config::invalid(key, error.to_string()))
    }

    fn scaling(&self, key: &str, max_positions: usize) -> Result<RopeScaling, LoadError> {
        let needed = |name: &str, value: Option<f64>| {
            value.filter(|value| *value > 0.0).ok_or_else(|| {
                config::invalid(&format!("{key}.{name}"), format!("rope type {} needs a number above 0", self.name()))
            })
        };
        let divisors = |name: &str, values: &Option<Vec<f64>>| {
            values.clone().ok_or_else(|| {
                config::invalid(&format!("{key}.{name}"), format!("rope type {} needs a list", self.name()))
            })
        };
        let original = self.original(key, max_positions)?;
        let longer = max_positions as f64 / original as f64;
        Ok(match self.name() {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: needed("factor", self.factor)? },
            "dynamic" => RopeScaling::Dynamic { factor: needed("factor", self.factor)?, max_positions },
            "yarn" => RopeScaling::Yarn {
                factor: needed("factor", self.factor.or(Some(longer)))?,
                original_positions: original,
                beta_fast: needed("beta_fast", self.beta_fast.or(Some(32.0)))?,
                beta_slow: needed("beta_slow", self.beta_slow.or(Some(1.0)))?,
                attention_factor: self.attention_factor,
                mscale: self.mscale,
                mscale_all_dim: self.mscale_all_dim,
                truncate: self.truncate.unwrap_or(true),
            },
            "longrope" => RopeScaling::LongRope {
                short: divisors("short_factor", &self.short_factor)?,
                long: divisors("long_factor", &self.long_factor)?,
                original_positions: original,
                factor: needed("factor", self.factor.or(Some(longer)))?,
                attention_factor: self.attention_factor,
            },
            "llama3" => RopeScaling::Llama3 {
                factor: needed("factor", self.factor)?,
                low_frequency: needed("low_freq_factor", self.low_freq_factor)?,
                high_frequency: needed("high_freq_factor", self.high_freq_factor)?,
                original_positions: original,
            },
            other => {
                let detail = format!("\"{other}\" is not supported; supported are {KNOWN}");
                return Err(config::invalid(&format!("{key}.rope_type"), detail));
            }
        })
    }

    /// Tokens that the frequencies were first trained for.
    fn original(&self, key: &str, max_positions: usize) -> Result<usize, LoadError> {
        let Some(original) = self.original_max_position_embeddings else { return Ok(max_positions) };
        let key = format!("{key}.original_max_position_embeddings");
        // Some files write it as 8192.0.
        let whole = original.fract() == 0.0 && (0.0..=1e9).contains(&original);
        let original = if whole { original as usize } else { 0 };
        config::check(&key, original, 1, 1 << 30)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(config: &str) -> Result<Rope, String> {
        let keys: RopeKeys = serde_json::from_str(config).unwrap();
        keys.rope(RopeOf { depth: 8, max_positions: 64 }).map_err(|error| error.to_string())
    }

    fn partial(config: &str) -> Result<Rope, String> {
        let keys: RopeKeys = serde_json::from_str(config).unwrap();
        keys.partial_rope(RopeOf { depth: 8, max_positions: 64 }, 16).map_err(|error| error.to_string())
    }

    fn same(own: Result<Rope, String>, theta: f64, dimension: usize, scaling: RopeScaling) {
        let expected = Rope::new(theta, dimension, scaling).unwrap();
        assert_eq!(format!("{:?}", own.unwrap()), format!("{expected:?}"));
    }

    #[test]
    fn both_spellings_mean_the_same() {
        let linear = || RopeScaling::Linear { factor: 4.0 };
        same(rope(r#"{"rope_parameters": {"rope_type": "linear", "factor": 4, "rope_theta": 50}}"#), 50.0, 8, linear());
        same(rope(r#"{"rope_theta": 50, "rope_scaling": {"type": "linear", "factor": 4.0}}"#), 50.0, 8, linear());
        same(rope("{}"), 10_000.0, 8, RopeScaling::None);
        same(rope(r#"{"rope_scaling": null, "rope_theta": 7.0}"#), 7.0, 8, RopeScaling::None);
        let dynamic = RopeScaling::Dynamic { factor: 2.0, max_positions: 64 };
        same(rope(r#"{"rope_scaling": {"type": "dynamic", "factor": 2.0}}"#), 10_000.0, 8, dynamic);
    }

    #[test]
    fn what_is_not_said_follows_from_the_lengths() {
        let yarn = |factor, original_positions| RopeScaling::Yarn {
            factor,
            original_positions,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: None,
            mscale: None,
            mscale_all_dim: None,
            truncate: true,
        };
        same(rope(r#"{"rope_scaling": {"rope_type": "yarn", "factor": 3}}"#), 10_000.0, 8, yarn(3.0, 64));
        let own = r#"{"rope_scaling": {"rope_type": "yarn", "original_max_position_embeddings": 16}}"#;
        same(rope(own), 10_000.0, 8, yarn(4.0, 16));
        let long = RopeScaling::LongRope {
            short: vec![1.0; 2],
            long: vec![2.0; 2],
            original_positions: 16,
            factor: 4.0,
            attention_factor: None,
        };
        let su = r#"{"rope_scaling": {"type": "su", "short_factor": [1, 1], "long_factor": [2, 2]},
                     "partial_rotary_factor": 0.5}"#;
        same(partial(su), 10_000.0, 4, long);
        same(partial("{}"), 10_000.0, 8, RopeScaling::None);
    }

    #[test]
    fn what_cannot_be_built_is_named() {
        let error = |config: &str| rope(config).unwrap_err();
        let unknown = error(r#"{"rope_scaling": {"type": "proportional"}}"#);
        assert!(
            unknown.starts_with("config.json: rope_scaling.rope_type: \"proportional\" is not supported"),
            "{unknown}"
        );
        let factor = error(r#"{"rope_parameters": {"rope_type": "linear"}}"#);
        assert!(factor.starts_with("config.json: rope_parameters.factor: rope type linear needs"), "{factor}");
        assert!(error(r#"{"rope_scaling": {"type": "dynamic", "factor": -1}}"#).contains("rope_scaling.factor"));
        let nested = error(r#"{"rope_parameters": {"full_attention": {"rope_type": "default"}}}"#);
        assert!(nested.starts_with("config.json: rope_parameters: parameters by kind of layer"), "{nested}");
        assert!(error(r#"{"rope_theta": 0}"#).starts_with("config.json: rope_theta: 0"));
        let half = r#"{"rope_scaling": {"rope_type": "yarn", "original_max_position_embeddings": 0.5, "factor": 2}}"#;
        assert!(error(half).contains("rope_scaling.original_max_position_embeddings: 0 is outside"));
        let list = error(r#"{"rope_scaling": {"rope_type": "longrope", "short_factor": [1, 1, 1, 1]}}"#);
        assert!(list.contains("rope_scaling.long_factor: rope type longrope needs a list"), "{list}");
        let short = r#"{"rope_scaling": {"rope_type": "longrope", "short_factor": [1], "long_factor": [1]}}"#;
        assert!(error(short).contains("rope_scaling: rope: 1 and 1 divisors of 4 frequencies"));
        assert!(partial(r#"{"partial_rotary_factor": 1.5}"#).unwrap_err().contains("partial_rotary_factor: 1.5"));
        assert!(partial(r#"{"partial_rotary_factor": 0.4}"#).unwrap_err().contains("3 columns do not turn in pairs"));
    }
}
