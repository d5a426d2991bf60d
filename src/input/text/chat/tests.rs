//! Templates against what transformers writes (tests/golden/values/chats.json), and the bounds of those that misbehave.

use serde_json::{Value, json};

use super::*;

fn message(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: content.to_owned() }
}

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, vec![("bos_token", "<s>".into()), ("eos_token", "</s>".into())])
}

fn refused(source: &str) -> String {
    template(source).render(&[message("user", "hey")]).unwrap_err().to_string()
}

fn own(chat: &Chat) -> Vec<String> {
    let characters: Vec<char> = chat.text.chars().collect();
    chat.contents.iter().map(|part| characters[part.clone()].iter().collect()).collect()
}

#[test]
fn templates_write_what_transformers_does() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/values/chats.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 20);
    for case in cases {
        let source = golden["templates"][case["template"].as_str().unwrap()].as_str().unwrap();
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        match (template(source).render(&messages), case["text"].as_str()) {
            (Ok(chat), Some(text)) => {
                assert_eq!(chat.text, text, "{case}");
                if !case["contents"].is_null() {
                    assert_eq!(json!(own(&chat)), case["contents"], "{case}");
                }
            }
            (Err(error), None) => {
                let raised = case["raises"].as_str().unwrap();
                assert!(error.to_string().contains(raised), "{case}: {error}");
            }
            (found, _) => panic!("{case}: {found:?}"),
        }
    }
}

#[test]
fn what_a_template_refuses_is_said_in_one_line() {
    let error = refused("{{ raise_exception('Roles must alternate') }}");
    assert!(error.contains("Roles must alternate") && !error.contains('\n'), "{error}");
    let error = refused("{% for");
    assert!(error.contains("chat template") && !error.contains('\n'), "{error}");
    assert!(refused("{{ nothing() }}").contains("nothing"));
    assert!(refused("{{ nothing.at.all }}").contains("undefined"));
}

#[test]
fn what_does_not_end_is_stopped() {
    for source in [
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{% macro a() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}",
        "{% set ns = namespace(x='x') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{{ 'x' * 99999999 }}",
        "{% for a in range(90000) %}{{ 'x' * 1000 }}{% endfor %}",
    ] {
        let error = refused(source);
        assert!(error.contains("end") || error.contains("recurs") || error.contains("large"), "{source}: {error}");
    }
}

#[test]
fn a_template_has_one_name_or_several() {
    let named = json!([{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]);
    assert_eq!(ChatTemplate::source_of(&named), Some("b"));
    assert_eq!(ChatTemplate::source_of(&"c".into()), Some("c"));
    assert_eq!(ChatTemplate::source_of(&Value::Null), None);
    assert_eq!(ChatTemplate::source_of(&json!([{"name": "tool_use", "template": "a"}])), None);
}

#[test]
fn the_date_is_always_the_same_and_said_to_be() {
    let format = "%A %a %d %B %b %Y-%m-%d %y %H:%M:%S %j %% %Q %";
    let chat = template(&format!("{{{{ strftime_now('{format}') }}}}")).render(&[]).unwrap();
    assert_eq!(chat.text, "Friday Fri 26 July Jul 2024-07-26 24 00:00:00 208 % %Q %");
    assert!(chat.dated);
    let undated = template("{% if strftime_now is defined %}x{% endif %}").render(&[]).unwrap();
    assert_eq!((undated.text.as_str(), undated.dated), ("x", false));
}

#[test]
fn contents_are_found_where_the_template_puts_them() {
    // A role, and a part of the template's own text, as contents.
    let tags = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</s>\n{% endfor %}";
    let messages = [message("user", "user"), message("assistant", " s "), message("user", "")];
    let chat = template(tags).render(&messages).unwrap();
    assert_eq!(chat.text, "<user>user</s>\n<assistant>s</s>\n<user></s>\n");
    assert_eq!(chat.contents, [6..10, 26..27, 38..38]);
    // Left out, twice, out of order.
    let last = "{{ messages[-1].content }}|{{ messages[0].content }}|{{ messages[-1].content }}";
    let chat = template(last).render(&[message("user", "é"), message("user", "no"), message("user", "ab")]).unwrap();
    assert_eq!((own(&chat), chat.contents), (vec!["ab".into(), "é".into(), "ab".into()], vec![0..2, 3..4, 5..7]));
}

#[test]
fn contents_that_are_hidden_leave_all_of_the_prompt() {
    let upper = template("{{ messages[0].content | upper }}!").render(&[message("user", "hey")]).unwrap();
    assert_eq!(own(&upper), ["HEY!"]);
    let other = "{% if 'a' in messages[0].content %}A{% endif %}{{ messages[0].content }}";
    assert_eq!(own(&template(other).render(&[message("user", "cat")]).unwrap()), ["Acat"]);
}
