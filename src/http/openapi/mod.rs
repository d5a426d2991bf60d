//! The OpenAPI 3.1 document. Routes and types write it ([`crate::http::router`]); this module adds what they cannot
//! know: the methods' settings, the problems, the examples. openapi/openapi.json is this document, and a test keeps
//! it so.

pub mod responses;
pub mod schema;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi as _, ToSchema};

use super::problem::{Code, ProblemBody};
use super::router::routes;
use crate::explain::{Answer, ExplainRequest};
use crate::methods::METHODS;

/// A file with what is asked about it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MultipartForm {
    /// A PNG, JPEG or WebP file.
    #[schema(value_type = String, format = Binary)]
    pub image: Vec<u8>,
    /// The JSON of a request, without `image`.
    pub request: Option<ExplainRequest>,
}

/// A line of a batch's answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "a schema; no value of it is ever made")]
pub enum BatchLine {
    Answer(Box<BatchAnswer>),
    Problem(BatchProblem),
}

/// A line that could be answered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    /// Counts requests from 0.
    pub index: usize,
    pub answer: Answer,
}

/// A line that could not.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchProblem {
    /// Counts requests from 0.
    pub index: usize,
    pub problem: ProblemBody,
}

/// What no route can say: title, licence, tags, keys.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "explaind",
        description = "Explains what a model did: POST a text or an image, get attention maps, integrated gradients \
            and LIME.\n\nEvery answer carries `x-request-id`: the caller's own where it sent one. Errors are \
            `application/problem+json` (RFC 9457); the schema `ProblemCode` lists every type. What is no HTTP/1.1, or \
            has a head of more than 64 KiB or 100 headers, never becomes a request: the parser itself answers 400, 414 \
            or 431, with neither a body nor an id, and closes the connection.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This service")),
    tags(
        (name = "explain", description = "Ask about an input"),
        (name = "lists", description = "What is loaded and what can be asked"),
        (name = "probes", description = "For orchestrators: never locked"),
        (name = "service", description = "About the service itself"),
    ),
    components(schemas(ProblemBody)),
    // With auth.keys_file a key is needed; without, none.
    security((), ("key" = [])),
    modifiers(&Key),
)]
struct Base;

struct Key;

impl Modify for Key {
    fn modify(&self, document: &mut OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some("One of the keys of auth.keys_file, where it is set".to_owned());
        document
            .components
            .get_or_insert_default()
            .security_schemes
            .insert("key".to_owned(), SecurityScheme::Http(scheme).into());
    }
}

pub(super) fn base() -> OpenApi {
    Base::openapi()
}

/// Requests of openapi/examples, which a test sends through the router.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("text", "A sentence and three methods", include_str!("../../../openapi/examples/text.json")),
    ("defaults", "The shortest request", include_str!("../../../openapi/examples/defaults.json")),
    ("contrast", "Why this class and not that one", include_str!("../../../openapi/examples/contrast.json")),
    ("image", "An image as base64", include_str!("../../../openapi/examples/image.json")),
];

static DOCUMENT: LazyLock<String> = LazyLock::new(write);

/// The document as indented JSON; the same bytes every time.
pub fn document() -> &'static str {
    &DOCUMENT
}

fn write() -> String {
    let (_, document) = routes().split_for_parts();
    let mut document = serde_json::to_value(document).unwrap_or_default();
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        add_problems(schemas);
        add_methods(schemas);
    }
    add_examples(&mut document);
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// Lists the problem types where `type` stands.
fn add_problems(schemas: &mut Map<String, Value>) {
    let table: Vec<String> =
        Code::ALL.iter().map(|code| format!("- `{}` ({}): {}", code.as_str(), code.status(), code.title())).collect();
    let uris: Vec<String> = Code::ALL.iter().map(|code| code.uri()).collect();
    let description =
        format!("Every problem type: `https://explaind.dev/problems/` and a code.\n\n{}", table.join("\n"));
    let codes = json!({"type": "string", "format": "uri", "description": description, "enum": uris});
    schemas.insert("ProblemCode".to_owned(), codes);
    if let Some(uri) = schemas.get_mut("Problem").and_then(|problem| problem.pointer_mut("/properties/type")) {
        *uri = json!({"$ref": "#/components/schemas/ProblemCode"});
    }
}

/// An item of `explain` is a method's name, or one method's settings with its name.
fn add_methods(schemas: &mut Map<String, Value>) {
    let names: Vec<&str> = METHODS.iter().map(|method| method.name()).collect();
    let mut forms = vec![json!({"type": "string", "enum": names, "description": "A method with its defaults"})];
    for method in METHODS {
        let (name, settings) = schema::component(*method);
        for (name, schema) in schema::referenced(*method) {
            schemas.entry(name).or_insert(schema);
        }
        forms.push(json!({"$ref": format!("#/components/schemas/{name}")}));
        schemas.insert(name, settings);
    }
    let description = "A method by its name, or an object of its `method` and settings.";
    schemas.insert("ExplainItem".to_owned(), json!({"description": description, "oneOf": forms}));
}

fn add_examples(document: &mut Value) {
    let examples: Map<String, Value> = EXAMPLES
        .iter()
        .filter_map(|(name, summary, text)| {
            let value: Value = serde_json::from_str(text).ok()?;
            Some(((*name).to_owned(), json!({"summary": summary, "value": value})))
        })
        .collect();
    for path in ["~1explain", "~1predict"] {
        let pointer = format!("/paths/{path}/post/requestBody/content/application~1json");
        if let Some(content) = document.pointer_mut(&pointer).and_then(Value::as_object_mut) {
            content.insert("examples".to_owned(), Value::Object(examples.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed() -> Value {
        serde_json::from_str(document()).unwrap()
    }

    /// Every value under a `$ref` key, anywhere.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if let ("$ref", Value::String(target)) = (key.as_str(), value) {
                        found.push(target.clone());
                    }
                    references(value, found);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn it_is_openapi_3_1_and_every_reference_leads_somewhere() {
        let document = parsed();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20);
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }

    #[test]
    fn every_operation_is_described_and_every_problem_listed() {
        let document = parsed();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (verb, operation) in item.as_object().unwrap() {
                assert!(operation["summary"].is_string(), "{verb} {path}");
                assert!(operation["operationId"].is_string(), "{verb} {path}");
            }
        }
        let codes = document["components"]["schemas"]["ProblemCode"]["enum"].as_array().unwrap();
        assert_eq!(codes.len(), Code::ALL.len());
    }

    #[test]
    fn every_example_parses() {
        for (name, _, text) in EXAMPLES {
            let parsed: Result<ExplainRequest, _> = serde_json::from_str(text);
            assert!(parsed.is_ok(), "{name}: {parsed:?}");
        }
    }

    #[test]
    fn every_method_is_an_item_of_explain() {
        let document = parsed();
        let forms = document["components"]["schemas"]["ExplainItem"]["oneOf"].as_array().unwrap();
        assert_eq!(forms.len(), METHODS.len() + 1);
    }
}
