//! What a request asks of a language model: its completion, or how to write one, and the words that its target names.

use super::ExplainRequest;
use super::Generation;
use super::catalog::Processor;
use super::plan::{Field, PlanError};
use crate::input::text::{Message, Prompt, TextError, TextProcessor, Truncation};
use crate::input::{Input, TextInput};
use crate::methods::Warning;
use crate::models::Spec;
use crate::tasks::{Class, ClassSpec, TargetSpec, Task, quote};

/// Characters of a word that a target names: no vocabulary has a token as long.
const LONGEST_WORD: usize = 1024;

/// What a language model is asked.
pub(super) struct Asked {
    /// In place of the text.
    messages: Option<Vec<Message>>,
    follows: Follows,
}

/// What follows the prompt.
enum Follows {
    Given(String),
    /// The model writes it.
    Written(Generation),
}

impl Asked {
    /// What the prompt is made of, where it is a chat's.
    pub fn messages(&self) -> Option<&[Message]> {
        self.messages.as_deref()
    }

    /// How the completion is written; `None` where it was sent.
    pub fn generation(&self) -> Option<&Generation> {
        match &self.follows {
            Follows::Given(_) => None,
            Follows::Written(generation) => Some(generation),
        }
    }
}

/// What `request` asks of a language model, taken out of it; `None` for other models, with a field for what is a language
/// model's alone.
pub(super) fn take(request: &mut ExplainRequest, task: &dyn Task, fields: &mut Vec<Field>) -> Option<Asked> {
    let (completion, generate) = (request.completion.take(), request.generate.take());
    let messages = request.messages.take();
    if !task.prompted() {
        let sent = [
            ("/completion", completion.is_some()),
            ("/generate", generate.is_some()),
            ("/messages", messages.is_some()),
        ];
        for (pointer, sent) in sent {
            if sent {
                fields.push(Field::new(pointer, "it is for language models, and this model is none; leave it out"));
            }
        }
        return None;
    }
    if messages.as_ref().is_some_and(Vec::is_empty) {
        fields.push(Field::new("/messages", "the list is empty; send at least one message"));
        return None;
    }
    // Settings that a completion leaves unused are read all the same: what is wrong is said.
    let generation = generate.unwrap_or_default().resolve().map_err(|wrong| fields.extend(wrong)).ok();
    if completion.as_ref().is_some_and(String::is_empty) {
        fields.push(Field::new("/completion", "it is empty; send some text, or \"generate\" in its place"));
        return None;
    }
    let generation = generation?;
    Some(Asked { messages, follows: completion.map_or(Follows::Written(generation), Follows::Given) })
}

/// Tokenises prompt and completion.
pub(super) fn prepare(
    processor: &Processor,
    text: &str,
    asked: &Asked,
    truncation: Truncation,
) -> Result<(Input, Vec<Warning>), PlanError> {
    let invalid = |pointer: &str, detail: String| PlanError::from(Field::new(pointer, detail));
    let Processor::Text(processor) = processor else {
        return Err(invalid("/text", "this model's input was made ready otherwise".to_owned()));
    };
    let chat = match &asked.messages {
        Some(messages) => Some(processor.chat(messages).map_err(|error| invalid("/messages", error.to_string()))?),
        None => None,
    };
    let text = chat.as_ref().map_or(text, |chat| chat.text.as_str());
    let (completion, room) = match &asked.follows {
        Follows::Given(completion) => (Some(completion.as_str()), 0),
        Follows::Written(generation) => (None, generation.max_new_tokens),
    };
    let read = processor.encode_prompt(Prompt { text, chat: chat.as_ref(), completion, room, truncation });
    let read = read.map_err(|error| {
        let pointer = match (&error, &asked.follows) {
            (TextError::NoWindows { .. }, _) => "/truncation",
            (TextError::TooMuchFollows { .. }, Follows::Given(_)) => "/completion",
            (TextError::TooMuchFollows { .. }, Follows::Written(_)) => "/generate/max_new_tokens",
            _ if chat.is_some() => "/messages",
            _ => "/text",
        };
        invalid(pointer, error.to_string())
    })?;
    let count = read.input.continuation.as_ref().map_or(0, |continuation| continuation.tokens.len());
    if completion.is_some() && count == 0 {
        return Err(invalid("/completion", "there is no token in it; send some text".to_owned()));
    }
    let warn = |code: &str, detail: &str| Warning { code: code.to_owned(), detail: detail.to_owned() };
    let apart = "a token would stand across the border of prompt and completion, so both were tokenised apart; move white \
                 space from the prompt's end to the completion's beginning";
    let dated = "the model's chat template writes today's date; 26 July 2024 stands there, so that the same request gets the \
                 same answer on every day";
    let dated = chat.filter(|chat| chat.dated).map(|_| warn("fixed_date", dated));
    let warnings = read.apart.then(|| warn("border_split", apart)).into_iter().chain(dated).collect();
    Ok((Input::Text(read.input), warnings))
}

