//! `explaind evaluate` over the bundled models and tiny data sets.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use explaind::engine::{Device, run_blocking};
use explaind::evaluation::data::{Item, Reading, read};
use explaind::evaluation::journal::Journal;
use explaind::evaluation::outcome::Record;
use explaind::evaluation::run::{Questions, run};
use explaind::evaluation::sanity::Sanity;
use explaind::explain::outcome::InputView;
use explaind::explain::{Catalog, ExplainItem, ExplainRequest, ServedModel, Wanted, plan};
use explaind::hub::{self, HubOptions, HubOverrides, Source};
use explaind::models::{Randomised, Weights};
use explaind::tasks::TargetSpec;
use serde_json::{Value, json};

const LINES: &str = concat!(
    r#"{"id": "a", "text": "a gripping, funny film", "label": "POSITIVE", "rationale": [[2, 10], [12, 17]]}"#,
    "\n",
    r#"{"id": "b", "text": "he made a dull and lifeless mess", "label": 0, "rationale": [[10, 14], [19, 32]]}"#,
    "\n",
    r#"{"id": "c", "text": "she wrote a warm and moving story", "label": 1, "rationale": [[12, 16]]}"#,
    "\n",
);

fn evaluate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_explaind")).arg("evaluate").args(arguments).output().unwrap()
}

fn data(folder: &Path) -> String {
    let path = folder.join("data.jsonl");
    std::fs::write(&path, LINES).unwrap();
    path.display().to_string()
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

/// A report without what depends on the clock.
fn timeless(mut report: Value) -> Value {
    for method in report["methods"].as_array_mut().unwrap() {
        method["seconds"] = Value::Null;
    }
    report
}

#[test]
fn a_report_has_cost_agreement_accuracy_and_plausibility() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (data(folder.path()), folder.path().join("out"));
    let out_name = out.display().to_string();
    let done = evaluate(&[
        "--data",
        &data,
        "--output",
        &out_name,
        "--method",
        "integrated_gradients",
        "--method",
        r#"{"method": "lime", "samples": 40}"#,
        "--method",
        r#"{"method": "lime", "samples": 80}"#,
        "--method",
        "gradient",
    ]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let found = report(&out);
    assert_eq!(found["accuracy"]["mean"], 1.0);
    let names: Vec<&str> =
        found["methods"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["integrated_gradients", "lime samples=40", "lime samples=80", "gradient"]);
    for method in found["methods"].as_array().unwrap() {
        assert_eq!(method["explained"], 3, "{method}");
        assert!(method["evaluations"]["mean"].as_f64().unwrap() >= 1.0, "{method}");
        assert!(method["marks"]["auprc"]["mean"].as_f64().unwrap() > 0.4, "{method}");
        assert!(method["marks"]["auprc"]["n"] == 3 && method["marks_right"]["token_f1"]["n"] == 3, "{method}");
    }
    let rank = &found["agreement"]["rank"];
    assert!(rank[1][2].as_f64().unwrap() > 0.7 && rank[0][0] == 1.0, "{rank}");
    assert_eq!(rank[0][3], rank[3][0]);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("NaN") && !page.contains("src=\"http"));
    let markdown = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(markdown.contains("## Cost") && markdown.contains("| auprc |"), "{markdown}");
}

#[test]
fn an_ended_run_goes_on_and_jobs_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let run = |name: &str, jobs: &str| {
        let out = folder.path().join(name);
        let arguments = [
            "--data",
            &data,
            "--output",
            out.to_str().unwrap(),
            "--jobs",
            jobs,
            "--method",
            "lime",
            "--method",
            "attention",
        ];
        let done = evaluate(&arguments);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        out
    };
    let one = run("one", "1");
    let three = run("three", "3");
    assert_eq!(timeless(report(&one)), timeless(report(&three)));
    // Ended in the middle of the second item's line.
    let whole = std::fs::read_to_string(one.join("journal.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    assert_eq!(lines.len(), 4, "{whole}");
    let cut = format!("{}\n{}\n{}", lines[0], lines[1], &lines[2][..lines[2].len() / 2]);
    std::fs::write(one.join("journal.jsonl"), cut).unwrap();
    std::fs::remove_file(one.join("report.json")).unwrap();
    run("one", "1");
    assert_eq!(timeless(report(&one)), timeless(report(&three)));
    let again = std::fs::read_to_string(one.join("journal.jsonl")).unwrap();
    assert_eq!(again.lines().nth(1), Some(lines[1]), "what was finished is not asked again");
    // Another run does not go into the same folder.
    let other = evaluate(&["--data", &data, "--output", one.to_str().unwrap(), "--method", "lime"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&other.stderr).contains("its methods differs"));
}

/// What failed is asked again, by itself; a run under other limits is another run.
#[test]
fn what_failed_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("long.txt"), folder.path().join("out"));
    let long = "this long and winding film has no idea of what it wants to tell us in the end of it all";
    std::fs::write(&data, format!("{long}\n{long}, and more of it\n")).unwrap();
    let run = |more: &[&str]| {
        let arguments =
            ["--data", data.to_str().unwrap(), "--output", out.to_str().unwrap(), "--no-faithfulness", "--seed", "3"];
        let methods = ["--method", "attention", "--method", r#"{"method": "lime", "samples": 2000}"#];
        evaluate(&[&arguments[..], &methods, more].concat())
    };
    let explained = || {
        let report = report(&out);
        [0, 1].map(|place| report["methods"][place]["explained"].as_u64().unwrap())
    };
    let lines = || std::fs::read_to_string(out.join("journal.jsonl")).unwrap().lines().count();
    assert!(run(&["--limits-deadline-ms", "5"]).status.success());
    assert_eq!((explained()[1], lines()), (0, 3), "two thousand rows take longer");
    let first = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(first.contains("## Not explained"), "{first}");
    assert!(run(&[]).status.success());
    assert_eq!((explained(), lines()), ([2, 2], 5));
    assert!(run(&[]).status.success());
    assert_eq!(lines(), 5, "all is finished");
    let other = run(&["--limits-text-chars", "5000"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&other.stderr).contains("its limits differs"));
    let head: Value =
        serde_json::from_str(std::fs::read_to_string(out.join("journal.jsonl")).unwrap().lines().next().unwrap())
            .unwrap();
    assert_eq!((&head["precision"], &head["device"], &head["seed"]), (&json!("f32"), &json!("cpu"), &json!(3)));
}

