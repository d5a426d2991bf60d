//! Jinja as transformers sets it up for chat templates (`utils/chat_template_utils.py`), within bounds: how blocks eat
//! white space, its functions and its JSON, and Python's methods of strings, lists and dictionaries.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Steps that a template may take, where 64 bytes of what it makes count as one: a chat of a thousand messages takes some
/// ten thousand. More than 64 MB are never held.
const FUEL: u64 = 1_000_000;

/// Characters of what a template may say to refuse a chat.
const SAID: usize = 500;

/// A name for what a state remembers.
const DATED: &str = "dated";

pub fn environment<'s>() -> Result<Environment<'s>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", tojson);
    Ok(environment)
}

/// Whether the template asked for today's date.
pub fn dated(state: &State<'_, '_>) -> bool {
    state.get_temp(DATED).is_some()
}

/// What was wrong, in one line: minijinja shows the template around an error in further ones.
pub fn said(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "it does not come to an end in time, or writes without end".to_owned();
    }
    let text = error.detail().map_or_else(|| error.to_string(), str::to_owned);
    text.lines().next().unwrap_or_default().chars().take(SAID).collect()
}

/// `{% generation %}` marks what a model is trained on, and writes nothing: a block that is always taken.
pub fn plain(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        let (inside, behind) = tag.split_once("%}").unwrap_or((tag, ""));
        let closed = if inside.len() == tag.len() { "" } else { "%}" };
        let word = inside.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let inside = match word {
            "generation" => inside.replace(word, "if true"),
            "endgeneration" => inside.replace(word, "endif"),
            _ => inside.to_owned(),
        };
        plain.extend([before, "{%", &inside, closed]);
        rest = behind;
    }
    plain + rest
}

fn raise_exception(text: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, text))
}

/// With today's date the same request would not be the same tomorrow. It is always Friday, 26 July 2024, midnight: the day
/// that Llama 3's templates name where they find no function of this name.
fn strftime_now(state: &mut State<'_, '_>, format: &str) -> String {
    state.set_temp(DATED, Value::from(true));
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('a') => text.push_str("Fri"),
            Some('A') => text.push_str("Friday"),
            Some('b' | 'h') => text.push_str("Jul"),
            Some('B') => text.push_str("July"),
            Some('d' | 'e') => text.push_str("26"),
            Some('F') => text.push_str("2024-07-26"),
            Some('H' | 'M' | 'S') => text.push_str("00"),
            Some('I') => text.push_str("12"),
            Some('j') => text.push_str("208"),
            Some('m') => text.push_str("07"),
            Some('p') => text.push_str("AM"),
            Some('T' | 'X') => text.push_str("00:00:00"),
            Some('y') => text.push_str("24"),
            Some('Y') => text.push_str("2024"),
            Some('%') => text.push('%'),
            Some(other) => text.extend(['%', other]),
            None => text.push('%'),
        }
    }
    text
}

/// As Python's `json.dumps` with `ensure_ascii=False`: the filter of minijinja without its escapes for HTML.
fn tojson(value: &Value, indent: Option<Value>, settings: Kwargs) -> Result<String, Error> {
    settings.get::<Option<bool>>("ensure_ascii")?;
    let json = filters::tojson(value, indent, settings)?.to_string();
    let mut text = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        let known = [("\\u003c", "<"), ("\\u003e", ">"), ("\\u0026", "&"), ("\\u0027", "'"), ("\\\\", "\\\\")];
        let found = known.into_iter().find(|(escaped, _)| escape.starts_with(escaped));
        let (escaped, plain) = found.unwrap_or(("\\", "\\"));
        text.extend([before, plain]);
        rest = &escape[escaped.len()..];
    }
    Ok(text + rest)
}
