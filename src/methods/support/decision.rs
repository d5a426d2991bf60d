//! What a method means that asks whether the model still says the same: the model's choice, or an output on one side of
//! a threshold.

use super::settings::output;
use crate::methods::{Ctx, Error, SettingError, Subject};
use crate::tasks::{OutputSpace, Target, Verdict};

/// How a target is answered with yes or no.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// The output from which on the answer is yes; `None`: it is the model's own choice.
    pub threshold: Option<f64>,
    pub output: OutputSpace,
}

impl Decision {
    /// # Errors
    /// A threshold that is no number, or none where the model chooses nothing by itself.
    pub fn resolve(
        threshold: Option<f64>,
        asked: Option<OutputSpace>,
        subject: &Subject<'_>,
    ) -> Result<Self, SettingError> {
        let output = output(asked, OutputSpace::Probability, subject)?;
        match threshold {
            Some(threshold) if !threshold.is_finite() => {
                Err(SettingError::new("threshold", format!("{threshold:?} is no output; use a finite number")))
            }
            None if !subject.task.decides(subject.target) => {
                let detail = "this target's output is a number that chooses nothing; say with \"threshold\" from which \
                              output on the answer is another";
                Err(SettingError::new("threshold", detail))
            }
            threshold => Ok(Self { threshold, output }),
        }
    }

    /// # Errors
    /// An output that is not finite.
    pub fn verdict(self, ctx: &dyn Ctx, logits: &[f32], target: &Target) -> Result<Verdict, Error> {
        let verdict = match self.threshold {
            None => ctx.task().verdict(logits, target).ok_or(Error::Missing { what: "a choice" })?,
            Some(threshold) => {
                let margin = ctx.task().value(logits, target, self.output) - threshold;
                Verdict { answers: margin >= 0.0, margin }
            }
        };
        if verdict.margin.is_nan() {
            return Err(Error::NotFinite { what: "the output of a changed input" });
        }
        Ok(verdict)
    }

    /// In words, of an input that is answered as `answers` says: `POSITIVE`, `not POSITIVE`, `0.5 or more`.
    pub fn words(self, target: &Target, answers: bool) -> String {
        match (self.threshold, answers) {
            (None, true) => format!("the model answers {target}"),
            (None, false) => format!("the model does not answer {target}"),
            (Some(threshold), true) => format!("the output of {target} is {threshold} or more"),
            (Some(threshold), false) => format!("the output of {target} is less than {threshold}"),
        }
    }
}
