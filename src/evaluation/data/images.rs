//! A folder of images, the names of sub-folders as labels, with boxes or masks.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::localisation::Corners;
use super::{Content, DataError, Item, Marks, Named, Reading};

const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];
/// Read where it lies in the folder.
const BOXES: &str = "boxes.json";

/// An entry of a file of boxes.
#[derive(Deserialize)]
struct Annotated {
    file: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    boxes: Vec<RawBox>,
}

#[derive(Deserialize)]
struct RawBox {
    #[serde(default, alias = "cell", alias = "name", alias = "label", alias = "class")]
    name: Option<String>,
    xmin: f64,
    ymin: f64,
    xmax: f64,
    ymax: f64,
}

/// The images of the folder and of its sub-folders, by name.
pub(super) fn read(folder: &Path, reading: &Reading) -> Result<Vec<Item>, DataError> {
    let mut files = Vec::new();
    for entry in entries(folder)? {
        if entry.is_dir() {
            let label = entry.file_name().map(|name| name.to_string_lossy().into_owned());
            files.extend(entries(&entry)?.into_iter().filter(|file| is_image(file)).map(|file| (file, label.clone())));
        } else if is_image(&entry) {
            files.push((entry, None));
        }
    }
    let given = reading.rationales.clone().or_else(|| Some(folder.join(BOXES)).filter(|file| file.is_file()));
    let (boxes, masks) = match given {
        Some(path) if path.is_dir() => (HashMap::new(), Some(path)),
        Some(path) => (annotations(&path)?, None),
        None => (HashMap::new(), None),
    };
    let item = |(file, label): (PathBuf, Option<String>)| {
        let id = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        let annotated = boxes.get(&id).or_else(|| boxes.get(id.rsplit('/').next().unwrap_or_default()));
        let label = annotated.and_then(|(label, _)| label.clone()).or(label);
        let marks = match (&masks, annotated) {
            (Some(masks), _) => mask(masks, &id).map(Marks::Mask),
            (None, Some((_, boxes))) => counted(boxes, label.as_deref(), &reading.boxes_of),
            (None, None) => None,
        };
        Item { id, line: 0, content: Content::Image(file), label, marks }
    };
    Ok(files.into_iter().map(item).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |error| DataError::Io { file: folder.to_owned(), error };
    let found: Result<Vec<PathBuf>, _> =
        std::fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut found = found.map_err(failed)?;
    found.sort();
    Ok(found)
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
    ENDINGS.contains(&ending.as_str())
}

/// The PNG of the same name in the folder of masks.
fn mask(masks: &Path, id: &str) -> Option<PathBuf> {
    let path = masks.join(id).with_extension("png");
    path.is_file().then_some(path)
}

/// A picture of a mask: its width, height and, row by row, whether a pixel is not black.
///
/// # Errors
/// It cannot be read as a picture.
pub fn marked(path: &Path) -> Result<(usize, usize, Vec<bool>), String> {
    let picture = image::open(path).map_err(|error| format!("{}: {error}", path.display()))?.into_luma8();
    let (width, height) = picture.dimensions();
    Ok((width as usize, height as usize, picture.into_raw().into_iter().map(|value| value > 0).collect()))
}

type Boxes = HashMap<String, (Option<String>, Vec<Named>)>;

fn annotations(path: &Path) -> Result<Boxes, DataError> {
    let text = super::text_of(path)?;
    let entries: Vec<Annotated> = serde_json::from_str(&text).map_err(|error| {
        let detail = format!(
            "it is no list of {{\"file\", \"label\", \"boxes\": [{{\"name\", \"xmin\", \"ymin\", \"xmax\", \"ymax\"}}]}}: \
             {error}"
        );
        DataError::Line { file: path.to_owned(), line: error.line(), detail }
    })?;
    let named = |one: RawBox| Named {
        name: one.name,
        corners: Corners { left: one.xmin, top: one.ymin, right: one.xmax, bottom: one.ymax },
    };
    let entry = |one: Annotated| (one.file, (one.label, one.boxes.into_iter().map(named).collect()));
    Ok(entries.into_iter().map(entry).collect())
}

/// The boxes that speak for `label`: those of the name that `boxes_of` gives it, else those called like it or nothing.
fn counted(boxes: &[Named], label: Option<&str>, boxes_of: &[(String, String)]) -> Option<Marks> {
    let own = label.and_then(|label| boxes_of.iter().find(|(of, _)| of == label));
    let counts = |one: &&Named| match (&one.name, own) {
        (Some(name), Some((_, wanted))) => name == wanted,
        (None, Some(_)) => false,
        (Some(name), None) => label.is_some_and(|label| label.eq_ignore_ascii_case(name)),
        (None, None) => true,
    };
    let found: Vec<Corners> = boxes.iter().filter(counts).map(|one| one.corners).collect();
    (!found.is_empty()).then_some(Marks::Boxes(found))
}
