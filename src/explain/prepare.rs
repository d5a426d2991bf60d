//! A request's text or image, checked against the limits and made ready for a model.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::catalog::{Processor, noun};
use super::plan::{Field, PlanError};
use super::{ExplainRequest, ServedModel};
use crate::config::Limits;
use crate::input::image::{ImageError, ImageLimits};
use crate::input::text::{TextError, Truncation};
use crate::input::{Input, Kind};
use crate::tasks::{Hypotheses, Labelled, Pairing, Tail, Task};

/// Standard base64, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request wants explained, as sent.
pub(super) enum Raw {
    Text {
        text: String,
        pair: Option<String>,
    },
    /// `pointer` is where the image stands in the request: empty for a body or a part of its own.
    Image {
        bytes: Vec<u8>,
        pointer: &'static str,
    },
}

impl Raw {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Text { .. } => Kind::Text,
            Self::Image { .. } => Kind::Image,
        }
    }

    fn pointer(&self) -> &'static str {
        match self {
            Self::Text { .. } => "/text",
            Self::Image { pointer, .. } => pointer,
        }
    }
}

/// The one input of `request`, taken out of it. `None` with a field in `fields` where there is none or more than one.
pub(super) fn take(
    request: &mut ExplainRequest,
    body: Option<Vec<u8>>,
    limits: &Limits,
    fields: &mut Vec<Field>,
) -> Result<Option<Raw>, PlanError> {
    let (mut text, pair, image) = (request.text.take(), request.pair.take(), request.image.take());
    if let Some(messages) = &request.messages {
        if text.is_some() {
            fields.push(Field::new("/messages", "send one prompt: either \"text\" or \"messages\""));
        }
        // As long as they are without the template, which is applied where the model is known.
        let parts = messages.iter().flat_map(|message| [message.role.as_str(), message.content.as_str()]);
        text.get_or_insert_with(|| parts.collect());
    }
    let pointer = if request.messages.is_some() { "/messages" } else { "/text" };
    check_length((pointer, text.as_deref()), pair.as_deref(), limits)?;
    check_completion(text.as_deref(), request.completion.as_deref(), limits)?;
    if pair.is_some() && text.is_none() {
        fields.push(Field::new("/pair", "a pair needs the first text in \"text\" and does not go with an image"));
    }
    match (text, image, body) {
        (Some(text), None, None) => Ok(Some(Raw::Text { text, pair })),
        (None, None, Some(bytes)) => Ok(Some(Raw::Image { bytes, pointer: "" })),
        (None, Some(image), None) => match decode(&image) {
            Ok(bytes) => Ok(Some(Raw::Image { bytes, pointer: "/image" })),
            Err(field) => {
                fields.push(field);
                Ok(None)
            }
        },
        (None, None, None) => {
            // A pair alone was reported above.
            if pair.is_none() {
                fields.push(Field::new("", "there is nothing to explain: send \"text\" or \"image\""));
            }
            Ok(None)
        }
        (_, Some(_), _) => {
            fields.push(Field::new("/image", "send one input: either \"text\" or one image"));
            Ok(None)
        }
        (Some(_), None, Some(_)) => {
            fields.push(Field::new("/text", "send one input: the image came as a body or part of its own"));
            Ok(None)
        }
    }
}

/// Characters of text and pair together, against `limits.text_chars`.
fn check_length((own, text): (&str, Option<&str>), pair: Option<&str>, limits: &Limits) -> Result<(), PlanError> {
    let count = |text: Option<&str>| text.map_or(0, |text| text.chars().count());
    let (first, second) = (count(text), count(pair));
    let max = limits.text_chars;
    if first + second <= max {
        return Ok(());
    }
    let pointer = if first > max || pair.is_none() { own } else { "/pair" };
    let both = if pair.is_some() { "text and pair have" } else { "the text has" };
    let detail =
        format!("{both} {} characters and the limit is {max}; send less or raise limits.text_chars", first + second);
    Err(PlanError::TooLarge { pointer: pointer.to_owned(), detail })
}

/// Characters of prompt and completion together, which are tokenised together, against `limits.text_chars`.
fn check_completion(text: Option<&str>, completion: Option<&str>, limits: &Limits) -> Result<(), PlanError> {
    let Some(completion) = completion else { return Ok(()) };
    let (all, max) = (text.map_or(0, |text| text.chars().count()) + completion.chars().count(), limits.text_chars);
    if all <= max {
        return Ok(());
    }
    let detail = format!(
        "prompt and completion have {all} characters and the limit is {max}; send less or raise limits.text_chars"
    );
    Err(PlanError::TooLarge { pointer: "/completion".to_owned(), detail })
}

fn decode(image: &str) -> Result<Vec<u8>, Field> {
    BASE64.decode(image).map_err(|error| {
        let detail = if image.starts_with("data:") {
            "a data URL is no base64: send what follows its comma".to_owned()
        } else {
            format!("no valid base64: {error}; send standard base64 without line breaks")
        };
        Field::new("/image", detail)
    })
}

