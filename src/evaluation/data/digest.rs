//! What a data set is, in one number: all that a run and its report are made from, wherever the files lie.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Content, DataError, Item, Marks};

/// SHA-256 over the items as read: names, lines, labels, texts, the bytes of images and masks, spans and boxes.
///
/// # Errors
/// An image or a mask that cannot be read.
pub fn sha256(items: &[Item]) -> Result<String, DataError> {
    let mut hash = Sha256::new();
    for Item { id, line, content, label, marks } in items {
        hash.update(format!("{:?}\n", (id, line, label)));
        match content {
            Content::Text { text, pair } => hash.update(format!("{:?}\n", (text, pair))),
            Content::Image(path) => hash.update(of_file(path)?),
        }
        match marks {
            Some(Marks::Mask(path)) => hash.update(of_file(path)?),
            marks => hash.update(format!("{marks:?}\n")),
        }
    }
    Ok(format!("{:x}", hash.finalize()))
}

fn of_file(path: &Path) -> Result<[u8; 32], DataError> {
    let bytes = std::fs::read(path).map_err(|error| DataError::Io { file: path.to_owned(), error })?;
    Ok(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::data::Span;

    #[test]
    fn bytes_and_marks_count_and_places_do_not() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |folder: &tempfile::TempDir, name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let item = |image, mask| Item {
            id: "a.png".into(),
            line: 0,
            content: Content::Image(image),
            label: Some("cat".into()),
            marks: Some(Marks::Mask(mask)),
        };
        let first = item(write(&here, "a.png", b"one"), write(&here, "m.png", b"mask"));
        let known = sha256(std::slice::from_ref(&first)).unwrap();
        let moved = item(write(&there, "a.png", b"one"), write(&there, "m.png", b"mask"));
        assert_eq!(known, sha256(&[moved]).unwrap());
        write(&there, "a.png", b"two");
        let other = item(there.path().join("a.png"), here.path().join("m.png"));
        assert_ne!(known, sha256(&[other]).unwrap(), "another image under the same name");
        write(&there, "a.png", b"one");
        write(&there, "m.png", b"other");
        let other = item(there.path().join("a.png"), there.path().join("m.png"));
        assert_ne!(known, sha256(&[other]).unwrap(), "another mask");
        let gone = sha256(&[item(here.path().join("b.png"), here.path().join("m.png"))]).unwrap_err().to_string();
        assert!(gone.contains("b.png"), "{gone}");
    }

    #[test]
    fn texts_and_their_marks_count() {
        let item = |text: &str, pair: Option<&str>, end| Item {
            id: "1".into(),
            line: 1,
            content: Content::Text { text: text.into(), pair: pair.map(str::to_owned) },
            label: None,
            marks: Some(Marks::Spans(vec![Span { sequence: 0, start: 0, end }])),
        };
        let all = [item("a", None, 1), item("b", None, 1), item("a", Some("b"), 1), item("a", None, 2)];
        let hashes: std::collections::HashSet<String> =
            all.iter().map(|item| sha256(std::slice::from_ref(item)).unwrap()).collect();
        assert_eq!(hashes.len(), all.len());
    }
}
