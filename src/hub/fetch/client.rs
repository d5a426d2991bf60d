//! HTTP with a hub: listing, metadata and content of files; redirects, tokens, retries, the deadline, and what each
//! answer means. Not here: what is written to disk.

use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::{Agent, Body};

use super::address::{Origin, escaped, joined};
use crate::hub::source::is_plain_name;
use crate::hub::{DownloadError, HubOptions};

/// Tries of a request before it is given up.
pub(super) const TRIES: u32 = 5;
const REDIRECTS: usize = 10;
/// Longest silence on a connection.
const SILENCE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(30);
/// A `Retry-After` beyond this is not waited for.
const PATIENCE: Duration = Duration::from_secs(120);
const LISTING_BYTES: u64 = 64 << 20;

/// The commit and the file names of a revision.
pub(super) struct Listing {
    pub commit: String,
    pub files: Vec<String>,
}

/// What the hub says of a file before it is fetched.
pub(super) struct Metadata {
    /// Names the blob; safe as a file name.
    pub etag: String,
    pub size: Option<u64>,
    pub commit: Option<String>,
}

/// A try that failed, and whether another may succeed.
pub(super) struct Fault {
    error: DownloadError,
    retry: Retry,
}

enum Retry {
    Never,
    Soon,
    /// The server said when.
    After(Duration),
}

impl Fault {
    pub(super) fn last(error: DownloadError) -> Self {
        Self { error, retry: Retry::Never }
    }
    fn passing(error: DownloadError) -> Self {
        Self { error, retry: Retry::Soon }
    }
}

/// An answer that no hub gives.
pub(super) fn nonsense(detail: &str) -> DownloadError {
    DownloadError::Protocol { detail: detail.to_owned() }
}

/// One model on one hub, until one deadline.
pub(super) struct Client<'a> {
    agent: Agent,
    options: &'a HubOptions,
    id: &'a str,
    origin: Origin,
    deadline: Duration,
    ends: Instant,
    pause: Duration,
}

