//! `explaind explain`: one input, in this process, without HTTP or a runtime. Its JSON has the bytes of `POST
//! /explain`.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::args::{Cut, ExplainArguments, Format};
use super::{Failure, load, read_file};
use crate::config::{Compute, ModelSetting, Settings};
use crate::engine;
use crate::explain::{self, Answer, ExplainItem, ExplainRequest, Wanted};
use crate::input::Kind;
use crate::input::text::Truncation;
use crate::render::{self, TextOptions};
use crate::tasks::TargetSpec;

/// Columns where the terminal does not say.
const WIDTH: usize = 100;

pub(super) fn run(arguments: &ExplainArguments, settings: &Settings) -> Result<ExitCode, Failure> {
    let terminal = arguments.output.is_none() && std::io::stdout().is_terminal();
    let format = arguments.format.unwrap_or_else(|| default_format(arguments.output.as_deref(), terminal));
    if terminal && format == Format::Png {
        return Err(Failure::Usage("a terminal cannot show a PNG; write it to a file with --output".to_owned()));
    }
    let (request, image) = read(arguments)?;
    if format == Format::Png && image.is_none() && request.image.is_none() {
        return Err(render::RenderError::PngOfText.into());
    }
    let picture = match (&image, &request.image) {
        (Some(bytes), _) => Some(bytes.clone()),
        // A wrong one is the plan's to refuse, with its pointer.
        (None, Some(text)) => STANDARD.decode(text).ok(),
        (None, None) => None,
    };
    let device = engine::open_device(settings.compute.device)?;
    let catalog = load::catalog(&models(arguments, settings, &request, image.is_some())?, settings)?;
    let id = uuid::Uuid::new_v4().to_string();
    let plan = explain::plan(&catalog, &settings.limits, id, request, image, Wanted::Explanations)?;
    let Compute { threads, tokens_per_turn, .. } = settings.compute;
    let answer = engine::run_blocking(&plan, threads, tokens_per_turn, &device)?;
    write(arguments.output.as_deref(), &draw(&answer, format, picture.as_deref(), terminal)?)?;
    Ok(ExitCode::SUCCESS)
}

/// By the file's ending, else text for a person and JSON for a program.
fn default_format(output: Option<&Path>, terminal: bool) -> Format {
    match output.and_then(Path::extension).and_then(|ending| ending.to_str()) {
        Some("html") => Format::Html,
        Some("svg") => Format::Svg,
        Some("png") => Format::Png,
        Some("txt") => Format::Text,
        _ if terminal => Format::Text,
        _ => Format::Json,
    }
}

/// The request that the arguments stand for, and the bytes of an image that came as a file.
fn read(arguments: &ExplainArguments) -> Result<(ExplainRequest, Option<Vec<u8>>), Failure> {
    if let Some(path) = &arguments.request {
        return Ok((parse(&read_file(path)?)?, None));
    }
    let text = match &arguments.text_file {
        Some(path) => Some(utf8(path, read_file(path)?)?),
        None => arguments.text.clone(),
    };
    let image = arguments.image.as_deref().map(read_file).transpose()?;
    let methods: Vec<_> = arguments.methods.iter().cloned().map(ExplainItem::Name).collect();
    let request = ExplainRequest {
        text,
        pair: arguments.pair.clone(),
        target: arguments.target.as_deref().map(TargetSpec::from_text),
        explain: (!methods.is_empty()).then_some(methods),
        labels: (!arguments.labels.is_empty()).then(|| arguments.labels.clone()),
        hypothesis_template: arguments.hypothesis_template.clone(),
        multi_label: arguments.multi_label.then_some(true),
        truncation: arguments.truncation.map(|cut| match cut {
            Cut::Truncate => Truncation::Truncate,
            Cut::Error => Truncation::Error,
            Cut::Window => Truncation::Window,
        }),
        ..ExplainRequest::default()
    };
    Ok((request, image))
}

fn parse(json: &[u8]) -> Result<ExplainRequest, Failure> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let request: ExplainRequest = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| Failure::Usage(format!("the request is not valid: {error}")))?;
    reader.end().map_err(|error| Failure::Usage(format!("the request is not valid: {error}")))?;
    Ok(request)
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| Failure::Usage(format!("{} is not UTF-8: {error}", path.display())))
}

/// What to load: `--model` alone, else the settings' models, else a bundled one.
fn models(
    arguments: &ExplainArguments,
    settings: &Settings,
    request: &ExplainRequest,
    image: bool,
) -> Result<Vec<ModelSetting>, Failure> {
    if arguments.model.is_none() && !settings.models.is_empty() {
        return Ok(settings.models.clone());
    }
    Ok(vec![model(arguments, request, image)?])
}

