//! What can be written on the command line. Only shapes: nothing is read or opened here.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use super::evaluate::EvaluateArguments;
use super::flags::{All, Flags, List, Run};

/// Explains what a Hugging Face model did: which words, pixels, heads and layers made it say what it said.
#[derive(Debug, Parser)]
#[command(name = "explaind", version, arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve models over HTTP
    Serve(Box<ServeArguments>),
    /// Explain one text or image, without a server
    Explain(Box<ExplainArguments>),
    /// Repeat an answer from itself and say where the repetition differs (exit 3)
    Replay(Box<ReplayArguments>),
    /// Explain a data set with many methods and report how good they are
    Evaluate(Box<EvaluateArguments>),
    /// List the models that the settings name, and what each can do
    Models(Box<ListArguments>),
    /// List the methods with their settings
    Methods(Box<ListArguments>),
    /// Print the OpenAPI document
    Openapi,
    /// Look into the log of answers that the setting audit.file makes a server keep
    Audit(AuditArguments),
    /// Ask a running server whether it is ready (exit 0) or not (exit 1)
    Healthcheck(HealthcheckArguments),
}

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// TOML file with settings; a flag wins over the environment, that over the file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub flags: Flags<All>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("input").required(true).args(["text", "text_file", "image", "request"]))]
pub(super) struct ExplainArguments {
    /// The text to explain
    #[arg(long, value_name = "T")]
    pub text: Option<String>,
    /// Second text, for models of sentence pairs
    #[arg(long, value_name = "T", conflicts_with_all = ["image", "request"])]
    pub pair: Option<String>,
    /// A file with the text to explain, in UTF-8
    #[arg(long, value_name = "F")]
    pub text_file: Option<PathBuf>,
    /// A PNG, JPEG or WebP file to explain
    #[arg(long, value_name = "F")]
    pub image: Option<PathBuf>,
    /// A file with the JSON of POST /explain, or - for standard input
    #[arg(long, value_name = "FILE|-")]
    pub request: Option<PathBuf>,
    /// The model: a Hugging Face id, a folder, or bundled:NAME [default: those of the settings, else the bundled one that fits the input]
    #[arg(long, value_name = "[NAME=]SOURCE")]
    pub model: Option<String>,
    /// A method with its defaults; may be repeated [default: integrated_gradients where the model has gradients]
    #[arg(long = "method", value_name = "M", conflicts_with = "request")]
    pub methods: Vec<String>,
    /// What to explain: a label, a class index, predicted, all, or a target in JSON ({"token": 3}) [default: predicted]
    #[arg(long, value_name = "T", conflicts_with = "request")]
    pub target: Option<String>,
    /// Zero-shot classification over these labels, with commas between them; may be repeated
    #[arg(long, value_name = "L,L", value_delimiter = ',', conflicts_with = "request")]
    pub labels: Vec<String>,
    /// The sentence that each of --labels makes in place of {} [default: This example is {}., of images This is a photo of {}.]
    #[arg(long, value_name = "T", requires = "labels")]
    pub hypothesis_template: Option<String>,
    /// Each of --labels by itself rather than one of them
    #[arg(long, requires = "labels")]
    pub multi_label: bool,
    /// What happens to a text of more tokens than the model takes [default: truncate]
    #[arg(long, value_enum, conflicts_with_all = ["image", "request"])]
    pub truncation: Option<Cut>,
    /// How to write the answer [default: by --output's ending, else text on a terminal, else json]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write into this file instead of standard output
    #[arg(long, value_name = "F")]
    pub output: Option<PathBuf>,
    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub flags: Flags<Run>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Cut {
    /// Cut the end
    Truncate,
    /// Refuse
    Error,
    /// Read it in overlapping windows
    Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The same bytes as POST /explain
    Json,
    /// Shaded words and a table
    Text,
    /// A self-contained page
    Html,
    /// A picture; the only one of a text
    Svg,
    /// A picture of an image's heat maps
    Png,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArguments {
    /// The JSON of an answer, or - for standard input
    #[arg(value_name = "ANSWER.json")]
    pub answer: PathBuf,
    /// The input: a text, an image, or the JSON request that held it; needed unless the answer was asked for with "echo"
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Where the model is now [default: where the answer says it was]
    #[arg(long, value_name = "SOURCE")]
    pub model: Option<String>,
    /// How to write what was found
    #[arg(long, value_enum, default_value = "text")]
    pub format: ReplayFormat,
    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub flags: Flags<Run>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReplayFormat {
    /// A line a difference, with its JSON pointer and both values
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// How to write the list [default: table on a terminal, else json]
    #[arg(long, value_enum)]
    pub format: Option<ListFormat>,
    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub flags: Flags<List>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    /// The same bytes as GET /models and GET /methods
    Json,
    Table,
}

#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    #[command(subcommand)]
    pub command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check every record and its link to the one before; name the first that is wrong (exit 3)
    Verify {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct HealthcheckArguments {
    /// Where the server listens
    #[arg(long, value_name = "U", default_value = "http://127.0.0.1:8080")]
    pub url: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["explaind"], line].concat())
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn explain_takes_exactly_one_input() {
        assert!(parse(&["explain", "--text", "a"]).is_ok());
        assert!(parse(&["explain", "--text", "a", "--pair", "b"]).is_ok());
        assert!(parse(&["explain", "--request", "-"]).is_ok());
        assert!(parse(&["explain"]).is_err());
        assert!(parse(&["explain", "--text", "a", "--image", "b"]).is_err());
        assert!(parse(&["explain", "--image", "a", "--pair", "b"]).is_err());
        assert!(parse(&["explain", "--request", "-", "--method", "lime"]).is_err());
    }

    #[test]
    fn labels_are_a_list_and_the_rest_goes_with_them() {
        let line = ["explain", "--text", "a", "--labels", "x,y z", "--labels", "w", "--multi-label"];
        let Ok(Arguments { command: Command::Explain(explain) }) = parse(&line) else { panic!("not parsed") };
        assert_eq!((explain.labels, explain.multi_label), (vec!["x".into(), "y z".into(), "w".into()], true));
        assert!(parse(&["explain", "--text", "a", "--multi-label"]).is_err());
        assert!(parse(&["explain", "--text", "a", "--hypothesis-template", "{}"]).is_err());
        assert!(parse(&["explain", "--request", "-", "--labels", "a"]).is_err());
        assert!(parse(&["explain", "--text", "a", "--truncation", "window"]).is_ok());
    }

    #[test]
    fn methods_repeat() {
        let Ok(Arguments { command: Command::Explain(explain) }) =
            parse(&["explain", "--text", "a", "--method", "lime", "--method", "attention"])
        else {
            panic!("not parsed")
        };
        assert_eq!(explain.methods, ["lime", "attention"]);
    }
}
