//! Methods without their types, for the registry: a blanket impl over [`Method`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::support::units;
use super::{Attribution, Cost, Ctx, Error, Method, SettingError, Subject, pointer_segment};
use crate::input::{Kind, TextInput};
use crate::models::{Capability, Spec, TapPlan};
use crate::tasks::OutputSpace;

/// A registered method.
pub trait ErasedMethod: Sync {
    fn name(&self) -> &'static str;
    fn group(&self) -> &'static str;
    fn requires(&self) -> &'static [Capability];
    fn inputs(&self) -> &'static [Kind];
    fn targeted(&self) -> bool;
    /// Whether what it says of several targets makes one explanation.
    fn adds_up(&self) -> bool;
    /// Whether a score's sign says for or against.
    fn signed(&self) -> bool;
    /// The settings' JSON Schema with the settings type's name; its description is the method's documentation.
    fn schema(&self) -> (String, RefOr<Schema>);
    /// Schemas the settings' own one refers to.
    fn schemas(&self) -> Vec<(String, RefOr<Schema>)>;
    /// Reads an item of `explain` without its `method`.
    fn plan(&self, settings: Map<String, Value>, subject: &Subject<'_>) -> Result<Box<dyn Planned>, SettingError>;

    /// Whether `spec` can serve it.
    fn fits(&self, spec: &Spec) -> bool {
        self.inputs().contains(&spec.kind) && spec.capabilities.covers(self.requires())
    }
}

/// A method with its settings resolved for one input.
pub trait Planned: Send + Sync {
    fn method(&self) -> &'static str;
    fn targeted(&self) -> bool;
    /// Whether it scores every token that the model reads, and not units that it takes away.
    fn looks(&self) -> bool;
    /// Whether it takes gradients, one an objective.
    fn differentiates(&self) -> bool;
    /// All settings, as resolved.
    fn settings(&self) -> &Value;
    fn cost(&self) -> Cost;
    /// Numbers that count against `limits.response_values`.
    fn values(&self) -> usize;
    /// The other loaded model that it asks, by name.
    fn asks(&self) -> Option<&str> {
        None
    }
    /// What it will tap of the whole input's forward.
    fn taps(&self) -> TapPlan;
    fn explain(&self, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error>;
}

struct Ready<M: Method> {
    resolved: M::Resolved,
    settings: Value,
    cost: Cost,
    values: usize,
}

impl<M: Method> ErasedMethod for M {
    fn name(&self) -> &'static str {
        M::NAME
    }
    fn group(&self) -> &'static str {
        M::GROUP
    }
    fn requires(&self) -> &'static [Capability] {
        M::REQUIRES
    }
    fn inputs(&self) -> &'static [Kind] {
        M::INPUTS
    }
    fn targeted(&self) -> bool {
        M::TARGETED
    }
    fn adds_up(&self) -> bool {
        M::ADDS_UP
    }
    fn signed(&self) -> bool {
        M::SIGNED
    }
    fn schema(&self) -> (String, RefOr<Schema>) {
        (M::Settings::name().into_owned(), M::Settings::schema())
    }
    fn schemas(&self) -> Vec<(String, RefOr<Schema>)> {
        let mut schemas = Vec::new();
        M::Settings::schemas(&mut schemas);
        schemas
    }
    fn plan(&self, settings: Map<String, Value>, subject: &Subject<'_>) -> Result<Box<dyn Planned>, SettingError> {
        let settings: M::Settings = serde_path_to_error::deserialize(Value::Object(settings)).map_err(|error| {
            let path = pointer(error.path());
            SettingError { path, detail: plain(&error.into_inner().to_string()) }
        })?;
        let inside =
            |needed: &Capability| !matches!(needed, Capability::Forward | Capability::Gradient | Capability::Relu);
        let looks_inside = M::REQUIRES.iter().any(inside);
        let refused = |detail| SettingError { path: String::new(), detail };
        if looks_inside {
            one_window(subject).map_err(refused)?;
        }
        let resolved = M::resolve(settings, subject)?;
        let echo = to_value(&resolved)?;
        if looks_inside {
            let output = echo.get("output").and_then(|output| OutputSpace::deserialize(output).ok());
            subject.task.one_row(subject.target, output).map_err(refused)?;
        }
        let (cost, values) = (cost::<M>(&resolved, subject), M::values(&resolved, subject));
        Ok(Box::new(Ready::<M> { resolved, settings: echo, cost, values }))
    }
}

/// Whether the input is not cut into windows, of which a method that looks at layers could take one alone.
fn one_window(subject: &Subject<'_>) -> Result<(), String> {
    match subject.input.as_text().map_or(0, |text| text.windows.len()) {
        0 => Ok(()),
        windows => Err(format!(
            "the text is read in {windows} windows, and this method looks into one row; send \"truncation\": \
             \"truncate\" or use another method"
        )),
    }
}

/// What the rows cost that the task and the input's windows make of each that the method plans.
fn cost<M: Method>(resolved: &M::Resolved, subject: &Subject<'_>) -> Cost {
    if M::COMPOSED {
        return M::cost(resolved, subject);
    }
    let passes = M::REQUIRES.contains(&Capability::Gradient);
    let rows = match M::REQUIRES.iter().all(|needed| *needed == Capability::Forward) {
        true => subject.task.rows_a_mask(subject.targets),
        false if passes => subject.task.rows_a_pass(),
        false => 1,
    };
    composed(M::cost(resolved, subject), rows, subject)
}

/// What `masks` masked inputs cost.
pub fn masks_cost(masks: usize, subject: &Subject<'_>) -> Cost {
    composed(units::cost(masks, subject), subject.task.rows_a_mask(subject.targets), subject)
}

/// `cost`, of whose rows the task makes `rows` each and the input's windows more.
fn composed(cost: Cost, rows: usize, subject: &Subject<'_>) -> Cost {
    let (windows, extra) = subject.input.as_text().map_or((1, 0), TextInput::reread);
    let tail = subject.task.tail() * windows + extra;
    let mut cost = cost.over(rows, subject.row_tokens(), tail);
    cost.rows = cost.rows.saturating_mul(windows as u64);
    cost
}

/// serde's words without Rust's names of types.
fn plain(detail: &str) -> String {
    let names = [
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected i64", "expected a whole number"),
        ("expected f64", "expected a number"),
        ("expected f32", "expected a number"),
    ];
    names.iter().fold(detail.to_owned(), |detail, (name, words)| detail.replace(name, words))
}

/// As a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", pointer_segment(key)),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    };
    path.iter().map(step).collect()
}

fn to_value(resolved: &impl Serialize) -> Result<Value, SettingError> {
    serde_json::to_value(resolved).map_err(|error| SettingError::new("", error.to_string()))
}

impl<M: Method> Planned for Ready<M> {
    fn method(&self) -> &'static str {
        M::NAME
    }
    fn targeted(&self) -> bool {
        M::TARGETED
    }
    fn looks(&self) -> bool {
        !M::REQUIRES.iter().all(|needed| *needed == Capability::Forward)
    }
    fn differentiates(&self) -> bool {
        M::REQUIRES.contains(&Capability::Gradient)
    }
    fn settings(&self) -> &Value {
        &self.settings
    }
    fn cost(&self) -> Cost {
        self.cost
    }
    fn values(&self) -> usize {
        self.values
    }
    fn asks(&self) -> Option<&str> {
        M::asks(&self.resolved)
    }
    fn taps(&self) -> TapPlan {
        M::taps(&self.resolved)
    }
    fn explain(&self, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        M::explain(&self.resolved, ctx)
    }
}
