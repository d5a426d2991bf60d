//! Bearer keys: read once at start, kept and compared as SHA-256 digests in constant time.

use std::path::Path;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::is_probe;
use crate::http::problem::{Code, Problem};
use crate::http::state::{AppState, StateError};

type Hash = [u8; 32];

/// The keys that open the service.
pub struct Keys(Vec<Hash>);

impl Keys {
    /// Reads one key a line, or `sha256:HEX` of one; blank lines and `#` comments are skipped.
    ///
    /// # Errors
    /// The file cannot be read, a digest is malformed, or no key stands in it.
    pub fn read(path: &Path) -> Result<Self, StateError> {
        let fail = |detail: String| StateError::Keys { path: path.to_owned(), detail };
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        Self::parse(&text).map_err(fail)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let hash = match line.strip_prefix("sha256:") {
                Some(hex) => parse_hex(hex)
                    .ok_or_else(|| format!("line {}: after sha256: come 64 hexadecimal digits", number + 1))?,
                None => Sha256::digest(line.as_bytes()).into(),
            };
            keys.push(hash);
        }
        if keys.is_empty() {
            return Err("no key stands in it; write one a line, or unset auth.keys_file".to_owned());
        }
        Ok(Self(keys))
    }

    /// Whether `key` is one of them. Takes the same time whichever it is.
    fn admits(&self, key: &[u8]) -> bool {
        let hash: Hash = Sha256::digest(key).into();
        self.0.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&hash)).into()
    }
}

fn parse_hex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// Which key a request came with: the first 16 hexadecimal digits of its SHA-256, which open nothing.
#[derive(Debug, Clone)]
pub struct KeyId(pub String);

impl KeyId {
    fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Lets a request with a known key through, and every request where no keys are set.
pub async fn authenticate(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let Some(keys) = &state.keys else { return next.run(request).await };
    if is_probe(request.uri().path()) {
        return next.run(request).await;
    }
    let sent = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    match sent.and_then(bearer) {
        Some(key) if keys.admits(key) => {
            let known = KeyId::of(key);
            request.extensions_mut().insert(known);
            next.run(request).await
        }
        found => {
            let detail = match found {
                Some(_) => "the key is not known",
                None => "send the header Authorization: Bearer KEY",
            };
            let mut response = Problem::new(Code::Unauthorized, detail).into_response();
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
    }
}

/// The key of `Bearer KEY`; the scheme's case does not matter.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_themselves_or_by_their_digest() {
        let digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"; // of "secret"
        let keys = Keys::parse(&format!("# a comment\n\nplain\nsha256:{digest}\n")).unwrap();
        assert!(keys.admits(b"plain"));
        assert!(keys.admits(b"secret"));
        assert!(!keys.admits(b"other"));
        assert!(!keys.admits(b""));
    }

    #[test]
    fn an_empty_or_broken_file_is_refused() {
        assert!(Keys::parse("# nothing\n").is_err());
        assert!(Keys::parse("sha256:zz").is_err());
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer(b"bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Basic abcd"), None);
        assert_eq!(bearer(b"Bea"), None);
    }
}
