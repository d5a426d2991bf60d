//! Answers in the audit log: what a record says of one, and that none leaves without it. The chain itself is `audit`'s.

use std::sync::Arc;
use std::time::Duration;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::forms::Form;
use super::problem::{Code, Problem};
use super::state::StateError;
use crate::audit::{Entry, Log, RECORD_BYTES, WriteError};
use crate::config::{AuditInputs, Settings};
use crate::explain::ExplainRequest;
use crate::explain::outcome::{ModelIdentity, Outline, Provenance, ResolvedRequest};
use crate::input::Kind;
use crate::input::text::Message;

/// Records that may wait for the disk; the answers of further ones wait without a thread.
const WAITING: usize = 256;
/// What they may take together, in KiB.
const WAITING_KIB: usize = 256 << 10;
/// How long an answer waits for its record. A disk that takes longer is as good as none.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(5);

/// The log that answers are recorded in.
pub struct Audit {
    log: Log,
    inputs: AuditInputs,
    /// The KiB that records may still take while they wait.
    room: Arc<Semaphore>,
}

/// An input as it was sent, kept until its answer is recorded.
#[derive(Debug, Default, Serialize)]
pub struct Sent {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<Message>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Picture>,
}

impl Sent {
    fn of(form: &Form) -> Self {
        let ExplainRequest { text, messages, pair, completion, image, .. } = form.request.clone();
        let image = form.image.clone().map(Picture::Bytes).or(image.map(Picture::Base64));
        Self { text, messages, pair, completion, image }
    }
}

/// An image as it came; base64 in the record.
#[derive(Debug)]
enum Picture {
    Base64(String),
    Bytes(Vec<u8>),
}

impl Serialize for Picture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Base64(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.collect_str(&Base64Display::new(bytes, &STANDARD)),
        }
    }
}

/// Who asked for what.
pub struct Asked {
    pub id: String,
    pub route: &'static str,
    pub key: Option<String>,
    pub input: Sent,
}

/// What a record says beside its number, time and hashes.
#[derive(Serialize)]
struct Record<'a> {
    event: &'static str,
    id: &'a str,
    route: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    model: &'a ModelIdentity,
    request: &'a ResolvedRequest,
    input: Input<'a>,
    /// Of the answer's bytes as sent, before any compression.
    answer_sha256: String,
    provenance: &'a Provenance,
}

#[derive(Serialize)]
struct Input<'a> {
    kind: Kind,
    sha256: &'a str,
    #[serde(flatten)]
    sent: &'a Sent,
}

impl Audit {
    /// `None` where `audit.file` is not set.
    ///
    /// # Errors
    /// The log cannot be opened or continued, or a body may be longer than a record.
    pub fn open(settings: &Settings) -> Result<Option<Self>, StateError> {
        let Some(path) = &settings.audit.file else { return Ok(None) };
        let inputs = settings.audit.inputs;
        // Base64 of a body, and room for the request.
        let longest = RECORD_BYTES / 2;
        if inputs == AuditInputs::Full && settings.limits.body_bytes > longest {
            return Err(StateError::AuditInputs { longest });
        }
        let log = Log::open(path, WAITING).map_err(StateError::Audit)?;
        Ok(Some(Self { log, inputs, room: Arc::new(Semaphore::new(WAITING_KIB)) }))
    }

    /// The request, and what of its input will be recorded.
    ///
    /// # Errors
    /// 500: a shutdown leaves no thread to copy it on.
    pub async fn keep(&self, form: Form) -> Result<(Form, Sent), Problem> {
        if self.inputs == AuditInputs::Hash {
            return Ok((form, Sent::default()));
        }
        // Copying an image of megabytes is no work for the runtime's threads.
        let kept = tokio::task::spawn_blocking(move || {
            let sent = Sent::of(&form);
            (form, sent)
        });
        kept.await.map_err(|_| Problem::internal())
    }

    /// Records an answer and gives its bytes back once the record is on the disk.
    ///
    /// # Errors
    /// 503: there is no record, so there is no answer.
    pub async fn record(&self, asked: Asked, outline: Outline, bytes: Vec<u8>) -> Result<Vec<u8>, Problem> {
        // Hashing an answer of megabytes and writing an image in base64 is no work for the runtime's threads.
        let made = tokio::task::spawn_blocking(move || (entry(&asked, &outline, &bytes), bytes));
        let (entry, bytes) = made.await.map_err(|_| Problem::internal())?;
        let entry = entry.map_err(|error| unwritten(&error))?;
        let written = timeout(PATIENCE, self.write(entry)).await;
        written.map_err(|_| unwritten(&"the disk did not take the record in time"))??;
        Ok(bytes)
    }

    async fn write(&self, entry: Entry) -> Result<(), Problem> {
        let kib = (entry.bytes() >> 10).clamp(WAITING_KIB / WAITING, WAITING_KIB) as u32;
        let place = Arc::clone(&self.room).acquire_many_owned(kib).await.map_err(|error| unwritten(&error))?;
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |written| {
            drop(place);
            // Whoever waited may have gone.
            let _ = sender.send(written);
        });
        self.log.append(entry, done).map_err(|error| unwritten(&error))?;
        match receiver.await {
            Ok(Ok(_place)) => Ok(()),
            Ok(Err(error)) => Err(unwritten(&error)),
            Err(error) => Err(unwritten(&error)),
        }
    }
}

fn entry(asked: &Asked, outline: &Outline, bytes: &[u8]) -> Result<Entry, WriteError> {
    Entry::new(&Record {
        event: "answer",
        id: &asked.id,
        route: asked.route,
        key: asked.key.as_deref(),
        model: &outline.model,
        request: &outline.request,
        input: Input { kind: outline.kind, sha256: &outline.input_sha256, sent: &asked.input },
        answer_sha256: format!("{:x}", Sha256::digest(bytes)),
        provenance: &outline.provenance,
    })
}

/// The cause is the operator's: a path or a disk.
fn unwritten(cause: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%cause, "an answer could not be recorded and was not sent");
    let detail = "the audit log cannot be written, and no answer leaves without its record; try again later";
    Problem::new(Code::Unrecorded, detail).retry_after(RETRY)
}
