//! Which masks `lime` draws, and which linear model is fitted to them.

use serde::Serialize;

use super::{Settings, Variant};
use crate::input::Kind;
use crate::methods::support::settings::{self, refuse};
use crate::methods::support::surrogate::{Draw, Kernel, Mode, drawing};
use crate::methods::support::units::few;
use crate::methods::{SettingError, Subject};

/// Draws of a sparse surrogate: ContextCite's.
const SPARSE_SAMPLES: usize = 64;
const LASSO: f64 = 0.01;

/// The settings of a variant, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "variant", rename_all = "lowercase")]
pub enum Procedure {
    Lime {
        /// Null: enumerated, or drawn until `tolerance`.
        samples: Option<usize>,
        max_evaluations: usize,
        tolerance: f64,
        kernel_width: f64,
        ridge: f64,
    },
    Sparse {
        samples: usize,
        lasso: f64,
    },
}

impl Procedure {
    /// # Errors
    /// A setting out of range, or of the other variant.
    pub fn resolve(settings: &Settings, subject: &Subject<'_>) -> Result<Self, SettingError> {
        match settings.variant.unwrap_or_default() {
            Variant::Lime => Self::lime(settings, subject),
            Variant::Sparse => Self::sparse(settings, subject),
        }
    }

    fn lime(settings: &Settings, subject: &Subject<'_>) -> Result<Self, SettingError> {
        refuse("lasso", &settings.lasso, "the variant \"sparse\"")?;
        let (samples, max_evaluations) = drawing::budget(settings.samples, settings.max_evaluations, subject)?;
        let kernel_width = drawing::width(settings.kernel_width, subject)?;
        let tolerance = settings::tolerance(settings.tolerance, 0.05)?;
        Ok(Self::Lime { samples, max_evaluations, tolerance, kernel_width, ridge: ridge(settings.ridge, samples)? })
    }

    fn sparse(settings: &Settings, subject: &Subject<'_>) -> Result<Self, SettingError> {
        let only = "the variant \"lime\"";
        refuse("kernel_width", &settings.kernel_width, only)?;
        refuse("ridge", &settings.ridge, only)?;
        refuse("tolerance", &settings.tolerance, only)?;
        refuse("max_evaluations", &settings.max_evaluations, only)?;
        let most = subject.max_evaluations;
        let samples = settings.samples.unwrap_or(SPARSE_SAMPLES.min(most));
        settings::within("samples", samples, 2..=most, " (limits.max_evaluations)")?;
        let lasso = settings.lasso.unwrap_or(LASSO);
        if !(lasso > 0.0 && lasso.is_finite()) {
            return Err(SettingError::new("lasso", format!("{lasso:?} is out of range; use more than 0")));
        }
        Ok(Self::Sparse { samples, lasso })
    }

    /// Which masks are evaluated.
    pub fn mode(&self, units: usize) -> Mode {
        match *self {
            Self::Lime { samples: Some(samples), ridge, .. } => Mode::Fixed { samples, ridge },
            Self::Lime { max_evaluations, .. } if few(units, max_evaluations) => Mode::Exact,
            Self::Lime { max_evaluations, tolerance, .. } => Mode::Adaptive { tolerance, evaluations: max_evaluations },
            Self::Sparse { samples, lasso } => Mode::Sparse { samples, penalty: lasso },
        }
    }

    /// Rows at most; `units` where it is known how many there are.
    pub fn rows(&self, units: Option<usize>) -> usize {
        match (units, *self) {
            (Some(units), Self::Lime { .. }) if self.mode(units) == Mode::Exact => 1 << units,
            (_, Self::Lime { samples, max_evaluations, .. }) => samples.map_or(max_evaluations, |samples| samples + 1),
            (Some(units), Self::Sparse { samples, .. }) if few(units, samples) => 1 << units,
            // The input and nothing of it stand beside what is drawn.
            (_, Self::Sparse { samples, .. }) => samples + 2,
        }
    }

    /// What a mask weighs, and how it is drawn; a sparse surrogate has no kernel.
    pub fn drawing(&self, kind: Kind) -> (Kernel, Draw) {
        match *self {
            Self::Lime { kernel_width, .. } => drawing::procedure(kind, kernel_width),
            Self::Sparse { .. } => (Kernel { scale: 0.0, width: 1.0 }, Draw::Coins),
        }
    }

    /// Whether scores have standard errors.
    pub fn estimates(&self) -> bool {
        matches!(self, Self::Lime { .. })
    }
}

/// Only lime's own procedure has a penalty: elsewhere it would move the limit.
fn ridge(asked: Option<f64>, samples: Option<usize>) -> Result<f64, SettingError> {
    let ridge = asked.unwrap_or(if samples.is_some() { 1.0 } else { 0.0 });
    if !(ridge >= 0.0 && ridge.is_finite()) {
        return Err(SettingError::new("ridge", format!("{ridge:?} is out of range; use 0 or more")));
    }
    if ridge > 0.0 && samples.is_none() {
        return Err(SettingError::new("ridge", "only a fixed number of samples has a penalty; add \"samples\""));
    }
    Ok(ridge)
}