/// What became of a prompt of more tokens than fit.
pub(super) fn too_long(text: &TextInput) -> Option<Warning> {
    text.truncated().then(|| Warning {
        code: "truncated".to_owned(),
        detail: format!(
            "prompt and completion have {} tokens and the model takes {}; the prompt's beginning was cut off and is not \
             explained",
            text.original_tokens,
            text.length()
        ),
    })
}

/// Looks up the words that `target` names: they become tokens of the vocabulary.
///
/// # Errors
/// A word that is not one token, or an id outside of the vocabulary.
pub(super) fn look_up(target: &mut TargetSpec, processor: &Processor, spec: &Spec) -> Result<(), Field> {
    let Processor::Text(processor) = processor else { return Ok(()) };
    let single = !matches!(target, TargetSpec::List(_));
    let specs = match target {
        TargetSpec::List(list) => list.iter_mut().collect(),
        one => vec![one],
    };
    for (index, target) in specs.into_iter().enumerate() {
        let TargetSpec::Token(token) = target else { continue };
        let place = if single { String::new() } else { format!("/{index}") };
        for (key, class) in [("label", &mut token.label), ("against", &mut token.against)] {
            let Some(class) = class else { continue };
            let found = word(class, processor, spec);
            *class = ClassSpec::Class(found.map_err(|detail| Field::new(format!("/target{place}/{key}"), detail))?);
        }
    }
    Ok(())
}

fn word(class: &ClassSpec, processor: &TextProcessor, spec: &Spec) -> Result<Class, String> {
    let (text, index) = match class {
        ClassSpec::Index(index) => (None, Some(*index)),
        ClassSpec::Label(text) => (Some(text), None),
        ClassSpec::Class(Class { label, index }) => (Some(label), Some(*index as u64)),
    };
    let index = match index {
        Some(index) => Some(
            u32::try_from(index)
                .ok()
                .filter(|index| (*index as usize) < spec.vocab)
                .ok_or_else(|| format!("there is no token of id {index}: the vocabulary has {}", spec.vocab))?,
        ),
        None => None,
    };
    if let Some(text) = text.filter(|text| text.chars().nth(LONGEST_WORD).is_some()) {
        return Err(format!("{} is more than one token and one is asked for", quote(text)));
    }
    match (text, index) {
        (None, Some(id)) => Ok(Class { label: processor.written(id), index: id as usize }),
        (Some(text), Some(id)) if processor.written(id) == *text => {
            Ok(Class { label: text.clone(), index: id as usize })
        }
        (Some(text), index) => match processor.token_of(text) {
            Ok(id) if index.is_none_or(|index| index == id) => Ok(Class { label: text.clone(), index: id as usize }),
            Ok(id) => Err(format!("{} is the token {id}; leave one of the two out", quote(text))),
            Err(0) => Err("it is no token; name one of the vocabulary".to_owned()),
            Err(count) => Err(format!(
                "{} is {count} tokens and one is asked for; mind the space before a word, as in \" cat\"",
                quote(text)
            )),
        },
        (None, None) => Err("it names no token".to_owned()),
    }
}
