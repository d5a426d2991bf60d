//! `explaind evaluate`: a data set explained by many methods, and a report of how good they are.

mod args;
mod checks;
mod service;

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{Failure, load};
use crate::config::{ModelSetting, Precision, Settings};
use crate::evaluation::data::{self, Content, Item, Reading, class_of};
use crate::evaluation::drift::Drift;
use crate::evaluation::journal::Journal;
use crate::evaluation::report::{Head, Parts, Report, names};
use crate::evaluation::run::{Questions, run as ask};
use crate::evaluation::{html, markdown, swaps};
use crate::explain::{Evaluate, EvaluateOptions, ExplainItem, ExplainRequest, ServedModel};
use crate::input::Kind;
use crate::methods::METHODS;
use crate::models::Problem;
use crate::tasks::TargetSpec;
pub(super) use args::EvaluateArguments;
use service::Service;

/// The item's own label as target.
const OWN: &str = "label";

pub(super) fn run(arguments: &EvaluateArguments, settings: &Settings) -> Result<ExitCode, Failure> {
    let items = read(arguments)?;
    let service = Service::open(&source(arguments, settings, &items)?, settings)?;
    let model = &service.model;
    check_labels(arguments, model, &items)?;
    let methods = methods(arguments, model)?;
    let targets = targets(arguments, model, &items)?;
    let groups = arguments.groups.as_deref().map(checks::groups).transpose()?;
    let filled = groups.as_ref().map(|groups| checks::fill(arguments, groups)).transpose()?.unwrap_or_default();
    let earlier = arguments.against.as_deref().map(checks::earlier).transpose()?;
    service.check(&items, &targets, &methods, !arguments.methods.is_empty())?;
    let evaluate = measuring(arguments, settings)?;
    let head = head(arguments, settings, &service, (&items, &methods), evaluate)?;
    let journal = journal(arguments, &head)?;
    let names = names(&head.methods);
    let request = ExplainRequest { evaluate, seed: Some(arguments.seed), ..ExplainRequest::default() };
    let questions = Questions {
        items: &items,
        methods: &methods,
        targets: &targets,
        request,
        jobs: usize::from(arguments.jobs),
        stage: 0,
    };
    watched("items", items.len(), journal.finished(0).len(), |finished| ask(&service, &questions, &journal, finished))?;
    let records = journal.records(0);
    let run = checks::Run { arguments, names: &names, questions: &questions, journal: &journal, records: &records };
    let templates = match &groups {
        Some(groups) if !filled.is_empty() => Some(run.templates(&service, groups, &filled)?),
        _ => None,
    };
    let swap = |groups| run.groups(&service, groups, swaps::stages(groups, &arguments.templates)[0]);
    let groups = groups.as_ref().map(swap).transpose()?;
    let sanity = if arguments.sanity { Some(run.sanity(&service, settings)?) } else { None };
    let deaf = sanity.as_ref().map(|sanity| sanity.ignoring().join(", ")).filter(|names| !names.is_empty());
    let labels = &model.model.spec().labels;
    let parts = Parts { head, items: &items, labels, records: &records, groups, templates, sanity };
    let mut report = Report::of(parts).map_err(Failure::Usage)?;
    report.drift = earlier.map(|earlier| Drift::of(&earlier, &report));
    write(arguments.output.as_deref(), &report)?;
    match deaf {
        Some(names) => Err(Failure::Ignored(names)),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn read(arguments: &EvaluateArguments) -> Result<Vec<Item>, Failure> {
    let reading = Reading {
        text: arguments.text_column.clone(),
        label: arguments.label_column.clone(),
        rationales: arguments.rationales.clone(),
        boxes_of: arguments.boxes_of.clone(),
        limit: arguments.limit,
    };
    Ok(data::read(&arguments.data, &reading)?)
}

/// `--model`, else the settings' only one, else the bundled one that reads the data.
fn source(arguments: &EvaluateArguments, settings: &Settings, items: &[Item]) -> Result<ModelSetting, Failure> {
    match (&arguments.model, settings.models.as_slice()) {
        (Some(text), _) => return Ok(ModelSetting::parse(text)),
        (None, [one]) => return Ok(one.clone()),
        (None, []) => {}
        (None, _) => return Err(Failure::Usage("the settings name several models; say which with --model".into())),
    }
    let images = items.iter().any(|item| matches!(item.content, Content::Image(_)));
    let kind = if images { Kind::Image } else { Kind::Text };
    load::bundled(kind).ok_or_else(|| Failure::Usage("no bundled model reads this; name one with --model".into()))
}

/// Every label is one of the model's. Of a regression they are numbers, which nothing here is compared with.
fn check_labels(arguments: &EvaluateArguments, model: &ServedModel, items: &[Item]) -> Result<(), Failure> {
    let spec = model.model.spec();
    if spec.problem == Problem::Regression {
        return Ok(());
    }
    let wrong = items.iter().find_map(|item| {
        let label = item.label.as_deref()?;
        class_of(label, &spec.labels).is_none().then_some((item, label))
    });
    let Some((item, label)) = wrong else { return Ok(()) };
    let place = if item.line > 0 {
        format!("{}:{}", arguments.data.display(), item.line)
    } else {
        format!("{}/{}", arguments.data.display(), item.id)
    };
    let known: Vec<&str> = spec.labels.iter().take(20).map(String::as_str).collect();
    Err(Failure::Usage(format!(
        "{place}: the label \"{label}\" is none of the model's ({}) and no index of one; name another column with \
         --label-column",
        known.join(", ")
    )))
}

/// Those asked for, else all that the model can serve.
fn methods(arguments: &EvaluateArguments, model: &ServedModel) -> Result<Vec<ExplainItem>, Failure> {
    if arguments.methods.is_empty() {
        let fitting = METHODS.iter().filter(|method| method.fits(model.model.spec()));
        return Ok(fitting.map(|method| ExplainItem::Name(method.name().to_owned())).collect());
    }
    let parse = |text: &String| {
        if !text.trim_start().starts_with('{') {
            return Ok(ExplainItem::Name(text.clone()));
        }
        serde_json::from_str(text).map_err(|error| Failure::Usage(format!("--method {text}: {error}")))
    };
    arguments.methods.iter().map(parse).collect()
}

/// One an item.
fn targets(arguments: &EvaluateArguments, model: &ServedModel, items: &[Item]) -> Result<Vec<TargetSpec>, Failure> {
    let labels = &model.model.spec().labels;
    let own = |label: &str| {
        class_of(label, labels).map_or_else(|| TargetSpec::from_text(label), |class| TargetSpec::Index(class as u64))
    };
    let one = |item: &Item| match arguments.target.as_deref() {
        None => Ok(TargetSpec::Predicted),
        Some(OWN) => item.label.as_deref().map(own).ok_or_else(|| {
            let place = format!("{}:{}", arguments.data.display(), item.line);
            Failure::Usage(format!("{place}: item {} has no label, and --target label asks for it", item.id))
        }),
        Some(text) => match TargetSpec::from_text(text) {
            TargetSpec::List(_) => Err(Failure::Usage("evaluate explains one target an item; name one".into())),
            TargetSpec::Text(all) if all == "all" => {
                Err(Failure::Usage("evaluate explains one target an item; \"all\" is none".into()))
            }
            target => Ok(target),
        },
    };
    items.iter().map(one).collect()
}

/// All that a record depends on.
fn head(
    arguments: &EvaluateArguments,
    settings: &Settings,
    service: &Service,
    (items, methods): (&[Item], &[ExplainItem]),
    evaluate: Option<Evaluate>,
) -> Result<Head, Failure> {
    let (model, limits) = (&service.model, &settings.limits);
    Ok(Head {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: serde_json::json!({
            "name": model.name,
            "source": model.source,
            "revision": model.revision,
            "sha256": model.sha256,
        }),
        data: arguments.data.display().to_string(),
        items: items.len(),
        data_sha256: data::sha256(items)?,
        methods: methods.iter().map(|method| serde_json::to_value(method).unwrap_or(Value::Null)).collect(),
        target: arguments.target.clone().unwrap_or_else(|| "predicted".to_owned()),
        seed: arguments.seed,
        evaluate: serde_json::to_value(evaluate).unwrap_or(Value::Null),
        limits: serde_json::json!({
            "text_chars": limits.text_chars,
            "pixels": limits.pixels,
            "explanations": limits.explanations,
            "max_evaluations": limits.max_evaluations,
            "response_values": limits.response_values,
        }),
        precision: match settings.compute.precision {
            Precision::F32 => "f32".to_owned(),
            Precision::Bf16 => "bf16".to_owned(),
        },
        device: service.device.kind().name().to_owned(),
    })
}

/// What measuring may take; `None` where nothing is measured.
fn measuring(arguments: &EvaluateArguments, settings: &Settings) -> Result<Option<Evaluate>, Failure> {
    let options = EvaluateOptions {
        sensitivity_draws: Some(usize::from(arguments.sensitivity)),
        sensitivity_evaluations: arguments.sensitivity_evaluations.map(|rows| rows as usize),
    };
    let evaluate = Evaluate::How(options);
    let effort = evaluate.effort(settings.limits.max_evaluations);
    let effort = effort.map_err(|error| Failure::Usage(format!("--sensitivity-evaluations: {error}")))?;
    Ok((!arguments.no_faithfulness).then(|| evaluate.resolved(effort)))
}

fn journal(arguments: &EvaluateArguments, head: &Head) -> Result<Journal, Failure> {
    let Some(folder) = &arguments.output else { return Ok(Journal::in_memory()) };
    std::fs::create_dir_all(folder).map_err(|error| Failure::io(folder.display().to_string(), error))?;
    let head = serde_json::to_value(head).unwrap_or(Value::Null);
    Ok(Journal::open(&folder.join("journal.jsonl"), &head)?)
}

/// Runs `work` under a bar on the terminal that moves with each call of the function it is given.
fn watched<T>(
    what: &str,
    total: usize,
    done: usize,
    work: impl FnOnce(&(dyn Fn() + Sync)) -> std::io::Result<T>,
) -> Result<T, Failure> {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(total as u64) } else { ProgressBar::hidden() };
    // A template that does not parse leaves indicatif's own style.
    if let Ok(style) = ProgressStyle::with_template("{msg:12!} {bar:32} {pos}/{len} {elapsed} (left {eta})") {
        bar.set_style(style);
    }
    let bar = bar.with_message(what.to_owned()).with_position(done as u64);
    let result = work(&|| bar.inc(1));
    bar.finish_and_clear();
    result.map_err(|error| Failure::io("the journal", error))
}

/// Puts `content` in the place of the folder's file of that name, all at once: whatever ends the process, a reader finds the
/// old report or the new one.
fn replace(folder: &Path, name: &str, content: &str) -> std::io::Result<()> {
    let new = folder.join(format!(".{name}.new"));
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(content.as_bytes())?;
        file.sync_all()
    });
    let placed = written.and_then(|()| std::fs::rename(&new, folder.join(name)));
    if placed.is_err() {
        // What is left of it is of no use; the error that matters is the first.
        let _ = std::fs::remove_file(&new);
    }
    placed
}

/// The report's three forms into the folder, else its Markdown to standard output.
fn write(output: Option<&Path>, report: &Report) -> Result<(), Failure> {
    let drawn = markdown(report);
    let Some(folder) = output else { return super::print(drawn.as_bytes()) };
    let mut json = serde_json::to_string_pretty(report).map_err(crate::explain::RunError::Write)?;
    json.push('\n');
    for (name, content) in [("report.json", json), ("report.md", drawn), ("report.html", html(report))] {
        replace(folder, name, &content).map_err(|error| Failure::io(folder.join(name).display().to_string(), error))?;
    }
    super::print(format!("{}\n", folder.join("report.html").display()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        replace(folder.path(), "report.md", "old, and longer").unwrap();
        replace(folder.path(), "report.md", "new").unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("report.md")).unwrap(), "new");
        // A folder of that name cannot be replaced: nothing is left behind.
        std::fs::create_dir(folder.path().join("report.json")).unwrap();
        assert!(replace(folder.path(), "report.json", "{}").is_err());
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["report.json", "report.md"]);
    }
}
