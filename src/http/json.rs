//! JSON of a request into [`ExplainRequest`], with a pointer to whatever is wrong. Bounded: nesting by serde_json's
//! own limit, the number of values here, since a value takes far more memory than the two bytes it is written in.

use serde::de::IgnoredAny;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use super::problem::{Code, ECHO_CHARS, Problem, clip};
use crate::explain::ExplainRequest;
use crate::methods::pointer_segment;

/// Values (list items and fields) of one request. Spans of a long text need a few thousand.
const MAX_VALUES: usize = 100_000;

/// Reads a request.
///
/// # Errors
/// 400 not UTF-8 or not JSON; 413 more values than any request needs; 422 with a pointer.
pub fn parse(bytes: &[u8]) -> Result<ExplainRequest, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Problem::new(Code::NotUtf8, format!("the body is not UTF-8 from byte {}", error.valid_up_to()))
    })?;
    if values(text.as_bytes()) > MAX_VALUES {
        return Err(Problem::new(
            Code::TooLarge,
            format!("the JSON holds more than {MAX_VALUES} values; shorten its lists"),
        ));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // serde's structs may be written as lists too; a request may not.
    let object = text.trim_start().starts_with('{');
    let parsed = match object {
        true => serde_path_to_error::deserialize::<_, ExplainRequest>(&mut deserializer),
        false => return Err(not_an_object(text)),
    };
    let request = parsed.map_err(|error| wrong(text, &error.path().clone(), error.inner()))?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(request)
}

/// Roughly how many values `json` holds, without reading it: separators outside of strings.
fn values(json: &[u8]) -> usize {
    let (mut count, mut quoted, mut escaped) = (0, false, false);
    for &byte in json {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => quoted = true,
                b',' | b'[' | b'{' => count += 1,
                _ => {}
            }
        }
    }
    count
}

fn not_an_object(text: &str) -> Problem {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Problem::invalid("", "the request must be a JSON object"),
        Err(error) => not_json(&error),
    }
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(Code::InvalidJson, format!("the body is not JSON: {}", clip_message(&error.to_string())))
}

fn wrong(text: &str, path: &Path, error: &serde_json::Error) -> Problem {
    if error.classify() != Category::Data {
        return not_json(error);
    }
    // The first wrong value is found before the rest is read: what is not JSON at all is 400 all the same.
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return not_json(&error);
    }
    let message = without_place(&error.to_string());
    // The path of an unknown field ends with its name.
    let pointer = pointer(path);
    if let Some(field) = unknown_field(&message) {
        let known = message.rsplit_once("`, expected ").map_or(String::new(), |(_, known)| format!("; known: {known}"));
        return Problem::invalid(pointer, format!("unknown field \"{}\"{known}", clip(field)));
    }
    let detail = untagged(&pointer).filter(|_| message.contains("untagged enum"));
    let detail = detail.map_or_else(|| clip_message(&message), str::to_owned);
    Problem::invalid(pointer, detail)
}

/// What serde cannot say of a value that may have several forms.
fn untagged(pointer: &str) -> Option<&'static str> {
    if pointer.starts_with("/target") {
        return Some(
            "a target is a label, a class index from 0, \"predicted\", \"all\", a list of these, or \
             {\"index\": class, \"against\": class}",
        );
    }
    pointer.starts_with("/explain").then_some(
        "an item of explain is a method's name or an object with \"method\" and its settings, such as \
         {\"method\": \"lime\", \"samples\": 1000}",
    )
}

/// The name in serde's `unknown field`.
fn unknown_field(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("unknown field `")?;
    let end = rest.rfind("`, expected").or_else(|| rest.rfind("`, there are"))?;
    rest.get(..end)
}

/// serde_json appends ` at line L column C` to messages about data; the pointer says it better.
fn without_place(message: &str) -> String {
    let place = message.rfind(" at line ").filter(|_| message.contains(" column "));
    message.get(..place.unwrap_or(message.len())).unwrap_or(message).to_owned()
}

