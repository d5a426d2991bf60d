//! Asks for every item's explanations, several items side by side, and keeps what is finished.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::data::{Content, Item};
use super::journal::Journal;
use super::outcome::{Outcome, Record, Seen};
use crate::explain::{Answer, ExplainItem, ExplainRequest};
use crate::tasks::TargetSpec;

/// Answers requests; an error is for people.
pub trait Explainer: Sync {
    /// Answers requests about one input and target, each as if it were alone: only what measuring them evaluates may be
    /// shared. `take` gets the answers in their order, or why there is none.
    fn answer(&self, requests: Vec<ExplainRequest>, image: Option<Vec<u8>>, take: &mut dyn FnMut(Answered));
}

pub type Answered = Result<Answer, String>;

impl<F: Fn(ExplainRequest, Option<Vec<u8>>) -> Answered + Sync> Explainer for F {
    fn answer(&self, requests: Vec<ExplainRequest>, image: Option<Vec<u8>>, take: &mut dyn FnMut(Answered)) {
        requests.into_iter().for_each(|request| take(self(request, image.clone())));
    }
}

/// What is asked of every item.
pub struct Questions<'a> {
    pub items: &'a [Item],
    pub methods: &'a [ExplainItem],
    /// One an item.
    pub targets: &'a [TargetSpec],
    /// What every request has beside its input, target and method.
    pub request: ExplainRequest,
    /// Items side by side.
    pub jobs: usize,
    /// Where the records are kept; see [`Record::stage`].
    pub stage: usize,
}

/// Asks what is not finished yet. Every method is a request of its own, so that its cost is its own; `finished` is called
/// after each item. What is kept does not depend on `jobs`, but for the seconds.
///
/// # Errors
/// The journal could not be written.
pub fn run(
    explainer: &dyn Explainer,
    questions: &Questions<'_>,
    journal: &Journal,
    finished: &(dyn Fn() + Sync),
) -> io::Result<()> {
    let done = journal.finished(questions.stage);
    let open: Vec<usize> = (0..questions.items.len()).filter(|item| !done.contains(item)).collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failure = Mutex::new(None);
    let work = || {
        while let Some(&item) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = journal.keep(record(explainer, questions, item)) {
                failed.store(true, Ordering::Relaxed);
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
            finished();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..questions.jobs.min(open.len()) {
            scope.spawn(work);
        }
        work();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn record(explainer: &dyn Explainer, questions: &Questions<'_>, index: usize) -> Record {
    let (mut seen, mut outcomes) = (None, Vec::with_capacity(questions.methods.len()));
    let mut request = ExplainRequest { target: questions.targets.get(index).cloned(), ..questions.request.clone() };
    let image = questions.items.get(index).map(|item| put(&item.content, &mut request)).transpose();
    match image {
        Ok(image) => {
            let one = |method: &ExplainItem| ExplainRequest { explain: Some(vec![method.clone()]), ..request.clone() };
            let requests = questions.methods.iter().map(one).collect();
            explainer.answer(requests, image.flatten(), &mut |answer| match answer {
                Ok(answer) => {
                    seen.get_or_insert_with(|| Seen::of(&answer));
                    outcomes.push(Outcome::of(&answer));
                }
                Err(error) => outcomes.push(Outcome::failed(error)),
            });
        }
        Err((file, error)) => {
            let failed = |_: &ExplainItem| Outcome::failed(format!("{file}: {error}"));
            outcomes.extend(questions.methods.iter().map(failed));
        }
    }
    Record { stage: questions.stage, item: index, seen, outcomes }
}

/// Puts an item's input into `request`, where it is text, else gives the bytes of its image.
///
/// # Errors
/// The image's file and why it cannot be read.
pub fn put(content: &Content, request: &mut ExplainRequest) -> Result<Option<Vec<u8>>, (String, io::Error)> {
    match content {
        Content::Image(path) => std::fs::read(path).map(Some).map_err(|error| (path.display().to_string(), error)),
        Content::Text { text, pair } => {
            (request.text, request.pair) = (Some(text.clone()), pair.clone());
            Ok(None)
        }
    }
}