/// The one model to load: that of `--model`, else the bundled one that the request names, else the bundled one that
/// reads this kind of input.
fn model(arguments: &ExplainArguments, request: &ExplainRequest, image: bool) -> Result<ModelSetting, Failure> {
    if let Some(text) = &arguments.model {
        return Ok(ModelSetting::parse(text));
    }
    if let Some(name) = &request.model {
        return Ok(ModelSetting { name: None, source: format!("bundled:{name}") });
    }
    let kind = if image || request.image.is_some() { Kind::Image } else { Kind::Text };
    load::bundled(kind).ok_or_else(|| Failure::Usage("no bundled model reads this input; name one with --model".into()))
}

fn draw(answer: &Answer, format: Format, image: Option<&[u8]>, terminal: bool) -> Result<Vec<u8>, Failure> {
    Ok(match format {
        Format::Json => {
            let mut bytes = explain::to_bytes(answer)?;
            // For the prompt's sake; anywhere else the bytes are those of HTTP.
            if terminal {
                bytes.push(b'\n');
            }
            bytes
        }
        Format::Text => render::text(answer, text_options(terminal)).into_bytes(),
        Format::Html => render::html(answer, image)?.into_bytes(),
        Format::Svg => render::svg(answer, image)?.into_bytes(),
        Format::Png => render::png(answer, image)?,
    })
}

/// Colour where standard output is a terminal and neither `NO_COLOR` nor `TERM=dumb` objects.
fn text_options(terminal: bool) -> TextOptions {
    let colour = terminal && anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0));
    TextOptions { width: if terminal { width } else { WIDTH }, colour }
}

fn write(output: Option<&Path>, bytes: &[u8]) -> Result<(), Failure> {
    match output {
        Some(path) => std::fs::write(path, bytes).map_err(|error| Failure::io(path.display().to_string(), error)),
        None => super::print(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::{Arguments, Command};
    use super::*;
    use clap::Parser as _;

    fn arguments(line: &[&str]) -> Box<ExplainArguments> {
        match Arguments::try_parse_from([&["explaind", "explain"], line].concat()).unwrap().command {
            Command::Explain(explain) => explain,
            _ => panic!("not explain"),
        }
    }

    #[test]
    fn the_format_follows_the_file_then_the_terminal() {
        assert_eq!(default_format(Some(Path::new("a.png")), false), Format::Png);
        assert_eq!(default_format(Some(Path::new("a")), false), Format::Json);
        assert_eq!(default_format(None, true), Format::Text);
        assert_eq!(default_format(None, false), Format::Json);
    }

    #[test]
    fn flags_become_the_request() {
        let line = ["--text", "a", "--pair", "b", "--method", "lime", "--method", "attention", "--target", "1"];
        let (request, image) = read(&arguments(&line)).unwrap();
        assert_eq!((request.text.as_deref(), request.pair.as_deref()), (Some("a"), Some("b")));
        let names = ["lime", "attention"].map(|name| ExplainItem::Name(name.to_owned()));
        assert_eq!(request.explain.as_deref(), Some(&names[..]));
        assert_eq!(request.target, Some(TargetSpec::from_text("1")));
        assert!(image.is_none());
    }

    #[test]
    fn a_request_is_read_whole_and_its_errors_say_where() {
        assert_eq!(parse(br#"{"text": "a", "seed": 3}"#).unwrap().seed, Some(3));
        let error = parse(br#"{"text": "a", "seed": "x"}"#).unwrap_err().to_string();
        assert!(error.contains("seed"), "{error}");
        assert!(parse(br#"{"text": "a"} {}"#).is_err());
        assert!(parse(br#"{"txt": "a"}"#).unwrap_err().to_string().contains("txt"));
    }

    #[test]
    fn the_bundled_model_follows_the_input() {
        let source = |line: &[&str], request: ExplainRequest, image| {
            model(&arguments(line), &request, image).map(|model| model.source).unwrap()
        };
        let named = ExplainRequest { model: Some("blood-cells".into()), ..ExplainRequest::default() };
        assert_eq!(source(&["--text", "a"], ExplainRequest::default(), false), "bundled:sentiment");
        assert_eq!(source(&["--image", "a"], ExplainRequest::default(), true), "bundled:blood-cells");
        assert_eq!(source(&["--request", "-"], named.clone(), false), "bundled:blood-cells");
        assert_eq!(source(&["--text", "a", "--model", "./m"], named, false), "./m");
    }

    #[test]
    fn the_settings_models_are_loaded_unless_a_flag_names_one() {
        let own = ModelSetting { name: Some("own".into()), source: "./own".into() };
        let settings = Settings { models: vec![own.clone()], ..Settings::default() };
        let chosen = |line: &[&str]| models(&arguments(line), &settings, &ExplainRequest::default(), false).unwrap();
        assert_eq!(chosen(&["--text", "a"]), [own]);
        assert_eq!(chosen(&["--text", "a", "--model", "./m"]), [ModelSetting { name: None, source: "./m".into() }]);
    }

    #[test]
    fn pictures_of_texts_are_refused_before_anything_is_loaded() {
        let failure = run(&arguments(&["--text", "a", "--format", "png", "--output", "x"]), &Settings::default());
        assert!(matches!(failure, Err(Failure::Render(render::RenderError::PngOfText))));
    }
}