/// A message of serde with the value it quotes cut short: `invalid type: string "…", expected u64`.
fn clip_message(message: &str) -> String {
    let (said, expected) = message.split_at(message.rfind(", expected").unwrap_or(message.len()));
    let Some(open) = said.find(['"', '`']) else { return message.to_owned() };
    let (before, quoted) = said.split_at(open + 1);
    if quoted.chars().count() <= ECHO_CHARS + 1 {
        return message.to_owned();
    }
    let end = if before.ends_with('"') { '"' } else { '`' };
    format!("{before}{}{end}{expected}", clip(quoted))
}

/// RFC 6901.
fn pointer(path: &Path) -> String {
    let mut out = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => out.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                out.push_str(&format!("/{}", pointer_segment(key)))
            }
            Segment::Unknown => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(json: &str) -> (Code, String, String) {
        let problem = parse(json.as_bytes()).unwrap_err();
        let (pointer, detail) = match problem.errors.first() {
            Some(field) => (field.pointer.clone(), field.detail.clone()),
            None => (String::new(), problem.detail.clone()),
        };
        (problem.code, pointer, detail)
    }

    #[test]
    fn wrong_values_are_pointed_at() {
        for (json, pointer) in [
            (r#"{"text": 1}"#, "/text"),
            (r#"{"seed": -1}"#, "/seed"),
            (r#"{"seed": 1.5}"#, "/seed"),
            (r#"{"explain": ["lime", 3]}"#, "/explain/1"),
            (r#"{"explain": "lime"}"#, "/explain"),
            (r#"{"target": 1.5}"#, "/target"),
            (r#"{"truncation": "cut"}"#, "/truncation"),
            (r#"{"text": "a", "txet": "b"}"#, "/txet"),
            (r#"{"a/b~c": 1}"#, "/a~1b~0c"),
            ("[]", ""),
            ("3", ""),
        ] {
            let (code, found, detail) = problem(json);
            assert_eq!((code, found.as_str()), (Code::InvalidRequest, pointer), "{json}: {detail}");
            assert!(!detail.contains("untagged"), "{detail}");
        }
    }

    #[test]
    fn what_is_not_json_is_400_wherever_it_breaks() {
        for json in ["", "{", "{\"text\": \"a\"} x", "{\"txet\": 1, ", "{\"text\": NaN}", "nul"] {
            assert_eq!(problem(json).0, Code::InvalidJson, "{json}");
        }
        assert_eq!(parse(b"{\"text\": \"\xff\"}").unwrap_err().code, Code::NotUtf8);
    }

    #[test]
    fn bombs_are_refused() {
        let deep = format!("{{\"explain\": [{}", "[".repeat(50_000));
        assert_eq!(problem(&deep).0, Code::InvalidJson);
        let wide = format!("{{\"explain\": [{}0]}}", "0,".repeat(MAX_VALUES + 1));
        assert_eq!(problem(&wide).0, Code::TooLarge);
        let text = format!("{{\"text\": \"{}\"}}", ",".repeat(MAX_VALUES + 1));
        assert!(parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn a_callers_words_are_cut() {
        let long = "x\\\"".repeat(300);
        for json in [format!("{{\"seed\": \"{long}\"}}"), format!("{{\"{long}\": 1}}")] {
            let problem = parse(json.as_bytes()).unwrap_err();
            let echoed = problem.detail.matches('x').count();
            assert!(echoed <= 2 * ECHO_CHARS, "{}", problem.detail);
        }
    }

    #[test]
    fn a_list_of_two_targets_is_no_contrast() {
        use crate::tasks::TargetSpec::{Index, List};
        let request = parse(br#"{"target": [1, 0]}"#).unwrap();
        assert_eq!(request.target, Some(List(vec![Index(1), Index(0)])));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_a_problem(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_text_survives(text in ".*", name in ".*") {
            let json = serde_json::json!({"text": text, "model": name}).to_string();
            let request = parse(json.as_bytes()).unwrap();
            prop_assert_eq!(request.text, Some(text));
        }

        #[test]
        fn any_unknown_field_is_named(name in "[a-z/~\"`]{12,30}") {
            let json = serde_json::json!({name.clone(): 1}).to_string();
            let problem = parse(json.as_bytes()).unwrap_err();
            prop_assert_eq!(&problem.errors[0].pointer, &format!("/{}", pointer_segment(&name)));
        }
    }
}
