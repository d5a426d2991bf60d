//! JSON Schemas of the methods' settings as components of the OpenAPI document, where an item also carries its
//! `method`. (`explain::listing` makes those of `/methods`, which stand alone.)

use serde_json::{Map, Value, json};

use crate::methods::ErasedMethod;

/// The settings' schema with a required `method`, and the component's name.
pub fn component(method: &dyn ErasedMethod) -> (String, Value) {
    let (name, schema) = method.schema();
    let mut schema = schema_map(&object(&schema));
    let mut properties = Map::new();
    properties.insert("method".to_owned(), json!({"type": "string", "enum": [method.name()]}));
    if let Some(Value::Object(own)) = schema.remove("properties") {
        properties.extend(own);
    }
    let mut required = vec![json!("method")];
    if let Some(Value::Array(own)) = schema.remove("required") {
        required.extend(own);
    }
    schema.insert("required".to_owned(), Value::Array(required));
    schema.insert("properties".to_owned(), Value::Object(properties));
    (name, Value::Object(schema))
}

/// Schemas the settings refer to, by name.
pub fn referenced(method: &dyn ErasedMethod) -> Vec<(String, Value)> {
    method.schemas().iter().map(|(name, schema)| (name.clone(), object(schema))).collect()
}

fn object(schema: &impl serde::Serialize) -> Value {
    serde_json::to_value(schema).unwrap_or_else(|_| json!({}))
}

fn schema_map(schema: &Value) -> Map<String, Value> {
    schema.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::METHODS;

    #[test]
    fn a_component_names_its_method() {
        for method in METHODS {
            let (_, schema) = component(*method);
            assert_eq!(schema["properties"]["method"]["enum"], json!([method.name()]));
            assert_eq!(schema["required"][0], "method");
        }
    }
}