#[test]
fn wrong_data_and_methods_are_named_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.csv");
    std::fs::write(&path, "text,label\nfine,1\nbad,2\n").unwrap();
    let path = path.display().to_string();
    let refused = |arguments: &[&str], part: &str| {
        let done = evaluate(arguments);
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{errors}");
        assert!(errors.contains(part), "{errors}");
    };
    refused(&["--data", &path], "bad.csv:3: the label \"2\" is none of the model's (NEGATIVE, POSITIVE)");
    refused(&["--data", &path, "--limit", "1", "--method", "lemon"], "lemon");
    refused(&["--data", &path, "--limit", "1", "--target", "all"], "one target an item");
    refused(&["--data", "nowhere.jsonl"], "nowhere.jsonl");
    refused(&["--data", &path, "--seed", "9007199254740992"], "0..=9007199254740991");
}

#[test]
fn images_are_judged_by_boxes() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images");
    std::fs::copy(golden.join("platelet_027.png"), images.join("a.png")).unwrap();
    let boxes = json!([{"file": "a.png", "label": "platelet", "boxes": [{"cell": "P", "xmin": 0, "ymin": 0, "xmax": 60, "ymax": 240}]}]);
    std::fs::write(images.join("boxes.json"), boxes.to_string()).unwrap();
    let out = folder.path().join("out");
    let done = evaluate(&[
        "--data",
        images.to_str().unwrap(),
        "--output",
        out.to_str().unwrap(),
        "--method",
        "input_x_gradient",
        "--method",
        "occlusion",
        "--boxes-of",
        "platelet=P",
    ]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for method in report(&out)["methods"].as_array().unwrap() {
        let marks = &method["marks"];
        let pointing = marks["pointing"]["mean"].as_f64().unwrap();
        assert!(pointing == 0.0 || pointing == 1.0, "{marks}");
        assert!((0.0..=1.0).contains(&marks["energy"]["mean"].as_f64().unwrap()), "{marks}");
        assert!(marks["chance"]["mean"].as_f64().unwrap() > 0.0, "{marks}");
    }
}

