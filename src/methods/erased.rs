//! Methods without their types, for the registry: a blanket impl over [`Method`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{Attribution, Cost, Ctx, Error, Method, SettingError, Subject};
use crate::input::Kind;
use crate::models::{Capability, Spec, TapPlan};
use crate::tasks::OutputSpace;

/// A registered method.
pub trait ErasedMethod: Sync {
    fn name(&self) -> &'static str;
    fn group(&self) -> &'static str;
    fn requires(&self) -> &'static [Capability];
    fn inputs(&self) -> &'static [Kind];
    fn targeted(&self) -> bool;
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
    /// All settings, as resolved.
    fn settings(&self) -> &Value;
    fn cost(&self) -> Cost;
    /// Numbers that count against `limits.response_values`.
    fn values(&self) -> usize;
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
            SettingError { path, detail: error.into_inner().to_string() }
        })?;
        let resolved = M::resolve(settings, subject)?;
        let echo = to_value(&resolved)?;
        let looks_inside = M::REQUIRES.iter().any(|needed| *needed != Capability::Forward);
        if looks_inside {
            let output = echo.get("output").and_then(|output| OutputSpace::deserialize(output).ok());
            let refused = |detail| SettingError { path: String::new(), detail };
            subject.task.one_row(subject.target, output).map_err(refused)?;
        }
        let rows_a_mask = if looks_inside { 1 } else { subject.task.rows_a_mask(subject.targets) };
        let (cost, values) = (M::cost(&resolved, subject), M::values(&resolved, subject));
        let cost = cost.over(rows_a_mask, subject.task.tail());
        Ok(Box::new(Ready::<M> { resolved, settings: echo, cost, values }))
    }
}

/// As a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
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
    fn settings(&self) -> &Value {
        &self.settings
    }
    fn cost(&self) -> Cost {
        self.cost
    }
    fn values(&self) -> usize {
        self.values
    }
    fn taps(&self) -> TapPlan {
        M::taps(&self.resolved)
    }
    fn explain(&self, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        M::explain(&self.resolved, ctx)
    }
}