impl<'a> Client<'a> {
    pub(super) fn new(id: &'a str, options: &'a HubOptions, pause: Duration) -> Result<Self, DownloadError> {
        let origin = Origin::of(&options.endpoint)
            .ok_or_else(|| nonsense(&format!("\"{}\" is no http:// or https:// address", options.endpoint)))?;
        let mut config = Agent::config_builder()
            .user_agent(concat!("explaind/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // Redirects are followed here, since ureq would show neither their headers nor which host gets the token.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE));
        if origin.is_loopback() {
            config = config.proxy(None);
        }
        let deadline = options.deadline;
        Ok(Self { agent: config.build().into(), options, id, origin, deadline, ends: end(deadline), pause })
    }

    /// The same client with less time.
    pub(super) fn hurried(&self, deadline: Duration) -> Self {
        let deadline = deadline.min(self.remaining());
        let origin = self.origin.clone();
        Self { agent: self.agent.clone(), origin, deadline, ends: end(deadline), ..*self }
    }

    pub(super) fn progress(&self) -> bool {
        self.options.progress
    }

    pub(super) fn no_model(&self) -> DownloadError {
        DownloadError::NoModel { endpoint: self.options.endpoint.clone() }
    }

    /// The commit and files of a revision; `None` where the server has no such route.
    pub(super) fn listing(&self, revision: &str, tries: u32) -> Result<Option<Listing>, DownloadError> {
        #[derive(serde::Deserialize)]
        struct Info {
            sha: String,
            siblings: Option<Vec<Sibling>>,
        }
        #[derive(serde::Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let url = format!("{}/api/models/{}/revision/{}", self.options.endpoint, self.id, escaped(revision));
        let what = format!("the listing of revision {revision}");
        let body = self.persist(tries, || {
            let response = self.follow(Method::Get, &url, 0)?;
            match self.checked(response, revision, &what)? {
                None => Ok(None),
                Some(response) => {
                    let mut body = response.into_body();
                    let bytes = body.with_config().limit(LISTING_BYTES).read_to_vec();
                    bytes.map(Some).map_err(|error| self.ureq_fault(&error))
                }
            }
        })?;
        let Some(body) = body else {
            return Ok(None);
        };
        let info: Info =
            serde_json::from_slice(&body).map_err(|error| nonsense(&format!("{what} is no listing: {error}")))?;
        if !is_plain_name(&info.sha) {
            return Err(nonsense(&format!("\"{}\" is no commit", info.sha)));
        }
        let Some(files) = info.siblings else {
            return Ok(None);
        };
        let files = files.into_iter().map(|sibling| sibling.rfilename).collect();
        Ok(Some(Listing { commit: info.sha, files }))
    }

    /// What the hub says of a file; `None` if there is none of that name.
    pub(super) fn metadata(&self, revision: &str, file: &str) -> Result<Option<Metadata>, DownloadError> {
        let url = self.file_url(revision, file);
        let headers = self.persist(TRIES, || {
            let mut response = self.follow_here(Method::Head, &url)?;
            if matches!(response.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) {
                response = self.follow_here(Method::Get, &url)?;
            }
            if response.status().is_redirection() {
                return Ok(Some(response.headers().clone()));
            }
            Ok(self.checked(response, revision, file)?.map(|response| response.headers().clone()))
        })?;
        let Some(headers) = headers else {
            return Ok(None);
        };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let etag = text("x-linked-etag").or_else(|| text("etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        if !is_plain_name(etag) || etag.len() > 200 {
            return Err(nonsense(&format!("{file} has the etag \"{etag}\"")));
        }
        // A redirect's own length is that of its page, not of the file.
        let linked = text("x-linked-size");
        let size = if linked.is_none() && headers.contains_key(header::LOCATION) {
            None
        } else {
            linked.or_else(|| text("content-length"))
        };
        let commit = text("x-repo-commit").filter(|commit| is_plain_name(commit)).map(str::to_owned);
        Ok(Some(Metadata { etag: etag.to_owned(), size: size.and_then(|size| size.parse().ok()), commit }))
    }

    /// The file's bytes from `start` on: 200, 206 or 416. One try.
    pub(super) fn get_file(&self, commit: &str, file: &str, start: u64) -> Result<Response<Body>, Fault> {
        let response = self.follow(Method::Get, &self.file_url(commit, file), start)?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        self.checked(response, commit, file)?
            .ok_or_else(|| Fault::last(DownloadError::NoFile { file: file.to_owned() }))
    }

    fn file_url(&self, revision: &str, file: &str) -> String {
        format!("{}/{}/resolve/{}/{file}", self.options.endpoint, self.id, escaped(revision))
    }

    /// Follows redirects as long as they stay on the hub and tell nothing of the file themselves: a renamed model
    /// answers with one, and so does a large file, whose redirect to its store has the headers that count.
    fn follow_here(&self, method: Method, url: &str) -> Result<Response<Body>, Fault> {
        let mut url = url.to_owned();
        for _ in 0..REDIRECTS {
            let response = self.send(method, &url, 0)?;
            match self.next(&url, &response)? {
                Some(next) if Origin::of(&next).as_ref() == Some(&self.origin) && !is_described(response.headers()) => {
                    url = next;
                }
                _ => return Ok(response),
            }
        }
        Err(Fault::last(nonsense("it redirects in circles")))
    }

    fn follow(&self, method: Method, url: &str, start: u64) -> Result<Response<Body>, Fault> {
        let mut url = url.to_owned();
        for _ in 0..REDIRECTS {
            let response = self.send(method, &url, start)?;
            match self.next(&url, &response)? {
                Some(next) => url = next,
                None => return Ok(response),
            }
        }
        Err(Fault::last(nonsense("it redirects in circles")))
    }

    /// Where a redirect leads; `None` for other answers.
    fn next(&self, url: &str, response: &Response<Body>) -> Result<Option<String>, Fault> {
        if !response.status().is_redirection() {
            return Ok(None);
        }
        let Some(location) = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()) else {
            return Err(Fault::last(nonsense("a redirect that leads nowhere")));
        };
        let next = joined(url, location).ok_or_else(|| Fault::last(nonsense("a redirect to no address")))?;
        if url.starts_with("https:") && !next.starts_with("https:") {
            return Err(Fault::last(nonsense("a redirect from https to http")));
        }
        Ok(Some(next))
    }

    /// One request. The token goes to the endpoint's own scheme, host and port and nowhere else.
    fn send(&self, method: Method, url: &str, start: u64) -> Result<Response<Body>, Fault> {
        self.check_deadline().map_err(Fault::last)?;
        let request = match method {
            Method::Head => self.agent.head(url),
            Method::Get => self.agent.get(url),
        };
        let mut request = request
            .config()
            .timeout_global(Some(self.remaining()))
            .build()
            // Compressed, neither length nor range would be the file's.
            .header(header::ACCEPT_ENCODING, "identity");
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        if let Some(token) = self.options.token.as_ref().filter(|_| Origin::of(url).as_ref() == Some(&self.origin)) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        request.call().map_err(|error| self.ureq_fault(&error))
    }

    /// Sorts answers: the good one, `None` for a file that is not there, or what else is wrong.
    fn checked(&self, response: Response<Body>, revision: &str, file: &str) -> Result<Option<Response<Body>>, Fault> {
        let status = response.status();
        if status.is_success() {
            return Ok(Some(response));
        }
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let code = text("x-error-code");
        let fault = match status.as_u16() {
            401 | 403 if code == "GatedRepo" => {
                let page = format!("{}/{}", self.options.endpoint, self.id);
                Fault::last(DownloadError::Gated { page })
            }
            401 if self.options.token.is_some() && code != "RepoNotFound" => Fault::last(DownloadError::BadToken),
            401 => Fault::last(DownloadError::Unauthorized),
            403 => {
                let said: String = text("x-error-message").chars().take(200).collect();
                let said = if said.is_empty() { said } else { format!(" ({said})") };
                Fault::last(DownloadError::Forbidden { said })
            }
            404 if code == "RepoNotFound" => Fault::last(self.no_model()),
            404 if code == "RevisionNotFound" => {
                Fault::last(DownloadError::NoRevision { revision: revision.to_owned() })
            }
            404 => return Ok(None),
            429 => rate_limited(text("retry-after")),
            408 | 500.. => self.server_fault(status, file),
            other => Fault::last(nonsense(&format!("status {other} for {file}"))),
        };
        Err(fault)
    }

    pub(super) fn server_fault(&self, status: StatusCode, file: &str) -> Fault {
        let (host, file) = (self.origin.host.clone(), file.to_owned());
        Fault::passing(DownloadError::Server { host, status: status.as_u16(), file })
    }

    /// The connection ended before the file did.
    pub(super) fn cut_off(&self, have: u64, size: u64) -> Fault {
        Fault::passing(self.unreachable(format!("the connection ended after {have} of {size} bytes")))
    }

    pub(super) fn io_fault(&self, error: &std::io::Error) -> Fault {
        match self.check_deadline() {
            Err(deadline) => Fault::last(deadline),
            Ok(()) => Fault::passing(self.unreachable(error.to_string())),
        }
    }

    fn ureq_fault(&self, error: &ureq::Error) -> Fault {
        if let Err(deadline) = self.check_deadline() {
            return Fault::last(deadline);
        }
        match error {
            ureq::Error::Timeout(ureq::Timeout::Global) => Fault::last(self.late()),
            ureq::Error::Timeout(_)
            | ureq::Error::Io(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Protocol(_) => Fault::passing(self.unreachable(error.to_string())),
            _ => Fault::last(self.unreachable(error.to_string())),
        }
    }

    fn unreachable(&self, detail: String) -> DownloadError {
        DownloadError::Unreachable { host: self.origin.host.clone(), detail }
    }

    fn persist<T>(&self, tries: u32, mut request: impl FnMut() -> Result<T, Fault>) -> Result<T, DownloadError> {
        let mut tried = 0;
        loop {
            match request() {
                Ok(answer) => return Ok(answer),
                Err(fault) => {
                    tried += 1;
                    self.pause(fault, tried, tries)?;
                }
            }
        }
    }

    /// Waits before the next try, or says that there is none: the fault is final, or `tried` is all of `tries`.
    pub(super) fn pause(&self, fault: Fault, tried: u32, tries: u32) -> Result<(), DownloadError> {
        let wait = match fault.retry {
            _ if tried >= tries => return Err(fault.error),
            Retry::Never => return Err(fault.error),
            Retry::Soon => self.pause * 2u32.pow(tried.saturating_sub(1).min(6)),
            Retry::After(wait) => wait,
        };
        tracing::debug!(why = %fault.error, ?wait, "the hub is asked again");
        self.wait(wait)
    }

    pub(super) fn wait(&self, wait: Duration) -> Result<(), DownloadError> {
        std::thread::sleep(wait.min(self.remaining()));
        self.check_deadline()
    }

    fn remaining(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    fn late(&self) -> DownloadError {
        DownloadError::Deadline { seconds: self.deadline.as_secs() }
    }

    pub(super) fn check_deadline(&self) -> Result<(), DownloadError> {
        if self.remaining().is_zero() { Err(self.late()) } else { Ok(()) }
    }
}

/// When a deadline that begins now ends. One beyond the clock's range is none that anybody waits for.
fn end(deadline: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(deadline).unwrap_or(now + Duration::from_secs(u64::from(u32::MAX)))
}

#[derive(Clone, Copy)]
enum Method {
    Head,
    Get,
}

fn is_described(headers: &HeaderMap) -> bool {
    headers.contains_key("x-linked-etag") || headers.contains_key(header::ETAG)
}

fn rate_limited(retry_after: &str) -> Fault {
    let seconds = retry_after.parse().ok().map(Duration::from_secs);
    let wait = seconds.map(|wait| format!("; it says to come back in {} s", wait.as_secs())).unwrap_or_default();
    let retry = match seconds {
        Some(wait) if wait > PATIENCE => Retry::Never,
        Some(wait) => Retry::After(wait),
        None => Retry::Soon,
    };
    Fault { error: DownloadError::RateLimited { wait }, retry }
}
