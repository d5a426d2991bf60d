//! The three forms of a request's body into one [`Form`]: JSON, multipart, or the raw input with a query string.

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Query, Request};
use axum::http::Uri;
use utoipa::IntoParams;

use super::body;
use super::json;
use super::negotiate::{content_type, unsupported};
use super::problem::{Code, Problem, clip};
use super::state::AppState;
use crate::explain::{ExplainItem, ExplainRequest};
use crate::input::Kind;
use crate::methods::METHODS;
use crate::tasks::TargetSpec;

const READ: &str = "application/json, multipart/form-data, text/plain, image/png, image/jpeg or image/webp";

/// Above this, JSON is read off the runtime's threads, which other requests wait for.
const INLINE_JSON_BYTES: usize = 256 * 1024;

/// A request, whichever form it came in.
pub struct Form {
    pub request: ExplainRequest,
    /// The bytes of an image that came as a body or a part.
    pub image: Option<Vec<u8>>,
    pub body_bytes: usize,
}

impl Form {
    /// Reads the body of `request`.
    ///
    /// # Errors
    /// 400, 408, 413, 415, 422, 503, as `body` and `json` say.
    pub async fn read(state: &AppState, request: Request) -> Result<(Self, body::Whole), Problem> {
        let (parts, body) = request.into_parts();
        let kind = content_type(&parts.headers)?;
        let raw = match kind.as_str() {
            "application/json" | "multipart/form-data" => None,
            "text/plain" => Some(Kind::Text),
            "image/png" | "image/jpeg" | "image/webp" => Some(Kind::Image),
            found => return Err(unsupported(found, READ)),
        };
        let query = QueryForm::read(&parts.uri, raw.is_some())?;
        let mut whole = body::read(state, &parts.headers, body).await?;
        let bytes = std::mem::take(&mut whole.bytes);
        let body_bytes = bytes.len();
        let (request, image) = match raw {
            Some(Kind::Text) => (query.text(bytes)?, None),
            Some(Kind::Image) => (query.request(), Some(bytes)),
            None if kind == "application/json" => (parse(bytes).await?, None),
            None => {
                let request = Request::from_parts(parts, Body::from(bytes));
                let (request, image) = multipart(request).await?;
                (request, Some(image))
            }
        };
        Ok((Self { request, image, body_bytes }, whole))
    }
}

/// JSON, off the runtime's threads where it is long.
pub async fn parse(bytes: Vec<u8>) -> Result<ExplainRequest, Problem> {
    if bytes.len() <= INLINE_JSON_BYTES {
        return json::parse(&bytes);
    }
    let parsed = tokio::task::spawn_blocking(move || json::parse(&bytes)).await;
    parsed.unwrap_or_else(|_| Err(Problem::internal()))
}

/// A part `image` and an optional part `request`.
async fn multipart(request: Request) -> Result<(ExplainRequest, Vec<u8>), Problem> {
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| {
        Problem::new(Code::InvalidMultipart, "the header Content-Type has no boundary; let your client set it")
    })?;
    let (mut image, mut request) = (None, None);
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        match part.name() {
            Some("image") if image.is_none() => image = Some(bytes_of(part).await?),
            Some("request") if request.is_none() => request = Some(parse(bytes_of(part).await?).await?),
            Some(name @ ("image" | "request")) => {
                return Err(Problem::invalid(format!("/{name}"), "the part was sent twice"));
            }
            name => {
                let name = clip(name.unwrap_or_default());
                let detail = format!("the part \"{name}\" is unknown; known are image and request");
                return Err(Problem::invalid(format!("/{name}"), detail));
            }
        }
    }
    let image = image.ok_or_else(|| Problem::invalid("/image", "the part image (the file) is missing"))?;
    Ok((request.unwrap_or_default(), image))
}

async fn bytes_of(part: Field<'_>) -> Result<Vec<u8>, Problem> {
    Ok(part.bytes().await.map_err(broken)?.into())
}

fn broken(error: MultipartError) -> Problem {
    Problem::new(Code::InvalidMultipart, format!("the multipart body is broken: {}", clip(&error.body_text())))
}

/// `?method=&target=&model=`: what a raw body cannot say itself.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct QueryForm {
    /// With a raw body: the method, with its defaults.
    method: Option<String>,
    /// With a raw body: a label, `predicted`, `all`, a class index, or a target in JSON.
    target: Option<String>,
    /// With a raw body: the model's name.
    model: Option<String>,
}

impl QueryForm {
    /// # Errors
    /// 422 for a parameter that is unknown, sent twice, or sent with a body that has fields of its own.
    fn read(uri: &Uri, raw: bool) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::new(Code::BadRequest, "the query string is not name=value&…"))?;
        let mut form = Self::default();
        for (name, value) in pairs {
            let pointer = format!("/{}", clip(&name));
            let field = match name.as_str() {
                _ if !raw => {
                    let detail = "query parameters go with raw bodies; write this as a field of the JSON";
                    return Err(Problem::invalid(pointer, detail));
                }
                "method" => &mut form.method,
                "target" => &mut form.target,
                "model" => &mut form.model,
                _ => {
                    let detail = "unknown query parameter; known are method, target, model";
                    return Err(Problem::invalid(pointer, detail));
                }
            };
            if field.replace(value).is_some() {
                return Err(Problem::invalid(pointer, "the query parameter was sent twice"));
            }
        }
        Ok(form)
    }

    fn text(self, bytes: Vec<u8>) -> Result<ExplainRequest, Problem> {
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            Problem::new(Code::NotUtf8, format!("the body is not UTF-8 from byte {valid}"))
        })?;
        Ok(ExplainRequest { text: Some(text), ..self.request() })
    }

    fn request(self) -> ExplainRequest {
        let target = self.target.as_deref().map(TargetSpec::from_text);
        ExplainRequest { method: self.method, target, model: self.model, ..ExplainRequest::default() }
    }
}

/// The registered methods that `request` names, for metrics: nothing a caller made up.
pub fn named_methods(request: &ExplainRequest) -> Vec<&'static str> {
    let items = request.explain.iter().flatten().filter_map(|item| match item {
        ExplainItem::Name(name) => Some(name.as_str()),
        ExplainItem::Settings(settings) => settings.get("method")?.as_str(),
    });
    registered(items.chain(request.method.as_deref()))
}

/// Names as the registry spells them, in its order.
pub fn registered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'static str> {
    let names: Vec<&str> = names.collect();
    METHODS.iter().map(|method| method.name()).filter(|name| names.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_belongs_to_raw_bodies() {
        let uri: Uri = "/explain?method=lime&target=all".parse().unwrap();
        assert_eq!(QueryForm::read(&uri, true).unwrap().method.as_deref(), Some("lime"));
        assert_eq!(QueryForm::read(&uri, false).unwrap_err().errors[0].pointer, "/method");
        for bad in ["/explain?steps=3", "/explain?model=a&model=b"] {
            assert_eq!(QueryForm::read(&bad.parse().unwrap(), true).unwrap_err().code, Code::InvalidRequest);
        }
    }

    #[test]
    fn only_registered_names_reach_the_metrics() {
        let request = ExplainRequest { method: Some("made_up".to_owned()), ..ExplainRequest::default() };
        assert!(named_methods(&request).is_empty());
        let request = ExplainRequest { method: Some("lime".to_owned()), ..ExplainRequest::default() };
        assert_eq!(named_methods(&request), ["lime"]);
    }
}
