//! A hub for tests: a local server that speaks the protocol, with a store at another port for large files, and ways to
//! misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::hub::folder::hex;

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Bytes of the body after which the connection is cut.
    pub cut: Option<usize>,
    /// Never answers, until the client goes away.
    pub stall: bool,
}

impl Reply {
    pub(super) fn status(status: u16, code: &str) -> Self {
        let headers = if code.is_empty() { Vec::new() } else { vec![("x-error-code", code.to_owned())] };
        Self { status, headers, ..Self::default() }
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on a free port that lives as long as this value.
pub(super) struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    stop: Arc<Mutex<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(false)));
        let handler: Arc<Handler> = Arc::new(handler);
        let thread = std::thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || {
                for stream in listener.incoming() {
                    if *lock(&stop) {
                        return;
                    }
                    let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                    std::thread::spawn(move || serve(stream.unwrap(), &seen, &*handler));
                }
            }
        });
        Self { address, seen, stop, thread: Some(thread) }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far; forgets them.
    pub(super) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.seen))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *lock(&self.stop) = true;
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Request>>, handler: &Handler) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.trim().is_empty() => break,
            Ok(_) => lines.push(line.trim().to_owned()),
        }
    }
    let mut words = lines[0].split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let header = |line: &String| line.split_once(": ").map(|(name, text)| (name.to_lowercase(), text.to_owned()));
    let headers = lines[1..].iter().filter_map(header).collect();
    let request = Request { method, path, headers };
    lock(seen).push(request.clone());
    let reply = handler(&request);
    if reply.stall {
        // Ends when the client closes the connection.
        let _ = reader.read_line(&mut String::new());
        return;
    }
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", reply.status);
    for (name, text) in &reply.headers {
        head.push_str(&format!("{name}: {text}\r\n"));
    }
    if !reply.headers.iter().any(|(name, _)| *name == "content-length") {
        head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    }
    let mut out = stream;
    let _ = out.write_all(format!("{head}\r\n").as_bytes());
    if request.method != "HEAD" {
        let _ = out.write_all(&reply.body[..reply.cut.unwrap_or(reply.body.len())]);
    }
}

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the model `org/name` consists of and how the hub misbehaves; tests change it while the hub runs.
#[derive(Default)]
pub(super) struct Repo {
    pub files: BTreeMap<String, Vec<u8>>,
    /// The next answer with this file's content is cut after so many bytes.
    pub cut: Option<(String, usize)>,
    /// The next answer with this file's content has a wrong byte.
    pub corrupt: Option<String>,
    /// Instead of every answer of the hub.
    pub instead: Option<Reply>,
    /// How many more times `instead` stands; `None`: always.
    pub times: Option<usize>,
    pub no_listing: bool,
    pub no_head: bool,
}

/// The hub and its store.
pub(super) struct FakeHub {
    pub hub: Server,
    pub store: Server,
    pub repo: Arc<Mutex<Repo>>,
}

impl FakeHub {
    pub(super) fn start(files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let repo = Arc::new(Mutex::new(Repo { files, ..Repo::default() }));
        let store = Server::start({
            let repo = Arc::clone(&repo);
            move |request| content(&mut lock(&repo), request, request.path.trim_start_matches('/'))
        });
        let hub = Server::start({
            let (repo, store) = (Arc::clone(&repo), store.url());
            move |request| answer(&mut lock(&repo), request, &store)
        });
        Self { hub, store, repo }
    }
}

fn answer(repo: &mut Repo, request: &Request, store: &str) -> Reply {
    if let Some(reply) = repo.instead.clone() {
        match &mut repo.times {
            Some(0) => repo.instead = None,
            Some(times) => {
                *times -= 1;
                return reply;
            }
            None => return reply,
        }
    }
    // The model was renamed: a relative redirect.
    if let Some(rest) = request.path.strip_prefix("/old/name/resolve/") {
        let location = format!("/org/name/resolve/{rest}");
        return Reply { status: 307, headers: vec![("location", location)], ..Reply::default() };
    }
    if let Some(rest) = request.path.strip_prefix("/api/models/") {
        return listing(repo, rest);
    }
    let Some((revision, file)) = request.path.strip_prefix("/org/name/resolve/").and_then(|rest| rest.split_once('/'))
    else {
        return Reply::status(404, "RepoNotFound");
    };
    if !["main", "v1", "refs%2Fpr%2F1", COMMIT].contains(&revision) {
        return Reply::status(404, "RevisionNotFound");
    }
    let Some(bytes) = repo.files.get(file) else {
        return Reply::status(404, "EntryNotFound");
    };
    if repo.no_head && request.method == "HEAD" {
        return Reply::status(405, "");
    }
    let commit = ("x-repo-commit", COMMIT.to_owned());
    if file.ends_with(".safetensors") {
        let headers = vec![
            commit,
            ("location", format!("{store}/{file}")),
            ("x-linked-etag", format!("\"{}\"", hex(&Sha256::digest(bytes)))),
            ("x-linked-size", bytes.len().to_string()),
        ];
        return Reply { status: 302, headers, ..Reply::default() };
    }
    let etag = format!(
        "W/\"{}\"",
        hex(&Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
    );
    let mut reply = content(repo, request, file);
    reply.headers.extend([commit, ("etag", etag)]);
    reply
}

fn listing(repo: &Repo, rest: &str) -> Reply {
    let known = rest.strip_prefix("org/name/revision/").or_else(|| rest.strip_prefix("old/name/revision/"));
    match known {
        _ if repo.no_listing => Reply::status(404, ""),
        None => Reply::status(404, "RepoNotFound"),
        Some("main" | "v1" | "refs%2Fpr%2F1" | COMMIT) => {
            let siblings: Vec<_> = repo.files.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
            let body = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string().into_bytes();
            Reply { status: 200, body, ..Reply::default() }
        }
        Some(_) => Reply::status(404, "RevisionNotFound"),
    }
}

/// A file's bytes, from the range's start if one is asked for.
fn content(repo: &mut Repo, request: &Request, file: &str) -> Reply {
    let Some(mut body) = repo.files.get(file).cloned() else {
        return Reply::status(404, "");
    };
    let mut reply = Reply { status: 200, ..Reply::default() };
    if request.method == "GET" {
        if repo.corrupt.take_if(|corrupt| corrupt == file).is_some() {
            body[0] ^= 1;
        }
        if let Some((_, bytes)) = repo.cut.take_if(|(cut, _)| cut == file) {
            reply.cut = Some(bytes);
        }
    }
    let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    if let Some(start) = range {
        let (start, length): (usize, usize) = (start.parse().unwrap(), body.len());
        if start >= length {
            return Reply::status(416, "");
        }
        reply.status = 206;
        reply.headers.push(("content-range", format!("bytes {start}-{}/{length}", length - 1)));
        body.drain(..start);
    }
    reply.body = body;
    reply
}
