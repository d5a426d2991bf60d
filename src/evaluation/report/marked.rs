//! The scores of a record against what people marked.

use std::collections::BTreeMap;

use super::super::data::{Item, Marks, marked};
use super::super::localisation::{Area, localisation};
use super::super::outcome::{Record, Scores};
use super::super::plausibility::plausibility;

/// One entry a method: its numbers by name, `None` without marks or scores.
///
/// # Errors
/// A mask that cannot be read, or is of another size than its image.
pub(super) fn of(record: &Record, items: &[Item]) -> Result<Vec<Option<BTreeMap<String, f64>>>, String> {
    let nothing = || vec![None; record.outcomes.len()];
    let Some(marks) = items.get(record.item).and_then(|item| item.marks.as_ref()) else { return Ok(nothing()) };
    let Some(seen) = &record.seen else { return Ok(nothing()) };
    let words = marks.over(&seen.words);
    let area = match (&seen.image, marks) {
        (Some((width, height, _)), Marks::Boxes(boxes)) => Some(Area::of_boxes(*width, *height, boxes)),
        (Some((width, height, _)), Marks::Mask(path)) => {
            let (found_width, found_height, inside) = marked(path)?;
            if (found_width, found_height) != (*width, *height) {
                return Err(format!(
                    "{}: the mask is {found_width} × {found_height} pixels and its image {width} × {height}",
                    path.display()
                ));
            }
            Area::of_mask(*width, *height, inside)
        }
        _ => None,
    };
    let numbers = record.outcomes.iter().map(|outcome| match (&outcome.scores, &words, &area, &seen.image) {
        (Some(scores @ Scores::Words(_)), Some(words), ..) => {
            let found = plausibility(&scores.values(), words)?;
            Some(named([
                ("auprc", found.auprc),
                ("token_f1", found.token_f1),
                ("token_iou", found.token_iou),
                ("chance", found.chance),
            ]))
        }
        (Some(Scores::Grid(grid)), _, Some(area), Some((_, _, region))) => {
            let found = localisation(grid, region, area)?;
            Some(named([("pointing", found.pointing), ("energy", found.energy), ("chance", found.chance)]))
        }
        _ => None,
    });
    Ok(numbers.collect())
}

fn named<const N: usize>(numbers: [(&str, f64); N]) -> BTreeMap<String, f64> {
    numbers.into_iter().map(|(name, number)| (name.to_owned(), number)).collect()
}