/// Whether `model` reads inputs of `raw`'s kind.
pub(super) fn check_kind(model: &ServedModel, raw: &Raw) -> Result<(), Field> {
    if model.kind() == raw.kind() {
        return Ok(());
    }
    let detail = format!(
        "model \"{}\" reads {} and not {}; send what it reads or name another model",
        model.name,
        noun(model.kind()),
        noun(raw.kind())
    );
    Err(Field::new(raw.pointer(), detail))
}

/// What `request` asks of zero-shot classification, taken out of it.
pub(super) fn hypotheses(request: &mut ExplainRequest, fields: &mut Vec<Field>) -> Option<Hypotheses> {
    let (labels, template) = (request.labels.take(), request.hypothesis_template.take());
    let multi_label = request.multi_label.take();
    if labels.is_none() {
        let alone = [("/hypothesis_template", template.is_some()), ("/multi_label", multi_label.is_some())];
        for (pointer, _) in alone.into_iter().filter(|(_, sent)| *sent) {
            fields.push(Field::new(pointer, "it goes with \"labels\", of which there are none"));
        }
    }
    labels.map(|labels| Hypotheses { labels, template, multi_label: multi_label.unwrap_or(false) })
}

/// The task over a request's own labels; their tokens are still missing.
pub(super) fn zero_shot(
    model: &ServedModel,
    asked: Option<&Hypotheses>,
    limits: &Limits,
    fields: &mut Vec<Field>,
) -> Result<Option<Labelled>, PlanError> {
    let Some(asked) = asked else {
        if model.task.needs_labels() {
            let detail = "this model classifies images by labels of your own; name some, as [\"a cat\", \"a dog\"]";
            fields.push(Field::new("/labels", detail));
        }
        return Ok(None);
    };
    match Labelled::new(model.model.spec(), asked.clone()) {
        Ok(task) => {
            let characters: usize = task.texts().iter().map(|text| text.chars().count()).sum();
            let max = limits.text_chars;
            if characters > max {
                let detail = format!(
                    "the labels' hypotheses have {characters} characters and the limit is {max}; send fewer or raise \
                     limits.text_chars"
                );
                return Err(PlanError::TooLarge { pointer: "/labels".to_owned(), detail });
            }
            Ok(Some(task))
        }
        Err(error) => {
            fields.push(Field::new(format!("/{}", error.field), error.detail));
            Ok(None)
        }
    }
}

/// What stands behind the text in the longest of its rows: the hypothesis of one of the labels.
pub(super) struct Longest {
    /// What made it so long.
    pointer: String,
    tokens: usize,
    max: usize,
}

impl Longest {
    fn too_long(&self) -> Field {
        let Self { pointer, tokens, max } = self;
        let detail = format!(
            "the label's hypothesis has {tokens} tokens and the model takes {max}, which leaves too few for the text; \
             shorten it"
        );
        Field::new(pointer, detail)
    }
}

/// The task with the labels' texts in tokens, and the longest of those that stand behind a text.
pub(super) fn tokenised(
    model: &ServedModel,
    task: Labelled,
    asked: Option<&Hypotheses>,
) -> Result<(Arc<dyn Task>, Option<Longest>), PlanError> {
    // Of a sentence that is too long, the template is to blame where it is most of it.
    let pointer = |index: usize| {
        let template = asked.and_then(|asked| asked.template.as_ref()).map_or(0, String::len);
        let label = asked.and_then(|asked| asked.labels.get(index)).map_or(0, String::len);
        if template > label { "/hypothesis_template".to_owned() } else { format!("/labels/{index}") }
    };
    let tokens = |(index, text): (usize, &String)| match (&model.processor, &task) {
        (Processor::Text(processor), _) => processor
            .encode_tail(text)
            .map(|(ids, type_ids)| Tail { ids, type_ids })
            .map_err(|error| Field::new("/labels", error.to_string())),
        (Processor::Both { text: processor, .. }, Labelled::Image(_)) => {
            let sentence = processor.encode(text, None, Truncation::Error);
            sentence.map(|sentence| Tail { ids: sentence.ids().collect(), type_ids: Vec::new() }).map_err(|error| {
                let TextError::TooManyTokens { tokens, max, .. } = error else {
                    return Field::new("/labels", error.to_string());
                };
                let detail = format!("the label's sentence has {tokens} tokens and the model takes {max}; shorten it");
                Field::new(pointer(index), detail)
            })
        }
        _ => Ok(Tail::default()),
    };
    let tails: Vec<Tail> = task.texts().iter().enumerate().map(tokens).collect::<Result<_, Field>>()?;
    let longest = match (&model.processor, tails.iter().enumerate().rev().max_by_key(|(_, tail)| tail.ids.len())) {
        (Processor::Text(processor), Some((index, tail))) => {
            let (tokens, max) = (tail.ids.len(), processor.max_tokens());
            let longest = Longest { pointer: pointer(index), tokens, max };
            if tokens >= processor.max_own_tokens() {
                return Err(longest.too_long().into());
            }
            Some(longest)
        }
        _ => None,
    };
    Ok((task.with_tokens(tails), longest))
}

