//! What is an answer and what is not, and which input belongs to it.

use serde_json::json;

use super::*;
use crate::tasks::{ClassSpec, TargetSpec};

fn answer() -> Value {
    json!({
        "id": "x", "model": {"name": "m", "source": "bundled:sentiment", "revision": null, "sha256": "0"},
        "request": {
            "model": "m", "target": [{"label": "POSITIVE", "index": 1}],
            "explain": [{"method": "lime", "samples": 20, "tolerance": 0.30000000000000004}],
            "evaluate": false, "deadline_ms": 90000, "partial": false, "seed": 7, "echo": false
        },
        "input": {"kind": "text", "sha256": text::sha256("a film", None), "tokens": [], "words": []},
        "prediction": {}, "explanations": [], "warnings": [], "provenance": {}
    })
}

fn read(answer: &Value) -> Result<Recorded, RecordError> {
    Recorded::read(answer.to_string().as_bytes())
}

fn refused(answer: &Value) -> String {
    read(answer).unwrap_err().to_string()
}

#[test]
fn the_request_is_asked_again_as_it_was_resolved() {
    let recorded = read(&answer()).unwrap();
    let (request, image) = recorded.request(Some(b"a film\n")).unwrap();
    assert_eq!((request.text.as_deref(), request.seed, image), (Some("a film"), Some(7), None));
    assert_eq!((recorded.deadline_ms(), recorded.wanted()), (Some(90_000), Wanted::Explanations));
    let TargetSpec::List(targets) = request.target.unwrap() else { panic!("a list") };
    assert!(matches!(&targets[..], [TargetSpec::Contrast(one)] if matches!(one.index, ClassSpec::Class(_))));
    let crate::explain::ExplainItem::Settings(settings) = &request.explain.unwrap()[0] else { panic!("settings") };
    assert_eq!(settings["tolerance"].as_f64().map(f64::to_bits), Some(0.30000000000000004_f64.to_bits()));
}

#[test]
fn a_prediction_without_a_target_is_asked_without_one() {
    let mut answer = answer();
    answer["request"]["target"] = json!([]);
    answer["request"].as_object_mut().unwrap().remove("explain");
    answer.as_object_mut().unwrap().remove("explanations");
    let recorded = read(&answer).unwrap();
    assert_eq!(recorded.wanted(), Wanted::Prediction);
    assert!(recorded.request(Some(b"a film")).unwrap().0.target.is_none());
}

#[test]
fn the_input_is_the_file_or_a_request_or_the_echo() {
    let mut answer = answer();
    let recorded = read(&answer).unwrap();
    for file in ["a film", "a film\r\n", r#"{"text": "a film", "method": "lime"}"#] {
        assert!(recorded.request(Some(file.as_bytes())).is_ok(), "{file}");
    }
    assert!(matches!(recorded.request(None), Err(RecordError::NoInput)));
    let Err(RecordError::OtherInput(found)) = recorded.request(Some(b"another film")) else { panic!("another") };
    assert_eq!((found.pointer.as_str(), found.recorded), ("/input/sha256", Some(answer["input"]["sha256"].clone())));
    assert_eq!(found.replayed, Some(text::sha256("another film", None).into()));
    assert!(recorded.request(Some(b"\xff")).unwrap_err().to_string().contains("not UTF-8"));

    // Of a chat the prompt stands there without the messages that it was made of.
    answer["input"]["text"] = json!("a film");
    assert!(matches!(read(&answer).unwrap().request(None), Err(RecordError::NoInput)));
    answer["request"]["echo"] = json!(true);
    assert!(read(&answer).unwrap().request(None).is_ok());
    answer["input"]["text"] = json!("a flim");
    assert!(matches!(read(&answer).unwrap().request(None), Err(RecordError::OtherInput(_))));

    answer["input"]["sha256"] = json!(text::sha256("a", Some("b")));
    let pair = read(&answer).unwrap().request(Some(br#"{"text": "a", "pair": "b"}"#)).unwrap().0;
    assert_eq!(pair.pair.as_deref(), Some("b"));
}

#[test]
fn images_come_as_files_or_as_base64() {
    let mut answer = answer();
    let bytes = b"\x89PNG";
    answer["input"] = json!({"kind": "image", "sha256": format!("{:x}", Sha256::digest(bytes))});
    let recorded = read(&answer).unwrap();
    assert_eq!(recorded.request(Some(bytes)).unwrap().1.as_deref(), Some(&bytes[..]));
    let request = json!({"image": STANDARD.encode(bytes)}).to_string();
    assert_eq!(recorded.request(Some(request.as_bytes())).unwrap().1.as_deref(), Some(&bytes[..]));
    answer["request"]["echo"] = json!(true);
    answer["input"]["image"] = json!("?");
    assert!(read(&answer).unwrap().request(None).unwrap_err().to_string().contains("/input/image"));
}

#[test]
fn chats_come_as_requests_or_with_the_answer() {
    let mut answer = answer();
    let messages = json!([{"role": "user", "content": "hey"}]);
    answer["input"]["sha256"] = json!(text::sha256(r#"[{"role":"user","content":"hey"}]"#, None));
    answer["input"]["text"] = json!("<user>hey");
    let read_again = |answer: &Value, file: Option<&[u8]>| read(answer).unwrap().request(file);
    let file = json!({"messages": messages, "method": "lime"}).to_string();
    let asked = read_again(&answer, Some(file.as_bytes())).unwrap().0;
    assert_eq!((asked.text, asked.messages.unwrap()[0].content.as_str()), (None, "hey"));
    assert!(matches!(read_again(&answer, None), Err(RecordError::NoInput)));
    assert!(matches!(read_again(&answer, Some(b"<user>hey")), Err(RecordError::OtherInput(_))));
    answer["request"]["echo"] = json!(true);
    answer["input"]["messages"] = messages;
    assert_eq!(read_again(&answer, None).unwrap().0.messages.unwrap().len(), 1);
    answer["input"]["messages"] = json!([{"role": "user"}]);
    assert!(read_again(&answer, None).unwrap_err().to_string().contains("/input/messages"));
}

#[test]
fn what_is_no_answer_is_said_to_be_none() {
    let mut partial = answer();
    partial["explanations"] = json!([{"partial": true}]);
    assert!(refused(&partial).contains("partial"));
    assert!(refused(&json!({"models": []})).contains("/id is missing"));
    assert!(refused(&json!([])).contains("/id is missing"));
    let problem = json!({"type": "https://explaind.dev/problems/deadline", "status": 504});
    assert!(refused(&problem).contains("problems/deadline"));
    assert!(refused(&json!({"index": 0, "problem": problem})).contains("problems/deadline"));
    assert!(read(&json!({"index": 3, "answer": answer()})).is_ok());
    let two = format!("{}\n{}", answer(), answer());
    assert!(Recorded::read(two.as_bytes()).unwrap_err().to_string().contains("more follows"));
    let cut = answer().to_string();
    let error = Recorded::read(&cut.as_bytes()[..cut.len() / 2]).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains("line 1"), "{error}");
}

#[test]
fn a_field_of_another_version_is_named() {
    let mut answer = answer();
    answer["request"]["novel"] = json!(1);
    let error = read(&answer).unwrap().request(Some(b"a film")).unwrap_err().to_string();
    assert!(error.contains("novel") && error.contains("another version"), "{error}");
}
