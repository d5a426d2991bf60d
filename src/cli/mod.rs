//! The command line: `serve`, `explain`, `evaluate`, `replay`, `models`, `methods`, `openapi`, `healthcheck`,
//! `audit verify`.
//!
//! One file a command; [`args`] says what can be written, [`flags`] turns flags into settings, [`failure`] is the
//! table of exit codes. `main` calls [`Invocation::parse`], sets up the process, then [`Invocation::run`]: settings
//! are read before the first thread starts, because the number of threads is one of them.

mod args;
mod audit;
mod evaluate;
mod explain;
mod failure;
mod flags;
mod healthcheck;
mod list;
mod load;
mod replay;
mod serve;

use std::ffi::OsString;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::config::{self, RawSettings, Settings};
use args::{Arguments, Command};
pub use failure::Failure;

/// A parsed command line with its settings resolved, not yet run.
pub struct Invocation {
    command: Command,
    settings: Settings,
}

impl Invocation {
    /// Reads the command line, the environment and the configuration file. Help, version and usage errors end the
    /// process here, as clap does it (0 and 2).
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let Arguments { command } = Arguments::parse_from(arguments);
        let settings = match &command {
            Command::Serve(serve) => resolve(&serve.flags.settings, serve.config.as_deref())?,
            Command::Explain(explain) => resolve(&explain.flags.settings, explain.config.as_deref())?,
            Command::Replay(replay) => resolve(&replay.flags.settings, replay.config.as_deref())?,
            Command::Evaluate(evaluate) => resolve(&evaluate.flags.settings, evaluate.config.as_deref())?,
            Command::Models(list) | Command::Methods(list) => resolve(&list.flags.settings, list.config.as_deref())?,
            // None of them reads a setting: a broken file must not make a healthy server look unhealthy.
            Command::Openapi | Command::Healthcheck(_) | Command::Audit(_) => Settings::default(),
        };
        Ok(Self { command, settings })
    }

    /// `compute.threads`: how many threads compute.
    pub fn threads(&self) -> usize {
        self.settings.compute.threads
    }

    /// Runs the command to its end.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::Serve(_) => serve::run(self.settings),
            Command::Explain(arguments) => explain::run(&arguments, &self.settings),
            Command::Replay(arguments) => replay::run(&arguments, &self.settings),
            Command::Evaluate(arguments) => evaluate::run(&arguments, &self.settings),
            Command::Models(arguments) => list::models(&arguments, &self.settings),
            Command::Methods(arguments) => list::methods(&arguments, &self.settings),
            Command::Openapi => list::openapi(),
            Command::Audit(arguments) => audit::run(&arguments.command),
            Command::Healthcheck(arguments) => Ok(healthcheck::run(&arguments.url)),
        }
    }
}

fn resolve(flags: &RawSettings, file: Option<&Path>) -> Result<Settings, Failure> {
    // A variable that is not UTF-8 is none of ours.
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(config::load(flags.clone(), file, env)?)
}

/// A file's bytes; `-` is standard input.
fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|error| Failure::io(path.display().to_string(), error))
}

/// Writes to standard output. A reader that has seen enough (`| head`) ends the output, not in an error.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::io("standard output", error)),
        _ => Ok(()),
    }
}
