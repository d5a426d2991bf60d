//! Tests of [`super`].

use super::*;

fn written_to(name: &str, content: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn read_as(name: &str, content: &str) -> Result<Vec<Item>, String> {
    let (_folder, path) = written_to(name, content);
    read(&path, &Reading::default()).map_err(|error| error.to_string())
}

fn texts(items: &[Item]) -> Vec<(&str, Option<&str>)> {
    let text = |item| match item {
        &Item { content: Content::Text { ref text, .. }, ref label, .. } => (text.as_str(), label.as_deref()),
        _ => panic!("no text"),
    };
    items.iter().map(text).collect()
}

#[test]
fn tables_with_and_without_a_header() {
    let bare = read_as("a.tsv", "a \"fine film\t1\nbad\t0\n").unwrap();
    assert_eq!(texts(&bare), [("a \"fine film", Some("1")), ("bad", Some("0"))]);
    let named = read_as("a.csv", "label,sentence,rationale\nPOS,\"a, b\",\"[[0, 1]]\"\nNEG,c,\n").unwrap();
    assert_eq!(texts(&named), [("a, b", Some("POS")), ("c", Some("NEG"))]);
    assert_eq!(named[0].marks, Some(Marks::Spans(vec![Span { sequence: 0, start: 0, end: 1 }])));
    assert_eq!((named[1].marks.clone(), named[1].line), (None, 3));
}

/// As spreadsheets on Windows write them.
#[test]
fn a_mark_in_front_is_no_part_of_the_data() {
    for (name, content, texts_of, label) in [
        ("a.jsonl", "\u{feff}{\"text\": \"fine\", \"label\": 1}\n{\"text\": \"bad\"}\n", ["fine", "bad"], Some("1")),
        ("a.csv", "\u{feff}text,label\nfine,1\nbad,\n", ["fine", "bad"], Some("1")),
        ("a.tsv", "\u{feff}fine\t1\nbad\t\n", ["fine", "bad"], Some("1")),
        ("a.txt", "\u{feff}fine\nbad\n", ["fine", "bad"], None),
    ] {
        let items = read_as(name, content).unwrap();
        assert_eq!(texts(&items), [(texts_of[0], label), (texts_of[1], None)], "{name}");
    }
    let (folder, path) = written_to("a.txt", "so good\n");
    let marks = folder.path().join("marks.jsonl");
    std::fs::write(&marks, "\u{feff}{\"id\": \"1\", \"rationale\": [[3, 7]]}\n").unwrap();
    let items = read(&path, &Reading { rationales: Some(marks), ..Reading::default() }).unwrap();
    assert!(items[0].marks.is_some());
}

#[test]
fn json_lines_with_marks_of_three_forms() {
    let items = read_as(
        "a.jsonl",
        concat!(
            r#"{"id": "x", "text": "so good", "label": 1, "rationale": [[3, 7]]}"#,
            "\n\n",
            r#"{"text": "so good", "label": null, "rationale": [1]}"#,
            "\n",
            r#"{"premise": "a b", "hypothesis": "c d", "label": "neutral", "premise_rationale": [], "hypothesis_rationale": [[2, 3]]}"#,
            "\n"
        ),
    )
    .unwrap();
    let span = |sequence, start, end| Some(Marks::Spans(vec![Span { sequence, start, end }]));
    assert_eq!(
        items.iter().map(|item| item.marks.clone()).collect::<Vec<_>>(),
        [span(0, 3, 7), span(0, 3, 7), span(1, 2, 3)]
    );
    assert_eq!(
        items.iter().map(|item| (item.id.as_str(), item.line)).collect::<Vec<_>>(),
        [("x", 1), ("3", 3), ("4", 4)]
    );
    assert_eq!(items[1].label, None);
}

#[test]
fn a_bad_line_is_named() {
    for (name, content, expected) in [
        ("a.jsonl", "{\"text\": \"a\"}\n{\"text\"\n", "a.jsonl:2: it is no JSON"),
        ("a.jsonl", "{\"text\": 3}\n", "a.jsonl:1: the text is no string"),
        ("a.jsonl", "{\"txt\": \"a\"}\n", "a.jsonl:1: there is no text"),
        ("a.jsonl", "{\"text\": \"a\", \"rationale\": [[0, 2]]}\n", "[0, 2] is no stretch of a text of 1 characters"),
        ("a.jsonl", "{\"text\": \"a\", \"rationale\": [4]}\n", "there is no word 4; there are 1"),
        ("a.jsonl", "{\"text\": \"a\", \"label\": [1]}\n", "the label is neither a name nor a number"),
        ("a.csv", "text,label\na,1\nb\n", "a.csv:3: it has 1 columns and the first row 2"),
        ("a.csv", "", "there is nothing in it"),
        ("a.bin", "x", "a data set is a .jsonl"),
    ] {
        let error = read_as(name, content).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn marks_come_from_a_file_of_their_own() {
    let (folder, path) = written_to("a.txt", "so good\nso bad\n");
    let marks = folder.path().join("marks.jsonl");
    std::fs::write(&marks, "{\"id\": \"2\", \"rationale\": [[3, 6]]}\n").unwrap();
    let reading = Reading { rationales: Some(marks), ..Reading::default() };
    let items = read(&path, &reading).unwrap();
    assert!(items[0].marks.is_none() && items[1].marks.is_some());
}

#[test]
fn folders_give_labels_and_boxes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write("cat/b.png", "");
    write("a.jpg", "");
    write("notes.md", "");
    let one =
        r#"[{"file": "a.jpg", "label": "dog", "boxes": [{"cell": "D", "xmin": 0, "ymin": 0, "xmax": 2, "ymax": 3}]}]"#;
    write("boxes.json", one);
    let read_with = |boxes_of: &[(&str, &str)]| {
        let boxes_of = boxes_of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        read(folder.path(), &Reading { boxes_of, ..Reading::default() }).unwrap()
    };
    let items = read_with(&[("dog", "D")]);
    assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["a.jpg", "cat/b.png"]);
    assert_eq!(items.iter().map(|item| item.label.as_deref()).collect::<Vec<_>>(), [Some("dog"), Some("cat")]);
    assert!(matches!(&items[0].marks, Some(Marks::Boxes(boxes)) if boxes.len() == 1));
    assert_eq!(read_with(&[])[0].marks, None, "a box of another name speaks for no label");
}

#[test]
fn labels_are_names_or_indices() {
    let labels = ["NEGATIVE", "POSITIVE"].map(str::to_owned);
    let class = |label| class_of(label, &labels);
    assert_eq!(["POSITIVE", "negative", "1", "2", "x"].map(class), [Some(1), Some(0), Some(1), None, None]);
}
