//! What a changed input is looked for: that the model says something else.

use super::decision::Decision;
use crate::methods::{Ctx, Error, SettingError, Subject};
use crate::tasks::{Class, ClassSpec, Target};

/// The class that `to` names.
///
/// # Errors
/// There is no such class, or the target is of no class.
pub fn class(
    to: Option<&ClassSpec>,
    threshold: Option<f64>,
    subject: &Subject<'_>,
) -> Result<Option<Class>, SettingError> {
    let Some(to) = to else { return Ok(None) };
    if threshold.is_some() {
        let detail = "either a class or a threshold says what another answer is; leave one out";
        return Err(SettingError::new("to", detail));
    }
    subject.task.class(to).map(Some).map_err(|error| SettingError::new("to", error.detail))
}

/// What is to be said of a changed input.
pub struct Goal {
    decision: Decision,
    /// The target that is to be answered or not.
    pub target: Target,
    /// Whether it is to be answered.
    pub wanted: bool,
}

/// How far a changed input is from the goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reached {
    pub reached: bool,
    /// The larger, the nearer (or the further beyond), in logits.
    pub nearness: f64,
}

impl Goal {
    /// That `to` is answered, or else that the target is no longer answered, or now is.
    pub fn new(decision: Decision, ctx: &dyn Ctx, target: &Target, to: Option<&Class>) -> Result<Self, Error> {
        match to {
            Some(class) => {
                let target = target.about(class).ok_or(Error::Missing { what: "a target of a class" })?;
                Ok(Self { decision, target, wanted: true })
            }
            None => {
                let says = decision.verdict(ctx, ctx.logits(), target)?.answers;
                Ok(Self { decision, target: target.clone(), wanted: !says })
            }
        }
    }

    /// # Errors
    /// An output that is not finite.
    pub fn of(&self, ctx: &dyn Ctx, logits: &[f32]) -> Result<Reached, Error> {
        let verdict = self.decision.verdict(ctx, logits, &self.target)?;
        let nearness = if self.wanted { verdict.margin } else { -verdict.margin };
        Ok(Reached { reached: verdict.answers == self.wanted, nearness })
    }
}
