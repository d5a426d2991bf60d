//! The methods a request names: which they are, whether the model can serve them, and their settings resolved.

use serde_json::{Map, Value};

use super::plan::Field;
use super::{ExplainItem, ExplainRequest};
use crate::methods::{ErasedMethod, METHODS, Planned, Subject};
use crate::models::{Capability, Spec};
use crate::tasks::quote;

/// A method with the settings a caller wrote, and where they stand in the request.
pub(super) struct Chosen {
    pub method: &'static dyn ErasedMethod,
    settings: Map<String, Value>,
    pub pointer: String,
}

impl Chosen {
    pub fn plan(self, subject: &Subject<'_>) -> Result<Box<dyn Planned>, Field> {
        let Self { method, settings, pointer } = self;
        method.plan(settings, subject).map_err(|error| Field::new(format!("{pointer}{}", error.path), error.detail))
    }
}

/// The methods of `request` in its order, `max` at most; what is wrong with them goes to `fields`.
pub(super) fn choose(request: &mut ExplainRequest, spec: &Spec, max: usize, fields: &mut Vec<Field>) -> Vec<Chosen> {
    let (explain, method) = (request.explain.take(), request.method.take());
    let found = match (explain, method) {
        (Some(_), Some(_)) => vec![Err(Field::new("/method", "give either \"explain\" or its short form \"method\""))],
        (Some(items), None) if items.is_empty() => {
            vec![Err(Field::new("/explain", "the list is empty; name a method, or leave it out for the default"))]
        }
        (Some(items), None) if items.len() > max => {
            let detail = format!("{} methods are more than limits.explanations ({max}); send fewer", items.len());
            vec![Err(Field::new("/explain", detail))]
        }
        (Some(items), None) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| of_item(item, format!("/explain/{index}"), spec))
            .collect(),
        (None, Some(name)) => vec![named(&name, "/method", spec).map(|method| chosen(method, "/method"))],
        (None, None) => vec![named(default_name(spec), "/explain", spec).map(|method| chosen(method, "/explain"))],
    };
    let mut all = Vec::with_capacity(found.len());
    for result in found {
        match result {
            Ok(chosen) => all.push(chosen),
            Err(field) => fields.push(field),
        }
    }
    all
}

fn default_name(spec: &Spec) -> &'static str {
    if spec.capabilities.covers(&[Capability::Gradient]) { "integrated_gradients" } else { "lime" }
}

fn chosen(method: &'static dyn ErasedMethod, pointer: &str) -> Chosen {
    Chosen { method, settings: Map::new(), pointer: pointer.to_owned() }
}

fn of_item(item: ExplainItem, pointer: String, spec: &Spec) -> Result<Chosen, Field> {
    match item {
        ExplainItem::Name(name) => Ok(chosen(named(&name, &pointer, spec)?, &pointer)),
        ExplainItem::Settings(mut settings) => {
            let method = match settings.shift_remove("method") {
                Some(Value::String(name)) => named(&name, &format!("{pointer}/method"), spec)?,
                Some(_) => return Err(Field::new(format!("{pointer}/method"), "expected a method's name as a string")),
                None => {
                    return Err(Field::new(pointer, "\"method\" is missing; name the method these settings are for"));
                }
            };
            Ok(Chosen { method, settings, pointer })
        }
    }
}

/// The method of that name, if the model can serve it.
fn named(name: &str, pointer: &str, spec: &Spec) -> Result<&'static dyn ErasedMethod, Field> {
    let method = METHODS.iter().find(|method| method.name() == name).ok_or_else(|| {
        let known: Vec<_> = METHODS.iter().map(|method| method.name()).collect();
        Field::new(pointer, format!("there is no method {}; known are {}", quote(name), known.join(", ")))
    })?;
    if !method.inputs().contains(&spec.kind) {
        let kind = super::catalog::noun(spec.kind);
        return Err(Field::new(pointer, format!("method \"{name}\" does not explain models of {kind}")));
    }
    let missing: Vec<_> =
        method.requires().iter().filter(|capability| !spec.capabilities.0.contains(capability)).collect();
    if !missing.is_empty() {
        let missing: Vec<_> = missing.into_iter().map(|capability| capability_name(*capability)).collect();
        let fitting: Vec<_> = METHODS.iter().filter(|method| method.fits(spec)).map(|method| method.name()).collect();
        let detail = format!(
            "method \"{name}\" needs what this model cannot give: {}; it can serve {}",
            missing.join(", "),
            fitting.join(", ")
        );
        return Err(Field::new(pointer, detail));
    }
    Ok(*method)
}

/// As `/methods` and `/models` write it.
fn capability_name(capability: Capability) -> &'static str {
    match capability {
        Capability::Forward => "forward",
        Capability::Gradient => "gradient",
        Capability::Attention => "attention",
        Capability::Hidden => "hidden",
        Capability::FeatureMap => "feature_map",
        Capability::Relu => "relu",
    }
}
