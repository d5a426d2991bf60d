//! `POST /explain` as server-sent events, for callers that ask for `text/event-stream`: the tokens that a language model
//! writes, how far the work is, each explanation as soon as there is one and as it is refined, and last the answer or a
//! problem.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::explain::{Asker, run};
use crate::engine::{Feed, News};
use crate::explain::Wanted;
use crate::http::body::Whole;
use crate::http::forms::Form;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// A comment line is sent where nothing else was for so long, so that nobody on the way takes the silence for an end.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// For so long a refusal can still be a status of its own.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs one request and tells about it. A request that is refused before its work begins is answered as always, with
/// its status. Dropping the response cancels the job.
///
/// # Errors
/// As `run`.
pub async fn explain(state: AppState, asker: Asker, form: Form, room: Whole) -> Result<Response, Problem> {
    let id = asker.id.clone();
    let feed = Arc::new(Feed::default());
    let mut running: Running = Box::pin({
        let (state, feed) = (state.clone(), Arc::clone(&feed));
        async move {
            // Held until the job is done: until then the input is in memory.
            let _room = room;
            run(&state, asker, form, Wanted::Explanations, false, Some(feed)).await
        }
    });
    let mut first = None;
    let mut ended = None;
    let held = state.audit.is_some();
    tokio::select! {
        biased;
        news = upcoming(&feed, held) => first = Some(news),
        result = &mut running => ended = Some(result?),
        () = tokio::time::sleep(PATIENCE) => {}
    }
    let tale = Tale { state, id, feed, held, first, running: ended.is_none().then_some(running), ended: ended.map(Ok) };
    let events = stream::unfold(tale, |mut tale| async move { Some((tale.next().await?, tale)) });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

/// What comes next. Where it is `held`, no token or explanation: nothing of an answer leaves before it is recorded.
async fn upcoming(feed: &Feed, held: bool) -> News {
    if held { feed.progress().await } else { feed.next().await }
}

type Running = Pin<Box<dyn Future<Output = Result<Vec<u8>, Problem>> + Send>>;

/// What is still to be told of a request.
struct Tale {
    state: AppState,
    id: String,
    feed: Arc<Feed>,
    /// Whether tokens and explanations wait for the answer's record.
    held: bool,
    first: Option<News>,
    running: Option<Running>,
    ended: Option<Result<Vec<u8>, Problem>>,
}

impl Tale {
    async fn next(&mut self) -> Option<Result<Event, Infallible>> {
        let news = match self.first.take() {
            Some(news) => Some(news),
            None => self.news().await,
        };
        let event = match news {
            Some(News::Token(data)) => Event::default().event("token").data(data),
            Some(News::Progress(data)) => Event::default().event("progress").data(data),
            Some(News::Explanation(data)) => Event::default().event("explanation").data(data),
            None => self.last()?,
        };
        Some(Ok(event))
    }

    /// `None`: the work is done and all of it was told.
    async fn news(&mut self) -> Option<News> {
        if let Some(running) = &mut self.running {
            tokio::select! {
                biased;
                news = upcoming(&self.feed, self.held) => return Some(news),
                result = running => self.ended = Some(result),
            }
            self.running = None;
        }
        let unrecorded = self.held && !matches!(self.ended, Some(Ok(_)));
        if unrecorded { None } else { self.feed.take() }
    }

    fn last(&mut self) -> Option<Event> {
        Some(match self.ended.take()? {
            // JSON is UTF-8 and has no line end.
            Ok(answer) => Event::default().event("answer").data(String::from_utf8_lossy(&answer)),
            Err(problem) => {
                self.state.metrics.rejected(problem.code.as_str());
                let body = serde_json::to_string(&problem.body(&self.id)).unwrap_or_else(|_| "{}".to_owned());
                Event::default().event("problem").data(body)
            }
        })
    }
}
