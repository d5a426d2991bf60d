//! The flags of `explaind evaluate`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::flags::{Flags, Run};
use crate::explain::MAX_SEED;

#[derive(Debug, Args)]
pub(in crate::cli) struct EvaluateArguments {
    /// What to explain: a .jsonl, .csv, .tsv or .txt file, or a folder of images
    #[arg(long, value_name = "FILE|DIR")]
    pub data: PathBuf,
    /// A folder for journal.jsonl, report.json, report.md and report.html; with the same folder a run that was ended goes on [default: the Markdown goes to standard output, and nothing is kept]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// The model: a Hugging Face id, a folder, or bundled:NAME [default: the bundled one that reads the data]
    #[arg(long, value_name = "[NAME=]SOURCE")]
    pub model: Option<String>,
    /// A method by name, or with settings as JSON: '{"method": "lime", "samples": 1000}'; may be repeated [default: every method that the model can serve]
    #[arg(long = "method", value_name = "M")]
    pub methods: Vec<String>,
    /// What to explain: a label, a class index, predicted, or a target in JSON; "label" is each item's own label [default: predicted]
    #[arg(long, value_name = "T")]
    pub target: Option<String>,
    /// What people marked, in a file of its own: JSON lines of id and rationale; of images a JSON list of boxes or a folder of masks [default: the marks in the data]
    #[arg(long, value_name = "FILE|DIR")]
    pub rationales: Option<PathBuf>,
    /// Which boxes speak for a label: those of this name; may be repeated [default: those called like the label]
    #[arg(long, value_name = "LABEL=NAME", value_parser = pair)]
    pub boxes_of: Vec<(String, String)>,
    /// The column or key of the text [default: text, sentence, premise, question, …]
    #[arg(long, value_name = "NAME")]
    pub text_column: Option<String>,
    /// The column or key of the label [default: label, class]
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,
    /// The first N items alone
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Items side by side; above 1, seconds include waiting for each other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    /// Every random choice follows from it; at most 2^53 − 1, which JSON holds exactly
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=MAX_SEED))]
    pub seed: u64,
    /// Also check that explanations change where the model's weights become random, layer by layer, and for another class
    #[arg(long)]
    pub sanity: bool,
    /// Items of the sanity checks
    #[arg(long, value_name = "N", default_value_t = 20, requires = "sanity", value_parser = clap::value_parser!(u16).range(1..))]
    pub sanity_items: u16,
    /// Swap the terms of groups in every text: {"category": {"group": ["term", …], …}} with corresponding terms
    #[arg(long, value_name = "FILE")]
    pub groups: Option<PathBuf>,
    /// A text with gaps, "the {category} is here", filled with every term of the groups of that category; may be repeated
    #[arg(long = "template", value_name = "TEXT", requires = "groups")]
    pub templates: Vec<String>,
    /// An earlier run's report.json: what has changed since is added to the report
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Leave out the measures of faithfulness
    #[arg(long)]
    pub no_faithfulness: bool,
    /// Changed inputs that max_sensitivity runs each method on again; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with = "no_faithfulness", value_parser = clap::value_parser!(u16).range(0..=100))]
    pub sensitivity: u16,
    /// Model rows that these runs may take for an explanation; max_sensitivity is left out where they may take more [default: 5000, or limits.max_evaluations]
    #[arg(long, value_name = "N", conflicts_with = "no_faithfulness", value_parser = clap::value_parser!(u32).range(1..))]
    pub sensitivity_evaluations: Option<u32>,
    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub flags: Flags<Run>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (label, name) = text.split_once('=').ok_or("it is LABEL=NAME")?;
    Ok((label.to_owned(), name.to_owned()))
}