/// Whether a pair is sent where the task needs one, and not where it takes none.
pub(super) fn check_pair(task: &dyn Task, raw: Option<&Raw>, fields: &mut Vec<Field>) {
    let Some(Raw::Text { pair, .. }) = raw else { return };
    match (task.pairing(), pair) {
        (Pairing::Refused(why), Some(_)) => fields.push(Field::new("/pair", format!("{why}; leave \"pair\" out"))),
        (Pairing::Required(why), None) => fields.push(Field::new("/pair", format!("it is missing: {why}"))),
        _ => {}
    }
}

/// A second text that the task needs has tokens.
pub(super) fn check_second(task: &dyn Task, input: &Input) -> Result<(), Field> {
    let Pairing::Required(why) = task.pairing() else { return Ok(()) };
    let tokens = input.as_text().map_or(&[][..], |text| &text.tokens);
    let cut = input.as_text().and_then(|text| text.windows.first()).and_then(|window| tokens.get(window.stretch.start));
    if cut.is_some_and(|token| token.sequence == Some(Some(0))) {
        let detail = "it is longer than the context and than the model's input, and only the context is read in \
                      windows; shorten the question";
        return Err(Field::new("/text", detail));
    }
    if tokens.iter().any(|token| !token.special && token.sequence == Some(Some(1))) {
        return Ok(());
    }
    Err(Field::new("/pair", format!("there is no token of it: {why}")))
}

/// Tokenises or decodes. `behind` a text something else takes its part of the model's length.
pub(super) fn prepare(
    model: &ServedModel,
    raw: Raw,
    truncation: Truncation,
    behind: Option<&Longest>,
    limits: &Limits,
) -> Result<Input, PlanError> {
    let pointer = raw.pointer();
    let invalid = |detail: String| PlanError::Invalid(vec![Field::new(pointer, detail)]);
    let input = match (&model.processor, raw) {
        (Processor::Text(processor), Raw::Text { text, pair }) => processor
            .encode_before(&text, pair.as_deref(), truncation, behind.map_or(0, |behind| behind.tokens))
            .map(Input::Text)
            .map_err(|error| unread(&error, behind))?,
        (Processor::Image(processor) | Processor::Both { image: processor, .. }, Raw::Image { bytes, .. }) => processor
            .prepare(bytes, ImageLimits { pixels: limits.pixels })
            .map(Input::Image)
            .map_err(|error| match error {
                ImageError::TooLarge { .. } => {
                    PlanError::TooLarge { pointer: pointer.to_owned(), detail: error.to_string() }
                }
                ImageError::Config(_) | ImageError::Decode(_) | ImageError::Shape { .. } => invalid(error.to_string()),
            })?,
        #[cfg(test)]
        (Processor::Fixed(input), _) => (**input).clone(),
        (Processor::Text(_) | Processor::Image(_) | Processor::Both { .. }, raw) => {
            return Err(PlanError::Invalid(check_kind(model, &raw).err().into_iter().collect()));
        }
    };
    match &input {
        // A tokenizer without special tokens makes nothing of an empty text, and a model reads at least one token.
        Input::Text(text) if text.tokens.is_empty() => {
            Err(invalid("the text has no tokens and this model's tokenizer adds none; send some text".to_owned()))
        }
        _ => Ok(input),
    }
}

/// Where a text that could not be read went wrong.
fn unread(error: &TextError, behind: Option<&Longest>) -> Field {
    let pointer = match (error, behind) {
        (TextError::TooManyTokens { tokens, .. }, Some(behind)) if behind.tokens > *tokens => return behind.too_long(),
        (TextError::NoRoom { .. }, Some(behind)) => return behind.too_long(),
        (TextError::TooManyTokens { second: true, .. } | TextError::NoRoom { second: true, .. }, _) => "/pair",
        _ => "/text",
    };
    Field::new(pointer, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_with_or_without_padding_and_nothing_else() {
        assert_eq!(decode("aGk=").unwrap(), b"hi");
        assert_eq!(decode("aGk").unwrap(), b"hi");
        for bad in ["aG k=", "aGk=\n", "a!", "aGl", "_-8="] {
            let field = decode(bad).unwrap_err();
            assert_eq!(field.pointer, "/image", "{bad}");
            assert!(field.detail.contains("base64"), "{bad}: {}", field.detail);
        }
        assert!(decode("data:image/png;base64,aGk=").unwrap_err().detail.contains("data URL"));
    }
}
