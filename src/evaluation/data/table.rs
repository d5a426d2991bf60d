//! CSV and TSV, with or without a header.

use std::path::Path;

use serde_json::Value;

use super::{DataError, ID, Item, LABEL, Reading, TEXT, item, text_of};

/// Rows of columns apart by `delimiter`. The first row is the header where it names a text column. Without one the
/// columns are text and label. Tabs are read without quotes, as GLUE writes them.
pub(super) fn read(path: &Path, delimiter: u8, reading: &Reading) -> Result<Vec<Item>, DataError> {
    let text = text_of(path)?;
    let mut rows = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(delimiter != b'\t')
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let wrong = |line: usize, detail: String| DataError::Line { file: path.to_owned(), line, detail };
    let mut names: Option<Vec<String>> = None;
    let mut items = Vec::new();
    for row in rows.records() {
        let row = row.map_err(|error| {
            let line = error.position().map_or(1, csv::Position::line);
            wrong(line as usize, format!("it is no row of a table: {error}"))
        })?;
        let line = row.position().map_or(1, csv::Position::line) as usize;
        let names = match &names {
            Some(names) => names,
            None => {
                let header = is_header(&row, reading);
                let first = names.insert(if header {
                    row.iter().map(|name| name.trim().to_owned()).collect()
                } else {
                    [TEXT, LABEL, ID].iter().map(|names| names[0].to_owned()).take(row.len()).collect()
                });
                if header {
                    continue;
                }
                first
            }
        };
        if row.len() != names.len() {
            return Err(wrong(line, format!("it has {} columns and the first row {}", row.len(), names.len())));
        }
        let cells = names.iter().zip(&row).map(|(name, cell)| (name.clone(), value(name, cell)));
        items.push(item(&cells.collect(), line, reading).map_err(|detail| wrong(line, detail))?);
    }
    Ok(items)
}

fn is_header(row: &csv::StringRecord, reading: &Reading) -> bool {
    row.iter().any(|cell| {
        let cell = cell.trim();
        TEXT.contains(&cell) || reading.text.as_deref() == Some(cell)
    })
}

/// Marks stand in a cell as JSON; everything else is text.
fn value(name: &str, cell: &str) -> Value {
    let json = name.contains("rationale").then(|| serde_json::from_str(cell).ok()).flatten();
    json.unwrap_or_else(|| if cell.is_empty() && name.contains("rationale") { Value::Null } else { cell.into() })
}
