//! Media types: what a caller sent, and whether it takes the answer.

use axum::http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};

use super::problem::{Code, Problem, clip};

/// The body's media type without parameters, in lower case; empty where none was sent.
///
/// # Errors
/// 415 for a `charset` other than UTF-8 and for a compressed body.
pub fn content_type(headers: &HeaderMap) -> Result<String, Problem> {
    if let Some(coding) =
        headers.get(CONTENT_ENCODING).filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        let coding = clip(&String::from_utf8_lossy(coding.as_bytes()));
        let detail = format!("content coding \"{coding}\" is not read here; send the body uncompressed");
        return Err(Problem::new(Code::UnsupportedMedia, detail));
    }
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::to_str).and_then(Result::ok).unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("charset") && !matches_utf8(value) {
            let detail = format!("charset \"{}\" is not read here; send UTF-8", clip(value));
            return Err(Problem::new(Code::UnsupportedMedia, detail));
        }
    }
    Ok(essence)
}

fn matches_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
}

/// 415, saying what is read.
pub fn unsupported(found: &str, read: &str) -> Problem {
    let detail = match found {
        "" => format!("the header Content-Type is missing; send {read}"),
        found => format!("\"{}\" is not read here; send {read}", clip(found)),
    };
    Problem::new(Code::UnsupportedMedia, detail)
}

/// Whether the caller takes an answer of `offered` (`application/json`).
///
/// # Errors
/// 406.
pub fn accept(headers: &HeaderMap, offered: &str) -> Result<(), Problem> {
    let any = ranges(headers).next().is_some();
    match best(headers, offered) {
        Some((_, quality)) if quality > 0.0 => Ok(()),
        None if !any => Ok(()),
        _ => Err(Problem::new(Code::NotAcceptable, format!("the answer is {offered}; the header Accept excludes it"))),
    }
}

/// Whether the caller names `offered` itself and wants it no less than `usual`.
pub fn prefers(headers: &HeaderMap, offered: &str, usual: &str) -> bool {
    let usual = best(headers, usual).map_or(0.0, |(_, quality)| quality);
    best(headers, offered).is_some_and(|(fit, quality)| fit == NAMED && quality > 0.0 && quality >= usual)
}

fn ranges(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|range| !range.is_empty())
}

/// How closely `offered` is named, and how much it is wanted where it is named most closely.
fn best(headers: &HeaderMap, offered: &str) -> Option<(u8, f32)> {
    let mut best: Option<(u8, f32)> = None;
    for range in ranges(headers) {
        let Some(fit) = specificity(range, offered) else { continue };
        if best.is_none_or(|(known, _)| fit > known) {
            best = Some((fit, quality(range)));
        }
    }
    best
}

/// The specificity of a type's own name.
const NAMED: u8 = 2;

/// How closely a media range names `offered`; `None` where it does not.
fn specificity(range: &str, offered: &str) -> Option<u8> {
    let range = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let family = offered.split('/').next().unwrap_or_default();
    match range.as_str() {
        "*/*" | "*" => Some(0),
        _ if range == offered => Some(NAMED),
        _ if range.strip_suffix("/*") == Some(family) => Some(1),
        _ => None,
    }
}

fn quality(range: &str) -> f32 {
    let weight = range.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse().unwrap_or(1.0))
    });
    weight.unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(value).unwrap());
        accept(&headers, "application/json").is_ok()
    }

    #[test]
    fn the_most_specific_range_decides() {
        assert!(accept(&HeaderMap::new(), "application/json").is_ok());
        for good in ["*/*", "application/*", "text/html, application/json;q=0.1", "text/html, */*;q=0.1", ""] {
            assert!(accepts(good), "{good}");
        }
        for bad in ["text/event-stream", "text/html", "*/*, application/json;q=0", "application/*;q=0"] {
            assert!(!accepts(bad), "{bad}");
        }
    }

    #[test]
    fn events_are_for_those_who_name_them() {
        let events = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(value).unwrap());
            prefers(&headers, "text/event-stream", "application/json")
        };
        assert!(!prefers(&HeaderMap::new(), "text/event-stream", "application/json"));
        for good in ["text/event-stream", "application/json, text/event-stream", "*/*;q=0.5, text/event-stream"] {
            assert!(events(good), "{good}");
        }
        for bad in ["*/*", "text/*", "application/json, text/event-stream;q=0.5", "text/event-stream;q=0"] {
            assert!(!events(bad), "{bad}");
        }
    }

    #[test]
    fn a_charset_is_utf8() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("Text/Plain; Charset=\"UTF-8\""));
        assert_eq!(content_type(&headers).unwrap(), "text/plain");
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=latin1"));
        assert_eq!(content_type(&headers).unwrap_err().code, Code::UnsupportedMedia);
    }
}
