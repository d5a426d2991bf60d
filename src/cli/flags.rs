//! The settings as flags: made from `config`'s table of keys, so that a setting is a flag with its help and default
//! as soon as it stands there.

use std::marker::PhantomData;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{KEYS, Key, RawSettings};

/// Which settings matter to a command.
pub(super) trait Scope {
    const SECTIONS: &'static [&'static str];
    /// Takes `--model` any number of times.
    const MODELS: bool;
}

/// `serve`: all of them.
#[derive(Debug)]
pub(super) struct All;

impl Scope for All {
    const SECTIONS: &'static [&'static str] =
        &["server", "limits", "queue", "compute", "hub", "auth", "audit", "cors", "log"];
    const MODELS: bool = true;
}

/// `explain`: what matters without a server. It has a `--model` of its own.
#[derive(Debug)]
pub(super) struct Run;

impl Scope for Run {
    const SECTIONS: &'static [&'static str] = &["limits", "compute", "hub"];
    const MODELS: bool = false;
}

/// `models` and `methods`: what decides which models there are.
#[derive(Debug)]
pub(super) struct List;

impl Scope for List {
    const SECTIONS: &'static [&'static str] = &["compute", "hub"];
    const MODELS: bool = true;
}

/// The flags of a scope, as written.
#[derive(Debug)]
pub(super) struct Flags<S> {
    pub settings: RawSettings,
    scope: PhantomData<S>,
}

impl<S: Scope> Args for Flags<S> {
    fn augment_args(command: Command) -> Command {
        let command = if S::MODELS { command.arg(models()) } else { command };
        keys::<S>().fold(command, |command, key| command.arg(flag(key)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Scope> FromArgMatches for Flags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self { settings: RawSettings::default(), scope: PhantomData };
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let invalid =
            |error: crate::config::ConfigError| clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n"));
        for key in keys::<S>() {
            if let Some(text) = matches.get_one::<String>(key.name) {
                self.settings.flag(key.name, text).map_err(invalid)?;
            }
        }
        if S::MODELS {
            for model in matches.get_many::<String>(MODEL).into_iter().flatten() {
                self.settings.model_flag(model).map_err(invalid)?;
            }
        }
        Ok(())
    }
}

const MODEL: &str = "model";

fn keys<S: Scope>() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| S::SECTIONS.contains(&section(key)))
}

fn section(key: &Key) -> &'static str {
    key.name.split('.').next().unwrap_or_default()
}

fn models() -> Arg {
    Arg::new(MODEL).long("model").value_name("[NAME=]SOURCE").action(ArgAction::Append).help(
        "A model: a Hugging Face id (org/name or org/name@revision), a folder, or bundled:NAME; may be repeated \
             [default: bundled:sentiment and bundled:blood-cells]",
    )
}

fn flag(key: &'static Key) -> Arg {
    let default = key.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    let value = key.name.rsplit('.').next().unwrap_or_default().to_uppercase();
    let heading = match section(key) {
        "server" => "Server",
        "limits" => "Limits of one request",
        "queue" => "Queue",
        "compute" => "Compute",
        "hub" => "Hugging Face hub",
        "auth" | "cors" => "Access",
        "audit" => "Audit log",
        "log" => "Log",
        other => other,
    };
    Arg::new(key.name)
        .long(key.flag())
        .value_name(value)
        .help(format!("{}{default}", key.about))
        .help_heading(heading)
        .hide_short_help(section(key) != "server")
}

#[cfg(test)]
mod tests {
    use super::super::args::{Arguments, Command};
    use super::*;
    use clap::Parser as _;

    fn settings(flags: &[&str]) -> Result<RawSettings, clap::Error> {
        let parsed = Arguments::try_parse_from([&["explaind", "serve"], flags].concat())?;
        let Command::Serve(serve) = parsed.command else { panic!("not serve") };
        Ok(serve.flags.settings)
    }

    #[test]
    fn every_setting_is_a_flag() {
        assert_eq!(settings(&[]).unwrap(), RawSettings::default());
        for key in KEYS {
            let value = key.default.filter(|default| !default.is_empty()).unwrap_or("1");
            let value = if key.name == "cors.origins" { "https://example.org" } else { value };
            let flag = format!("--{}", key.flag());
            let mut expected = RawSettings::default();
            expected.flag(key.name, value).unwrap();
            assert_eq!(settings(&[&flag, value]).unwrap(), expected, "{flag}");
        }
    }

    #[test]
    fn models_repeat() {
        let mut expected = RawSettings::default();
        expected.model_flag("mine=org/name@main").unwrap();
        expected.model_flag("bundled:sentiment").unwrap();
        assert_eq!(settings(&["--model", "mine=org/name@main", "--model", "bundled:sentiment"]).unwrap(), expected);
    }

    #[test]
    fn a_wrong_value_is_a_usage_error_that_names_the_flag() {
        let error = settings(&["--limits-pixels", "many"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("limits-pixels"), "{error}");
    }
}
