//! Chats: messages written into a prompt by the model's own template, in the dialect of Jinja that transformers reads.
//!
//! `processor` holds a model's template; the prompt that comes out is read as any other, but for the template's own
//! tokens, which are nobody's units.

use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, context};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::TextError;

/// Steps that a template may take: some thousand for a long chat, and not without end.
const FUEL: u64 = 10_000_000;

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the model's template knows.
    pub role: String,
    pub content: String,
}

impl Message {
    fn value(&self) -> minijinja::Value {
        minijinja::Value::from_pairs([("role", self.role.as_str()), ("content", self.content.as_str())])
    }
}

/// Messages as the model reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    pub text: String,
    /// The characters that the messages' contents are.
    pub contents: Vec<Range<usize>>,
}

/// A model's template and the names of the tokens that it may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    pub source: String,
    pub bos_token: Option<String>,
    pub eos_token: Option<String>,
}

impl ChatTemplate {
    /// The template of a `chat_template` of tokenizer_config.json: a string, or a list of which the one named `default`
    /// counts.
    pub fn source_of(value: &Value) -> Option<String> {
        let named = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
        let default = value.as_array().and_then(|list| list.iter().find(named)).and_then(|entry| entry.get("template"));
        value.as_str().or(default.and_then(Value::as_str)).map(str::to_owned)
    }

    /// The prompt of `messages`, up to where the assistant's answer begins.
    ///
    /// # Errors
    /// The template cannot be read, or refuses these messages.
    pub fn render(&self, messages: &[Message]) -> Result<Chat, TextError> {
        let refused = |error: Error| TextError::Chat(first_line(&error));
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(refused)?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |text: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, text))
        });
        // There is no `strftime_now`: with today's date the same request would not be the same.
        environment.add_template("chat", &self.source).map_err(refused)?;
        let template = environment.get_template("chat").map_err(refused)?;
        let text = template
            .render(context! {
                messages => messages.iter().map(Message::value).collect::<Vec<_>>(),
                add_generation_prompt => true,
                bos_token => self.bos_token.as_deref().unwrap_or_default(),
                eos_token => self.eos_token.as_deref().unwrap_or_default(),
            })
            .map_err(refused)?;
        let contents = contents(&text, messages);
        Ok(Chat { text, contents })
    }
}

/// Where the messages' contents stand, each behind the one before. A template may strip them; one that writes them in
/// another way hides them, and then all of the prompt counts as theirs.
fn contents(text: &str, messages: &[Message]) -> Vec<Range<usize>> {
    let mut found = Vec::with_capacity(messages.len());
    let mut from = 0;
    for message in messages {
        let content = [message.content.as_str(), message.content.trim()];
        let place = content.into_iter().find_map(|content| {
            let start = from + text.get(from..)?.find(content)?;
            Some(start..start + content.len())
        });
        let Some(place) = place else { return vec![0..text.chars().count()] };
        from = place.end;
        found.push(place);
    }
    let characters = |byte: usize| text.get(..byte).map_or(0, |before| before.chars().count());
    found.into_iter().map(|place| characters(place.start)..characters(place.end)).collect()
}

/// minijinja shows the template around an error in further lines.
fn first_line(error: &Error) -> String {
    let text = error.detail().map_or_else(|| error.to_string(), str::to_owned);
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.to_owned(), content: content.to_owned() }
    }

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate { source: source.to_owned(), bos_token: Some("<s>".into()), eos_token: Some("</s>".into()) }
    }

    /// Written as that of Llama 2 and its like: Python's methods, exceptions, loops' indices, tokens by name.
    const LIKE_LLAMA: &str = r#"{%- if messages[0]['role'] == 'system' -%}
    {%- set system = messages[0]['content'].strip() + '\n' -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set system = '' -%}
    {%- set rest = messages -%}
{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Roles must alternate') }}
    {%- endif -%}
    {%- if message['role'] == 'user' -%}
        {{ bos_token + '[INST] ' + (system if loop.index0 == 0 else '') + message['content'].strip() + ' [/INST]' }}
    {%- else -%}
        {{ ' ' + message['content'] | trim + ' ' + eos_token }}
    {%- endif -%}
{%- endfor -%}"#;

    #[test]
    fn templates_are_rendered_as_transformers_does() {
        let chat = template(LIKE_LLAMA)
            .render(&[
                message("system", "Be brief."),
                message("user", " Why? "),
                message("assistant", "So."),
                message("user", "Héy"),
            ])
            .unwrap();
        assert_eq!(chat.text, "<s>[INST] Be brief.\nWhy? [/INST] So. </s><s>[INST] Héy [/INST]");
        let chars: Vec<char> = chat.text.chars().collect();
        let contents: Vec<String> = chat.contents.iter().map(|part| chars[part.clone()].iter().collect()).collect();
        assert_eq!(
            contents.iter().map(|content| content.trim()).collect::<Vec<_>>(),
            ["Be brief.", "Why?", "So.", "Héy"]
        );
    }

    #[test]
    fn what_a_template_refuses_is_said() {
        let error = template(LIKE_LLAMA).render(&[message("assistant", "So.")]).unwrap_err().to_string();
        assert!(error.contains("Roles must alternate") && !error.contains('\n'), "{error}");
        assert!(template("{% for").render(&[]).is_err());
    }

    #[test]
    fn a_template_has_one_name_or_several() {
        let named = serde_json::json!([{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]);
        assert_eq!(ChatTemplate::source_of(&named), Some("b".to_owned()));
        assert_eq!(ChatTemplate::source_of(&"c".into()), Some("c".to_owned()));
        assert_eq!(ChatTemplate::source_of(&Value::Null), None);
    }

    #[test]
    fn contents_that_are_hidden_leave_all_of_the_prompt() {
        let chat = template("{{ messages[0]['content'] | upper }}!").render(&[message("user", "hey")]).unwrap();
        assert_eq!((chat.text.as_str(), chat.contents), ("HEY!", vec![0..4]));
    }
}
