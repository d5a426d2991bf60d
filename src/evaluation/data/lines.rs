//! JSON lines and files of one text a line; marks in a JSON lines file of their own.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::{Content, DataError, ID, Item, Reading, item, marks, text_of, written};

/// An object and its line's number.
type Numbered = (usize, Map<String, Value>);

/// An object a line; blank lines are skipped.
pub(super) fn read(path: &Path, reading: &Reading) -> Result<Vec<Item>, DataError> {
    let mut items = Vec::new();
    for (line, fields) in objects(path)? {
        let wrong = |detail| DataError::Line { file: path.to_owned(), line, detail };
        items.push(item(&fields, line, reading).map_err(wrong)?);
    }
    Ok(items)
}

/// One text a line.
pub(super) fn plain(path: &Path) -> Result<Vec<Item>, DataError> {
    let text = text_of(path)?;
    let lines = text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty());
    Ok(lines
        .map(|(index, text)| Item {
            id: (index + 1).to_string(),
            line: index + 1,
            content: Content::Text { text: text.to_owned(), pair: None },
            label: None,
            marks: None,
        })
        .collect())
}

fn objects(path: &Path) -> Result<Vec<Numbered>, DataError> {
    let text = text_of(path)?;
    let lines = text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty());
    lines
        .map(|(index, text)| {
            let wrong = |detail| DataError::Line { file: path.to_owned(), line: index + 1, detail };
            match serde_json::from_str(text) {
                Ok(Value::Object(fields)) => Ok((index + 1, fields)),
                Ok(_) => Err(wrong("it is no JSON object".to_owned())),
                Err(error) => Err(wrong(format!("it is no JSON: {error}"))),
            }
        })
        .collect()
}

/// Gives `items` the marks of `path`: by id where its lines have one, else line by line.
pub(super) fn join_rationales(items: &mut [Item], path: &Path) -> Result<(), DataError> {
    let lines = objects(path)?;
    let id = |fields: &Map<String, Value>| ID.iter().find_map(|name| fields.get(*name)).and_then(written);
    let by_id: HashMap<String, usize> =
        lines.iter().enumerate().filter_map(|(place, (_, fields))| Some((id(fields)?, place))).collect();
    if by_id.is_empty() && lines.len() < items.len() {
        let detail =
            format!("it has {} lines for {} items and no \"id\" to tell which are which", lines.len(), items.len());
        return Err(DataError::File { file: path.to_owned(), detail });
    }
    for (index, item) in items.iter_mut().enumerate() {
        let place = if by_id.is_empty() { Some(index) } else { by_id.get(&item.id).copied() };
        let Some((line, fields)) = place.and_then(|place| lines.get(place)) else { continue };
        let Content::Text { text, pair } = &item.content else { continue };
        let found = marks::of_text(fields, text, pair.as_deref());
        item.marks = found.map_err(|detail| DataError::Line { file: path.to_owned(), line: *line, detail })?;
    }
    Ok(())
}
