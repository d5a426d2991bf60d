//! Chats: messages written into a prompt by the model's own template, in the dialect of Jinja that transformers reads.
//!
//! `processor` holds a model's template; the prompt that comes out is read as any other, but for the template's own
//! tokens, which are nobody's units.

mod jinja;
#[cfg(test)]
mod tests;

use std::ops::Range;

use minijinja::Environment;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::TextError;

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the model's template knows.
    pub role: String,
    pub content: String,
}

impl Message {
    /// Messages as a caller sends them: what `input.sha256` is of.
    pub fn sent(messages: &[Self]) -> String {
        serde_json::to_string(messages).unwrap_or_default()
    }
}

/// Messages as the model reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    pub text: String,
    /// The characters that the messages' contents are, in ascending order.
    pub contents: Vec<Range<usize>>,
    /// The template asked for today's date and got another.
    pub dated: bool,
    /// As [`Message::sent`].
    pub sent: String,
}

/// A model's template and the tokens that it may write by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
    /// `bos_token` and its like, where the model has them.
    tokens: Vec<(&'static str, String)>,
}

impl ChatTemplate {
    pub fn new(source: &str, tokens: Vec<(&'static str, String)>) -> Self {
        Self { source: jinja::plain(source), tokens }
    }

    /// The template of a `chat_template` of tokenizer_config.json: a string, or a list of which the one named `default`
    /// counts.
    pub fn source_of(value: &Value) -> Option<&str> {
        let named = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
        let default = value.as_array().and_then(|list| list.iter().find(named)).and_then(|entry| entry.get("template"));
        value.as_str().or(default.and_then(Value::as_str))
    }

    /// The prompt of `messages`, up to where the assistant's answer begins.
    ///
    /// # Errors
    /// The template cannot be read, refuses these messages, or does not come to an end.
    pub fn render(&self, messages: &[Message]) -> Result<Chat, TextError> {
        let refused = |error: minijinja::Error| TextError::Chat(jinja::said(&error));
        let mut environment = jinja::environment().map_err(refused)?;
        environment.add_template("chat", &self.source).map_err(refused)?;
        let (text, dated) = self.fill(&environment, messages).map_err(refused)?;
        let outline = self.fill(&environment, &marked(messages)).map_or_else(|_| String::new(), |(text, _)| text);
        let whole = || std::iter::once(0..text.chars().count()).collect();
        let contents = contents(&text, &outline, messages).unwrap_or_else(whole);
        Ok(Chat { text, contents, dated, sent: Message::sent(messages) })
    }

    fn fill(&self, environment: &Environment<'_>, messages: &[Message]) -> Result<(String, bool), minijinja::Error> {
        let value = |message: &Message| {
            minijinja::Value::from_pairs([("role", message.role.as_str()), ("content", message.content.as_str())])
        };
        let nothing = || minijinja::Value::from(());
        let given = [
            ("messages", messages.iter().map(value).collect()),
            ("add_generation_prompt", true.into()),
            ("tools", nothing()),
            ("documents", nothing()),
        ];
        let tokens = self.tokens.iter().map(|(name, token)| (*name, token.as_str().into()));
        let context = minijinja::Value::from_pairs(given.into_iter().chain(tokens));
        let rendered = environment.get_template("chat")?.render_captured(context)?;
        let dated = jinja::dated(rendered.state());
        Ok((rendered.into_output(), dated))
    }
}

/// Stand around the number of a message in the place of its content; no text has them.
const MARK: (char, char) = ('\u{f0000}', '\u{f0001}');

/// The messages with their numbers for contents.
fn marked(messages: &[Message]) -> Vec<Message> {
    let mark = |(index, message): (usize, &Message)| Message {
        role: message.role.clone(),
        content: format!("{}{index}{}", MARK.0, MARK.1),
    };
    messages.iter().enumerate().map(mark).collect()
}

/// Where the contents stand in `text`: where the marks stand in `outline`, which is the same template's. A template may
/// strip a content's ends; `None` where it does more to it, or writes other things for other contents.
fn contents(text: &str, outline: &str, messages: &[Message]) -> Option<Vec<Range<usize>>> {
    let mut found = Vec::new();
    let (mut left, mut rest, mut characters) = (text, outline, 0);
    loop {
        let (own, behind) = rest.split_once(MARK.0).unwrap_or((rest, ""));
        left = left.strip_prefix(own)?;
        characters += own.chars().count();
        if behind.is_empty() {
            return left.is_empty().then_some(found);
        }
        let (number, behind) = behind.split_once(MARK.1)?;
        let content = messages.get(number.parse::<usize>().ok()?)?.content.as_str();
        let next = behind.split(MARK.0).next().unwrap_or_default();
        let follows = |rest: &str| rest.starts_with(next) && (next.len() < behind.len() || rest.len() == next.len());
        let content = [content, content.trim(), content.trim_start(), content.trim_end()]
            .into_iter()
            .find(|content| left.strip_prefix(content).is_some_and(follows))?;
        left = left.strip_prefix(content)?;
        let count = content.chars().count();
        found.push(characters..characters + count);
        characters += count;
        rest = behind;
    }
}
