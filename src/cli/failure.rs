//! Why a command failed, and the exit code that says so.

use std::net::SocketAddr;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::engine::{DeviceError, StartError};
use crate::evaluation::data::DataError;
use crate::evaluation::journal::JournalError;
use crate::explain::replay::RecordError;
use crate::explain::{LoadError, PlanError, RunError};
use crate::http::StateError;
use crate::hub::HubError;
use crate::render::RenderError;
use crate::telemetry::LogError;

/// The exit code of a check that found what it looks for: an answer whose repetition
/// differs, an audit log that was changed.
pub(super) const DOES_NOT_HOLD: u8 = 3;

/// A command's end without success. The message is printed by `main`.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("compute.device: {0}")]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model of an answer.
    #[error("{0}; where the model has moved since the answer, name it with --model SOURCE")]
    Recorded(LoadError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{}", fields(.0))]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("cannot listen on {address}: {error}; choose another with --listen, or 127.0.0.1:0 for a free port")]
    Listen { address: SocketAddr, error: std::io::Error },
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The report is written.
    #[error(
        "these methods give the same explanations where the model's weights are random: {0}; do not trust them here"
    )]
    Ignored(String),
    #[error("the engine is broken: {0}")]
    Engine(String),
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Load(error) => Self::Load(error),
            other => Self::Engine(other.to_string()),
        }
    }
}

impl Failure {
    pub(super) fn io(what: impl Into<String>, error: std::io::Error) -> Self {
        Self::Io { what: what.into(), error }
    }

    /// 1 the work failed, 2 usage (also an answer that cannot be repeated), 64 settings (also a device that is not there), 65 a model that is there but cannot be used, 66 a model that is not
    /// there, 70 the engine, 74 the audit log, 75 the port.
    pub fn code(&self) -> u8 {
        match self {
            Self::Run(_) | Self::Io { .. } | Self::Ignored(_) => 1,
            Self::Usage(_) | Self::Plan(_) | Self::Render(_) | Self::Record(_) | Self::Data(_) | Self::Journal(_) => 2,
            Self::State(StateError::Audit(_)) => 74,
            Self::Config(_) | Self::Device(_) | Self::Log(_) | Self::State(_) => 64,
            Self::Load(error) | Self::Recorded(error) => match error {
                LoadError::DuplicateName(_) | LoadError::Hub(HubError::BadSource(_)) => 64,
                LoadError::Hub(HubError::Pickle { .. }) => 65,
                LoadError::Hub(_) => 66,
                _ => 65,
            },
            Self::Engine(_) => 70,
            Self::Listen { .. } => 75,
        }
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

/// Every wrong field on its own line.
fn fields(error: &PlanError) -> String {
    let PlanError::Invalid(fields) = error else { return error.to_string() };
    let mut message = error.to_string();
    for field in fields {
        let pointer = if field.pointer.is_empty() { "/" } else { &field.pointer };
        message.push_str(&format!("\n  {pointer}: {}", field.detail));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::DeviceKind;
    use crate::explain::Field;

    #[test]
    fn a_missing_model_and_a_broken_one_are_told_apart() {
        let missing = HubError::UnknownBundled { name: "a".into(), known: "b".into() };
        let pickle = HubError::Pickle { what: "a/b".into(), file: "pytorch_model.bin".into() };
        let broken = LoadError::MissingFile { source_name: "a".into(), file: "config.json" };
        let twice = LoadError::DuplicateName("a".into());
        let codes = [LoadError::from(missing), pickle.into(), broken, twice].map(|error| Failure::from(error).code());
        assert_eq!(codes, [66, 65, 65, 64]);
    }

    #[test]
    fn a_device_that_is_not_there_is_a_wrong_setting() {
        let failure = Failure::from(DeviceError::NotBuilt { kind: DeviceKind::Cuda });
        assert_eq!(failure.code(), 64);
        let message = failure.to_string();
        assert!(message.starts_with("compute.device: ") && message.contains("--features cuda"), "{message}");
    }

    #[test]
    fn every_wrong_field_is_named() {
        let error = PlanError::Invalid(vec![Field::new("/target", "no such label"), Field::new("", "two inputs")]);
        let message = Failure::from(error).to_string();
        assert_eq!(message, "the request is not valid\n  /target: no such label\n  /: two inputs");
    }
}