#[test]
fn sanity_checks_and_groups() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (data(folder.path()), folder.path().join("out"));
    let groups = folder.path().join("groups.json");
    std::fs::write(&groups, r#"{"gender": {"male": ["he"], "female": ["she"]}}"#).unwrap();
    let arguments = [
        "--data",
        &data,
        "--output",
        out.to_str().unwrap(),
        "--method",
        "input_x_gradient",
        "--method",
        "lime",
        "--sanity",
        "--groups",
        groups.to_str().unwrap(),
        "--template",
        "{gender} made a good film",
        "--no-faithfulness",
    ];
    let done = evaluate(&arguments);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let found = report(&out);
    let steps = found["sanity"]["steps"].as_array().unwrap();
    assert_eq!((steps.len(), &steps[0], &steps[7]), (8, &json!("head"), &json!("embeddings")));
    for method in found["sanity"]["methods"].as_array().unwrap() {
        assert_eq!((&method["follows_weights"], &method["follows_class"]), (&json!(true), &json!(true)), "{method}");
    }
    let pairs = found["groups"]["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 2);
    assert_eq!(
        (&pairs[0]["from"], &pairs[0]["to"], &pairs[0]["flipped"]["n"]),
        (&json!("female"), &json!("male"), &json!(1))
    );
    assert!(
        pairs[0]["probabilities"]["POSITIVE"]["mean"].is_number()
            && pairs[0]["terms"]["lime"]["change"]["mean"].is_number()
    );
    let templates = &found["templates"];
    let groups = templates["groups"].as_array().unwrap();
    assert_eq!((groups.len(), &groups[0]["group"], &groups[1]["group"]), (2, &json!("female"), &json!("male")));
    // What one group's probability has more than the other's is what swapping changes.
    let positive = |group: &Value| group["probabilities"]["POSITIVE"]["mean"].as_f64().unwrap();
    let swapped = templates["swaps"]["pairs"][0]["probabilities"]["POSITIVE"]["mean"].as_f64().unwrap();
    assert!((positive(&groups[1]) - positive(&groups[0]) - swapped).abs() < 1e-6, "{templates}");
    let refused = evaluate(&["--data", &data, "--groups", arguments[10], "--template", "no gap"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("has no gap"));
}

/// A run against another seed's, and against itself.
#[test]
fn drift_is_what_changed_since_an_earlier_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let arguments =
            ["--data", &data, "--output", out.to_str().unwrap(), "--method", "gradient", "--method", "lime"];
        let done = evaluate(&[&arguments[..], &["--sensitivity", "1"], more].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        out
    };
    let first = run("first", &[]);
    let earlier = first.join("report.json");
    let against = ["--against", earlier.to_str().unwrap()];
    let same = report(&run("same", &against));
    let drift = &same["drift"];
    assert_eq!((&drift["differs"], &drift["words"], &drift["agreement"]), (&json!([]), &json!([]), &json!([])));
    let numbers = drift["numbers"].as_array().unwrap();
    let nothing = |change: &Value| change["change"].as_f64().unwrap().abs() < 1e-12 && change["clear"] == false;
    assert!(numbers.iter().all(nothing), "{numbers:?}");
    assert!(numbers.iter().any(|change| change["name"] == "aopc_sufficiency" && change["method"] == "lime"));
    let other = run("other", &[&against[..], &["--limit", "2"]].concat());
    assert_eq!(report(&other)["drift"]["differs"], json!(["data"]));
    let page = std::fs::read_to_string(other.join("report.md")).unwrap();
    assert!(page.contains("## Since an earlier run") && page.contains("Not the same in both runs: data."), "{page}");
    let wrong = evaluate(&["--data", &data, "--against", &data]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("is no report.json"));
}

/// The records of `items` under `model`; the second of two methods is made deaf: its scores are the words' lengths.
fn heard(model: ServedModel, items: &[Item]) -> Vec<Record> {
    let catalog = Catalog::new(vec![model]).unwrap();
    let limits = crate::app::settings(|_| {}).limits;
    let device = Device::default();
    let answer = |request: ExplainRequest, image: Option<Vec<u8>>| {
        let deaf = request.seed == Some(1);
        let plan = plan(&catalog, &limits, "id".to_owned(), request, image, Wanted::Explanations).unwrap();
        let mut answer = run_blocking(&plan, 2, 1024, &device).unwrap();
        if let (true, InputView::Text(text)) = (deaf, &answer.input) {
            let lengths: Vec<f32> = text.words.iter().map(|word| word.text.len() as f32).collect();
            answer.explanations.as_mut().unwrap()[0].attribution.scores.words = Some(lengths);
        }
        Ok(answer)
    };
    let mut both: Vec<Record> = Vec::new();
    for seed in [0, 1] {
        let journal = Journal::in_memory();
        let questions = Questions {
            items,
            methods: &[ExplainItem::Name("input_x_gradient".to_owned())],
            targets: &vec![TargetSpec::Index(1); items.len()],
            request: ExplainRequest { seed: Some(seed), ..ExplainRequest::default() },
            jobs: 2,
            stage: 0,
        };
        run(&answer, &questions, &journal, &|| ()).unwrap();
        let records = journal.records(0);
        if both.is_empty() {
            both = records;
        } else {
            both.iter_mut().zip(records).for_each(|(all, more)| all.outcomes.extend(more.outcomes));
        }
    }
    both
}

#[test]
fn a_method_made_deaf_fails_the_sanity_check_and_a_real_one_passes() {
    let folder = tempfile::tempdir().unwrap();
    let items = read(Path::new(&data(folder.path())), &Reading::default()).unwrap();
    let own = heard(crate::app::bundled("sentiment").unwrap(), &items);
    let offline = HubOverrides { cache: None, offline: Some(true), deadline: Duration::ZERO, progress: false };
    let files = hub::open(&Source::Bundled("sentiment".to_owned()), &HubOptions::from_env(|_| None, offline)).unwrap();
    let parts = Weights::open(&files).unwrap().parts();
    let random =
        ServedModel::randomised("random".to_owned(), files, Randomised { seed: 0, parts: parts.len() }).unwrap();
    let steps = vec![("all".to_owned(), heard(random, &items))];
    let names = ["input_x_gradient", "deaf"].map(str::to_owned);
    let found = Sanity::of(&names, &own, steps, &[], 0);
    assert_eq!(found.ignoring(), ["deaf"], "{found:?}");
    assert_eq!(found.methods[0].follows_weights, Some(true));
}
