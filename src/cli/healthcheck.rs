//! `explaind healthcheck`: a container's HEALTHCHECK without a shell or curl.

use std::process::ExitCode;
use std::time::Duration;

/// A ready server answers at once, under any load; slower is not ready.
const TIMEOUT: Duration = Duration::from_secs(3);

/// 0 where `GET url/readyz` is a 2xx, else 1 and a line on standard error.
pub(super) fn run(url: &str) -> ExitCode {
    match ready(url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("not ready: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn ready(url: &str) -> Result<(), String> {
    let url = format!("{}/readyz", url.trim_end_matches('/'));
    let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
    // A proxy from the environment is for the hub, not for the server beside us.
    let agent = config.proxy(None).build().new_agent();
    let response = agent.get(&url).call().map_err(|error| format!("{url}: {error}"))?;
    let status = response.status();
    if status.is_success() { Ok(()) } else { Err(format!("{url} answers {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// A server for one request; its answer's status line is given.
    fn answering(status: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).unwrap();
            assert!(head[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
        });
        url
    }

    #[test]
    fn ready_is_a_success_status() {
        assert_eq!(ready(&answering("200 OK")), Ok(()));
        let reason = ready(&answering("503 Service Unavailable")).unwrap_err();
        assert!(reason.ends_with("/readyz answers 503 Service Unavailable"), "{reason}");
    }

    #[test]
    fn nobody_there_is_not_ready() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(ready(&format!("http://{free}")).is_err());
    }
}
