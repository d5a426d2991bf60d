//! The settings of methods over lime's masks: how many are drawn, and how wide the kernel is.

use super::{Draw, Kernel};
use crate::input::Kind;
use crate::methods::support::settings;
use crate::methods::{SettingError, Subject};

/// What two units need in full.
const LEAST_EVALUATIONS: usize = 4;

/// `samples` and `max_evaluations`.
pub fn budget(
    samples: Option<usize>,
    asked: Option<usize>,
    subject: &Subject<'_>,
) -> Result<(Option<usize>, usize), SettingError> {
    let default = if subject.input.kind() == Kind::Text { 5000 } else { 1000 };
    let evaluations = settings::evaluations(asked, default, LEAST_EVALUATIONS, subject)?;
    let Some(samples) = samples else { return Ok((None, evaluations)) };
    settings::within("samples", samples, 2..=subject.max_evaluations, " (limits.max_evaluations)")?;
    if asked.is_some() && samples > evaluations {
        let detail = format!("{samples} samples may need more than max_evaluations ({evaluations}); drop one of them");
        return Err(SettingError::new("samples", detail));
    }
    Ok((Some(samples), evaluations.max(samples)))
}

/// `kernel_width`.
pub fn width(asked: Option<f64>, subject: &Subject<'_>) -> Result<f64, SettingError> {
    let width = asked.unwrap_or(if subject.input.kind() == Kind::Text { 25.0 } else { 0.25 });
    if !(width > 0.0 && width.is_finite()) {
        return Err(SettingError::new("kernel_width", format!("{width:?} is out of range; use more than 0")));
    }
    Ok(width)
}

/// lime's kernel and its way to draw, which differ between texts and images.
pub fn procedure(kind: Kind, width: f64) -> (Kernel, Draw) {
    match kind {
        Kind::Text => (Kernel { scale: 100.0, width }, Draw::Sizes),
        Kind::Image => (Kernel { scale: 1.0, width }, Draw::Coins),
    }
}
